"""Rate-distortion curves out of JSON files: those of benchmarks/run.py and those of CompressAI.

Nothing here measures; this is what :mod:`lvc.metrics.rdplot`, ``lvc plot`` and the benchmark report draw.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from lvc.errors import LvcError, UsageError

PLOT_METRICS: dict[str, tuple[str, str]] = {
    "yuv": ("psnr_yuv", "YUV PSNR, 6:1:1 (dB)"),
    "rgb": ("psnr_rgb", "RGB PSNR (dB)"),
    "y": ("psnr_y", "Y PSNR (dB)"),
    "u": ("psnr_u", "U PSNR (dB)"),
    "v": ("psnr_v", "V PSNR (dB)"),
    "ssim": ("ssim", "SSIM"),
    "ms-ssim": ("ms_ssim", "MS-SSIM"),
    "ms-ssim-db": ("ms_ssim_db", "MS-SSIM (dB)"),
    "vmaf": ("vmaf", "VMAF"),
    "xpsnr": ("xpsnr", "XPSNR (dB)"),
}
"""Names on command lines: (key in ``RDCurve.quality`` and in records, title of the axis)."""

PUBLISHED = " (published)"
"""What ends the names of codecs whose curves come from a publication."""

_COMPRESSAI_KEYS = {"psnr-y": "psnr_y", "psnr-u": "psnr_u", "psnr-v": "psnr_v", "psnr-rgb": "psnr_rgb",
                    "ms-ssim-rgb": "ms_ssim"}
_PUBLISHED_KEYS = ("psnr_yuv", "psnr_rgb", "psnr_y", "ms_ssim", "vmaf")
_UNKNOWN_FORM = "neither results of benchmarks/run.py nor of CompressAI nor published curves"


@dataclass(frozen=True)
class RDCurve:
    """Points of one codec on one sequence, or their means over sequences, by rising rate.

    Attributes:
        codec: codec string, or the name that a file of others gives, with " (published)" after it where the
            curve was not measured but taken from a publication.
        sequence: its name; empty for means over sequences and where the file does not tell.
        intra_period, frames: None where the file does not tell.
        points: what tells the points apart (``crf=27``), for means over sequences.
        bpp: bits a luma pixel; None if the file holds only bit rates.
        kbps: 1000 bits a second; None if the file holds only bits a pixel.
        quality: by key (psnr_y, ms_ssim, ...), NaN where a point has none.
        origin: ``measured`` (benchmarks/run.py), ``compressai`` or ``published``.
        n_sequences: how many sequences the values are means of (1 where the file does not tell).
        dataset: title of the data set of a published curve, else empty.
    """

    codec: str
    sequence: str
    intra_period: int | None
    frames: int | None
    points: tuple[str, ...]
    bpp: tuple[float, ...] | None
    kbps: tuple[float, ...] | None
    quality: Mapping[str, tuple[float, ...]]
    origin: str = "measured"
    n_sequences: int = 1
    dataset: str = ""

    def rates(self, unit: str) -> tuple[float, ...]:
        """Rates in ``bpp`` or ``kbps``. Raises UsageError if the curve has none in this unit."""
        values = {"bpp": self.bpp, "kbps": self.kbps}[unit]
        if values is None:
            raise UsageError(f"{self.codec} has no rates in {unit}; its file holds "
                             f"{'kbps' if unit == 'bpp' else 'bpp'} only")
        return values

    def values(self, metric: str) -> tuple[float, ...]:
        """Values of a metric of PLOT_METRICS, NaN where there is none."""
        key = PLOT_METRICS[metric][0]
        if key == "ms_ssim_db":
            return tuple(ms_ssim_db(value) for value in self.values("ms-ssim"))
        return self.quality.get(key, (math.nan,) * len(self.points))

    def has(self, metric: str) -> bool:
        """Whether every point has a value of the metric."""
        return all(map(math.isfinite, self.values(metric)))


def ms_ssim_db(value: float) -> float:
    """MS-SSIM (0 to 1) on the logarithmic scale of papers: -10 log10(1 - value), at most 100 dB."""
    return -10.0 * math.log10(max(1.0 - value, 1e-10)) if math.isfinite(value) else math.nan


def short_name(codec: str) -> str:
    """A codec string in words: ``x265:preset=veryfast,tune=zerolatency`` is ``x265 veryfast zerolatency``."""
    if codec.endswith(PUBLISHED):
        return codec
    name, _, options = codec.partition(":")
    words = []
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        words.append(value if key in ("preset", "tune") and not value.isdecimal() else f"{key} {value}")
    return " ".join([name, *words])


def load_curves(paths: Iterable[str | PathLike[str]]) -> list[RDCurve]:
    """Read curves from files of any of the known forms.

    - results of benchmarks/run.py: ``{"results": 1, "points": [...]}``;
    - CompressAI, one sequence (``compressai.utils.video.eval_model`` and ``bench`` write one file a sequence
      and point): ``{"source", "name", "description", "results": {"bitrate": kbps, "psnr-y": ...}}``. Bits
      a pixel follow if the source is named ``NAME_WIDTHxHEIGHT_RATEfps``, as CompressAI wants raw video;
    - CompressAI, means over sequences: the same with a list a key;
    - published curves, as in benchmarks/published: ``{"published": 1, "title", "curves": [{"codec", "bpp",
      "psnr_rgb", ...}]}``.

    Raises:
        UsageError: a file of another form, or values that make no curve.
        LvcError: a file that cannot be read.
    """
    records: list[Mapping[str, Any]] = []
    others: list[RDCurve] = []
    for path in map(Path, paths):
        content = _read_json(path)
        if "points" in content:
            if content.get("results") != 1 or not isinstance(content["points"], list):
                raise UsageError(f"{path}: results of version {content.get('results')!r} are not known")
            records += content["points"]
        elif isinstance(content.get("results"), dict) and "bitrate" in content["results"]:
            others.append(_compressai(path, content))
        elif content.get("published") == 1 and isinstance(content.get("curves"), list):
            others += _published(path, content)
        else:
            raise UsageError(f"{path}: {_UNKNOWN_FORM}")
    return [*measured_curves(records), *_joined(others)]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LvcError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"{path}: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path}: {_UNKNOWN_FORM}")
    return content


def measured_curves(records: Iterable[Mapping[str, Any]]) -> list[RDCurve]:
    """Group records of benchmarks/run.py into curves, in order of first appearance.

    Raises:
        UsageError: a record that lacks something, or two different ones of the same point.
    """
    groups: dict[tuple[Any, ...], dict[str, Mapping[str, Any]]] = {}
    for record in records:
        try:
            sequence = record["sequence"]
            group = (record["codec"], sequence["name"], record["intra_period"], sequence["frames"])
            point = ",".join(f"{name}={value}" for name, value in record["point"].items())
            if not isinstance(record["mean"], Mapping):
                raise UsageError("a record's mean is not a table of measures")
            points = groups.setdefault(group, {})
            known = points.setdefault(point, record)
            if (known["bpp"], known["mean"]) != (record["bpp"], record["mean"]):
                raise UsageError(f"two different records of {record['codec']}, {point} on {sequence['name']}")
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"a record is incomplete: {error}") from error
    curves = []
    for (codec, name, period, frames), points in groups.items():
        keys = dict.fromkeys(key for record in points.values() for key in record["mean"])
        quality = {key: tuple(_number(record["mean"].get(key)) for record in points.values()) for key in keys}
        kbps = tuple(_number(record.get("kbps")) for record in points.values())
        curves.append(_sorted(RDCurve(codec, name, period, frames, tuple(points),
                                      tuple(_number(record["bpp"]) for record in points.values()),
                                      kbps if all(map(math.isfinite, kbps)) else None, quality)))
    return curves


def _number(value: Any) -> float:
    if value is None or isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    return float(value)


def _compressai(path: Path, content: Mapping[str, Any]) -> RDCurve:
    results: Mapping[str, Any] = content["results"]
    rates = results["bitrate"]
    several = isinstance(rates, list)
    columns = {key: value if several else [value] for key, value in results.items()}
    n = len(columns["bitrate"])
    if n == 0 or any(not isinstance(column, list) or len(column) != n for column in columns.values()):
        raise UsageError(f"{path}: lists of different lengths, or empty ones")
    kbps = tuple(map(_number, columns["bitrate"]))
    quality = {ours: tuple(map(_number, columns[theirs]))
               for theirs, ours in _COMPRESSAI_KEYS.items() if theirs in columns}
    if {"psnr_y", "psnr_u", "psnr_v"} <= set(quality):
        # CompressAI's own psnr-yuv weighs 4:1:1. Means over frames are linear, so ours follows exactly.
        planes = zip(quality["psnr_y"], quality["psnr_u"], quality["psnr_v"], strict=True)
        quality["psnr_yuv"] = tuple((6 * y + u + v) / 8 for y, u, v in planes)
    if not quality:
        raise UsageError(f"{path}: none of CompressAI's measures ({', '.join(_COMPRESSAI_KEYS)})")
    source = str(content.get("source", ""))
    pixels = _pixels_a_second(source)
    names = columns.get("q") or (range(n) if several else [path.stem.removeprefix(f"{source}-")])
    points = tuple(map(str, names))
    return _sorted(RDCurve(str(content.get("name", path.stem)), source, None, None, points,
                           tuple(1000 * rate / pixels for rate in kbps) if pixels else None, kbps, quality,
                           "compressai"))


def _published(path: Path, content: Mapping[str, Any]) -> list[RDCurve]:
    title = str(content.get("title", path.stem))
    curves = []
    try:
        names = [str(table["codec"]) for table in content["curves"]]
        sequences = [str(table.get("sequence", "")) for table in content["curves"]]
        keys = list(zip(names, sequences, strict=True))
        for number, (name, table) in enumerate(zip(names, content["curves"], strict=True)):
            period = table.get("intra_period")
            if keys.count(keys[number]) > 1:  # of several sources or settings, which the file tells
                name += f" [{keys[:number].count(keys[number]) + 1}]"
            bpp = tuple(map(_number, table["bpp"]))
            quality = {key: tuple(map(_number, table[key])) for key in _PUBLISHED_KEYS if key in table}
            if not bpp or any(len(values) != len(bpp) for values in quality.values()):
                raise UsageError(f"{path}: the lists of {name} differ in length, or are empty")
            points = tuple(map(str, range(len(bpp))))
            curve = RDCurve(name + PUBLISHED, sequences[number], period, table.get("frames"), points, bpp,
                            None, quality, "published", dataset=title)
            curves.append(_sorted(curve))
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: a published curve lacks {error}") from error
    return curves


def _pixels_a_second(source: str) -> float | None:
    """Of raw video named as CompressAI wants it, ``NAME_416x240_50fps_8bit``, or ``NAME_416x240_50``."""
    size = re.search(r"(\d+)x(\d+)", source)
    rate = (re.search(r"(\d+(?:\.\d+)?)(?:fps|Hz)", source)
            or re.search(r"\d+x\d+_(\d+(?:\.\d+)?)(?:_|$)", source))
    if size is None or rate is None:
        return None
    return int(size[1]) * int(size[2]) * float(rate[1]) or None


def _joined(curves: Sequence[RDCurve]) -> list[RDCurve]:
    """CompressAI writes a file a point: those of one codec and sequence are one curve."""
    groups: dict[tuple[str, str, str], list[RDCurve]] = {}
    for curve in curves:
        groups.setdefault((curve.codec, curve.sequence, curve.dataset), []).append(curve)
    for (codec, sequence, dataset), group in groups.items():
        if len(group) > 1 and dataset:
            raise UsageError(f"{codec} is given twice for {sequence or dataset}")
    joined = []
    for group in groups.values():
        first = group[0]
        quality = {key: sum((curve.quality.get(key, (math.nan,) * len(curve.points)) for curve in group), ())
                   for curve in group for key in curve.quality}
        bpp = [curve.bpp for curve in group if curve.bpp is not None]
        kbps = [curve.kbps for curve in group if curve.kbps is not None]
        joined.append(_sorted(replace(first, points=sum((curve.points for curve in group), ()),
                                      bpp=sum(bpp, ()) if len(bpp) == len(group) else None,
                                      kbps=sum(kbps, ()) if len(kbps) == len(group) else None,
                                      quality=quality)))
    return joined


def _sorted(curve: RDCurve) -> RDCurve:
    rates = curve.bpp if curve.bpp is not None else curve.kbps
    if rates is None or not all(math.isfinite(rate) and rate > 0 for rate in rates):
        raise UsageError(f"{curve.codec} on {curve.sequence or 'its sequences'} has rates that are missing "
                         "or not above zero")
    order = sorted(range(len(rates)), key=rates.__getitem__)

    def take(values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(values[index] for index in order)

    return replace(curve, points=take(curve.points), bpp=None if curve.bpp is None else take(curve.bpp),
                   kbps=None if curve.kbps is None else take(curve.kbps),
                   quality={key: take(values) for key, values in curve.quality.items()})


def pick_curves(curves: Sequence[RDCurve], codecs: Sequence[str]) -> list[RDCurve]:
    """The curves of certain codecs, in the order asked for.

    Args:
        codecs: full codec strings, names as of :func:`short_name`, or parts of either that fit one codec only.

    Raises:
        UsageError: none or several fit.
    """
    known = list(dict.fromkeys(curve.codec for curve in curves))
    chosen = []
    for wanted in codecs:
        fits = [c for c in known if wanted == c] or [c for c in known if wanted == short_name(c)]
        fits = fits or [c for c in known if wanted in c or wanted in short_name(c)]
        if len(fits) != 1:
            what = "several codecs fit" if fits else "no codec fits"
            raise UsageError(f"{what} {wanted!r}; there are: {' | '.join(fits or known)}")
        chosen += [curve for curve in curves if curve.codec == fits[0]]
    return chosen


def mean_curves(curves: Sequence[RDCurve]) -> tuple[list[RDCurve], list[str]]:
    """Means over sequences, point by point, of curves of one intra period.

    Only sequences that every codec was measured on count, with all of its rate points, so that all curves are
    means over the same pictures. If there is no such sequence because rate points differ by design, the
    points that a codec has on all sequences count. Means already (CompressAI's without a sequence,
    published ones) are passed through; published curves of single sequences count among themselves only.

    Returns:
        A curve a codec, and the names of sequences that were left out.

    Raises:
        UsageError: no sequence that all codecs share, no point that a codec has on all of them, or published
            means over several data sets.
    """
    done = [curve for curve in curves if not curve.sequence]
    single = [curve for curve in curves if curve.sequence and not curve.dataset]
    if not single and not done:
        single = list(curves)
    if len(sets := {curve.dataset for curve in done} - {""}) > 1:
        raise UsageError(f"published means over different data sets: {', '.join(sorted(sets))}")
    codecs = list(dict.fromkeys(curve.codec for curve in single))
    keys = list(dict.fromkeys((curve.sequence, curve.frames) for curve in single))
    by_key = {(curve.codec, curve.sequence, curve.frames): curve for curve in single}
    shared = [key for key in keys if all((codec, *key) in by_key for codec in codecs)]
    points = {codec: {point for curve in single if curve.codec == codec for point in curve.points}
              for codec in codecs}
    shared = [key for key in shared
              if all(set(by_key[codec, *key].points) == points[codec] for codec in codecs)] or shared
    if single and not shared:
        raise UsageError("no sequence was measured with all of these codecs; name fewer codecs, "
                         "or a sequence")
    means = [_mean([by_key[codec, *key] for key in shared]) for codec in codecs]
    return [*means, *done], [sequence for sequence, frames in keys if (sequence, frames) not in shared]


def _mean(curves: Sequence[RDCurve]) -> RDCurve:
    first, n = curves[0], len(curves)
    if n == 1:
        return first
    shared = [point for point in first.points if all(point in curve.points for curve in curves)]
    if not shared:
        raise UsageError(f"{first.codec} has no rate point that all sequences share")

    def over_sequences(values: Sequence[Sequence[float]]) -> tuple[float, ...]:
        return tuple(sum(v[curve.points.index(point)] for v, curve in zip(values, curves, strict=True)) / n
                     for point in shared)

    rates = {}
    for unit in ("bpp", "kbps"):
        known = [values for curve in curves if (values := getattr(curve, unit)) is not None]
        rates[unit] = over_sequences(known) if len(known) == n else None
    keys = [key for key in first.quality if all(key in curve.quality for curve in curves)]
    quality = {key: over_sequences([curve.quality[key] for curve in curves]) for key in keys}
    frames = {curve.frames for curve in curves}
    return _sorted(RDCurve(first.codec, "", first.intra_period, frames.pop() if len(frames) == 1 else None,
                           tuple(shared), rates["bpp"], rates["kbps"], quality, first.origin, n))
