"""One encode or decode in a process of its own: ``python worker.py REPORT CODEC ARGUMENTS...``.

Runs the command line ``lvc ARGUMENTS...`` exactly as a user would, and writes JSON to REPORT:
``seconds`` of the command, without the start of Python and the loading of libraries and weights
(CODEC, loaded beforehand), ``start_seconds`` of that, ``cpu_seconds`` of the command in user and system mode
over all threads and processes, and ``peak_rss_mib`` of the process or, if it started others, of the largest
of all. With LVC_BENCH_CORES=N in the environment it all runs on N cores.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path


def peak_rss_mib() -> float:
    """Largest resident set of this process and of those that it has waited for."""
    unit = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, Linux KiB
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = Path("/proc/self/status")
    if status.is_file():
        # On Linux ru_maxrss begins with what the parent had in memory when it started this process.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                own = int(line.split()[1])
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / unit


def cpu_seconds() -> float:
    """User and system time of this process and of those that it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def limit_cores(number: int) -> None:
    """Stay on the last ``number`` of the cores that this process may use, where the system can do that.

    Decoders take their number of threads from it, which no option of theirs sets.
    """
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[-number:])


def main() -> int:
    report, codec, *arguments = sys.argv[1:]
    cores = int(os.environ.get("LVC_BENCH_CORES", "0"))
    if cores > 0:
        limit_cores(cores)
    started = time.perf_counter()
    import lvc
    from lvc.cli.main import main as command

    lvc.open_codec(codec)
    loaded, loaded_cpu = time.perf_counter(), cpu_seconds()
    code = command(arguments)
    ended, ended_cpu = time.perf_counter(), cpu_seconds()
    with open(report, "w", encoding="utf-8") as file:
        json.dump({"seconds": ended - loaded, "start_seconds": loaded - started,
                   "cpu_seconds": ended_cpu - loaded_cpu, "peak_rss_mib": round(peak_rss_mib(), 1)}, file)
    return int(code or 0)


if __name__ == "__main__":
    sys.exit(main())
