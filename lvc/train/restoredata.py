"""What the decoders of base codecs give for training clips: made once, kept beside the cache of the clips.

A decoded copy of a cache (lvc.train.cache) is a folder:

``frames.bin``
    the cache's frames after encoding and decoding, in the cache's own layout.

``errors.npy``
    float32 [frames, 3], mean squared errors of Y, U and V.

``decoded.json``
    what it was made of and how ("identity"), and for each clip its ``crf``.

Each clip is coded once in a copy, at a crf of its own; several copies have several.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from lvc.bitstream import StreamHeader
from lvc.codecs import get_codec
from lvc.codecs.rebuild import Rebuilt
from lvc.codecs.reduction import Reduction
from lvc.enhance.levels import index_of_level, level_of_index
from lvc.errors import CodecError, UsageError, VideoError
from lvc.train.cache import FrameStore, write_json
from lvc.types import EncodeOptions, Frame, VideoInfo

DECODED_VERSION = 1

Planes = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class BaseSpec:
    """How a copy is made.

    Attributes:
        codec: name of the base codec: x264, x265 or svt-av1.
        preset: of its encoder.
        crfs: range (low, high) that each clip draws its crf from, evenly.
        seed: of that.
        kt, ks: of so many frames one goes through the base codec, smaller by so much (see lvc.codecs.reduction); the
            copy holds what stsr's classical enhancer makes of these.
    """

    codec: str
    preset: str
    crfs: tuple[float, float]
    seed: int = 0
    kt: int = 1
    ks: float = 1.0

    def __post_init__(self) -> None:
        Reduction(self.kt, round(2 * self.ks))
        if not 0 < self.crfs[0] <= self.crfs[1]:
            raise UsageError(f"{self.codec}: crfs must be above 0, the low one first, not {self.crfs}")

    def crf(self, clip: int) -> float:
        """That of a clip, in quarters."""
        rng = np.random.default_rng((self.seed, clip))
        return round(4.0 * float(rng.uniform(*self.crfs))) / 4.0


def code_clip(frames: Sequence[Frame], codec_name: str, params: dict[str, str],
              frame_rate: Fraction = Fraction(30)) -> list[Frame]:
    """Encode and decode a clip, with one intra frame. Frames come in order, with pts 0, 1, 2, ...

    Raises CodecError if the codec is not available or fails.
    """
    codec = get_codec(codec_name)
    video = VideoInfo(frames[0].width, frames[0].height, frame_rate)
    encoder = codec.encoder(video, EncodeOptions(intra_period=-1, threads=1, params=params))
    decoder = codec.decoder(StreamHeader(codec_id=codec.codec_id, weights_digest=b"", video=video, intra_period=-1,
                                         codec_data=encoder.codec_data))
    packets = [p for i, f in enumerate(frames) for p in encoder.push(Frame(f.y, f.u, f.v, i))] + encoder.flush()
    decoded = [f for packet in packets for f in decoder.push(packet)] + decoder.flush()
    if [f.pts for f in decoded] != list(range(len(frames))):
        raise CodecError(f"{codec_name} did not give all frames back")
    return decoded


def kept_frames(count: int, kt: int) -> list[int]:
    """Of ``count`` frames, those that go through the base codec: every kt-th, and the last one."""
    return sorted({*range(0, count, kt), count - 1})


def rebuild_clip(frames: Sequence[Frame], codec_name: str, params: dict[str, str], reduction: Reduction) -> list[Frame]:
    """The same for a reduced clip: frames enlarged, and those between them by motion, all in order."""
    kept = kept_frames(len(frames), reduction.kt)
    size = frames[0].width, frames[0].height
    rate = reduction.video(VideoInfo(*size)).frame_rate
    coded = code_clip([reduction.picture(frames[i]) for i in kept], codec_name, params, rate)
    pictures = []
    for place, frame in zip(kept, coded, strict=True):
        picture = Rebuilt(Frame(*frame.planes, place), place == 0, size, reduction.halves, 1)
        error = float(mean_squared_errors([picture.plain], [frames[place]])[0, 0])
        picture.level = level_of_index(index_of_level(error**0.5))
        pictures.append(picture)
    rebuilt = [pictures[0].plain]
    for before, after in pairwise(pictures):
        if after.pts > before.pts + 1:
            before.gap = before.pts + 1
            rebuilt.append(before.middle(after))
        rebuilt.append(after.plain)
    return rebuilt


def mean_squared_errors(frames: Sequence[Frame], others: Sequence[Frame]) -> npt.NDArray[np.float32]:
    """[frames, 3]: of Y, U and V."""
    return np.array([[np.mean((a.astype(np.float32) - b) ** 2) for a, b in zip(one.planes, other.planes, strict=True)]
                     for one, other in zip(frames, others, strict=True)], np.float32)


def clip_frames(store: FrameStore, clip: int, limit: int | None = None) -> list[Frame]:
    """The frames of a clip of a cache, at most ``limit``."""
    y, u, v = store.planes(clip)
    return [Frame(y[t].copy(), u[t].copy(), v[t].copy(), t) for t in range(len(y))[:limit]]


def _identity(cache_id: str, spec: BaseSpec) -> dict[str, Any]:
    plain = {"version": DECODED_VERSION, "cache": cache_id, "codec": spec.codec, "preset": spec.preset,
             "crfs": list(spec.crfs), "seed": spec.seed}
    # copies without reduction keep the names they had before there was any
    return plain if (spec.kt, spec.ks) == (1, 1.0) else {**plain, "kt": spec.kt, "ks": spec.ks}


def _decode_one(cache: str, clip: int, spec: BaseSpec) -> tuple[int, bytes, npt.NDArray[np.float32]]:
    frames = clip_frames(FrameStore(cache), clip)
    decoded = rebuild_clip(frames, spec.codec, {"preset": spec.preset, "crf": f"{spec.crf(clip):g}"},
                           Reduction(spec.kt, round(2 * spec.ks)))
    data = b"".join(plane.tobytes() for frame in decoded for plane in frame.planes)
    return clip, data, mean_squared_errors(decoded, frames)


def make_decoded(cache: Path, folder: Path, spec: BaseSpec, workers: int = 1, progress: bool = True) -> Path:
    """Make a decoded copy of a cache below ``folder``; one that is there already is taken as it is.

    Returns:
        Its folder.

    Raises:
        VideoError: the cache is missing or damaged, or the copy cannot be written.
        CodecError: the base codec is not available, or fails.
    """
    store = FrameStore(cache)
    manifest = store.manifest
    identity = _identity(manifest.cache_id, spec)
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    out = folder / f"{spec.codec}-{digest}"
    if (out / "decoded.json").exists():
        return out
    temporary = folder / f"{out.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    starts = np.cumsum([0, *(clip.n_frames for clip in manifest.clips)])
    errors = np.zeros((starts[-1], 3), np.float32)
    try:
        temporary.mkdir(parents=True)
        with open(temporary / "frames.bin", "wb") as file, ProcessPoolExecutor(workers) as pool:
            file.truncate(manifest.total_bytes)
            jobs = [pool.submit(_decode_one, str(cache), clip, spec) for clip in range(len(manifest.clips))]
            for job in tqdm(jobs, desc=f"{spec.codec} {spec.preset}", unit="clip", disable=not progress):
                clip, data, found = job.result()
                file.seek(manifest.clips[clip].offset)
                file.write(data)
                errors[starts[clip]: starts[clip + 1]] = found
        np.save(temporary / "errors.npy", errors)
        write_json(temporary / "decoded.json",
                   {"identity": identity, "crf": [spec.crf(clip) for clip in range(len(manifest.clips))]})
        temporary.rename(out)
    except OSError as error:
        raise VideoError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out


class DecodedStore:
    """Read access to a decoded copy, memory-mapped.

    Attributes:
        codec: name of the base codec. kt, ks: as of BaseSpec.
        store: of the cache, for the originals.

    Raises:
        VideoError: it is missing or damaged, or made of another cache.
    """

    def __init__(self, cache: str | Path, folder: Path) -> None:
        self.store = FrameStore(cache)
        manifest = self.store.manifest
        try:
            raw = json.loads((folder / "decoded.json").read_text(encoding="utf-8"))
            self.codec = str(raw["identity"]["codec"])
            self.kt, self.ks = int(raw["identity"].get("kt", 1)), float(raw["identity"].get("ks", 1.0))
            self.crf = [float(value) for value in raw["crf"]]
            same = raw["identity"]["cache"] == manifest.cache_id
            self._errors = np.load(folder / "errors.npy")
            # As a plain array: slicing np.memmap itself costs many times as much.
            self._frames = np.asarray(np.memmap(folder / "frames.bin", np.uint8, mode="r"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise VideoError(f"{folder} holds no decoded copy that can be read: {error}") from error
        if not same or len(self._frames) != manifest.total_bytes or self._errors.shape != (manifest.n_frames, 3):
            raise VideoError(f"{folder} was made of another cache")
        self._starts = np.cumsum([0, *(clip.n_frames for clip in manifest.clips)])

    def errors(self, clip: int) -> npt.NDArray[np.float32]:
        """Mean squared errors of the frames of a clip, [n, 3]."""
        found: npt.NDArray[np.float32] = self._errors[self._starts[clip]: self._starts[clip + 1]]
        return found

    def planes(self, clip: int) -> Planes:
        """Read-only views of a clip as it was decoded, as FrameStore.planes."""
        c = self.store.manifest.clips[clip]
        h, w, n, luma = c.height, c.width, c.n_frames, c.height * c.width
        frames = self._frames[c.offset: c.offset + n * c.frame_bytes].reshape(n, c.frame_bytes)
        return (frames[:, :luma].reshape(n, h, w), frames[:, luma: luma * 5 // 4].reshape(n, h // 2, w // 2),
                frames[:, luma * 5 // 4:].reshape(n, h // 2, w // 2))
