"""Standard test sets: which files they are made of, so that a user only names the folder that holds them."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error

from benchlib.specs import BenchmarkError, SequenceSpec, parse_rate, parse_size, read_toml

DATASETS = Path(__file__).resolve().parents[1] / "datasets"
OTHER_SUFFIXES = (".y4m", ".mkv", ".mp4")


@dataclass(frozen=True)
class Dataset:
    """A test set.

    Attributes:
        name: as on the command line.
        title: as in tables and figures.
        source: where its files come from.
        sequences: what is known of each; ``path`` is the name of its file. If a list names them, one that
            stands for all.
        list_file: a text file within the user's folder with one sequence of PNG files a line; empty if there
            is none.
        entries: number of lines in it.
    """

    name: str
    title: str
    source: str
    sequences: tuple[SequenceSpec, ...]
    list_file: str = ""
    entries: int = 0


def dataset_names() -> list[str]:
    """Names of all test sets that are defined."""
    return sorted(path.stem for path in DATASETS.glob("*.toml"))


def load_dataset(name: str) -> Dataset:
    """The definition of a test set.

    Raises:
        BenchmarkError: there is none of that name, or its definition is malformed.
    """
    path = DATASETS / f"{name}.toml"
    if not path.is_file():
        raise BenchmarkError(f"there is no data set {name!r}; there are: {', '.join(dataset_names())}")
    content = read_toml(path)
    try:
        sequences = tuple(_spec(path, name, table) for table in content["sequence"])
        return Dataset(name, content["title"], content["source"], sequences, content.get("list_file", ""),
                       content.get("entries", 0))
    except (KeyError, TypeError) as error:
        raise BenchmarkError(f"{path}: lacks {error}") from error


def _spec(toml: Path, dataset: str, table: dict[str, Any]) -> SequenceSpec:
    return SequenceSpec(table["name"], Path(table["file"]), int(table["frames"]),
                        parse_size(table["size"], f"{toml}: size of {table['name']}"),
                        parse_rate(table["frame_rate"], f"{toml}: frame rate"), dataset)


def find_sequences(dataset: Dataset, folder: Path, only: Sequence[str] = ()) -> list[SequenceSpec]:
    """The sequences of a test set in a folder of the user.

    A file may lie in the folder or anywhere below, and may have been stored losslessly as .y4m, .mkv or .mp4
    of the same name instead of .yuv.

    Args:
        dataset: as of :func:`load_dataset`.
        folder: where the files are.
        only: names, or patterns with ``*`` and ``?``, of the sequences wanted; all if empty.

    Raises:
        BenchmarkError: no such folder, a sequence that is missing or of another size than it must have, or a
            pattern that fits none.
    """
    if not folder.is_dir():
        raise BenchmarkError(f"{dataset.name}: {folder} is not a folder")
    listed = _listed(dataset, folder) if dataset.list_file else list(dataset.sequences)
    wanted = [s for s in listed if not only or any(fnmatchcase(s.name, pattern) for pattern in only)]
    for pattern in only:
        if not any(fnmatchcase(s.name, pattern) for s in listed):
            raise BenchmarkError(f"{dataset.name} has no sequence {pattern!r}; there are: "
                                 f"{', '.join(s.name for s in listed[:40])}")
    if dataset.list_file:
        return [replace(s, path=folder / s.path) for s in wanted]
    files = _files_by_name(folder)
    found, missing = [], []
    for sequence in wanted:
        names = [sequence.path.name, *(sequence.path.stem + suffix for suffix in OTHER_SUFFIXES)]
        path = next((files[name] for name in names if name in files), None)
        if path is None:
            missing.append(sequence.path.name)
        else:
            found.append(_checked(sequence, path))
    if missing:
        raise BenchmarkError(f"{dataset.name}: {len(missing)} of {len(wanted)} sequences are not in "
                             f"{folder}: {', '.join(missing)}")
    return found


def _files_by_name(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for root, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        for name in names:
            files.setdefault(name, Path(root, name))
    return files


def _checked(sequence: SequenceSpec, path: Path) -> SequenceSpec:
    if path.suffix.lower() != ".yuv":
        # the container says size and rate; the number of frames stays a limit
        return replace(sequence, path=path, size=None, frame_rate=None)
    assert sequence.size is not None
    assert sequence.frames is not None
    width, height = sequence.size
    expected = sequence.frames * (width * height + 2 * ((width + 1) // 2) * ((height + 1) // 2))
    if path.stat().st_size != expected:
        raise BenchmarkError(f"{path}: {path.stat().st_size} bytes, but {sequence.frames} frames of "
                             f"{width}x{height}, 8-bit 4:2:0, are {expected}")
    return replace(sequence, path=path)


def _listed(dataset: Dataset, folder: Path) -> list[SequenceSpec]:
    path = folder / dataset.list_file
    try:
        entries = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"{dataset.name}: {path} cannot be read: {error}") from error
    if len(entries) != dataset.entries:
        raise BenchmarkError(f"{path}: {len(entries)} entries, but {dataset.title} has {dataset.entries}")
    (template,) = dataset.sequences
    return [replace(template, name=entry, path=Path(str(template.path).replace("{entry}", entry)))
            for entry in entries]


def prepare(sequence: SequenceSpec, folder: Path) -> SequenceSpec:
    """A sequence of PNG files as raw 4:2:0 video; any other as it is.

    Everything is measured against the 4:2:0 pictures: BT.601, limited range, each chroma sample the mean of
    2x2 pixels.

    Args:
        sequence: its ``path`` may hold ``{number}``, which counts frames from 1.
        folder: where to keep what is made.

    Raises:
        BenchmarkError: a picture that is missing, that is no picture, or of another size.
    """
    if "{number}" not in str(sequence.path):
        return sequence
    assert sequence.frames is not None
    pictures = [Path(str(sequence.path).replace("{number}", str(n + 1))) for n in range(sequence.frames)]
    for picture in pictures:
        if not picture.is_file():
            raise BenchmarkError(f"{sequence.dataset}: {picture} is missing")
    times = "".join(f"{p.resolve()} {p.stat().st_mtime_ns} {p.stat().st_size}\n" for p in pictures)
    path = folder / f"{hashlib.sha256(times.encode()).hexdigest()[:32]}.yuv"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=".")
        try:
            with os.fdopen(handle, "wb") as file:
                file.writelines(_planes(pictures, sequence))
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    return replace(sequence, path=path, frame_rate=sequence.frame_rate or Fraction(30))


def _planes(pictures: Iterable[Path], sequence: SequenceSpec) -> Iterable[bytes]:
    for path in pictures:
        try:
            with av.open(str(path)) as container:
                picture = next(container.decode(video=0))
        except (av.error.FFmpegError, OSError, StopIteration) as error:
            raise BenchmarkError(f"{path}: cannot be read ({error})") from error
        if (picture.width, picture.height) != sequence.size:
            raise BenchmarkError(f"{path}: {picture.width}x{picture.height}, not "
                                 f"{'x'.join(map(str, sequence.size or ()))}")
        frame = picture.reformat(format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG",
                                 interpolation="AREA")
        yield frame.to_ndarray().tobytes()
