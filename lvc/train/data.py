"""Training data: a memory-mapped cache of decoded video, and samples that are a function of their number.

A cache is a folder: ``frames.bin`` (8-bit YUV 4:2:0, per frame the planes Y, U, V without padding),
``manifest.json`` (which clip lies where) and, if asked for, ``flows.bin`` (see :mod:`lvc.train.flowteacher`).
Sample ``i`` of a :class:`ClipDataset` depends on the seed and ``i`` alone. So a training that stops after
step k resumes at step k with the data it would have seen, and needs no state of the loader for that.
"""

from __future__ import annotations

import collections
import hashlib
import itertools
import json
import math
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.error
import numpy as np
import numpy.typing as npt
import torch
from av.video.reformatter import ColorRange
from tqdm import tqdm

from lvc.codecs.motion import FLOW_SCALE
from lvc.errors import UsageError, VideoError

CACHE_VERSION = 1

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


def _find_sources(sources: Sequence[str | Path]) -> list[_Source]:
    """Videos and picture folders below the given paths, each once, in a stable order."""
    found: dict[Path, _Source] = {}

    def add(key: Path, name: str, files: Sequence[Path]) -> None:
        stats = [f.stat() for f in files]
        found.setdefault(key.resolve(), _Source(name, tuple(files), sum(s.st_size for s in stats),
                                                max(s.st_mtime_ns for s in stats)))

    for root in map(Path, sources):
        if root.is_file():
            add(root, root.name, [root])
        elif root.is_dir():
            for folder, subfolders, names in os.walk(root, followlinks=True):
                subfolders.sort()
                here = Path(folder)
                label = Path(root.resolve().name) / here.relative_to(root)
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


def _write_clip(source: _Source, out: BinaryIO, max_frames: int | None) -> Clip:
    """Decode one source to the end of ``out``. Raises VideoError if it is no clip of two frames or more."""
    offset, size, n = out.tell(), (0, 0), 0
    try:
        for path in source.files[:max_frames]:
            with av.open(os.fspath(path)) as container:
                if not container.streams.video:
                    raise VideoError("no video stream")
                for frame in container.decode(container.streams.video[0]):
                    if n == max_frames:
                        break
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


def _write_json(path: Path, value: object) -> None:
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
            progress: bool = True) -> Manifest:
    """Decode videos and picture sequences into a cache; a second run with the same sources does nothing.

    Args:
        sources: video files, and folders that are searched for videos at any depth. A folder that holds two
            pictures or more (PNG, JPEG, ...; say a Vimeo-90k septuplet) is one clip, in natural name order.
        out_dir: the cache's folder, made if need be. What it held stays valid until the new one is whole.
        max_frames: take at most this many frames of each source.

    Returns:
        The manifest. Sources that cannot be read are in ``skipped``, and each gives a warning.

    Raises:
        UsageError: a source that does not exist, or a ``max_frames`` below 2.
        VideoError: no source gave a clip, or the cache cannot be written.
    """
    if max_frames is not None and max_frames < 2:
        raise UsageError(f"max_frames must be at least 2, not {max_frames}")
    found = _find_sources(sources)
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
        with open(temporary, "wb") as file:
            for source in tqdm(found, desc="decoding", unit="clip", disable=not progress):
                start = file.tell()
                try:
                    clips.append(_write_clip(source, file, max_frames))
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
        _write_json(out / "manifest.json", asdict(manifest))
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


