"""Curves out of papers: to be drawn beside measured ones, never to be mixed with them.

Files in benchmarks/published are ``{"published": 1, "dataset", "title", "curves": [CURVE, ...]}``; a CURVE
has ``codec``, ``source``, ``settings``, ``bpp`` and one or more of the measures of a record (``psnr_rgb``,
``ms_ssim``, ``psnr_yuv``, ...) as lists of equal lengths, and, where they are known, ``intra_period``,
``frames`` and ``sequence``; without the latter the values are means over the data set.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchlib.results import METRICS, Condition, Curve, curves_of, load_results
from benchlib.specs import BenchmarkError

PUBLISHED = Path(__file__).resolve().parents[1] / "published"
MARK = "(published)"
_KEYS = {key for key, _ in METRICS.values()}


def published_names() -> list[str]:
    """Names of the data sets that there are published curves for."""
    return sorted(path.stem for path in PUBLISHED.glob("*.json"))


def load_published(source: str | Path) -> list[Curve]:
    """Published curves of a data set, or of a file.

    Their codecs are called by the published name with ``(published)`` after it, and their condition is shared
    with other curves of the same source only, so that no comparison with a measured one can come about.

    Args:
        source: name of a data set, or the path of a file.

    Raises:
        BenchmarkError: no such data set or file, a file of another form, lists of different lengths, or
            values that are not finite.
    """
    path = Path(source)
    if path.suffix != ".json":
        if str(source) not in published_names():
            raise BenchmarkError(f"there are no published curves for {str(source)!r}, only for: "
                                 f"{', '.join(published_names())}")
        path = PUBLISHED / f"{source}.json"
    content = _read(path)
    if not _is_published(content):
        raise BenchmarkError(f"{path}: not a file of published curves")
    try:
        return [_curve(path, content["title"], curve) for curve in content["curves"]]
    except (KeyError, TypeError) as error:
        raise BenchmarkError(f"{path}: a curve lacks {error}") from error


def load_curves(paths: Iterable[Path]) -> list[Curve]:
    """Curves of several files, each a results file of benchmarks/run.py or one of published curves.

    Raises:
        BenchmarkError: see load_results, curves_of and load_published.
    """
    published = {path for path in dict.fromkeys(paths) if _is_published(_read(path))}
    measured = [path for path in dict.fromkeys(paths) if path not in published]
    curves = curves_of(load_results(measured))
    return [*curves, *(curve for path in sorted(published) for curve in load_published(path))]


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"{path}: cannot be read as JSON ({error})") from error


def _is_published(content: Any) -> bool:
    return (isinstance(content, dict) and content.get("published") == 1
            and isinstance(content.get("curves"), list))


def _curve(path: Path, title: str, table: dict[str, Any]) -> Curve:
    rates: Sequence[float] = table["bpp"]
    names = [name for name in table if name in _KEYS]
    columns = [rates, *(table[name] for name in names)]
    if not names or any(len(column) != len(rates) for column in columns):
        raise BenchmarkError(f"{path}: {table['codec']} has lists of different lengths, or no measure")
    if not all(isinstance(x, (int, float)) and math.isfinite(x) for column in columns for x in column):
        raise BenchmarkError(f"{path}: {table['codec']} has values that are not finite numbers")
    sequence = table.get("sequence", "")
    # Intra periods are often not stated; all that one source gives for one data set is taken as comparable.
    condition = Condition(0, int(table.get("frames", 0)), sequence or f"{title} (mean)",
                          f"published: {path.stem} {sequence}")
    records = [{"bpp": rate, "mean": {name: table[name][index] for name in names}}
               for index, rate in enumerate(rates)]
    return Curve(f"{table['codec']} {MARK}", condition, sorted(records, key=lambda record: record["bpp"]),
                 f"{table['source']}; {table['settings']}")
