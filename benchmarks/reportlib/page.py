"""The page: what the template is filled with."""

from __future__ import annotations

import base64
import csv
import io
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2
from bdrate import SMALL_OVERLAP
from markupsafe import Markup

from lvc.metrics.rdcurves import PLOT_METRICS, RDCurve, short_name
from lvc.metrics.rdplot import styles_of
from reportlib.crops import CropSet
from reportlib.data import TITLES, BDCell, ReportData, point_text
from reportlib.figures import SpeedPoint, frames_svg, rd_svg, speed_svg, swatch_svg
from reportlib.stages import clip_speeds, stages_context

FOLDER = Path(__file__).parent
_MEASURES = ("psnr_y", "psnr_u", "psnr_v", "psnr_yuv", "psnr_rgb", "ssim", "ms_ssim", "vmaf", "xpsnr")


def render(data: ReportData, *, title: str, published: Sequence[RDCurve] = (),
           pictures: Mapping[tuple[int, str], CropSet] | None = None,
           speed: Sequence[Mapping[str, Any]] = ()) -> str:
    """The page as HTML, complete in itself.

    Args:
        data: what it is about.
        title: its heading.
        published: curves drawn beside the means over sequences.
        pictures: parts of decoded frames, by intra period and sequence.
        speed: contents of files that benchmarks/speed.py wrote.
    """
    page = _Page(data, published, speed)
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(FOLDER), autoescape=True,
                                     undefined=jinja2.StrictUndefined)
    return environment.get_template("page.html.j2").render(
        title=title, lede=page.lede(), version=metadata.version("lvc"),
        style=Markup((FOLDER / "style.css").read_text(encoding="utf-8")),
        script=Markup((FOLDER / "script.js").read_text(encoding="utf-8")),
        periods=data.periods, metrics=[(metric, TITLES[metric]) for metric in data.metrics],
        sequences=data.sequences(), anchor=short_name(data.anchor),
        small_overlap=f"{100 * SMALL_OVERLAP:.0f}", speed_source=page.speed_source(),
        legend=page.legend(), findings=list(page.findings()), rd=list(page.rd()),
        tables=list(page.tables()), speeds=list(page.speeds()), frames=list(page.frames()),
        pictures=list(page.pictures(pictures or {})), stages=stages_context(speed),
        conditions=page.conditions(), sequence_rows=page.sequence_rows(), commands=page.commands(),
        published=page.published_text(), csv=base64.b64encode(page.csv().encode()).decode("ascii"))


def _short_commit(commit: str) -> str:
    """Twelve digits, and ``-dirty`` if it is."""
    digits, dash, state = commit.partition("-")
    return f"{digits[:12]}{dash}{state}"


