"""Drawing of rate-distortion curves: one look for papers, for the benchmark report and for quick plots.

matplotlib is loaded when something is drawn. Colours are those of Okabe and Ito ("Color Universal Design",
2008), which colour-blind readers can tell apart; markers and line styles say the same a second time.
"""

from __future__ import annotations

import io
import math
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvc.errors import LvcError, UsageError
from lvc.metrics.rdcurves import PLOT_METRICS, RDCurve, short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("pdf", "svg", "png")
RATE_TITLES = {"bpp": "Rate (bits per pixel)", "kbps": "Bit rate (kbit/s)"}
WIDTHS = {"column": 3.5, "page": 7.16}
"""Inches: one and two columns of an IEEE page (21 and 43 picas)."""
MOST_INSIDE = 4
"""Codecs up to which the legend stands within the axes."""

COLORS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES: tuple[Any, ...] = ("-", (0, (4.5, 1.6)), (0, (1.2, 1.3)), (0, (5, 1.4, 1.2, 1.4)))
_PUBLISHED_DASHES = (0, (2.5, 2.0))

_COMMON: dict[str, Any] = {
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7, "axes.grid": True,
    "axes.axisbelow": True, "grid.linewidth": 0.4, "grid.alpha": 0.55, "grid.color": "#b8b8b8",
    "xtick.major.width": 0.7, "ytick.major.width": 0.7, "xtick.minor.width": 0.5, "ytick.minor.width": 0.5,
    "lines.linewidth": 1.3, "lines.markersize": 4.0, "legend.frameon": False, "legend.handlelength": 2.4,
    "svg.hashsalt": "lvc", "pdf.fonttype": 42,
}
_PAPER = _COMMON | {
    "font.family": "serif", "font.serif": ["STIX Two Text", "Times New Roman", "Times", "STIXGeneral"],
    "mathtext.fontset": "stix", "font.size": 8.5, "axes.labelsize": 8.5, "axes.titlesize": 8.5,
    "xtick.labelsize": 7.5, "ytick.labelsize": 7.5, "legend.fontsize": 7.5, "svg.fonttype": "path",
}
_SCREEN = _COMMON | {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 9.0, "axes.labelsize": 9.0,
    "axes.titlesize": 9.5, "xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "legend.fontsize": 8.5,
    "lines.linewidth": 1.6, "lines.markersize": 4.8, "svg.fonttype": "none",
    "text.color": "#1b1b1b", "axes.labelcolor": "#333333", "axes.edgecolor": "#555555",
    "xtick.color": "#444444", "ytick.color": "#444444",
}


@dataclass(frozen=True)
class Style:
    """How a codec is drawn: one colour an encoder, line style and filling of markers by its options."""

    color: str
    marker: str
    dashes: Any
    hollow: bool

    def line(self) -> dict[str, Any]:
        """Arguments for matplotlib's ``plot``."""
        return {"color": self.color, "marker": self.marker, "linestyle": self.dashes,
                "markeredgecolor": self.color, "markerfacecolor": "white" if self.hollow else self.color,
                "markeredgewidth": 1.0}


def styles_of(curves: Sequence[RDCurve]) -> dict[str, Style]:
    """A style a codec, by order of appearance; published curves are dashed with hollow markers."""
    families: dict[str, list[str]] = {}
    published: set[str] = set()
    for curve in curves:
        variants = families.setdefault(re.split("[: ]", curve.codec)[0].lower(), [])
        if curve.codec not in variants:
            variants.append(curve.codec)
        if curve.origin == "published":
            published.add(curve.codec)
    styles = {}
    for number, variants in enumerate(families.values()):
        color, again = COLORS[number % len(COLORS)], number // len(COLORS)
        for index, codec in enumerate(variants):
            dashes = _PUBLISHED_DASHES if codec in published else _DASHES[(index + again) % len(_DASHES)]
            shift = index if codec in published else index // len(_DASHES)
            marker = MARKERS[(number + again + shift) % len(MARKERS)]
            style = Style(color, marker, dashes, codec in published or index % 2 == 1)
            for other in MARKERS:  # with many codecs, one of another round may look like that already
                if style in styles.values():
                    style = replace(style, marker=other)
            styles[codec] = style
    return styles


@contextmanager
def look(kind: str) -> Iterator[None]:
    """matplotlib's settings for ``paper`` (serif) or ``screen`` (sans-serif, text stays text in SVG)."""
    import matplotlib
    from matplotlib import font_manager

    settings = dict({"paper": _PAPER, "screen": _SCREEN}[kind])
    if kind == "paper":
        # Only what is there: matplotlib logs a line a missing family and text otherwise.
        there = {font.name for font in font_manager.fontManager.ttflist}
        settings["font.serif"] = [name for name in settings["font.serif"] if name in there]
    with matplotlib.rc_context(settings):
        yield


