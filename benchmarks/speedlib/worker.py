"""One codec timed in a process of its own: ``python worker.py JOB REPORT``, both JSON files.

JOB: mode (encode or decode), source, target, codec, quality (or null), intra_period, frames, threads, repeat.
REPORT: seconds of each run without the start of Python and the loading of libraries and weights, seconds by
stage of the fastest run, and peak_rss_mib.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> int:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    from benchlib.worker import limit_cores, peak_rss_mib

    limit_cores(job["threads"])
    import lvc

    codec = lvc.open_codec(job["codec"])
    if codec.weights_digest:
        import torch

        torch.set_num_threads(job["threads"])
    runs = [_run(job, codec) for _ in range(job["repeat"])]
    seconds, stages = min(runs, key=lambda run: run[0])
    report = {"seconds": seconds, "all_seconds": [run[0] for run in runs], "stages": stages,
              "peak_rss_mib": round(peak_rss_mib(), 1)}
    Path(sys.argv[2]).write_text(json.dumps(report), encoding="utf-8")
    return 0


def _run(job: dict[str, Any], codec: Any) -> tuple[float, dict[str, float]]:
    """Seconds, and seconds by stage."""
    import lvc
    from speedlib.clock import StageClock, timed

    clock = StageClock()
    with timed(clock, codec):
        began = time.perf_counter()
        if job["mode"] == "encode":
            quality = {} if job["quality"] is None else {"quality": job["quality"]}
            lvc.encode(job["source"], job["target"], codec=job["codec"], frames=job["frames"],
                       intra_period=job["intra_period"], threads=job["threads"], **quality)
        else:
            lvc.decode(job["source"], job["target"])
        seconds = time.perf_counter() - began
    return seconds, clock.seconds


if __name__ == "__main__":
    sys.exit(main())