class _Page:
    def __init__(self, data: ReportData, published: Sequence[RDCurve],
                 speed: Sequence[Mapping[str, Any]]) -> None:
        self.data = data
        self.published = published
        sizes = [record["sequence"]["width"] * record["sequence"]["height"] for record in data.records]
        timed = any(record["encode"].get("seconds") for record in data.records)
        self._clip_speeds, self._clip = clip_speeds(() if timed else speed, statistics.median(sizes))
        self.styles = styles_of([*data.curves, *published])
        self._count = 0

    def _prefix(self) -> str:
        self._count += 1
        return f"f{self._count}"

    def _views(self, *, mean: bool, each: bool) -> Iterator[dict[str, Any]]:
        """Every choice of intra period, measure and sequence; ``hidden`` marks those not shown at first."""
        for period in self.data.periods:
            for metric in self.data.metrics:
                names = [*([""] if mean else []), *(self.data.sequences(period) if each else [])]
                for sequence in names:
                    first = (period, metric) == (self.data.periods[0], self.data.metrics[0])
                    yield {"period": period, "metric": metric, "sequence": sequence,
                           "hidden": "" if first and not sequence else Markup(" hidden")}

    def _shown(self, view: dict[str, Any]) -> dict[str, Any]:
        """A view that stands beside its like at first, whatever its sequence."""
        first = (view["period"], view["metric"]) == (self.data.periods[0], self.data.metrics[0])
        return view | {"hidden": "" if first else Markup(" hidden")}

    def lede(self) -> str:
        """What was compared, in a sentence."""
        frames = sorted({record["sequence"]["frames"] for record in self.data.records})
        span = f"{frames[0]}" if len(frames) == 1 else f"{frames[0]} to {frames[-1]}"
        codecs, sequences = len(self.data.codecs), len(self.data.sequences())
        return (f"{codecs} codec{'s' * (codecs > 1)} on {sequences} sequence{'s' * (sequences > 1)} of "
                f"{span} frames. Every point is a file that was written, decoded by another process and "
                "compared with its source.")

    def threads(self) -> str:
        """Threads of all records."""
        counts = sorted({record["threads"] for record in self.data.records})
        return "threads: " + ", ".join("as the codec chooses" if n == 0 else str(n) for n in counts)

    def legend(self) -> list[dict[str, Any]]:
        return [{"name": short_name(codec), "swatch": Markup(swatch_svg(style, self._prefix())),
                 "color": style.color, "hollow": style.hollow}
                for codec, style in self.styles.items()]

    def findings(self) -> Iterator[dict[str, Any]]:
        """The BD-rate of each learned codec against what is to be compared with it."""
        for view in self._views(mean=True, each=True):
            cells = []
            for codec in self.data.learned:
                for anchor in dict.fromkeys((self.data.rival(codec), self.data.anchor)):
                    cell = self.data.bd(view["period"], view["metric"], view["sequence"], anchor, codec)
                    if codec != anchor and cell.percent is not None:
                        cells.append({"text": cell.text.removesuffix("*"), "says":
                                      f"file size of {short_name(codec)} against {short_name(anchor)} at equal "
                                      f"{TITLES[view['metric']]}, {self._where(view['sequence'], cell)}"})
                        break
            if cells:
                yield view | {"cells": cells}

    @staticmethod
    def _where(sequence: str, cell: BDCell) -> str:
        small = f"; on less than {100 * SMALL_OVERLAP:.0f} % of the range" if cell.text.endswith("*") else ""
        if sequence:
            return f"{sequence}{small}"
        of = f"{cell.counted} of {cell.total}" if cell.counted < cell.total else str(cell.total)
        return f"mean over {of} sequence{'s' * (cell.total > 1)}{small}"

    def rd(self) -> Iterator[dict[str, Any]]:
        for view in self._views(mean=True, each=True):
            period, metric, sequence = view["period"], view["metric"], view["sequence"]
            caption = ""
            if sequence:
                curves = self.data.of_sequence(period, sequence)
                view = self._shown(view)
            else:
                if len(self.data.sequences(period)) < 2 and not self.published:
                    continue
                curves, left_out = self.data.means(period)
                published = [c for c in self.published if c.intra_period in (None, period) and c.has(metric)]
                curves = [*curves, *published]
                if left_out:
                    names = ", ".join(map(short_name, left_out))
                    caption = f"Left out, not measured with every codec: {names}. "
                if published:
                    sets = ", ".join(dict.fromkeys(curve.dataset for curve in published))
                    caption += f"Published curves are means over {sets}."
            svg = rd_svg(curves, metric, self.styles, self._prefix(),
                         f"{PLOT_METRICS[metric][1]} against bits per pixel, {sequence or 'mean'}")
            if svg is not None:
                yield view | {"svg": Markup(svg), "caption": caption}

    def tables(self) -> Iterator[dict[str, Any]]:
        data = self.data
        for view in self._views(mean=True, each=True):
            rows = []
            present = data.measured(view["period"], view["sequence"])
            anchors = [anchor for anchor in data.anchors if anchor in present]
            for codec in present:
                cells = []
                for anchor in anchors:
                    if codec == anchor:
                        cells.append({"text": "0", "kind": "none", "share": "", "note": "the anchor itself"})
                        continue
                    cell = data.bd(view["period"], view["metric"], view["sequence"], anchor, codec)
                    kind = "none" if cell.percent is None else "less" if cell.percent < 0 else "more"
                    share = (f"({cell.counted} of {cell.total})"
                             if cell.percent is not None and cell.counted < cell.total else "")
                    cells.append({"text": cell.text, "kind": kind, "share": share, "note": cell.note})
                rows.append({"name": short_name(codec), "cells": cells, "learned": codec in data.learned,
                             "series": list(self.styles).index(codec)})
            title = f"{TITLES[view['metric']]}, {view['sequence'] or 'mean over sequences'}"
            yield view | {"rows": rows, "title": title, "anchors": [short_name(anchor) for anchor in anchors]}

    def speeds(self) -> Iterator[dict[str, Any]]:
        data = self.data
        for view in self._views(mean=True, each=True):
            period, metric, sequence = view["period"], view["metric"], view["sequence"]
            for part in ("encode", "decode"):
                points = []
                for codec in data.codecs:
                    percent = 0.0 if codec == data.anchor else data.bd(period, metric, sequence, data.anchor,
                                                                       codec).percent
                    speed = self._clip_speeds.get((codec, part)) or data.speed(period, sequence, codec, part)
                    if percent is not None and speed is not None:
                        points.append(SpeedPoint(codec, speed, percent))
                svg = speed_svg(points, part, metric, short_name(data.anchor), self.styles, self._prefix(),
                                f"{part} speed against BD-rate, {sequence or 'mean'}")
                if svg is not None and len(points) > 1:
                    yield view | {"part": part.capitalize(), "svg": Markup(svg)}

    def speed_source(self) -> str:
        return self._clip or f"all rate points; {self.threads()}"

    def frames(self) -> Iterator[dict[str, Any]]:
        for view in self._views(mean=False, each=True):
            records = self.data.like_rate(view["period"], view["sequence"])
            svg = frames_svg(records, view["metric"], self.styles, self._prefix(),
                             f"{PLOT_METRICS[view['metric']][1]} of every frame of {view['sequence']}")
            if svg is not None:
                rates = [record["bpp"] for record in records.values()]
                points = [f"{short_name(codec)}, {point_text(record)}: {record['bpp']:.3f}"
                          for codec, record in records.items()]
                yield self._shown(view) | {"svg": Markup(svg), "points": points,
                                           "caption": f"{min(rates):.3f} to {max(rates):.3f} bits a pixel"}

    def pictures(self, sets: Mapping[tuple[int, str], CropSet]) -> Iterator[dict[str, Any]]:
        for (period, sequence), found in sets.items():
            records = self.data.like_rate(period, sequence)
            images, notes = [], []
            for crop in found.crops:
                if not crop.codec:
                    images.append({"uri": crop.uri, "name": "source", "tag": ""})
                    continue
                record = records[crop.codec]
                name = short_name(crop.codec)
                quality = (record["per_frame"].get("psnr_yuv") or [None] * (found.frame + 1))[found.frame]
                decibels = "" if quality is None else f", {quality:.2f} dB"
                images.append({"uri": crop.uri, "name": name, "tag": f"{record['bpp']:.3f} bpp{decibels}"})
                if not crop.exact:
                    notes.append(f"{name}: made anew by another version or machine, not bit by bit what was "
                                 "measured.")
            codecs = [crop.codec for crop in found.crops]
            left = next((codecs.index(c) for c in self.data.learned if c in codecs), 0)
            right = codecs.index(self.data.anchor) if self.data.anchor in codecs else 0
            if left == right:
                left = 0 if right else min(1, len(codecs) - 1)
            place = f"{found.width}x{found.height} pixels at ({found.x}, {found.y})"
            caption = f"Frame {found.frame}, {place}; YUV PSNR (6:1:1) of the whole frame. {' '.join(notes)}"
            yield {"period": period, "sequence": sequence, "width": found.width, "height": found.height,
                   "images": images, "left": left, "right": right, "caption": caption,
                   "hidden": "" if period == self.data.periods[0] else Markup(" hidden")}

    def conditions(self) -> list[tuple[str, str]]:
        data = self.data
        versions = ", ".join(f"{name} {version}" for name, version in data.versions().items())
        rows = [("Machine", "; ".join(data.machines())),
                ("Threads", self.threads().removeprefix("threads: ")),
                ("Versions", versions), ("Commit", ", ".join(map(_short_commit, data.unique("commit")))),
                ("Test conditions", ", ".join(data.unique("preset"))),
                ("Weights", ", ".join(data.unique("weights_digest")))]
        memory = []
        for codec in data.codecs:
            peaks = [part["peak_rss_mib"] for record in data.records if record["codec"] == codec
                     for part in (record["encode"], record["decode"]) if part.get("peak_rss_mib")]
            if peaks:
                memory.append(f"{short_name(codec)} {max(peaks):.0f} MiB")
        rows.append(("Peak memory", ", ".join(memory)))
        complexity = []
        for codec in data.codecs:
            kmac = next((r["kmac"] for r in data.records if r["codec"] == codec and r.get("kmac")), None)
            if kmac and kmac.get("inter"):
                sides = [f"{kmac['inter'][side]:.1f} to {side}" for side in ("encode", "decode")
                         if kmac["inter"][side] is not None]
                complexity.append(f"{short_name(codec)} {', '.join(sides)}")
        rows.append(("kMAC a pixel, P frames", "; ".join(complexity)))
        return [(name, value) for name, value in rows if value]

    def sequence_rows(self) -> list[list[str]]:
        rows = {}
        for record in self.data.records:
            s = record["sequence"]
            rows[s["name"]] = [s["name"], f"{s['width']}x{s['height']}", str(s["frames"]), s["frame_rate"],
                               s["sha256"][:16]]
        return list(rows.values())

    def commands(self) -> str:
        lines = dict.fromkeys(record["encode"]["command"] for record in self.data.records)
        lines |= dict.fromkeys(record["decode"]["command"] for record in self.data.records)
        return "\n".join(lines)

    def published_text(self) -> str:
        return "\n".join(f"{curve.codec}, {curve.dataset}" for curve in self.published)

    def csv(self) -> str:
        """Every point, a line each."""
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        measures = [key for key in _MEASURES if any(key in record["mean"] for record in self.data.records)]
        writer.writerow(["sequence", "frames", "intra_period", "codec", "point", "bytes", "bpp", *measures,
                         "encode_seconds", "decode_seconds", "decoded_md5"])
        for record in self.data.records:
            values = [record["mean"].get(key) for key in measures]
            writer.writerow([record["sequence"]["name"], record["sequence"]["frames"], record["intra_period"],
                             record["codec"], point_text(record), record["file_bytes"], record["bpp"],
                             *("" if v is None or not math.isfinite(v) else v for v in values),
                             record["encode"].get("seconds", ""), record["decode"].get("seconds", ""),
                             record["decoded_md5"]])
        return buffer.getvalue()
