"""Records on disk: the cache, results files, and the curves in them."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchlib.specs import BenchmarkError
from lvc.metrics.rdcurves import PLOT_METRICS, ms_ssim_db, short_name

__all__ = ["METRICS", "RESULTS_VERSION", "Cache", "Condition", "Curve", "curves_of", "load_results",
           "period_text", "pick_codec", "save_results", "short_name", "write_atomically"]

RESULTS_VERSION = 1

METRICS = PLOT_METRICS
"""Names on the command line: (key in records, title of axes)."""


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that it is either whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


class Cache:
    """Records by key, one file each, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, key: str) -> dict[str, Any] | None:
        """The record of a key, or None. A damaged file counts as none."""
        try:
            record = json.loads((self.folder / f"{key}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) else None

    def store(self, key: str, record: Mapping[str, Any]) -> None:
        write_atomically(self.folder / f"{key}.json", json.dumps(record))


def save_results(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write a results file: one record a line, so that differences can be read."""
    lines = ",\n".join(json.dumps(record, sort_keys=True) for record in records)
    write_atomically(path, f'{{"results": {RESULTS_VERSION}, "points": [\n{lines}\n]}}\n')


def load_results(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """All records of several results files, in order.

    Raises:
        BenchmarkError: an unreadable file, one of another kind, or one of another version.
    """
    records: list[dict[str, Any]] = []
    for path in paths:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BenchmarkError(f"{path}: cannot be read as JSON ({error})") from error
        if not isinstance(content, dict) or not isinstance(content.get("points"), list):
            raise BenchmarkError(f"{path}: not a results file of benchmarks/run.py")
        if content.get("results") != RESULTS_VERSION:
            raise BenchmarkError(f"{path}: a results file of version {content.get('results')}, "
                                 f"not {RESULTS_VERSION}")
        records += content["points"]
    return records


@dataclass(frozen=True, order=True)
class Condition:
    """What two curves must share to be compared."""

    intra_period: int
    frames: int
    sequence: str
    sha256: str = field(repr=False)


@dataclass
class Curve:
    """The records of one codec under one condition, by rate.

    Attributes:
        codec: codec string; of a published curve, the name it was published by.
        condition: what it was measured under.
        records: of published curves, ``bpp`` and ``mean`` only.
        source: of a published curve, where; empty if measured.
    """

    codec: str
    condition: Condition
    records: list[dict[str, Any]]
    source: str = ""

    @property
    def published(self) -> bool:
        return bool(self.source)

    @property
    def rates(self) -> list[float]:
        """Bits a pixel."""
        return [float(record["bpp"]) for record in self.records]

    def qualities(self, metric: str) -> list[float]:
        """Values of a metric of METRICS; NaN where a record has none."""
        key = METRICS[metric][0]
        if key == "ms_ssim_db":
            return [ms_ssim_db(value) for value in self.qualities("ms-ssim")]
        values = [record["mean"].get(key) for record in self.records]
        return [math.nan if value is None else float(value) for value in values]

    def has(self, metric: str) -> bool:
        """Whether any point has a value of a metric."""
        return not all(map(math.isnan, self.qualities(metric)))


def curves_of(records: Iterable[dict[str, Any]]) -> list[Curve]:
    """Group records into curves, in order of first appearance.

    Raises:
        BenchmarkError: two different records of the same point (results files that contradict each other),
            or a record that lacks something.
    """
    found: dict[tuple[str, Condition], dict[str, dict[str, Any]]] = {}
    for record in records:
        try:
            sequence = record["sequence"]
            condition = Condition(
                record["intra_period"], sequence["frames"], sequence["name"], sequence["sha256"]
            )
            point = f"{record['codec_string']} {record['point']}"
            points = found.setdefault((record["codec"], condition), {})
            former = points.get(point, record)
            same = all(former[name] == record[name] for name in ("file_bytes", "decoded_md5", "bpp", "mean"))
        except (KeyError, TypeError) as error:
            raise BenchmarkError(f"a record lacks {error}") from error
        if not same:
            raise BenchmarkError(
                f"two different records of {point} on {condition.sequence}, {condition.frames} frames, "
                f"intra period {condition.intra_period}"
            )
        points[point] = record
    return [
        Curve(codec, condition, sorted(points.values(), key=lambda record: record["bpp"]))
        for (codec, condition), points in found.items()
    ]


def pick_codec(curves: Iterable[Curve], wanted: str) -> str:
    """The codec that a user means: its full string or its name in tables, or a part that only one codec has.

    Raises:
        BenchmarkError: none or several match.
    """
    codecs = list(dict.fromkeys(curve.codec for curve in curves))
    if wanted in codecs:
        return wanted
    matches = [codec for codec in codecs if wanted in (short_name(codec), codec.removesuffix(" (published)"))]
    matches = matches or [codec for codec in codecs if wanted in codec or wanted in short_name(codec)]
    if len(matches) != 1:
        what = "several codecs match" if matches else "no codec matches"
        raise BenchmarkError(f"{what} {wanted!r}; the results hold: {' | '.join(matches or codecs)}")
    return matches[0]


def period_text(intra_period: int) -> str:
    """An intra period in words."""
    return "one intra frame" if intra_period < 0 else f"intra period {intra_period}"
