"""Write the tables of README.md out of benchmarks/results/test_clips.json and speed.json.

    python benchmarks/readme_table.py            # rewrite the part between the markers
    python benchmarks/readme_table.py --check    # exit code 1 if it is not up to date
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bdrate import SMALL_OVERLAP, compare, mean_percent
from benchlib.presets import load_preset, preset_names
from benchlib.results import (
    METRICS,
    Curve,
    curves_of,
    load_results,
    period_text,
    short_name,
    write_atomically,
)
from benchlib.specs import BenchmarkError
from speedlib.tables import load_speed, longest, ratio_text

from lvc import LvcError

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SPEED = RESULTS / "speed.json"
BEGIN = "<!-- results:begin, written by benchmarks/readme_table.py -->"
END = "<!-- results:end -->"
ANCHOR = "x265:preset=veryfast,tune=zerolatency"
TABLE_METRICS = ("yuv", "rgb", "ms-ssim", "vmaf")
TITLES = {"yuv": "YUV 6:1:1", "rgb": "RGB PSNR", "ms-ssim": "MS-SSIM", "vmaf": "VMAF"}


def render(curves: Sequence[Curve], anchor: str = ANCHOR, speed: Mapping[str, Any] | None = None) -> str:
    """Markdown: a BD-rate table an intra period, the mean rate points of codecs with weights, and speeds.

    Args:
        curves: measured ones.
        anchor: codec string that BD-rates are against.
        speed: content of a file of benchmarks/speed.py.
    """
    if not curves:
        return "No results have been recorded yet."
    parts = []
    for period in sorted({curve.condition.intra_period for curve in curves}, key=lambda p: (p < 0, p)):
        parts.append(_period(curves, period, anchor))
    machines = dict.fromkeys(
        f"{m['cpu']}, {m['cores']} cores" for c in curves for m in [c.records[0].get("machine")] if m
    )
    threads = sorted({record["threads"] for curve in curves for record in curve.records})
    allowed = ", ".join("as the codec chooses" if n == 0 else str(n) for n in threads)
    notes = [
        f"BD-rate against {short_name(anchor)}: the mean difference in file size at equal quality (below "
        "zero: smaller files), by PCHIP per sequence over the quality range that both codecs cover, averaged "
        f"over sequences; `*` marks a mean that holds a sequence with less than {100 * SMALL_OVERLAP:.0f} % "
        "common range, `(n of m)` one that only n of m sequences have a figure for. Sizes are those of "
        "files, quality is that of frames decoded from them by another process."]
    if any(_structure(curve) for curve in curves):
        notes.append("Low delay: every frame refers to former ones only. B frames: frames refer to later ones, "
                     "too, and the encoder looks ahead.")
    if any(_kmac(curve.records) is not None for curve in curves):
        notes.append("kMAC: thousands of multiply-adds of networks a luma pixel, to decode a P frame.")
    if any(_timed(curve.records) for curve in curves):
        notes.append("Speed is in million luma pixels a second, reading and writing of video included.")
    parts.append(f"{' '.join(notes)} Threads: {allowed}; {'; '.join(machines)}.")
    if speed is not None:
        parts.append(_speed_table(speed))
    return "\n\n".join(parts)


def _period(curves: Sequence[Curve], period: int, anchor: str) -> str:
    here = [curve for curve in curves if curve.condition.intra_period == period]
    conditions = sorted({curve.condition for curve in here})
    codecs = list(dict.fromkeys(curve.codec for curve in here))
    sequences = ", ".join(f"{c.sequence} ({c.frames})" for c in conditions)
    lines = [f"**{period_text(period).capitalize()}**, sequences (frames): {sequences}", ""]
    metrics = [metric for metric in TABLE_METRICS if any(curve.has(metric) for curve in here)]
    structured = any(map(_structure, here))
    counted = any(_kmac(curve.records) is not None for curve in here)
    timed = any(_timed(curve.records) for curve in here)
    texts = ["codec", *(["structure"] if structured else [])]
    heads = [*(f"BD-rate, {TITLES[metric]}" for metric in metrics), *(["kMAC"] if counted else []),
             *(["encode Mpx/s", "decode Mpx/s"] if timed else [])]
    lines += [_row(*texts, *heads), "|---|" + "---|" * structured + "---:|" * len(heads)]
    for codec in codecs:
        own = [curve for curve in here if curve.codec == codec]
        cells = [_bd_cell(here, own, anchor, metric, len(conditions)) for metric in metrics]
        records = [record for curve in own for record in curve.records]
        if counted:
            kmac = _kmac(records)
            cells.append("–" if kmac is None else f"{kmac:.1f}")
        if timed:
            cells += [_speed(records, "encode"), _speed(records, "decode")]
        names = [short_name(codec), *([_structure(own[0]) or "–"] if structured else [])]
        lines.append(_row(*names, *cells))
    learned = [codec for codec in codecs if any(
        record["weights_digest"] for curve in here if curve.codec == codec for record in curve.records
    )]
    if learned:
        heads = ["codec", "point", "bits a pixel", *(TITLES[metric] for metric in metrics)]
        lines += ["", "Means over sequences:", "", _row(*heads), "|---|---|" + "---:|" * (1 + len(metrics))]
        for codec in [*learned, *([anchor] if anchor in codecs else [])]:
            lines += _points([curve for curve in here if curve.codec == codec], len(conditions), metrics)
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _bd_cell(here: Sequence[Curve], own: Sequence[Curve], anchor: str, metric: str, n_sequences: int) -> str:
    if own[0].codec == anchor:
        return "0 (anchor)"
    anchors = {curve.condition: curve for curve in here if curve.codec == anchor}
    found = [compare(anchors[c.condition], c, metric) for c in own if c.condition in anchors]
    mean = mean_percent(found)
    if mean is None:
        return "n/a"
    counted = [c for c in found if c.percent is not None]
    small = "*" if any(c.overlap is not None and c.overlap < SMALL_OVERLAP for c in counted) else ""
    share = f" ({len(counted)} of {n_sequences})" if len(counted) < n_sequences else ""
    return f"{mean:+.1f} %{small}{share}"


def _structure(curve: Curve) -> str:
    """How a codec's frames refer to each other, in the words of the preset that it was measured by."""
    name = curve.records[0].get("preset", "")
    return load_preset(name).structure(curve.codec) if name in preset_names() else ""


