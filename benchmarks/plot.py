"""Rate-distortion figure: one panel a sequence, one line a codec.

    python benchmarks/plot.py results.json --metric yuv --out rd.png
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from benchlib.results import METRICS, Curve, curves_of, load_results, period_text, short_name
from benchlib.specs import BenchmarkError

from lvc import LvcError

# Okabe and Ito's palette, which colour-blind readers can tell apart; markers say it a second time.
COLORS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def draw(curves: Sequence[Curve], metric: str, out: Path) -> None:
    """Write the figure; its format follows the suffix (png, pdf, svg).

    Raises:
        BenchmarkError: no curves, or a format that matplotlib does not write.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    if not curves:
        raise BenchmarkError("nothing to plot")
    conditions = list(dict.fromkeys(curve.condition for curve in curves))
    codecs = list(dict.fromkeys(curve.codec for curve in curves))
    columns = min(3, len(conditions))
    rows = math.ceil(len(conditions) / columns)
    with plt.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure, axes = plt.subplots(rows, columns, figsize=(4.2 * columns + 0.6, 3.2 * rows + 0.5),
                                    squeeze=False, layout="constrained")
        for axis, condition in zip(axes.flat, conditions, strict=False):
            for curve in (c for c in curves if c.condition == condition):
                style = codecs.index(curve.codec)
                axis.plot(curve.rates, curve.qualities(metric), color=COLORS[style % len(COLORS)],
                          marker=MARKERS[style % len(MARKERS)], markersize=4, linewidth=1.4,
                          linestyle="-" if style < len(COLORS) else "--", label=short_name(curve.codec))
            axis.set_title(f"{condition.sequence}\n{condition.frames} frames, "
                           f"{period_text(condition.intra_period)}", fontsize=9)
            axis.set_xlabel("bits a pixel")
            axis.set_ylabel(METRICS[metric][1])
            axis.grid(alpha=0.3, linewidth=0.6)
        for axis in list(axes.flat)[len(conditions):]:
            axis.set_visible(False)
        seen = {}
        for axis in axes.flat:
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
                seen.setdefault(label, handle)
        figure.legend(seen.values(), seen.keys(), loc="outside lower center", ncols=min(3, len(seen)),
                      frameon=False)
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(out, dpi=150)
        except (ValueError, OSError) as error:
            raise BenchmarkError(f"{out}: cannot be written ({error})") from error
        finally:
            plt.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="plot.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS")
    parser.add_argument("--metric", choices=METRICS, default="yuv", help="default: yuv (6:1:1)")
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
