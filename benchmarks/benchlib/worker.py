"""One encode or decode in a process of its own: ``python worker.py REPORT CODEC ARGUMENTS...``.

Runs the command line ``lvc ARGUMENTS...`` exactly as a user would, and writes JSON to REPORT:
``seconds`` of the command, without the start of Python and the loading of libraries and weights
(CODEC, loaded beforehand), ``start_seconds`` of that, and ``peak_rss_mib`` of the process or, if it
started others, of the largest of all.
"""

from __future__ import annotations

import json
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


def main() -> int:
    report, codec, *arguments = sys.argv[1:]
    started = time.perf_counter()
    import lvc
    from lvc.cli.main import main as command

    lvc.open_codec(codec)
    loaded = time.perf_counter()
    code = command(arguments)
    ended = time.perf_counter()
    with open(report, "w", encoding="utf-8") as file:
        json.dump({"seconds": ended - loaded, "start_seconds": loaded - started,
                   "peak_rss_mib": round(peak_rss_mib(), 1)}, file)
    return int(code or 0)


if __name__ == "__main__":
    sys.exit(main())