def draw_curves(axis: Axes, curves: Sequence[RDCurve], metric: str, *, rate: str = "bpp",
                styles: Mapping[str, Style] | None = None, labels: Mapping[str, str] | None = None,
                log_rate: bool = False) -> None:
    """Draw curves onto an axis, with titles and grid, without a legend.

    Args:
        axis: of matplotlib.
        curves: those without a value of the metric are left out.
        metric: of PLOT_METRICS.
        rate: ``bpp`` or ``kbps``.
        styles, labels: by codec string; defaults: styles_of(curves), short_name.
        log_rate: rates on a logarithmic axis.

    Raises:
        UsageError: no curve has the metric, or one has no rates in that unit.
    """
    styles = styles or styles_of(curves)
    drawn = 0
    for curve in curves:
        points = [(x, y) for x, y in zip(curve.rates(rate), curve.values(metric), strict=True)
                  if math.isfinite(y)]
        if not points:
            continue
        drawn += 1
        label = (labels or {}).get(curve.codec, short_name(curve.codec))
        (line,) = axis.plot(*zip(*points, strict=True), label=label, zorder=3 + 0.01 * drawn,
                            **styles[curve.codec].line())
        line.set_gid(f"series-{list(styles).index(curve.codec)}")
    if not drawn:
        raise UsageError(f"no curve has {PLOT_METRICS[metric][1]}")
    if log_rate:
        log_axis(axis)
    axis.set_xlabel(RATE_TITLES[rate])
    axis.set_ylabel(PLOT_METRICS[metric][1])
    axis.margins(x=0.04, y=0.05)


def log_axis(axis: Axes) -> None:
    """Logarithmic rates with plain numbers at 1, 2 and 5."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def rd_figure(panels: Mapping[str, Sequence[RDCurve]], metric: str, *, rate: str = "bpp",
              width: float = WIDTHS["column"], kind: str = "paper", labels: Mapping[str, str] | None = None,
              log_rate: bool = False, x_limits: tuple[float, float] | None = None,
              y_limits: tuple[float, float] | None = None) -> Figure:
    """A figure of one panel or of several, with one legend.

    Args:
        panels: title (may be empty) -> curves. A codec looks alike in all of them.
        width: of the figure, inches. Several panels stand in rows of up to three.
        kind: ``paper`` or ``screen``, see :func:`look`.
        metric, rate, labels, log_rate: see :func:`draw_curves`.
        x_limits, y_limits: of all axes; by default each fits its curves.

    Raises:
        UsageError: no panels, a panel that :func:`draw_curves` refuses, or limits that make no sense.
    """
    from matplotlib.figure import Figure

    if not panels:
        raise UsageError("nothing to plot")
    for limits in (x_limits, y_limits):
        if limits is not None and not (all(map(math.isfinite, limits)) and limits[0] < limits[1]):
            raise UsageError(f"limits of an axis must rise, not go from {limits[0]:g} to {limits[1]:g}")
    if log_rate and x_limits is not None and x_limits[0] <= 0:
        raise UsageError("a logarithmic axis starts above zero")
    styles = styles_of([curve for curves in panels.values() for curve in curves])
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    with look(kind):
        one = len(panels) == 1
        height = width * 0.74 if one else rows * width / columns * 0.85 + 0.5
        if one and len(styles) > MOST_INSIDE:
            height += 0.09 * len(styles)
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = [figure.add_subplot(rows, columns, index + 1) for index in range(len(panels))]
        for index, (axis, (title, curves)) in enumerate(zip(axes, panels.items(), strict=True)):
            draw_curves(axis, curves, metric, rate=rate, styles=styles, labels=labels, log_rate=log_rate)
            axis.set_title(title)
            if index % columns:
                axis.set_ylabel("")
            if index + columns < len(panels):
                axis.set_xlabel("")
            if x_limits is not None:
                axis.set_xlim(*x_limits)
            if y_limits is not None:
                axis.set_ylim(*y_limits)
        if one and len(axes[0].lines) <= MOST_INSIDE:
            axes[0].legend(loc="lower right", borderaxespad=0.3, labelspacing=0.35)
        else:
            handles: dict[str, Any] = {}
            for axis in axes:
                for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
                    handles.setdefault(label, handle)
            figure.legend(list(handles.values()), list(handles), loc="outside lower center",
                          ncols=min(2 if width < 5 else 3, len(handles)))
    return figure


def save_figure(figure: Figure, out: str | os.PathLike[str], kind: str = "paper") -> None:
    """Write a figure; its format follows the suffix. Equal figures give equal files (but for PNG's library).

    Raises:
        UsageError: a suffix other than .pdf, .svg, .png.
        LvcError: the file cannot be written.
    """
    path = Path(out)
    form = path.suffix.lower().removeprefix(".")
    if form not in FORMATS:
        raise UsageError(f"{path}: cannot be written: figures are "
                         f"{', '.join('.' + name for name in FORMATS)}")
    data = figure_bytes(figure, form, kind)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise LvcError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def figure_bytes(figure: Figure, form: str, kind: str = "paper") -> bytes:
    """A figure as pdf, svg or png (300 dots an inch), without dates."""
    dates: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
    buffer = io.BytesIO()
    with look(kind):
        figure.savefig(buffer, format=form, dpi=300, metadata=dates.get(form, {}))
    return buffer.getvalue()
