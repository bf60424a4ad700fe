"""Rate-distortion figure: one panel a sequence, one line a codec (``lvc plot`` draws figures for papers).

    python benchmarks/plot.py results.json --metric yuv --out rd.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchlib.results import Curve, curves_of, load_results, period_text
from benchlib.specs import BenchmarkError

from lvc import LvcError
from lvc.metrics.rdcurves import PLOT_METRICS, measured_curves
from lvc.metrics.rdplot import rd_figure, save_figure


def draw(curves: Sequence[Curve], metric: str, out: Path) -> None:
    """Write the figure; its format follows the suffix (png, pdf, svg).

    Args:
        curves: those under the same condition share a panel.
        metric: of lvc.metrics.rdcurves.PLOT_METRICS.

    Raises:
        BenchmarkError: no curves.
        LvcError: a panel without a value of the metric, another suffix, or a file that cannot be written.
    """
    if not curves:
        raise BenchmarkError("nothing to plot")
    panels = {}
    for condition in dict.fromkeys(curve.condition for curve in curves):
        records = [record for curve in curves if curve.condition == condition for record in curve.records]
        title = (f"{condition.sequence}\n{condition.frames} frames, {period_text(condition.intra_period)}")
        panels[title] = measured_curves(records)
    width = 4.0 * min(3, len(panels)) + 0.5
    save_figure(rd_figure(panels, metric, width=width, kind="screen"), out, kind="screen")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="plot.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS")
    parser.add_argument("--metric", choices=PLOT_METRICS, default="yuv", help="default: yuv (6:1:1)")
    parser.add_argument("--out", type=Path, required=True, metavar="FIGURE", help=".png, .pdf or .svg")
    arguments = parser.parse_args(argv)
    try:
        draw(curves_of(load_results(arguments.results)), arguments.metric, arguments.out)
    except LvcError as error:
        print(f"plot.py: error: {error}", file=sys.stderr)
        return 1
    print(arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
