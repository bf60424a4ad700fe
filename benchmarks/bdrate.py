"""BD-rate and BD-quality of codecs against an anchor, per sequence and on average.

    python benchmarks/bdrate.py results.json --anchor "x265 veryfast" --test dvc-lite --metric yuv
    python benchmarks/bdrate.py benchmarks/published/uvg.json --anchor x264 --test x265 DVC --metric rgb

Codecs are named as in the results, or by a part of the name that only one of them has. PCHIP (or Akima) over
the range that both curves cover; the share of that range is shown beside each figure. Published curves are
compared with each other, never with measured ones.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchlib.published import load_curves
from benchlib.results import METRICS, Condition, Curve, period_text, pick_codec, short_name
from benchlib.specs import BenchmarkError

from lvc import LvcError
from lvc.metrics import bd_quality, bd_rate

SMALL_OVERLAP = 0.5


@dataclass(frozen=True)
class Comparison:
    """Bjontegaard deltas on one sequence.

    Attributes:
        percent: BD-rate; None where there is none, and ``note`` says why.
        overlap: share of the range of quality that both curves cover.
        difference: BD-quality, in the unit of the metric; None where there is none.
        note: what to mind.
    """

    sequence: str
    frames: int
    intra_period: int
    anchor: str
    test: str
    percent: float | None
    overlap: float | None
    note: str
    difference: float | None = None


def compare(anchor: Curve, test: Curve, metric: str, method: str = "pchip") -> Comparison:
    """Compare two curves under the same condition.

    Points of a curve that is not monotonic are left out where another point of it has no higher rate and no
    lower quality; the note says so.

    Args:
        anchor, test: curves.
        metric: of METRICS.
        method: ``pchip`` or ``akima``.
    """
    condition = anchor.condition
    percent = overlap = difference = None
    notes = []
    try:
        values = []
        for name, curve in (("anchor", anchor), ("test", test)):
            rates, qualities = _points(name, curve, metric)
            kept = undominated(rates, qualities)
            if len(kept) < len(rates):
                notes.append(f"the {name} curve is not monotonic, {len(rates) - len(kept)} of its "
                             f"{len(rates)} points left out")
            values += [[rates[i] for i in kept], [qualities[i] for i in kept]]
        result = bd_rate(*values, method=method)
        percent, overlap = result.percent, result.overlap
        if overlap < SMALL_OVERLAP:
            notes.append("small overlap")
    except LvcError as error:
        notes.append(str(error))
    else:
        try:
            difference = bd_quality(*values, method=method).difference
        except LvcError as error:
            notes.append(str(error))
    return Comparison(condition.sequence, condition.frames, condition.intra_period, anchor.codec, test.codec,
                      percent, overlap, "; ".join(notes), difference)


def _points(name: str, curve: Curve, metric: str) -> tuple[list[float], list[float]]:
    if not curve.has(metric):
        raise BenchmarkError(f"the {name} curve has no {METRICS[metric][1]}")
    qualities = curve.qualities(metric)
    if not all(map(math.isfinite, [*curve.rates, *qualities])):
        raise BenchmarkError(f"the {name} curve holds values that are not finite")
    return curve.rates, qualities


def undominated(rates: Sequence[float], qualities: Sequence[float]) -> list[int]:
    """Indices of points that no other point of the curve beats, by rising rate.

    >>> undominated([1.0, 2.0, 3.0, 4.0], [30.0, 33.0, 32.0, 35.0])
    [0, 1, 3]
    """
    kept: list[int] = []
    for index in sorted(range(len(rates)), key=lambda i: (rates[i], -qualities[i])):
        if not kept or qualities[index] > qualities[kept[-1]]:
            kept.append(index)
    return kept


def compare_all(curves: Sequence[Curve], anchor: str, test: str, metric: str,
                method: str = "pchip") -> list[Comparison]:
    """Comparisons under every condition that both codecs were measured under.

    Raises:
        BenchmarkError: there is none, or one codec's curves are published and the other's are measured.
    """
    kinds = {name: {c.published for c in curves if c.codec == name} for name in (anchor, test)}
    if kinds[anchor] != kinds[test]:
        raise BenchmarkError(f"{anchor} and {test}: a published curve cannot be compared with a measured one")
    anchors: dict[Condition, Curve] = {c.condition: c for c in curves if c.codec == anchor}
    found = [compare(anchors[c.condition], c, metric, method)
             for c in curves if c.codec == test and c.condition in anchors]
    if not found:
        raise BenchmarkError(f"{anchor} and {test} were never measured under the same condition "
                             "(sequence, frames and intra period)")
    return found


def mean_percent(comparisons: Sequence[Comparison]) -> float | None:
    """The mean BD-rate over the sequences that have one; None if none has."""
    return _mean([c.percent for c in comparisons])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def table(comparisons: Sequence[Comparison], metric: str) -> str:
    """One codec against the anchor, as text."""
    first = comparisons[0]
    unit = "dB" if "dB" in METRICS[metric][1] else ""
    digits = 2 if unit or metric == "vmaf" else 5
    lines = [f"{first.test} against {first.anchor}, {METRICS[metric][1]}"]
    width = max(len("sequence"), *(len(c.sequence) for c in comparisons))

    def row(name: str, frames: str, group: Sequence[Comparison], overlap: str, note: str) -> str:
        percent, difference = _mean([c.percent for c in group]), _mean([c.difference for c in group])
        rate = "n/a" if percent is None else f"{percent:+.1f} %"
        quality = "n/a" if difference is None else f"{difference:+.{digits}f} {unit}".rstrip()
        return f"{name:{width}}  {frames:>6}  {rate:>8}  {quality:>10}  {overlap:>7}  {note}".rstrip()

    for period in sorted({c.intra_period for c in comparisons}):
        rows = [c for c in comparisons if c.intra_period == period]
        lines += ["", period_text(period) if period else "published",
                  f"{'sequence':{width}}  frames   BD-rate  BD-quality  overlap"]
        for c in rows:
            overlap = "" if c.overlap is None else f"{100 * c.overlap:.0f} %"
            lines.append(row(c.sequence, str(c.frames or ""), [c], overlap, c.note))
        counted = sum(c.percent is not None for c in rows)
        note = "" if counted == len(rows) else f"over {counted} of {len(rows)} sequences"
        lines.append(row("mean", "", rows, "", note))
    return "\n".join(lines)


def _warnings(comparisons: Sequence[Comparison]) -> list[str]:
    return [f"{c.sequence}, {short_name(c.test)} against {short_name(c.anchor)}: {c.note}"
            for c in comparisons if c.note]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="bdrate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS",
                        help="results of run.py, or files of benchmarks/published")
    parser.add_argument("--anchor", required=True, metavar="CODEC")
    parser.add_argument("--test", required=True, nargs="+", metavar="CODEC")
    parser.add_argument("--metric", nargs="+", choices=METRICS, default=["yuv"],
                        help="one or more; default: yuv (6:1:1)")
    parser.add_argument("--method", choices=("pchip", "akima"), default="pchip", help="default: pchip")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments = parser.parse_args(argv)
    try:
        curves = load_curves(arguments.results)
        anchor = pick_codec(curves, arguments.anchor)
        tests = [pick_codec(curves, test) for test in arguments.test]
        comparisons = [(metric, compare_all(curves, anchor, test, metric, arguments.method))
                       for metric in arguments.metric for test in tests]
    except LvcError as error:
        print(f"bdrate.py: error: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        rows = [asdict(c) | {"metric": metric, "method": arguments.method}
                for metric, group in comparisons for c in group]
        print(json.dumps(rows, indent=1))
    else:
        print("\n\n".join(table(group, metric) for metric, group in comparisons))
    everything = [c for _, group in comparisons for c in group]
    if all(c.percent is None for c in everything):
        print(f"bdrate.py: error: no BD-rate: {_warnings(everything)[0]}", file=sys.stderr)
        return 1
    if arguments.json:
        # tables say it beside the figure
        for warning in _warnings(everything):
            print(f"bdrate.py: warning: {warning}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
