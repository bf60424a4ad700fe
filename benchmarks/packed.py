"""What x265-packed saves, by clip and by syntax element.

    python benchmarks/packed.py FILES --crf 22 28 34

Streams of x265 (medium, one thread, one intra frame) are packed; bits of an element are what HEVC's own context
variables and what the packer's model would need for its bins.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lvc.codecs.packed import COUNT_LIMIT, WEIGHT_RATE, Side, trained
from lvc.train.packedprior import Job, access_units


def main(argv: Sequence[str] | None = None) -> int:
    """Prints two tables in Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--crf", type=int, nargs="+", default=[22, 28, 34])
    parser.add_argument("--preset", default="medium")
    parser.add_argument("--frames", type=int, default=32)
    args = parser.parse_args(argv)
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    seconds = bins = 0.0
    shares: dict[int, list[float]] = {crf: [] for crf in args.crf}
    print(f"| clip | {' | '.join(f'crf {crf}: bytes' for crf in args.crf)} |\n|---{'|---:' * len(args.crf)}|")
    for path in args.files:
        cells = []
        for crf in args.crf:
            side = Side(trained()[0], COUNT_LIMIT, WEIGHT_RATE, 1 << 26)
            units = list(access_units(Job(path, f"x265:preset={args.preset},crf={crf}"), args.frames, -1))
            start = time.process_time()
            packed = sum(len(side.pack(unit)) for unit in units)
            seconds += time.process_time() - start
            whole = sum(map(len, units))
            shares[crf].append(packed / whole - 1)
            cells.append(f"{whole} -> {packed} ({shares[crf][-1]:+.1%})")
            for name, (count, own, mixed) in side.bits().items():
                bins += count
                before[name] += own / 8
                after[name] += mixed / 8
        print(f"| {path.stem} | {' | '.join(cells)} |", flush=True)
    print(f"| mean | {' | '.join(f'{sum(values) / len(values):+.1%}' for values in shares.values())} |\n")
    whole = sum(before.values())
    print("| element | share of the bits | saved, of its own | saved, of all |\n|---|---:|---:|---:|")
    for name, size in before.most_common():
        if size:
            saved = after[name] - size
            print(f"| {name} | {size / whole:.1%} | {saved / size:+.1%} | {saved / whole:+.2%} |")
    print(f"\n{bins / 1e6:.1f} million bins, {1e9 * seconds / bins:.0f} ns of CPU time each.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
