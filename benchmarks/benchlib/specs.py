"""Which codecs, at which rate points, on which sequences: parsing of what the user asks for."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from lvc import LvcError

VIDEO_SUFFIXES = (".mkv", ".mp4", ".mov", ".webm", ".avi", ".y4m", ".yuv")
DEFAULT_QUALITIES = ("8", "20", "32", "44", "56")


class BenchmarkError(LvcError):
    """A benchmark that was asked for wrongly, or that cannot be carried out."""


@dataclass(frozen=True)
class RatePoint:
    """One point of an RD curve: a codec and how it is told its rate.

    Attributes:
        codec: the curve's name, a codec string without the rate parameter.
        parameter: ``quality``, or the encoder's own parameter (``crf``, ``qp``, ...).
        value: as the user wrote it.
    """

    codec: str
    parameter: str
    value: str

    @property
    def codec_string(self) -> str:
        """The codec string to encode with."""
        if self.parameter == "quality":
            return self.codec
        return f"{self.codec}{',' if ':' in self.codec else ':'}{self.parameter}={self.value}"

    @property
    def quality(self) -> int | None:
        """lvc's quality, 0 to 63; None if the rate is set by a parameter of the encoder."""
        return int(self.value) if self.parameter == "quality" else None


def parse_codec_spec(spec: str) -> list[RatePoint]:
    """Parse ``CODEC[:NAME=VALUE,...][@PARAMETER=VALUE,VALUE,...]``.

    ``x265:preset=veryfast,tune=zerolatency@crf=19,23,27,31`` is four points of x265;
    ``dvc-lite@quality=4,16,28,40`` four of dvc-lite; ``dvc-lite`` stands for DEFAULT_QUALITIES.

    Raises:
        BenchmarkError: a spec of another form, a value given twice, or a quality that is not 0 to 63.
    """
    codec, at, rates = spec.strip().partition("@")
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*(:[^=,:@\s]+=[^=,@\s]+(,[^=,:@\s]+=[^=,@\s]+)*)?", codec):
        raise BenchmarkError(f"codec {codec!r} is not of the form NAME or NAME:OPTION=VALUE,...")
    if not at:
        rates = "quality=" + ",".join(DEFAULT_QUALITIES)
    parameter, equals, values_text = rates.partition("=")
    values = values_text.split(",")
    numbers = all(re.fullmatch(r"\d+(\.\d+)?", value) for value in values)
    if not (equals and numbers and re.fullmatch(r"[A-Za-z0-9_-]+", parameter)):
        raise BenchmarkError(f"rate points {rates!r} of {codec} are not of the form PARAMETER=NUMBER,...")
    if len(set(values)) != len(values):
        raise BenchmarkError(f"rate points of {codec} hold a value twice: {values_text}")
    if parameter == "quality" and not all(v.isdecimal() and int(v) <= 63 for v in values):
        raise BenchmarkError(f"qualities of {codec} must be whole numbers from 0 to 63, not {values_text}")
    options = codec.partition(":")[2]
    if any(option.partition("=")[0] == parameter for option in options.split(",")):
        raise BenchmarkError(f"{codec} sets {parameter} already, so it cannot be the rate parameter, too")
    return [RatePoint(codec, parameter, value) for value in values]


@dataclass(frozen=True)
class SequenceSpec:
    """A test sequence.

    Attributes:
        name: how tables and figures call it.
        path: the file.
        frames: code only so many frames; None for all (``--frames`` limits further).
        size: (width, height) of a headerless .yuv file, else None.
        frame_rate: of a headerless .yuv file, else None.
        dataset: name of the data set that it is of, empty if none.
    """

    name: str
    path: Path
    frames: int | None = None
    size: tuple[int, int] | None = None
    frame_rate: Fraction | None = None
    dataset: str = ""


