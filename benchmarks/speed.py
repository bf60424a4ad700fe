"""How fast codecs are, at which sizes and with how many threads, and where the time goes.

    python benchmarks/speed.py --out runs/speed.json

Encodes and decodes a clip, scaled to each size, with every codec in turn, each in a process of its own that
is bound to as many cores as threads are asked for. Prints frames a second with ratios against the classical
codecs of the same run, milliseconds by stage, and what a further pixel and frame cost. benchmarks/report.py
--speed shows the same.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchlib import environment
from benchlib.pictures import sha256_of
from benchlib.results import write_atomically
from benchlib.specs import BenchmarkError, expand
from speedlib.measure import Case, make_source, measure
from speedlib.tables import cost_table, speed_table, stage_table, text_table
from tqdm import tqdm

import lvc
from lvc import LvcError

ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT / "demo" / "cups_640x360.mkv"
CODECS = ("swift@quality=26", "dvc-lite@quality=28", "x265:preset=veryfast,tune=zerolatency@crf=27",
          "svt-av1:preset=8@crf=40")
SIZES = ("416x240", "832x480", "1280x720", "1920x1080")


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="speed.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("--codecs", nargs="+", default=CODECS, metavar="CODEC[:OPTIONS]@PARAMETER=VALUE",
                        help=f"one rate point each (default: {' '.join(CODECS)})")
    result.add_argument("--sizes", nargs="+", default=SIZES, metavar="WxH",
                        help=f"default: {' '.join(SIZES)}")
    result.add_argument("--threads", nargs="+", type=int, default=[1, 2], metavar="N", help="default: 1 2")
    result.add_argument("--frames", nargs="+", type=int, default=[4, 12], metavar="N",
                        help="lengths; two of them give the cost of a further frame (default: 4 12)")
    result.add_argument("--intra-period", type=int, default=32, metavar="N", help="default: 32")
    result.add_argument("--repeat", type=int, default=3, metavar="N",
                        help="runs of each in a process, of which the fastest counts (default: 3)")
    result.add_argument("--clip", type=Path, default=CLIP, help="what is scaled (default: the demo clip)")
    result.add_argument("--out", type=Path, required=True, metavar="JSON")
    return result


def parse_size(text: str) -> tuple[int, int]:
    """``416x240``; both even, as scaling to 4:2:0 wants it. Raises BenchmarkError."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) > 0 and int(height) > 0):
        raise BenchmarkError(f"size {text!r} is not WIDTHxHEIGHT")
    if int(width) % 2 or int(height) % 2:
        raise BenchmarkError(f"size {text}: width and height must be even")
    return int(width), int(height)


def cases(arguments: argparse.Namespace) -> list[Case]:
    """Every combination; codecs take turns within a size, so that all see the same machine.

    Raises:
        BenchmarkError: an argument that makes no sense.
        CodecError: an unknown codec.
    """
    points = expand(arguments.codecs)
    for point in points:
        lvc.open_codec(point.codec_string)  # an unknown codec shows now, not after an hour
    names = [point.codec for point in points]
    for name in names:
        if names.count(name) > 1:
            raise BenchmarkError(f"{name} has several rate points; speed is measured at one, as in "
                                 f"{name}@quality=28")
    for name in ("threads", "frames"):
        if min(getattr(arguments, name)) < 1:
            raise BenchmarkError(f"--{name} must be at least 1")
    if arguments.repeat < 1:
        raise BenchmarkError("--repeat must be at least 1")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if max(arguments.threads) > cores:
        raise BenchmarkError(f"{max(arguments.threads)} threads on {cores} cores would not be what they say")
    return [Case(point, parse_size(size), threads, frames, arguments.intra_period, arguments.repeat)
            for size in dict.fromkeys(arguments.sizes) for threads in dict.fromkeys(arguments.threads)
            for frames in sorted(set(arguments.frames)) for point in points]


def run(arguments: argparse.Namespace) -> int:
    jobs = cases(arguments)
    if not arguments.clip.is_file():
        raise BenchmarkError(f"{arguments.clip}: no such file")
    rows: list[dict[str, Any]] = []
    with (tempfile.TemporaryDirectory(prefix="lvc-speed-") as folder,
          tqdm(total=len(jobs), unit="run", disable=not sys.stderr.isatty(), dynamic_ncols=True) as bar):
        for case in jobs:
            source = Path(folder, "{}x{}.y4m".format(*case.size))
            if not source.exists():
                make_source(arguments.clip, case.size, max(arguments.frames), source)
            bar.set_postfix_str("{} {}x{}".format(case.point.codec_string, *case.size))
            rows.append(measure(case, source))
            bar.update()
    result = {"speed": 1, "clip": arguments.clip.name, "clip_sha256": sha256_of(arguments.clip),
              "intra_period": arguments.intra_period, "repeat": arguments.repeat,
              "versions": environment.versions(), "machine": environment.machine(), "rows": rows}
    write_atomically(arguments.out, json.dumps(result, indent=1) + "\n")
    print(report(rows))
    print(f"\n{arguments.out}")
    return 0


def report(rows: Sequence[dict[str, Any]]) -> str:
    """All tables as text."""
    parts = ["Frames a second, and as a multiple of the classical codecs", text_table(*speed_table(rows))]
    for part in ("encode", "decode"):
        heads, lines = stage_table(rows, part)
        if lines:
            parts += [f"Milliseconds a frame by stage, {part}", text_table(heads, lines)]
    if len({row["frames"] for row in rows}) > 1:
        parts += ["Cost of a further frame, and what comes once", text_table(*cost_table(rows))]
    return "\n\n".join(parts)


def main(argv: Sequence[str] | None = None) -> int:
    try:
        return run(parser().parse_args(argv))
    except LvcError as error:
        print(f"speed.py: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
