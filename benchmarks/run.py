"""Measure codecs on sequences from real files.

    python benchmarks/run.py --sequences FOLDER --frames 32 --intra-period 10 --out results.json \\
        --codecs "dvc-lite@quality=4,16,28,40" "x265:preset=veryfast,tune=zerolatency@crf=19,23,27,31,35"

Every point is encoded to a file and decoded from it in another process; benchmarks/README.md describes
the records. Finished points are kept in a cache, so a run that was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from benchlib.evaluate import Job, evaluate, weights_digest
from benchlib.pictures import sha256_of
from benchlib.results import Cache, save_results
from benchlib.specs import SequenceSpec, expand, load_sequences
from tqdm import tqdm

from lvc import LvcError

DEFAULT_CACHE = Path(__file__).resolve().parents[1] / "runs" / "bench-cache"


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("--codecs", nargs="+", required=True, metavar="CODEC[:OPTIONS][@PARAMETER=VALUES]")
    result.add_argument("--sequences", nargs="+", required=True, metavar="FILE|FOLDER|TOML")
    result.add_argument("--out", type=Path, required=True, metavar="JSON", help="results file to write")
    result.add_argument("--frames", type=int, metavar="N", help="code the first N frames only")
    result.add_argument("--intra-period", type=int, nargs="+", default=[32], metavar="N",
                        help="frames from intra frame to intra frame, -1 for one intra frame (default 32)")
    result.add_argument("--threads", type=int, default=0, metavar="N",
                        help="threads of encoder and decoder (default 0: the codec chooses)")
    result.add_argument("--jobs", type=int, default=1, metavar="N",
                        help="points measured at once; above 1 no times are recorded (default 1)")
    result.add_argument("--cache", type=Path, default=DEFAULT_CACHE, metavar="FOLDER")
    result.add_argument("--refresh", action="store_true", help="measure again what the cache holds")
    return result


def measure(
    job: Job, cache: Cache, sha256: str, *, refresh: bool, timed: bool
) -> tuple[dict[str, Any], bool]:
    """A record, out of the cache or measured; and whether it was cached.

    Untimed records (several jobs at once) are kept apart, so that they never stand in for timed ones.
    """
    key = job.key(sha256)
    for name in (key, *([] if timed else [f"{key}-untimed"])):
        record = None if refresh else cache.load(name)
        if record is not None:
            # The same content may be listed by another name today.
            record["sequence"]["name"] = job.sequence.name
            return record, True
    record = evaluate(job)
    if not timed:
        for part in ("encode", "decode"):
            record[part] = {"command": record[part]["command"]}
    cache.store(key if timed else f"{key}-untimed", record)
    return record, False


def run(arguments: argparse.Namespace) -> int:
    if arguments.jobs < 1:
        raise LvcError(f"--jobs must be at least 1, not {arguments.jobs}")
    if arguments.frames is not None and arguments.frames < 1:
        raise LvcError(f"--frames must be at least 1, not {arguments.frames}")
    points = expand(arguments.codecs)
    sequences = load_sequences(arguments.sequences)
    for point in points:
        weights_digest(point.codec_string)  # an unknown codec shows now, not after an hour
    jobs = [
        Job(sequence, point, period, arguments.frames, arguments.threads)
        for period in dict.fromkeys(arguments.intra_period)
        for sequence in sequences
        for point in points
    ]
    digests: dict[SequenceSpec, str] = {sequence: sha256_of(sequence.path) for sequence in sequences}
    cache = Cache(arguments.cache)
    records: dict[int, dict[str, Any]] = {}
    failures: list[str] = []
    cached = 0
    bar = tqdm(total=len(jobs), unit="point", disable=not sys.stderr.isatty(), dynamic_ncols=True)
    pool = ThreadPoolExecutor(arguments.jobs)
    futures: dict[Future[tuple[dict[str, Any], bool]], int] = {}
    try:
        for index, job in enumerate(jobs):
            future = pool.submit(measure, job, cache, digests[job.sequence], refresh=arguments.refresh,
                                 timed=arguments.jobs == 1)
            futures[future] = index
        for future in as_completed(futures):
            job = jobs[futures[future]]
            try:
                record, from_cache = future.result()
            except LvcError as error:
                failures.append(str(error))
                tqdm.write(f"error: {error}", file=sys.stderr)
            else:
                records[futures[future]] = record
                cached += from_cache
            bar.set_postfix_str(f"{job.sequence.name} {job.point.codec_string}")
            bar.update()
    finally:
        bar.close()
        pool.shutdown(cancel_futures=True)
    if records:
        save_results(arguments.out, [records[index] for index in sorted(records)])
    print(f"{len(records)} points ({cached} from the cache), {len(failures)} failed: {arguments.out}")
    return 1 if failures else 0


def main(argv: Sequence[str] | None = None) -> int:
    try:
        return run(parser().parse_args(argv))
    except LvcError as error:
        print(f"run.py: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("run.py: interrupted; finished points are in the cache", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
