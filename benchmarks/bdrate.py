"""BD-rate of codecs against an anchor, per sequence and on average.

    python benchmarks/bdrate.py results.json --anchor "x265 veryfast" --test dvc-lite --metric yuv

Codecs are named as in the results, or by a part of the name that only one of them has. PCHIP over the
range of quality that both curves cover; the share of that range is shown beside each figure.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchlib.results import METRICS, Condition, Curve, curves_of, load_results, period_text, pick_codec

from lvc import LvcError
from lvc.metrics import bd_rate

SMALL_OVERLAP = 0.5


@dataclass(frozen=True)
class Comparison:
    """BD-rate on one sequence. ``percent`` is None where there is none, and ``note`` says why."""

    sequence: str
    frames: int
    intra_period: int
    anchor: str
    test: str
    percent: float | None
    overlap: float | None
    note: str


def compare(anchor: Curve, test: Curve, metric: str) -> Comparison:
    """BD-rate of two curves under the same condition."""
    condition = anchor.condition
    percent = overlap = None
    note = ""
    try:
        result = bd_rate(anchor.rates, anchor.qualities(metric), test.rates, test.qualities(metric))
    except LvcError as error:
        note = str(error)
    else:
        percent, overlap = result.percent, result.overlap
        if overlap < SMALL_OVERLAP:
            note = "small overlap"
    return Comparison(condition.sequence, condition.frames, condition.intra_period, anchor.codec, test.codec,
                      percent, overlap, note)


def compare_all(curves: Sequence[Curve], anchor: str, test: str, metric: str) -> list[Comparison]:
    """Comparisons under every condition that both codecs were measured under.

    Raises:
        LvcError: there is none.
    """
    anchors: dict[Condition, Curve] = {c.condition: c for c in curves if c.codec == anchor}
    found = [compare(anchors[c.condition], c, metric)
             for c in curves if c.codec == test and c.condition in anchors]
    if not found:
        raise LvcError(f"{anchor} and {test} were never measured under the same condition "
                       "(sequence, frames and intra period)")
    return found


def mean_percent(comparisons: Sequence[Comparison]) -> float | None:
    """The mean over the sequences that have a BD-rate; None if none has."""
    values = [c.percent for c in comparisons if c.percent is not None]
    return sum(values) / len(values) if values else None


def table(comparisons: Sequence[Comparison], metric: str) -> str:
    """One codec against the anchor, as text."""
    first = comparisons[0]
    lines = [f"{first.test} against {first.anchor}, {METRICS[metric][1]}"]
    width = max(len("sequence"), *(len(c.sequence) for c in comparisons))
    for period in sorted({c.intra_period for c in comparisons}):
        rows = [c for c in comparisons if c.intra_period == period]
        lines += ["", period_text(period), f"{'sequence':{width}}  frames   BD-rate  overlap"]
        for c in rows:
            percent = "n/a" if c.percent is None else f"{c.percent:+.1f} %"
            overlap = "" if c.overlap is None else f"{100 * c.overlap:.0f} %"
            line = f"{c.sequence:{width}}  {c.frames:6d}  {percent:>8}  {overlap:>7}  {c.note}"
            lines.append(line.rstrip())
        mean = mean_percent(rows)
        counted = sum(c.percent is not None for c in rows)
        of = "" if counted == len(rows) else f"  over {counted} of {len(rows)} sequences"
        lines.append(f"{'mean':{width}}          {'n/a' if mean is None else f'{mean:+.1f} %':>8}{of}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="bdrate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS")
    parser.add_argument("--anchor", required=True)
    parser.add_argument("--test", required=True, nargs="+")
    parser.add_argument("--metric", choices=METRICS, default="yuv", help="default: yuv (6:1:1)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments = parser.parse_args(argv)
    try:
        curves = curves_of(load_results(arguments.results))
        anchor = pick_codec(curves, arguments.anchor)
        tests = [pick_codec(curves, test) for test in arguments.test]
        comparisons = [compare_all(curves, anchor, test, arguments.metric) for test in tests]
    except LvcError as error:
        print(f"bdrate.py: error: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps([asdict(c) for group in comparisons for c in group], indent=1))
    else:
        print("\n\n".join(table(group, arguments.metric) for group in comparisons))
    return 0


if __name__ == "__main__":
    sys.exit(main())
