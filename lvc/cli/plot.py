"""``lvc plot``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvc.errors import UsageError

if TYPE_CHECKING:
    from lvc.metrics.rdcurves import RDCurve

# As lvc.metrics.rdcurves and rdplot have them, which the parser must not load (they bring numpy and more
# along); a test holds them together.
METRICS = ("yuv", "rgb", "y", "u", "v", "ssim", "ms-ssim", "ms-ssim-db", "vmaf", "xpsnr")
WIDTHS = ("column", "page")


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "plot", help="draw a rate-distortion figure",
        description="Draw a rate-distortion figure, ready for a paper, from results of benchmarks/run.py, "
                    "JSON files of CompressAI and published curves (benchmarks/published). Several sequences "
                    "are averaged point by point.")
    parser.add_argument("results", nargs="+", metavar="RESULTS", help="JSON files")
    parser.add_argument("--out", required=True, metavar="FIGURE", help=".pdf, .svg or .png")
    parser.add_argument("--metric", choices=METRICS, default="yuv", help="default: yuv (6:1:1)")
    parser.add_argument("--codecs", nargs="+", metavar="CODEC",
                        help="codecs to draw, in this order, by full name or a part of it (default: all)")
    parser.add_argument("--label", action="append", default=[], metavar="CODEC=TEXT",
                        help="what the legend calls a codec (may be repeated)")
    parser.add_argument("--sequence", nargs="+", metavar="NAME", help="only these sequences (default: all)")
    parser.add_argument("--intra-period", type=int, metavar="N",
                        help="of the curves to draw; needed where the results hold several")
    parser.add_argument("--each", action="store_true", help="a panel a sequence instead of the mean")
    parser.add_argument("--rate", choices=("bpp", "kbps"), default="bpp", help="default: bpp")
    parser.add_argument("--log-rate", action="store_true", help="rates on a logarithmic axis")
    parser.add_argument("--xlim", nargs=2, type=float, metavar=("LOW", "HIGH"), help="range of rates")
    parser.add_argument("--ylim", nargs=2, type=float, metavar=("LOW", "HIGH"), help="range of quality")
    parser.add_argument("--width", choices=WIDTHS, default="column",
                        help="one column or the width of a page (default: column)")
    parser.add_argument("--title", default="", help="above the figure (default: none)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    from lvc.metrics.rdcurves import load_curves, mean_curves, pick_curves
    from lvc.metrics.rdplot import WIDTHS, rd_figure, save_figure

    curves = load_curves(args.results)
    if args.codecs:
        curves = pick_curves(curves, args.codecs)
    curves = _of_sequences(curves, args.sequence)
    curves = _of_period(curves, args.intra_period)
    if args.each:
        panels: dict[str, list[RDCurve]] = {}
        for curve in curves:
            panels.setdefault(curve.sequence or curve.dataset or "mean", []).append(curve)
    else:
        means, left_out = mean_curves(curves)
        if left_out:
            print(f"lvc: warning: not measured with every codec, left out: {', '.join(left_out)}",
                  file=sys.stderr)
        panels = {args.title: means}
    figure = rd_figure(panels, args.metric, rate=args.rate, width=WIDTHS[args.width], log_rate=args.log_rate,
                       labels=_labels(curves, args.label), x_limits=args.xlim, y_limits=args.ylim)
    if args.each and args.title:
        figure.suptitle(args.title)
    save_figure(figure, Path(args.out))
    print(args.out)
    return 0


def _of_sequences(curves: Sequence[RDCurve], wanted: Sequence[str] | None) -> list[RDCurve]:
    known = list(dict.fromkeys(c.sequence for c in curves if c.sequence))
    for name in wanted or ():
        if name not in known:
            raise UsageError(f"no results of the sequence {name!r}; there are: {', '.join(known)}")
    return [c for c in curves if not wanted or not c.sequence or c.sequence in wanted]


def _of_period(curves: Sequence[RDCurve], wanted: int | None) -> list[RDCurve]:
    """Curves of one intra period, and those of files that do not tell theirs."""
    measured = [curve for curve in curves if curve.origin == "measured"] or curves
    known = sorted({curve.intra_period for curve in measured if curve.intra_period is not None})
    if wanted is None and len(known) > 1:
        raise UsageError(f"the results hold the intra periods {', '.join(map(str, known))}; "
                         "choose one by --intra-period")
    if wanted is not None and wanted not in known:
        raise UsageError(f"no results with intra period {wanted}; there are: {', '.join(map(str, known))}")
    return [curve for curve in curves if not known or curve.intra_period in (None, wanted or known[0])]


def _labels(curves: Sequence[RDCurve], given: Sequence[str]) -> dict[str, str]:
    from lvc.metrics.rdcurves import pick_curves

    labels = {}
    for text in given:
        # codec strings hold equals signs; the last one separates, so that a full string can be given
        codec, equals, label = text.rpartition("=")
        if not equals or not codec or not label:
            raise UsageError(f"--label wants CODEC=TEXT, not {text!r}")
        labels[pick_curves(curves, [codec])[0].codec] = label
    return labels
