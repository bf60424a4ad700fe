"""The drawings of the report: matplotlib's SVG, made ready to stand in a page beside others."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import offset_copy

from lvc.metrics.rdcurves import PLOT_METRICS, RDCurve, short_name
from lvc.metrics.rdplot import Style, draw_curves, figure_bytes, log_axis, look

SIZE = (4.3, 3.2)
"""Inches. Small, so that text stays readable where a phone shows the figure at 360 pixels."""

_STAGE_COLORS = ("#0072B2", "#D55E00", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#888888", "#444444",
                 "#cccccc")
_PLACES = tuple((side, 11 * step) for step in (0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5) for side in (1, -1))
"""Where a name is tried: right or left of its marker, and how many points higher."""


@dataclass(frozen=True)
class SpeedPoint:
    """A codec in the speed plot: million pixels a second, BD-rate in percent."""

    codec: str
    speed: float
    percent: float


def inline(svg: bytes, prefix: str, label: str) -> str:
    """An SVG document as an element of a page.

    Its ids get a prefix of their own (a page holds many), groups named ``series-N`` become the class sN, and
    size follows the page.

    Args:
        svg: as matplotlib writes it.
        prefix: letters and digits, another one for each drawing.
        label: what screen readers say.
    """
    text = svg.decode("utf-8")
    text = text[text.index("<svg"):]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r'<g id="series-(\d+)(?:-\d+)?">', r'<g class="series s\1">', text)
    # matplotlib names every group, which nothing refers to
    referred = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]+)"',
                  lambda found: f' id="{prefix}-{found[1]}"' if found[1] in referred else "", text)
    text = re.sub(r'((?:xlink:)?href)="#', rf'\1="#{prefix}-', text)
    text = text.replace("url(#", f"url(#{prefix}-")
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 system-ui, sans-serif", text)
    text = re.sub(r"\n\s*", "\n", text)
    head, rest = text.split(">", 1)
    head = re.sub(r' (?:width|height|version)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{escape(label, quote=True)}">{rest}'


def _figure() -> tuple[Figure, Axes]:
    # Fixed margins: a layout engine would take longer than all the rest, and axes of a row would not align.
    figure = Figure(figsize=SIZE)
    return figure, figure.add_axes((0.15, 0.15, 0.83, 0.82))


def rd_svg(curves: Sequence[RDCurve], metric: str, styles: Mapping[str, Style], prefix: str,
           label: str) -> str | None:
    """Rate-distortion curves without a legend; None if none of them has the metric."""
    curves = [curve for curve in curves if any(map(math.isfinite, curve.values(metric)))]
    if not curves:
        return None
    with look("screen"):
        figure, axis = _figure()
        draw_curves(axis, curves, metric, styles=styles)
        axis.set_xlim(left=0)
        return inline(figure_bytes(figure, "svg", "screen"), prefix, label)


def frames_svg(records: Mapping[str, Mapping[str, Any]], metric: str, styles: Mapping[str, Style],
               prefix: str, label: str) -> str | None:
    """Quality of every frame, a line a codec; None if no record has it."""
    key, title = PLOT_METRICS[metric]
    lines = {codec: record["per_frame"].get(key) or [] for codec, record in records.items()}
    lines = {codec: values for codec, values in lines.items() if values and None not in values}
    if not lines:
        return None
    with look("screen"):
        figure, axis = _figure()
        for codec, values in lines.items():
            style = styles[codec]
            (line,) = axis.plot(range(len(values)), values, color=style.color, linestyle=style.dashes,
                                linewidth=1.4, solid_joinstyle="round")
            line.set_gid(f"series-{list(styles).index(codec)}")
        axis.set_xlabel("Frame")
        axis.set_ylabel(title)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.margins(x=0.02)
        return inline(figure_bytes(figure, "svg", "screen"), prefix, label)


def speed_svg(points: Sequence[SpeedPoint], part: str, metric: str, anchor: str,
              styles: Mapping[str, Style], prefix: str, label: str) -> str | None:
    """Speed (logarithmic) against BD-rate, every point named; None without points."""
    if not points:
        return None
    with look("screen"):
        figure, axis = _figure()
        axis.axhline(0, color="#999999", linewidth=0.8, zorder=1)
        log_axis(axis)
        speeds = [point.speed for point in points]
        # room for names at both ends, and a decade at least
        middle = math.sqrt(min(speeds) * max(speeds))
        reach = max(math.sqrt(10.0), 2.2 * math.sqrt(max(speeds) / min(speeds)))
        axis.set_xlim(middle / reach, middle * reach)
        percents = [point.percent for point in points] + [0.0]
        room = max(5.0, 0.18 * (max(percents) - min(percents)))
        axis.set_ylim(min(percents) - room, max(percents) + room)
        for point in points:
            style = styles[point.codec]
            (marker,) = axis.plot([point.speed], [point.percent], linestyle="none", zorder=3,
                                  **{k: v for k, v in style.line().items() if k != "linestyle"})
            marker.set_markersize(8.0)
            marker.set_gid(f"series-{list(styles).index(point.codec)}")
        _name_points(axis, points, styles)
        axis.set_xlabel(f"{part.capitalize()} speed (million pixels a second)")
        axis.set_ylabel(f"BD-rate (%), {PLOT_METRICS[metric][1].split(' (')[0]}")
        return inline(figure_bytes(figure, "svg", "screen"), prefix, label)


def _name_points(axis: Axes, points: Sequence[SpeedPoint], styles: Mapping[str, Style]) -> None:
    """Names beside points, covering neither markers nor each other, with a line to those further off."""
    frame = axis.get_window_extent()
    taken: list[Any] = [line.get_window_extent() for line in axis.lines if line.get_marker() != "None"]
    for point in sorted(points, key=lambda p: -p.percent):
        options = []
        for side, shift in _PLACES:
            place = offset_copy(axis.transData, axis.figure, 9 * side, shift, units="points")
            name = axis.text(point.speed, point.percent, short_name(point.codec), transform=place,
                             ha="left" if side > 0 else "right", va="center", fontsize=8.5, color="#1b1b1b",
                             zorder=4, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.3})
            box = name.get_window_extent()
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            cost = sum(bool(box.overlaps(other)) for other in taken) + 10 * (not inside)
            options.append((cost, name, box, (9 * side, shift)))
            if cost == 0:
                break
        best = min(options, key=lambda option: option[0])
        for option in options:
            if option is not best:
                option[1].remove()
        series = f"series-{list(styles).index(point.codec)}"
        best[1].set_gid(series)
        taken.append(best[2])
        if abs(best[3][1]) > 11:
            line = axis.annotate("", (point.speed, point.percent), best[3], textcoords="offset points",
                                 arrowprops={"arrowstyle": "-", "linewidth": 0.6, "color": "#888888",
                                             "shrinkA": 0, "shrinkB": 4})
            line.set_gid(series)


def stages_svg(rows: Sequence[Mapping[str, Any]], part: str, prefix: str, label: str) -> str:
    """Milliseconds a frame by stage, a bar a size and number of threads.

    Args:
        rows: of benchmarks/speed.py, all of one codec.
        part: ``encode`` or ``decode``.
    """
    stages = [stage for stage in rows[0][part]["stages"]
              if any(row[part]["stages"][stage] > 0.002 * row[part]["seconds"] for row in rows)]
    threads = {row["threads"] for row in rows}
    names = [f"{row['width']}x{row['height']}" + (f", {row['threads']} thr." if len(threads) > 1 else "")
             for row in rows]
    with look("screen"):
        figure = Figure(figsize=(SIZE[0], 1.1 + 0.27 * len(rows) + 0.2 * math.ceil(len(stages) / 3)),
                        layout="constrained")
        axis = figure.add_subplot()
        left = [0.0] * len(rows)
        colors = dict(zip(rows[0][part]["stages"], _STAGE_COLORS, strict=False))
        for stage in stages:
            share = [100 * row[part]["stages"][stage] / row[part]["seconds"] for row in rows]
            axis.barh(range(len(rows)), share, left=left, height=0.68, color=colors[stage],
                      label=stage, edgecolor="white", linewidth=0.5)
            left = [a + b for a, b in zip(left, share, strict=True)]
        for place, row in enumerate(rows):
            axis.annotate(f"{1000 * row[part]['seconds'] / row['frames']:,.0f} ms", (100, place), (4, 0),
                          textcoords="offset points", va="center", fontsize=8)
        axis.set_yticks(range(len(rows)), names)
        axis.invert_yaxis()
        axis.set_xlim(0, 116)
        axis.set_xticks(range(0, 101, 20))
        axis.grid(False, axis="y")
        axis.set_xlabel("Share of the time of a frame (%)")
        figure.legend(loc="outside upper left", ncols=3, fontsize=8, columnspacing=1.0, handlelength=1.0)
        return inline(figure_bytes(figure, "svg", "screen"), prefix, label)


def swatch_svg(style: Style, prefix: str) -> str:
    """A short line with its marker, for legends."""
    with look("screen"):
        figure = Figure(figsize=(0.42, 0.2))
        figure.patch.set_alpha(0)
        axis = figure.add_axes((0, 0, 1, 1))
        axis.set_axis_off()
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1)
        axis.plot([0.02, 0.5, 0.98], [0.5] * 3, markevery=[1], **style.line())
        return inline(figure_bytes(figure, "svg", "screen"), prefix, "").replace(
            'role="img" aria-label=""', 'aria-hidden="true"')
