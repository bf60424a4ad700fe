"""What the report says, in numbers: records grouped by conditions, BD-rates, speeds, points of like rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from bdrate import SMALL_OVERLAP, compare
from benchlib.presets import load_preset, preset_names
from benchlib.results import Curve, curves_of
from benchlib.specs import BenchmarkError

from lvc import LvcError
from lvc.metrics.rdcurves import PLOT_METRICS, RDCurve, mean_curves, measured_curves, pick_curves

Record = Mapping[str, Any]

METRICS = ("yuv", "rgb", "ms-ssim", "vmaf")
"""What the page can be switched between, as far as it was measured."""
TITLES = {"yuv": "YUV PSNR", "rgb": "RGB PSNR", "ms-ssim": "MS-SSIM", "vmaf": "VMAF"}
_LIKELY_ANCHORS = ("x265:preset=veryfast,tune=zerolatency", "x265", "x264", "svt-av1", "vvenc")


@dataclass(frozen=True)
class BDCell:
    """A BD-rate, the mean over sequences where several are asked for.

    Attributes:
        percent: None where there is none; ``note`` says why.
        counted, total: sequences that the mean is over, and those there are.
        overlap: the least common range of quality of them, 0 to 1.
    """

    percent: float | None
    counted: int
    total: int
    overlap: float | None
    note: str

    @property
    def text(self) -> str:
        """``+12.3 %``, with ``*`` where a common range is small, or a dash."""
        if self.percent is None:
            return "–"
        sign = "−" if self.percent < 0 else "+"
        digits = 0 if abs(self.percent) >= 99.5 else 1
        small = "*" if self.overlap is not None and self.overlap < SMALL_OVERLAP else ""
        return f"{sign}{abs(self.percent):.{digits}f} %{small}"


class ReportData:
    """Records of results files, as the page asks for them.

    Args:
        records: of benchmarks/run.py.
        anchors: codecs (or parts of their names) that BD-rates refer to, the most important first; by
            default every codec without weights.
        codecs: only these; by default all.

    Raises:
        BenchmarkError: no records, or a codec that is not among them.
    """

    def __init__(self, records: Iterable[Record], anchors: Sequence[str] = (),
                 codecs: Sequence[str] = ()) -> None:
        self._records = list(records)
        if not self._records:
            raise BenchmarkError("the results hold no points")
        try:
            frame_counts: dict[str, set[int]] = {}
            for record in self._records:
                sequence = record["sequence"]
                frame_counts.setdefault(sequence["name"], set()).add(sequence["frames"])
            self._records = [self._named(record, frame_counts) for record in self._records]
            curves = measured_curves(self._records)
            if codecs:
                chosen = list(dict.fromkeys(curve.codec for curve in pick_curves(curves, codecs)))
                self._records = [record for record in self._records if record["codec"] in chosen]
                self._records.sort(key=lambda record: chosen.index(record["codec"]))
                curves = measured_curves(self._records)
            self.codecs = list(dict.fromkeys(record["codec"] for record in self._records))
            self.periods = sorted({record["intra_period"] for record in self._records},
                                  key=lambda period: (period < 0, period))
            self.learned = [codec for codec in self.codecs
                            if any(r["codec"] == codec and r.get("weights_digest") for r in self._records)]
        except (KeyError, TypeError) as error:
            raise BenchmarkError(f"a record lacks {error}") from error
        self.curves = curves
        self._bd_curves: dict[tuple[int, str, str], Curve] = {
            (curve.condition.intra_period, curve.condition.sequence, curve.codec): curve
            for curve in curves_of([dict(record) for record in self._records])}
        self.metrics = [metric for metric in METRICS if any(curve.has(metric) for curve in curves)]
        if not self.metrics:
            raise BenchmarkError(f"the results hold none of the measures {', '.join(METRICS)}")
        self.anchors = self._pick_anchors(anchors)

    @staticmethod
    def _named(record: Record, frame_counts: Mapping[str, set[int]]) -> Record:
        """A sequence that was coded at two lengths stands for two."""
        sequence = record["sequence"]
        if len(frame_counts[sequence["name"]]) == 1:
            return record
        name = f"{sequence['name']} ({sequence['frames']} frames)"
        return {**record, "sequence": {**sequence, "name": name}}

    def _pick_anchors(self, wanted: Sequence[str]) -> list[str]:
        if wanted:
            return list(dict.fromkeys(curve.codec for curve in pick_curves(self.curves, wanted)))
        classical = [codec for codec in self.codecs if codec not in self.learned] or self.codecs[:1]
        for likely in _LIKELY_ANCHORS:
            first = next((codec for codec in classical if codec.startswith(likely)), None)
            if first is not None:
                return [first, *(codec for codec in classical if codec != first)]
        return classical

    @property
    def anchor(self) -> str:
        """The codec that speed plots and points of like rate refer to."""
        return self.anchors[0]

    def rival(self, codec: str) -> str:
        """What the headline of a codec is against, for it should not win by its base or by its B frames.

        That is the codec that it is layered on, if that was measured; else the first anchor whose frames refer to each
        other as its own do, by the presets; else the first anchor.
        """
        _, options = _parts(codec)
        bases = [other for other in self.codecs
                 if f"base={_parts(other)[0]}" in options and _parts(other)[1] <= options]
        if bases:
            return max(bases, key=lambda other: len(_parts(other)[1]))
        structure = structure_of(codec)
        alike = [anchor for anchor in self.anchors if structure and structure_of(anchor) == structure]
        return alike[0] if alike else self.anchor

    def measured(self, period: int, sequence: str = "") -> list[str]:
        """Codecs that there are points of, of a sequence or (empty name) of any."""
        names = {curve.codec for curve in self.of_period(period) if sequence in ("", curve.sequence)}
        return [codec for codec in self.codecs if codec in names]

    def sequences(self, period: int | None = None) -> list[str]:
        """Names, by order of appearance."""
        return list(dict.fromkeys(record["sequence"]["name"] for record in self._records
                                  if period in (None, record["intra_period"])))

    def of_period(self, period: int) -> list[RDCurve]:
        return [curve for curve in self.curves if curve.intra_period == period]

    def of_sequence(self, period: int, sequence: str) -> list[RDCurve]:
        return [curve for curve in self.of_period(period) if curve.sequence == sequence]

    def means(self, period: int) -> tuple[list[RDCurve], list[str]]:
        """Mean curves over sequences, and what was left out of them (see lvc.metrics.mean_curves).

        Codecs that share no sequence with the others are dropped, those with the fewest sequences first.
        """
        curves = self.of_period(period)
        dropped: list[str] = []
        while True:
            try:
                means, left_out = mean_curves(curves)
            except LvcError:
                counts = {codec: sum(c.codec == codec for c in curves) for codec in self.codecs}
                present = [codec for codec in self.codecs if counts[codec]]
                if len(present) < 2:
                    return [], self.sequences(period)
                fewest = min(present, key=lambda codec: (counts[codec], codec == self.anchor))
                dropped.append(fewest)
                curves = [curve for curve in curves if curve.codec != fewest]
            else:
                return means, [*left_out, *dropped]

    @cache  # noqa: B019 - one object a run
    def _bd_one(self, period: int, metric: str, sequence: str, anchor: str,
                test: str) -> tuple[float, float] | str:
        curves = [self._bd_curves.get((period, sequence, codec)) for codec in (anchor, test)]
        if curves[0] is None or curves[1] is None:
            return "not measured"
        found = compare(curves[0], curves[1], metric)
        if found.percent is None or found.overlap is None:
            return found.note
        return found.percent, found.overlap

    def bd(self, period: int, metric: str, sequence: str, anchor: str, test: str) -> BDCell:
        """BD-rate of a codec against an anchor, on a sequence or (empty name) the mean over all."""
        names = [sequence] if sequence else self.sequences(period)
        results = [self._bd_one(period, metric, name, anchor, test) for name in names]
        values = [result for result in results if not isinstance(result, str)]
        notes = dict.fromkeys(result for result in results if isinstance(result, str))
        if not values:
            return BDCell(None, 0, len(names), None, "; ".join(notes))
        mean = sum(percent for percent, _ in values) / len(values)
        return BDCell(mean, len(values), len(names), min(overlap for _, overlap in values), "; ".join(notes))

    def points(self, period: int, sequence: str, codec: str) -> list[Record]:
        """Records of one curve, by rate, one a point."""
        found: dict[str, Record] = {}
        for record in self._records:
            key = (record["intra_period"], record["sequence"]["name"], record["codec"])
            if key == (period, sequence, codec):
                found.setdefault(point_text(record), record)
        return sorted(found.values(), key=lambda record: record["bpp"])

    def speed(self, period: int, sequence: str, codec: str, part: str) -> float | None:
        """Million luma pixels a second of ``encode`` or ``decode`` over all points; None if not timed."""
        names = [sequence] if sequence else self.sequences(period)
        records = [record for name in names for record in self.points(period, name, codec)]
        seconds = [record[part].get("seconds") for record in records]
        if not records or any(not second for second in seconds):
            return None
        pixels = sum(r["sequence"]["width"] * r["sequence"]["height"] * r["sequence"]["frames"]
                     for r in records)
        return float(pixels / 1e6 / sum(seconds))

    def like_rate(self, period: int, sequence: str) -> dict[str, Record]:
        """A record a codec, of rates as close as they come to the anchor's middle point (as a ratio)."""
        by_codec = {codec: self.points(period, sequence, codec) for codec in self.codecs}
        reference = by_codec[self.anchor] or next(points for points in by_codec.values() if points)
        target = reference[len(reference) // 2]["bpp"]
        return {codec: min(points, key=lambda record: abs(math.log(record["bpp"] / target)))
                for codec, points in by_codec.items() if points}

    @property
    def records(self) -> Sequence[Record]:
        return self._records

    def machines(self) -> list[str]:
        """Processor, cores and system of every machine that took part."""
        texts = []
        for record in self._records:
            machine = record.get("machine") or {}
            cores = f"{machine['cores']} cores" if "cores" in machine else ""
            texts.append(", ".join(filter(None, [machine.get("cpu"), cores, machine.get("system")])))
        return list(dict.fromkeys(filter(None, texts)))

    def versions(self) -> dict[str, str]:
        """Version (or versions) of each package and encoder."""
        found: dict[str, dict[str, None]] = {}
        for record in self._records:
            for name, version in (record.get("versions") or {}).items():
                if name == "encoder":
                    codec, options = _parts(record["codec"])
                    name = next((o.removeprefix("base=") for o in options if o.startswith("base=")), codec)
                found.setdefault(name, {})[str(version)] = None
        return {name: ", ".join(values) for name, values in found.items()}

    def unique(self, key: str) -> list[str]:
        """Values of a key of the records that are not empty, as text."""
        return list(dict.fromkeys(str(record[key]) for record in self._records
                                  if record.get(key) not in (None, "")))


def _parts(codec: str) -> tuple[str, set[str]]:
    """Name and options of a codec string."""
    name, _, options = codec.partition(":")
    return name, set(filter(None, options.split(",")))


@cache
def structure_of(codec: str) -> str:
    """How the frames of a codec refer to each other, as the first preset with it says; empty if none does."""
    found = (load_preset(name).structure(codec) for name in preset_names())
    return next(filter(None, found), "")


def point_text(record: Record) -> str:
    """``crf 27``."""
    return ", ".join(f"{name} {value}" for name, value in record["point"].items())


def metric_title(metric: str) -> str:
    """Title of a metric's axis."""
    return PLOT_METRICS[metric][1]