class ClipDataset:
    """Random crops of short clips, addressed by sample number: any number from 0 on, there is no epoch.

    Clips are drawn in proportion to the square root of their number of windows (starting frames times crops
    that fit side by side), so that long and large ones count for more but do not drown the rest.

    Args:
        cache_dir: a folder made by :func:`prepare`.
        crop: (height, width) in luma samples; even, with ``flows`` multiples of 4.
        length: frames in a sample.
        seed: another seed gives another sequence of samples.
        flows: also give the flows of :func:`lvc.train.flowteacher.prepare_flows`.
        frame_skip_prob: probability of taking every second frame only (larger motion), where the clip is long
            enough. Default 0.2; 0 with ``flows``, because flows exist for neighbouring frames alone.
        reverse_prob: probability of time reversal.
        flips: flip left-right and up-down, each with probability 1/2.

    Attributes:
        n_clips, n_excluded: clips in use, and clips too small or too short for crop and length.

    Raises:
        UsageError: arguments out of range, or no clip is large and long enough.
        VideoError: the cache, or its flows, are missing or damaged.
    """

    def __init__(self, cache_dir: str | Path, *, crop: tuple[int, int] = (256, 256), length: int = 2,
                 seed: int = 0, flows: bool = False, frame_skip_prob: float | None = None,
                 reverse_prob: float = 0.5, flips: bool = True) -> None:
        self._grid = FLOW_SCALE if flows else 2
        if frame_skip_prob is None:
            frame_skip_prob = 0.0 if flows else 0.2
        if min(crop) < 1 or any(side % self._grid for side in crop):
            raise UsageError(f"crop sides must be positive multiples of {self._grid}, not {crop}")
        if length < 1 or not 0 <= seed < 2**64:
            raise UsageError(f"length must be at least 1 and seed in 0..2^64-1, not {length} and {seed}")
        if not (0 <= frame_skip_prob <= 1 and 0 <= reverse_prob <= 1):
            raise UsageError("probabilities must be from 0 to 1")
        if flows and frame_skip_prob > 0:
            raise UsageError("flows exist for neighbouring frames only: frame_skip_prob must be 0 with flows")
        self.crop, self.length, self.seed = crop, length, seed
        self._skip_prob, self._reverse_prob, self._flips = frame_skip_prob, reverse_prob, flips
        self.store = FrameStore(cache_dir)
        self._flows = FlowStore(cache_dir, self.store.manifest) if flows else None
        clips = self.store.manifest.clips
        self._usable = [i for i, c in enumerate(clips)
                        if c.height >= crop[0] and c.width >= crop[1] and c.n_frames >= length]
        self.n_clips, self.n_excluded = len(self._usable), len(clips) - len(self._usable)
        if not self._usable:
            raise UsageError(f"none of {len(clips)} clips holds {length} frames of {crop[1]}x{crop[0]}")
        windows = [(clips[i].n_frames - length + 1) * (clips[i].height / crop[0]) * (clips[i].width / crop[1])
                   for i in self._usable]
        self._cumulative = np.cumsum(np.sqrt(windows))

    def __getitem__(self, number: int) -> dict[str, Array]:
        """Sample ``number``: y uint8 [T, H, W], u and v uint8 [T, H/2, W/2], in the range of the source.

        With flows also flow float32 [T-1, 2, H/4, W/4]: entry t predicts frame t+1 out of frame t, in luma
        samples (dx, dy): ``frame[t+1](x) ~ frame[t](x + d)``.
        """
        if number < 0:
            raise IndexError(f"sample numbers start at 0: {number}")
        rng = np.random.Generator(np.random.Philox(key=np.array([self.seed, number], np.uint64)))
        # Always the same number of draws, so that one option does not change what another one picks.
        pick, skip, start, reverse, top, left, flip_x, flip_y = rng.random(8).tolist()
        place = int(np.searchsorted(self._cumulative, pick * self._cumulative[-1], side="right"))
        clip = self._usable[min(place, self.n_clips - 1)]
        n, (height, width) = self.length, self.crop
        info = self.store.manifest.clips[clip]
        step = 2 if skip < self._skip_prob and info.n_frames >= 2 * n - 1 else 1
        t = int(start * (info.n_frames - step * (n - 1)))
        y0 = int(top * ((info.height - height) // self._grid + 1)) * self._grid
        x0 = int(left * ((info.width - width) // self._grid + 1)) * self._grid
        backwards = reverse < self._reverse_prob
        mirror_x, mirror_y = self._flips and flip_x < 0.5, self._flips and flip_y < 0.5

        def cut(a: Array, shrink: int) -> Array:
            a = a[..., y0 // shrink : (y0 + height) // shrink, x0 // shrink : (x0 + width) // shrink]
            return a[:: -1 if backwards else 1, ..., :: -1 if mirror_y else 1, :: -1 if mirror_x else 1]

        sample = {name: np.ascontiguousarray(cut(plane[t : t + step * (n - 1) + 1 : step], shrink))
                  for name, plane, shrink in zip("yuv", self.store.planes(clip), (1, 2, 2), strict=True)}
        if self._flows is not None:
            flow = cut(self._flows.flows(clip)[t : t + n - 1, int(backwards)], FLOW_SCALE)
            flow = flow.astype(np.float32, "C")
            if mirror_x:
                flow[:, 0] *= -1
            if mirror_y:
                flow[:, 1] *= -1
            sample["flow"] = flow
        return sample


def batches(dataset: ClipDataset, batch_size: int, start_step: int = 0, workers: int = 1, *,
            rank: int = 0, world_size: int = 1) -> Iterator[dict[str, torch.Tensor]]:
    """Endless batches from step ``start_step`` on: step k always holds samples k * batch_size and following.

    With ``world_size`` processes, step k of the whole group holds samples k * batch_size * world_size and
    following, and ``rank`` gets its share of them: together what one process with the large batch gets.
    ``workers`` background threads keep a few batches ready; 0 makes each batch when it is asked for.

    Returns:
        Dicts of tensors: those of the dataset with the batch in front, y uint8 [B, T, H, W] and so on.
    """
    if batch_size < 1 or start_step < 0 or workers < 0 or not 0 <= rank < world_size:
        raise UsageError("batch_size must be at least 1, start_step and workers 0, and rank below world_size")

    def batch(step: int) -> dict[str, torch.Tensor]:
        first = (step * world_size + rank) * batch_size
        samples = [dataset[i] for i in range(first, first + batch_size)]
        return {name: torch.from_numpy(np.stack([s[name] for s in samples])) for name in samples[0]}

    def generate() -> Iterator[dict[str, torch.Tensor]]:
        step = start_step
        if workers == 0:
            while True:
                yield batch(step)
                step += 1
        pool = ThreadPoolExecutor(workers, thread_name_prefix="lvc-data")
        ready: collections.deque[Future[dict[str, torch.Tensor]]] = collections.deque()
        try:
            while True:
                while len(ready) < workers + 2:
                    ready.append(pool.submit(batch, step))
                    step += 1
                yield ready.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    return generate()