def _kmac(records: Sequence[dict[str, Any]]) -> float | None:
    """Thousands of multiply-adds a luma pixel to decode a P frame; None for codecs that are no networks."""
    for record in records:
        if (record.get("kmac") or {}).get("inter"):
            return float(record["kmac"]["inter"]["decode"])
    return None


def _timed(records: Sequence[dict[str, Any]]) -> bool:
    return all("seconds" in record[part] for record in records for part in ("encode", "decode"))


def _speed_table(content: Mapping[str, Any]) -> str:
    """Frames a second by size and number of threads, with ratios against the first classical codec."""
    rows = longest(content["rows"])
    reference = next((row["codec"] for row in rows if not row["learned"]), None)
    heads = ["encode fps", "decode fps"]
    if reference is not None:
        heads = [head for part in ("encode", "decode") for head in (f"{part} fps", f"of {short_name(reference)}")]
    lines = ["**Speed**, frames a second", "", _row("codec", "size", "threads", "bits a pixel", "YUV 6:1:1", *heads),
             "|---|---|---:|---:|---:|" + "---:|" * len(heads)]
    places = {(row["codec"], row["width"], row["height"], row["threads"]): row for row in rows}
    for row in rows:
        cells = [short_name(row["codec"]), f"{row['width']}x{row['height']}", str(row["threads"]),
                 f"{row['bpp']:.3f}", f"{row['psnr_yuv']:.2f}"]
        for part in ("encode", "decode"):
            cells.append(f"{row[part]['fps']:.3g}")
            if reference is not None:
                other = places.get((reference, row["width"], row["height"], row["threads"]))
                cells.append("–" if other is None else ratio_text(row[part]["fps"] / other[part]["fps"]))
        lines.append(_row(*cells))
    machine = content["machine"]
    lines += ["", f"{content['clip']} scaled to each size, intra period {content['intra_period']}, the fastest of "
              f"{content['repeat']} runs, each process on as many cores as it has threads; reading and writing of "
              f"video included; {machine['cpu']}, {machine['cores']} cores."]
    return "\n".join(lines)


def _speed(records: Sequence[dict[str, Any]], part: str) -> str:
    """Pixels of all points over seconds of all points; a dash where times were not taken."""
    if not all("seconds" in record[part] for record in records):
        return "–"
    pixels = sum(r["sequence"]["width"] * r["sequence"]["height"] * r["sequence"]["frames"] for r in records)
    return f"{pixels / 1e6 / sum(record[part]['seconds'] for record in records):.2f}"


def _points(curves: Sequence[Curve], n_sequences: int, metrics: Sequence[str]) -> list[str]:
    """Rows of the means over sequences, for points that every sequence has."""
    by_point: dict[str, list[dict[str, Any]]] = {}
    for record in (record for curve in curves for record in curve.records):
        name, value = next(iter(record["point"].items()))
        by_point.setdefault(f"{name} {value}", []).append(record)
    rows = []
    for point, records in by_point.items():
        if len(records) != n_sequences:
            continue
        cells = [f"{sum(r['bpp'] for r in records) / len(records):.4f}"]
        for metric in metrics:
            values = [r["mean"].get(METRICS[metric][0]) for r in records]
            digits = 4 if metric == "ms-ssim" else 2
            cells.append("n/a" if None in values else f"{sum(values) / len(values):.{digits}f}")
        rows.append((float(cells[0]), _row(short_name(curves[0].codec), point, *cells)))
    return [row for _, row in sorted(rows)]


def updated(readme: str, content: str) -> str:
    """README with the part between the markers replaced.

    Raises:
        BenchmarkError: the markers are missing.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise BenchmarkError(f"README lacks the markers {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="readme_table.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    parser.add_argument("--results", type=Path, nargs="+", metavar="JSON",
                        default=[RESULTS / "test_clips.json"],
                        help="files of run.py (default: benchmarks/results/test_clips.json)")
    parser.add_argument("--speed", type=Path, metavar="JSON",
                        help="a file of speed.py (default: benchmarks/results/speed.json, if there is one)")
    parser.add_argument("--check", action="store_true", help="change nothing, exit with 1 if out of date")
    arguments = parser.parse_args(argv)
    try:
        curves = curves_of(load_results(arguments.results))
        path = arguments.speed or (SPEED if SPEED.is_file() else None)
        speed = load_speed(path) if path is not None else None
        old = arguments.readme.read_text(encoding="utf-8")
        new = updated(old, render(curves, speed=speed))
    except (LvcError, OSError) as error:
        print(f"readme_table.py: error: {error}", file=sys.stderr)
        return 1
    if arguments.check:
        if new != old:
            print("README.md is out of date: run python benchmarks/readme_table.py", file=sys.stderr)
        return int(new != old)
    if new != old:
        write_atomically(arguments.readme, new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
