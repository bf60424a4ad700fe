"""Measure codecs on sequences from real files.

    python benchmarks/run.py --sequences FOLDER --frames 32 --intra-period 10 --out results.json \\
        --codecs "dvc-lite@quality=4,16,28,40" "x265:preset=veryfast,tune=zerolatency@crf=19,23,27,31,35"
    python benchmarks/run.py --preset papers-ldp --dataset hevc-d /data/hevc --codecs dvc-lite --out r.json
    python benchmarks/run.py --list                  # test conditions and data sets there are

Every point is encoded to a file and decoded from it in another process; benchmarks/README.md describes
the records. Finished points are kept in a cache, so a run that was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchlib import plan
from benchlib.evaluate import Job, evaluate, stop, weights_digest
from benchlib.pictures import sha256_of
from benchlib.progress import TimeLeft, duration
from benchlib.results import Cache, save_results, short_name
from benchlib.specs import SequenceSpec
from tqdm import tqdm

from lvc import LvcError

DEFAULT_CACHE = Path(__file__).resolve().parents[1] / "runs" / "bench-cache"


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = result.add_argument_group("what is measured")
    what.add_argument("--preset", metavar="NAME",
                      help="test conditions: codecs, frames, intra periods; the options below go over them")
    what.add_argument("--codecs", nargs="+", default=[], metavar="CODEC[:OPTIONS][@PARAMETER=VALUES]",
                      help="in addition to those of the preset")
    what.add_argument("--sequences", nargs="+", default=[], metavar="FILE|FOLDER|TOML")
    what.add_argument("--dataset", nargs=2, action="append", default=[], metavar=("NAME", "FOLDER"),
                      help="a standard test set, and the folder that its files are in (may be repeated)")
    what.add_argument("--only", nargs="+", default=[], metavar="NAME",
                      help="only these sequences; * and ? stand for any characters")
    what.add_argument("--frames", type=int, metavar="N", help="code the first N frames only")
    what.add_argument("--intra-period", type=int, nargs="+", metavar="N",
                      help="frames from intra frame to intra frame, -1 for one intra frame (default 32)")
    how = result.add_argument_group("how")
    how.add_argument("--out", type=Path, metavar="JSON", help="results file to write")
    how.add_argument("--threads", type=int, default=0, metavar="N",
                     help="threads, and cores, of encoder and decoder (default 0: the codec chooses)")
    how.add_argument("--jobs", type=int, default=1, metavar="N",
                     help="points measured at once; above 1 no times are recorded (default 1)")
    how.add_argument("--untimed", action="store_true",
                     help="record no times: for a machine that does other things meanwhile")
    how.add_argument("--cache", type=Path, default=DEFAULT_CACHE, metavar="FOLDER")
    how.add_argument("--refresh", action="store_true", help="measure again what the cache holds")
    how.add_argument("--dry-run", action="store_true", help="print the points and their command lines")
    how.add_argument("--list", action="store_true", help="print presets and data sets")
    return result


@dataclass
class Outcome:
    """A record, whether it came from the cache, and how long it took."""

    record: dict[str, Any]
    cached: bool
    seconds: float = 0.0


def look_up(job: Job, cache: Cache, sha256: str, *, timed: bool) -> dict[str, Any] | None:
    """A record out of the cache.

    Untimed records (several jobs at once) are kept apart, so that they never stand in for timed ones.
    """
    key = job.key(sha256, cache)
    for name in (key, *([] if timed else [f"{key}-untimed"])):
        record = cache.load(name)
        if record is not None:
            # The same content may be listed by another name, or measured for other reasons, today.
            record["sequence"] |= {"name": job.sequence.name, "dataset": job.sequence.dataset}
            record["preset"] = job.preset
            return record
    return None


def measure(job: Job, cache: Cache, sha256: str, *, timed: bool) -> Outcome:
    """Measure a point, and put it into the cache."""
    started = time.monotonic()
    record = evaluate(job)
    if not timed:
        for part in ("encode", "decode"):
            record[part] = {"command": record[part]["command"]}
    key = job.key(sha256, cache)
    cache.store(key if timed else f"{key}-untimed", record)
    return Outcome(record, False, time.monotonic() - started)


class Reporter:
    """A bar on a terminal; elsewhere, a line a point."""

    def __init__(self, total: int, jobs: int) -> None:
        self._left = TimeLeft(jobs)
        self._total, self._done = total, 0
        self._bar = tqdm(total=total, unit="point", disable=not sys.stderr.isatty(), dynamic_ncols=True,
                         bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]")

    def point(self, job: Job, pixels: float, outcome: Outcome,
              remaining: Sequence[tuple[str, float]]) -> None:
        """A point is done."""
        self._left.done(job.point.codec, pixels, outcome.seconds)
        left = f"about {duration(self._left.left(remaining))} left"
        text = f"{job.sequence.name} {short_name(job.point.codec_string)}"
        if job.point.quality is not None:
            text += f" quality {job.point.value}"
        self._step(f"{left}, {text}", f"{text}, intra period {job.intra_period}: "
                   f"{outcome.record['bpp']:.4f} bpp, {outcome.record['mean']['psnr_yuv']:.2f} dB, "
                   f"{outcome.seconds:.1f} s; {left}")

    def failed(self, error: Exception) -> None:
        tqdm.write(f"error: {error}", file=sys.stderr)
        self._step("failed", "failed")

    def _step(self, short: str, long: str) -> None:
        self._done += 1
        self._bar.set_postfix_str(short)
        self._bar.update()
        if self._bar.disable:
            print(f"{self._done}/{self._total} {long}", file=sys.stderr, flush=True)

    def close(self) -> None:
        self._bar.close()


def run(arguments: argparse.Namespace) -> int:
    if arguments.list:
        print(plan.listing())
        return 0
    jobs = plan.jobs_of(arguments)
    if arguments.dry_run:
        print(plan.commands(jobs, arguments.preset))
        return 0
    for codec in dict.fromkeys(job.point.codec_string for job in jobs):
        weights_digest(codec)  # an unknown codec shows now, not after an hour
    timed = arguments.jobs == 1 and not arguments.untimed
    digests: dict[SequenceSpec, str] = {s: sha256_of(s.path) for s in dict.fromkeys(j.sequence for j in jobs)}
    cache = Cache(arguments.cache)
    outcomes: dict[int, Outcome] = {}
    for index, job in enumerate(jobs):
        record = None if arguments.refresh else look_up(job, cache, digests[job.sequence], timed=timed)
        if record is not None:
            outcomes[index] = Outcome(record, True)
    missing = [index for index in range(len(jobs)) if index not in outcomes]
    failures = _measure_all(jobs, missing, outcomes, cache, digests, arguments.jobs, timed) if missing else 0
    if outcomes:
        save_results(arguments.out, [outcomes[index].record for index in sorted(outcomes)])
    cached = sum(outcome.cached for outcome in outcomes.values())
    print(f"{len(outcomes)} points ({cached} from the cache), {failures} failed: {arguments.out}")
    return 1 if failures else 0


def _measure_all(jobs: Sequence[Job], missing: Sequence[int], outcomes: dict[int, Outcome], cache: Cache,
                 digests: dict[SequenceSpec, str], at_once: int, timed: bool) -> int:
    """Measure the missing points into ``outcomes``; return how many failed."""
    pixels = {index: plan.pixels_of(jobs[index]) for index in missing}
    failures = 0
    reporter = Reporter(len(missing), at_once)
    pool = ThreadPoolExecutor(at_once)
    futures: dict[Future[Outcome], int] = {}
    try:
        for index in missing:
            job = jobs[index]
            future = pool.submit(measure, job, cache, digests[job.sequence], timed=timed)
            futures[future] = index
        waiting = dict.fromkeys(missing)
        for future in as_completed(futures):
            index = futures[future]
            del waiting[index]
            try:
                outcomes[index] = future.result()
            except LvcError as error:
                failures += 1
                reporter.failed(error)
            else:
                reporter.point(jobs[index], pixels[index], outcomes[index],
                               [(jobs[i].point.codec, pixels[i]) for i in waiting])
    except BaseException:
        stop()
        raise
    finally:
        reporter.close()
        pool.shutdown(cancel_futures=True)
    return failures


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        # told to end, it ends its encoders just as when interrupted
        previous = signal.signal(signal.SIGTERM, _interrupt)
        try:
            return run(arguments)
        finally:
            signal.signal(signal.SIGTERM, previous)
    except LvcError as error:
        print(f"run.py: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("run.py: interrupted; finished points are in the cache", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