def load_sequences(sources: Iterable[str | Path]) -> list[SequenceSpec]:
    """Sequences out of video files, folders (every video file in them, by name) and TOML lists.

    A TOML list holds tables ``[[sequence]]`` with ``path`` (relative to the list) and, optionally, ``name``,
    ``frames``, ``size`` ("416x240") and ``frame_rate`` ("30" or "30000/1001").

    Raises:
        BenchmarkError: nothing found, an unreadable list, or two sequences of one name.
    """
    found: list[SequenceSpec] = []
    for source in map(Path, sources):
        if source.is_dir():
            files = sorted(p for p in source.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES)
            if not files:
                raise BenchmarkError(f"{source}: no video files in this folder")
            found += [SequenceSpec(path.stem, path) for path in files]
        elif source.suffix.lower() == ".toml":
            found += _load_toml(source)
        elif source.is_file():
            found.append(SequenceSpec(source.stem, source))
        else:
            raise BenchmarkError(f"{source}: no such file or folder")
    if not found:
        raise BenchmarkError("no sequences given")
    check_names(found)
    return found


def check_names(sequences: Sequence[SequenceSpec]) -> None:
    """Raises BenchmarkError if two sequences share a name."""
    names = [sequence.name for sequence in sequences]
    for name in names:
        if names.count(name) > 1:
            raise BenchmarkError(f"two sequences are called {name}; give them names in a TOML list")


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file. Raises BenchmarkError if it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BenchmarkError(f"{path}: {error}") from error


def _load_toml(path: Path) -> list[SequenceSpec]:
    try:
        tables = read_toml(path)["sequence"]
    except KeyError:
        raise BenchmarkError(f"{path}: no [[sequence]] tables") from None
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise BenchmarkError(f"{path}: sequence must be a list of tables, [[sequence]]")
    return [_sequence_of_table(path, table) for table in tables]


def _sequence_of_table(toml: Path, table: dict[str, Any]) -> SequenceSpec:
    unknown = set(table) - {"path", "name", "frames", "size", "frame_rate"}
    if unknown:
        raise BenchmarkError(f"{toml}: unknown key {sorted(unknown)[0]!r}")
    if not isinstance(table.get("path"), str):
        raise BenchmarkError(f"{toml}: a sequence has no path")
    path = toml.parent / table["path"]
    if not path.is_file():
        raise BenchmarkError(f"{toml}: {path} does not exist")
    frames = table.get("frames")
    if frames is not None and (not isinstance(frames, int) or frames < 1):
        raise BenchmarkError(f"{toml}: frames of {path.name} must be a whole number above zero")
    size = parse_size(table["size"], f"{toml}: size of {path.name}") if "size" in table else None
    rate = parse_rate(table["frame_rate"], f"{toml}: frame rate") if "frame_rate" in table else None
    return SequenceSpec(str(table.get("name", path.stem)), path, frames, size, rate)


def parse_size(text: Any, what: str) -> tuple[int, int]:
    """``416x240`` as (width, height). Raises BenchmarkError, which begins with ``what``."""
    match = re.fullmatch(r"(\d+)x(\d+)", str(text))
    if not match:
        raise BenchmarkError(f"{what} must be WIDTHxHEIGHT, not {text!r}")
    return int(match[1]), int(match[2])


def parse_rate(text: Any, what: str) -> Fraction:
    """``50`` or ``30000/1001``. Raises BenchmarkError, which begins with ``what``."""
    try:
        return Fraction(str(text))
    except (ValueError, ZeroDivisionError):
        raise BenchmarkError(f"{what} {text!r} is not a number") from None


def expand(specs: Sequence[str]) -> list[RatePoint]:
    """All rate points of several codec specs, in order.

    Raises:
        BenchmarkError: a point that occurs twice, or no specs.
    """
    points = [point for spec in specs for point in parse_codec_spec(spec)]
    if not points:
        raise BenchmarkError("no codecs given")
    if len(set(points)) != len(points):
        raise BenchmarkError("a codec is given twice with the same rate point")
    return points
