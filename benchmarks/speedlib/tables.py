"""What a run of speed.py says, as text: speeds and ratios, stages, cost against pixels and frames."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchlib.specs import BenchmarkError

from lvc.metrics.rdcurves import short_name

Row = Mapping[str, Any]


def load_speed(path: Path) -> dict[str, Any]:
    """The content of a file that speed.py wrote. Raises BenchmarkError on any other."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(content, dict) or content.get("speed") != 1:
        raise BenchmarkError(f"{path}: not a file of benchmarks/speed.py")
    return content


def longest(rows: Sequence[Row]) -> list[Row]:
    """Of each codec, size and number of threads the row with the most frames."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = (row["threads"], row["width"] * row["height"], row["width"], row["codec"])
        if key not in found or row["frames"] > found[key]["frames"]:
            found[key] = row
    order = list(dict.fromkeys(row["codec"] for row in rows))
    return [found[key] for key in sorted(found, key=lambda key: (*key[:3], order.index(key[3])))]


def speed_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Heads and lines: frames a second, and as multiples of each classical codec's in the same run."""
    references = list(dict.fromkeys(row["codec"] for row in rows if not row["learned"]))
    heads = ["codec", "size", "threads", "bpp", "YUV dB"]
    for part in ("encode", "decode"):
        heads += [f"{part} fps", *(f"of {short_name(reference)}" for reference in references)]
    heads.append("peak MiB")
    lines = []
    chosen = longest(rows)
    for row in chosen:
        line = [short_name(row["codec"]), f"{row['width']}x{row['height']}", str(row["threads"]),
                f"{row['bpp']:.3f}", f"{row['psnr_yuv']:.2f}"]
        for part in ("encode", "decode"):
            line.append(_short(row[part]["fps"]))
            for reference in references:
                other = next((r for r in chosen if (r["codec"], _place(r)) == (reference, _place(row))), None)
                line.append("–" if other is None else ratio_text(row[part]["fps"] / other[part]["fps"]))
        line.append(f"{max(row[part]['peak_rss_mib'] for part in ('encode', 'decode')):.0f}")
        lines.append(line)
    return heads, lines


def ratio_text(ratio: float) -> str:
    """``1/21`` or ``3.4``: a speed as a multiple of another."""
    return f"1/{1 / ratio:.0f}" if ratio < 0.095 else f"1/{1 / ratio:.1f}" if ratio < 0.95 else f"{ratio:.2g}"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _place(row: Row) -> tuple[int, int, int]:
    return row["width"], row["height"], row["threads"]


def stage_table(rows: Sequence[Row], part: str) -> tuple[list[str], list[list[str]]]:
    """Heads and lines: milliseconds a frame by stage, of codecs with networks."""
    chosen = [row for row in longest(rows) if row["learned"]]
    stages = [stage for stage in (chosen[0][part]["stages"] if chosen else ())
              if any(row[part]["stages"][stage] >= 0.0005 * row[part]["seconds"] for row in chosen)]
    lines = [[short_name(row["codec"]), f"{row['width']}x{row['height']}", str(row["threads"]),
              *(_short(1000 * row[part]["stages"][stage] / row["frames"]) for stage in stages),
              _short(1000 * row[part]["seconds"] / row["frames"])] for row in chosen]
    return ["codec", "size", "threads", *(f"{stage}, ms" for stage in stages), f"{part}, ms a frame"], lines


def cost_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Heads and lines: what a further frame costs, and what comes on top once.

    From runs of two lengths: seconds = once + frames * each, for each size; ``growth`` is the exponent of the
    number of pixels in the cost of a frame, by least squares over sizes (1: proportional).
    """
    heads = ["codec", "threads", "size", "encode, ns a pixel", "once, s", "growth", "decode, ns a pixel",
             "once, s", "growth"]
    groups: dict[tuple[str, int], dict[tuple[int, int], list[Row]]] = {}
    for row in rows:
        sizes = groups.setdefault((row["codec"], row["threads"]), {})
        sizes.setdefault((row["width"], row["height"]), []).append(row)
    lines = []
    for (codec, threads), sizes in groups.items():
        costs = {part: {size: _cost(runs, part) for size, runs in sizes.items()}
                 for part in ("encode", "decode")}
        growth = {part: _growth({size[0] * size[1]: cost[0] for size, cost in costs[part].items() if cost})
                  for part in costs}
        for size in sorted(sizes, key=lambda size: size[0] * size[1]):
            line = [short_name(codec), str(threads), f"{size[0]}x{size[1]}"]
            for part in ("encode", "decode"):
                cost = costs[part][size]
                line += ["–", "–"] if cost is None else [_short(1e9 * cost[0] / (size[0] * size[1])),
                                                         f"{cost[1]:.3f}"]
                line.append("–" if growth[part] is None else f"{growth[part]:.2f}")
            lines.append(line)
    return heads, lines


def _cost(runs: Sequence[Row], part: str) -> tuple[float, float] | None:
    """Seconds a frame and seconds once; None without two lengths, or where noise was larger than both."""
    short, long = min(runs, key=lambda r: r["frames"]), max(runs, key=lambda r: r["frames"])
    if short["frames"] == long["frames"]:
        return None
    each = (long[part]["seconds"] - short[part]["seconds"]) / (long["frames"] - short["frames"])
    return (each, short[part]["seconds"] - short["frames"] * each) if each > 0 else None


def _growth(costs: Mapping[int, float]) -> float | None:
    """Slope of log cost over log pixels; None for fewer than two sizes."""
    points = [(math.log(pixels), math.log(cost)) for pixels, cost in costs.items()]
    if len(points) < 2:
        return None
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return (sum((x - mean_x) * (y - mean_y) for x, y in points)
            / sum((x - mean_x) ** 2 for x, _ in points))


def text_table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Aligned columns, the first to the left."""
    widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
    rows = [[cell.ljust(width) if index == 0 else cell.rjust(width)
             for index, (cell, width) in enumerate(zip(row, widths, strict=True))] for row in (heads, *lines)]
    return "\n".join("  ".join(row).rstrip() for row in rows)
