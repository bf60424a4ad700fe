"""The training cache: decoded video in one memory-mapped file, so that reading a sample costs a copy.

A cache is a folder: ``frames.bin`` (8-bit YUV 4:2:0, per frame the planes Y, U, V without padding),
``manifest.json`` (which clip lies where) and, if asked for, ``flows.bin`` (see :mod:`lvc.train.flowteacher`).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import re
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange
from tqdm import tqdm

from lvc.codecs.motion import FLOW_SCALE
from lvc.errors import UsageError, VideoError

CACHE_VERSION = 1

LOOK_AHEAD = 32
"""Pictures of a sequence that are decoded ahead."""

VIDEO_SUFFIXES = frozenset((
    ".264", ".265", ".avi", ".flv", ".h264", ".hevc", ".ivf", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4",
    ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv", ".y4m"))
IMAGE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip of a cache: even ``width`` and ``height`` in luma samples, ``offset`` in bytes in frames.bin.

    ``source_bytes`` and ``source_mtime_ns`` tell whether the source has changed since.
    """

    name: str
    width: int
    height: int
    n_frames: int
    offset: int
    source_bytes: int
    source_mtime_ns: int

    @property
    def frame_bytes(self) -> int:
        return self.width * self.height * 3 // 2

    @property
    def flow_shape(self) -> tuple[int, int, int, int, int]:
        """(pairs, direction, (dx, dy), rows, columns) of the clip's flows."""
        return (self.n_frames - 1, 2, 2, -(-self.height // FLOW_SCALE), -(-self.width // FLOW_SCALE))


@dataclass(frozen=True, slots=True)
class SkippedSource:
    """A source that gave no clip, and why."""

    name: str
    reason: str
    source_bytes: int
    source_mtime_ns: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a cache holds. ``max_frames`` is the cap per clip that it was prepared with."""

    clips: tuple[Clip, ...]
    skipped: tuple[SkippedSource, ...] = ()
    max_frames: int | None = None
    version: int = CACHE_VERSION

    @property
    def total_bytes(self) -> int:
        return sum(c.frame_bytes * c.n_frames for c in self.clips)

    @property
    def n_frames(self) -> int:
        return sum(c.n_frames for c in self.clips)

    @property
    def cache_id(self) -> str:
        """A digest of the manifest: flows and other derived files name the frames that they belong to."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    def flow_offsets(self) -> list[int]:
        """Where each clip's flows start in flows.bin, in float16 values; the last entry is the total."""
        return list(itertools.accumulate((math.prod(c.flow_shape) for c in self.clips), initial=0))


@dataclass(frozen=True, slots=True)
class _Source:
    name: str
    files: tuple[Path, ...]  # one video, or the pictures of a sequence
    source_bytes: int
    source_mtime_ns: int


def _natural(path: Path) -> list[Any]:
    """Sort key under which im2.png comes before im10.png."""
    return [(1, int(s), "") if s.isdigit() else (0, 0, s) for s in re.split(r"(\d+)", path.name)]


def read_clip_list(path: str | Path) -> list[str]:
    """Names of clips out of a text file, one a line, as ``sep_trainlist.txt`` of Vimeo-90k has them.

    Raises UsageError if it cannot be read, names none, or a name leads out of the folder it is relative to.
    """
    try:
        names = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the list {path} cannot be read: {error}") from error
    names = [name for name in names if name]
    if not names:
        raise UsageError(f"the list {path} names no clip")
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise UsageError(f"the list {path} names {name!r}, which is outside of the sources")
    return names


def _listed(root: Path, names: Sequence[str]) -> list[tuple[Path, Path]]:
    """(path, label) of the listed files and folders of ``root``, or of its folder ``sequences`` (Vimeo-90k)."""
    inner = root / "sequences" if (root / "sequences").is_dir() else root
    label = Path(root.resolve().name) / inner.relative_to(root)
    return [(inner / name, label / name) for name in names if (inner / name).exists()]


def _find_sources(sources: Sequence[str | Path], names: Sequence[str] = ()) -> list[_Source]:
    """Videos and picture folders below the given paths, each once, in a stable order.

    With ``names``, only what they name in the given folders; each must be in one of them.
    """
    found: dict[Path, _Source] = {}

    def add(key: Path, name: str, files: Sequence[Path]) -> None:
        stats = [f.stat() for f in files]
        found.setdefault(key.resolve(), _Source(name, tuple(files), sum(s.st_size for s in stats),
                                                max(s.st_mtime_ns for s in stats)))

    roots = [(root, Path(root.name if root.is_file() else root.resolve().name)) for root in map(Path, sources)]
    if names:
        for root, _ in roots:
            if not root.is_dir():
                raise UsageError(f"a list of clips needs folders: {root} is none")
        roots = [pair for root, _ in roots for pair in _listed(root, names)]
        if len(roots) < len(names):
            raise UsageError(f"of {len(names)} listed clips, only {len(roots)} are in {', '.join(map(str, sources))}")
    for root, top in roots:
        if root.is_file():
            add(root, top.as_posix(), [root])
        elif root.is_dir():
            for folder, subfolders, names in os.walk(root, followlinks=True):
                subfolders.sort()
                here = Path(folder)
                label = top / here.relative_to(root)
                files = [p for p in sorted((here / n for n in names), key=_natural) if p.is_file()]
                for path in files:
                    if path.suffix.lower() in VIDEO_SUFFIXES:
                        add(path, (label / path.name).as_posix(), [path])
                pictures = [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES]
                if len(pictures) > 1:
                    add(here, label.as_posix(), pictures)
        else:
            raise UsageError(f"no such file or folder: {root}")
    return list(found.values())


def _states(sources: Iterable[_Source | Clip | SkippedSource]) -> set[tuple[str, int, int]]:
    """What must be the same for a cache to be up to date."""
    return {(s.name, s.source_bytes, s.source_mtime_ns) for s in sources}


def _write_frame(frame: av.VideoFrame, size: tuple[int, int], out: BinaryIO) -> None:
    """Append the planes of one frame, cropped to the even ``size`` (width, height)."""
    if frame.format.name not in ("yuv420p", "yuvj420p"):
        # RGB becomes limited range, as most video is; YUV keeps the range that it has.
        limited = ColorRange.MPEG if frame.format.is_rgb else None
        frame = frame.reformat(format="yuv420p", dst_color_range=limited)
    for plane, shift in zip(frame.planes, (0, 1, 1), strict=True):
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        out.write(np.ascontiguousarray(rows[: size[1] >> shift, : size[0] >> shift]).data)


def _decode(path: Path) -> Iterator[av.VideoFrame]:
    with av.open(os.fspath(path)) as container:
        if not container.streams.video:
            raise VideoError("no video stream")
        yield from container.decode(container.streams.video[0])


def _frames_of(source: _Source, max_frames: int | None, pool: ThreadPoolExecutor) -> Iterator[av.VideoFrame]:
    """The frames of a source. Pictures of a sequence are decoded side by side, a few ahead; a decoder of video
    has threads of its own."""
    files = source.files[:max_frames]
    if len(files) == 1:
        yield from itertools.islice(_decode(files[0]), max_frames)
        return
    ready: deque[Future[list[av.VideoFrame]]] = deque()
    try:
        for path in files:
            ready.append(pool.submit(lambda p: list(_decode(p)), path))
            if len(ready) > LOOK_AHEAD:
                yield from ready.popleft().result()
        while ready:
            yield from ready.popleft().result()
    finally:
        for future in ready:
            future.cancel()


def _write_clip(source: _Source, out: BinaryIO, max_frames: int | None, pool: ThreadPoolExecutor) -> Clip:
    """Decode one source to the end of ``out``. Raises VideoError if it is no clip of two frames or more."""
    offset, size, n = out.tell(), (0, 0), 0
    try:
        for frame in itertools.islice(_frames_of(source, max_frames, pool), max_frames):
            new = (frame.width & ~1, frame.height & ~1)
            if n and new != size:
                raise VideoError(f"the picture size changes at frame {n}")
            size = new
            _write_frame(frame, size, out)
            n += 1
    except (av.error.FFmpegError, ValueError) as e:
        raise VideoError(" ".join(str(e).split()) or type(e).__name__) from e
    if n < 2 or 0 in size:
        raise VideoError(f"{n} frame(s) of {size[0]}x{size[1]}: too few or too small")
    return Clip(source.name, *size, n, offset, source.source_bytes, source.source_mtime_ns)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as JSON; the file appears under its name only when it is complete."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def load_manifest(cache_dir: str | Path) -> Manifest:
    """The manifest of a prepared cache. Raises VideoError if there is none, or it does not fit frames.bin."""
    path = Path(cache_dir) / "manifest.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["version"] != CACHE_VERSION:
            raise VideoError(f"{cache_dir}: version {raw['version']}, not {CACHE_VERSION}: prepare it again")
        raw["clips"] = tuple(Clip(**c) for c in raw["clips"])
        raw["skipped"] = tuple(SkippedSource(**s) for s in raw["skipped"])
        manifest = Manifest(**raw)
        size = (path.parent / "frames.bin").stat().st_size
    except FileNotFoundError as e:
        raise VideoError(f"{cache_dir} is not a prepared cache: {Path(e.filename).name} is missing") from e
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise VideoError(f"{path} cannot be read: {e}") from e
    if size != manifest.total_bytes:
        raise VideoError(f"{cache_dir}/frames.bin: {size} bytes, not {manifest.total_bytes}: prepare again")
    return manifest


def prepare(sources: Sequence[str | Path], out_dir: str | Path, *, max_frames: int | None = None,
            names: Sequence[str] = (), workers: int | None = None, progress: bool = True) -> Manifest:
    """Decode videos and picture sequences into a cache; a second run with the same sources does nothing.

    Args:
        sources: video files, and folders that are searched for videos at any depth. A folder that holds two
            pictures or more (PNG, JPEG, ...; say a Vimeo-90k septuplet) is one clip, in natural name order.
        out_dir: the cache's folder, made if need be. What it held stays valid until the new one is whole.
        max_frames: take at most this many frames of each source.
        names: take only these clips: paths relative to a source, or to its folder ``sequences``
            (:func:`read_clip_list`). Empty: all.
        workers: threads that decode pictures of sequences; by default one for each core.

    Returns:
        The manifest. Sources that cannot be read are in ``skipped``, and each gives a warning.

    Raises:
        UsageError: a source that does not exist, a name that is in none of them, ``max_frames`` below 2, or
            less than one worker.
        VideoError: no source gave a clip, or the cache cannot be written.
    """
    if max_frames is not None and max_frames < 2:
        raise UsageError(f"max_frames must be at least 2, not {max_frames}")
    workers = workers if workers is not None else os.cpu_count() or 1
    if workers < 1:
        raise UsageError(f"workers must be at least 1, not {workers}")
    found = _find_sources(sources, names)
    out = Path(out_dir)
    try:
        old = load_manifest(out)
    except VideoError:
        old = None
    if old and old.max_frames == max_frames and _states(found) == _states((*old.clips, *old.skipped)):
        return old

    clips: list[Clip] = []
    skipped: list[SkippedSource] = []
    temporary = out / "frames.bin.tmp"
    try:
        out.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file, ThreadPoolExecutor(workers, "lvc-decode") as pool:
            for source in tqdm(found, desc="decoding", unit="clip", disable=not progress):
                start = file.tell()
                try:
                    clips.append(_write_clip(source, file, max_frames, pool))
                except VideoError as e:
                    file.seek(start)
                    file.truncate()
                    skipped.append(SkippedSource(source.name, str(e), source.source_bytes,
                                                 source.source_mtime_ns))
                    warnings.warn(f"skipped {source.name}: {e}", stacklevel=2)
        if not clips:
            raise VideoError(f"no clip in {len(found)} source(s): {', '.join(map(str, sources))}")
        manifest = Manifest(tuple(clips), tuple(skipped), max_frames)
        # Without a manifest there is no cache, so no crash can leave a manifest beside the wrong frames.
        (out / "manifest.json").unlink(missing_ok=True)
        os.replace(temporary, out / "frames.bin")
        write_json(out / "manifest.json", asdict(manifest))
    except OSError as e:
        raise VideoError(f"cannot write the cache {out}: {e}") from e
    finally:
        temporary.unlink(missing_ok=True)
    return manifest


class FrameStore:
    """Read access to the frames of a cache, memory-mapped. Raises what :func:`load_manifest` raises."""

    def __init__(self, cache_dir: str | Path) -> None:
        self.directory = Path(cache_dir)
        self.manifest = load_manifest(cache_dir)
        # As a plain array: slicing np.memmap itself costs many times as much.
        self._frames = np.asarray(np.memmap(self.directory / "frames.bin", np.uint8, mode="r"))

    def __len__(self) -> int:
        return len(self.manifest.clips)

    def planes(self, clip: int) -> tuple[Array, Array, Array]:
        """Read-only views of a clip: y uint8 [T, H, W], u and v uint8 [T, H/2, W/2]."""
        c = self.manifest.clips[clip]
        h, w, n, luma = c.height, c.width, c.n_frames, c.height * c.width
        frames = self._frames[c.offset : c.offset + n * c.frame_bytes].reshape(n, c.frame_bytes)
        return (frames[:, :luma].reshape(n, h, w), frames[:, luma : luma * 5 // 4].reshape(n, h // 2, w // 2),
                frames[:, luma * 5 // 4 :].reshape(n, h // 2, w // 2))


class FlowStore:
    """Read access to the flows of a cache. Raises VideoError if they are missing or of other frames."""

    def __init__(self, cache_dir: str | Path, manifest: Manifest) -> None:
        directory = Path(cache_dir)
        self._manifest, self._offsets = manifest, manifest.flow_offsets()
        try:
            meta = json.loads((directory / "flows.json").read_text(encoding="utf-8"))
            values = np.asarray(np.memmap(directory / "flows.bin", np.float16, mode="r"))
            same = meta["cache_id"] == manifest.cache_id and len(values) == self._offsets[-1]
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise VideoError(f"{directory} has no flows that can be read: run prepare_flows ({e})") from e
        if not same:
            raise VideoError(f"the flows in {directory} belong to other frames: run prepare_flows again")
        self._values = values

    def flows(self, clip: int) -> Array:
        """float16 [T-1, 2, 2, ceil(H/4), ceil(W/4)]: pair, direction, (dx, dy), rows, columns.

        Values are luma samples. Direction 0 of pair p predicts frame p+1 out of frame p, direction 1 frame p
        out of frame p+1: ``predicted(x) ~ reference(x + d)``.
        """
        return self._values[self._offsets[clip] : self._offsets[clip + 1]].reshape(
            self._manifest.clips[clip].flow_shape)
