"""Recordings: what swift's networks see and what is coded, kept while its encoder runs over training clips.

The decoder of swift is all integer and its symbols are given, so a network learns from a recording what it
would learn inside the encoder. A recording is a folder:

``frames.bin``
    uint8, for each coded frame [h, w, 488] at 1/8 of the luma resolution, frames of a clip in the order of
    coding. The channels of a position are, one after the other:

    ========  =====  ===============================================================================
    channels  type   meaning
    ========  =====  ===============================================================================
    96        uint8  ``SwiftContext.prediction``
    96        int8   symbols, limited to -127..127
    96        uint8  ``SwiftContext.former``
    8         uint8  ``SwiftContext.aux``
    96        int8   first half of lvc.models.swiftfilter.filter_input
    96        int8   coefficient - symbol in 2**-5 steps, rounded, limited to -127..127
    ========  =====  ===============================================================================

``vectors.bin``, ``splits.bin`` (one file for each network of lvc.models.swiftmotion)
    a row for each time that the network was asked: its inputs (int8), then the symbols that were coded with
    its outputs (int16, little endian; NOT_CODED where nothing was).

``recording.json``
    what the recording was made of and how ("identity"), the rows of the motion files ("motion"), and for each
    clip its number in the cache, shape, number of frames, quality, place in frames.bin, and its rows.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lvc.codecs.swiftframe import Prediction
from lvc.errors import UsageError, VideoError
from lvc.models.swift import AUX, SwiftContext
from lvc.models.swiftfilter import filter_input
from lvc.ops.blockdct import COEFFICIENTS, LUMA, zigzag
from lvc.ops.blockmotion import BLOCK

RECORD_VERSION = 1

NOT_CODED = -(2**15)
"""In place of a symbol of motion that the stream does not hold."""

_ERROR_SHIFT = 5
_SIZES = {"prediction": COEFFICIENTS, "symbols": COEFFICIENTS, "former": COEFFICIENTS, "aux": AUX,
          "detail": COEFFICIENTS, "error": COEFFICIENTS}
CHANNELS = sum(_SIZES.values())
"""Bytes a position."""

_ENDS = np.cumsum(list(_SIZES.values())).tolist()
_PLACES = {name: slice(end - size, end) for (name, size), end in zip(_SIZES.items(), _ENDS, strict=True)}

Bytes = npt.NDArray[np.uint8]
Rng = np.random.Generator


def _odd_frequencies() -> npt.NDArray[np.bool_]:
    """(2, 96): whether a coefficient's basis function is odd in y, in x: it changes sign in a mirror."""
    odd = np.zeros((2, COEFFICIENTS), np.bool_)
    for n, places in ((8, [slice(0, LUMA)]), (4, [slice(LUMA, None, 2), slice(LUMA + 1, None, 2)])):
        order = np.array(zigzag(n))
        for place in places:
            odd[0, place], odd[1, place] = (order // n) % 2 == 1, (order % n) % 2 == 1
    return odd


_ODD = _odd_frequencies()


@dataclass(frozen=True)
class RecordedClip:
    """A clip of a recording.

    Attributes:
        clip: its number in the cache. height, width: of its frames, in blocks.
        n_frames: coded frames. quality: 0..63. offset: of the first frame, in bytes.
        rows: for each motion file (first row, number of rows).
    """

    clip: int
    height: int
    width: int
    n_frames: int
    quality: int
    offset: int
    rows: dict[str, tuple[int, int]]

    @property
    def frame_bytes(self) -> int:
        return self.height * self.width * CHANNELS


@dataclass(frozen=True)
class MotionLayout:
    """The rows of a motion file.

    Attributes:
        inputs: of the network.
        offset: what the model adds to its outputs, which makes them indices of distributions.
        coded: (name of the distribution in the model, number of symbols), in the order of the outputs.
    """

    inputs: int
    offset: float
    coded: tuple[tuple[str, int], ...]

    @property
    def row(self) -> np.dtype[np.void]:
        n = sum(count for _, count in self.coded)
        return np.dtype([("inputs", "i1", (self.inputs,)), ("symbols", "<i2", (n,))])


def pack_frame(prediction: Prediction, coefficients: Tensor, symbols: Tensor) -> Bytes:
    """What is kept of a frame: uint8 [h, w, 488].

    Args:
        coefficients: (96, h, w) of the residual in steps, not rounded. symbols: (96, h, w) as coded.
    """
    context = prediction.context
    reconstruction, own, _ = prediction.filter_inputs(symbols)
    detail = filter_input(reconstruction, own)[0, :COEFFICIENTS]
    error = torch.round((coefficients - symbols) * 2**_ERROR_SHIFT)
    _, h, w = symbols.shape
    record = np.zeros((CHANNELS, h, w), np.uint8)
    signed = record.view(np.int8)
    for name in ("prediction", "former", "aux"):
        record[_PLACES[name]] = getattr(context, name)[0].to(torch.uint8).numpy()
    for name, values in (("symbols", symbols), ("detail", detail), ("error", error)):
        signed[_PLACES[name]] = values.clamp(-127, 127).to(torch.int8).numpy()
    return np.ascontiguousarray(record.transpose(1, 2, 0))


@dataclass(frozen=True)
class Crops:
    """Parts of recorded frames.

    Attributes:
        records: uint8 [N, h, w, 494], already mirrored in space.
        quality: int64 [N].
        mirrored: bool [N, 2], whether a sample is mirrored in y, in x.
    """

    records: Bytes
    quality: npt.NDArray[np.int64]
    mirrored: npt.NDArray[np.bool_]

    def _part(self, name: str, dtype: type[np.generic] = np.uint8) -> Tensor:
        part = np.ascontiguousarray(self.records[..., _PLACES[name]].transpose(0, 3, 1, 2))
        return torch.from_numpy(part.view(dtype).astype(np.float32))

    def _negative(self) -> Tensor:
        """(N, 96, 1, 1) bool: coefficients that changed sign."""
        both = (self.mirrored[:, :, None] & _ODD[None]).sum(1) == 1
        return torch.from_numpy(both)[:, :, None, None]

    def _signed(self, name: str) -> Tensor:
        value = self._part(name, np.int8)
        return torch.where(self._negative(), -value, value)

    def residual(self) -> tuple[Tensor, SwiftContext]:
        """Symbols (N, 96, h, w) and contexts, as SwiftEntropy takes them."""
        return self._signed("symbols"), SwiftContext(self._part("prediction"), self._part("former"),
                                                     self._part("aux"), torch.from_numpy(self.quality))

    def filter_input(self) -> Tensor:
        """(N, 200, h, w), as SwiftFilter.correct takes it."""
        detail, symbols = self._part("detail", np.int8), self._signed("symbols")
        # It was rounded down: floor(-x) is -1 - floor(x), but for whole numbers.
        detail = torch.where(self._negative(), (-1.0 - detail).clamp_min(-127.0), detail)
        # The second half follows from the symbols.
        own = filter_input(torch.zeros_like(symbols), symbols)[:, COEFFICIENTS:]
        return torch.cat((detail, own, self._part("aux")), 1)

    def error(self) -> Tensor:
        """What the symbols leave of the coefficients, (N, 96, h, w), in steps."""
        return self._signed("error") * 2.0**-_ERROR_SHIFT


def digest_of(identity: dict[str, Any]) -> str:
    """A short name of an identity."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


class Recording:
    """Read access to a recording, memory-mapped.

    Attributes:
        clips: in the order of the cache.
        motion: layouts of the motion files by name.
        n_rows: rows of the motion files by name.
        digest: names what the recording was made of and how.

    Raises:
        VideoError: there is none, or it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "recording.json"
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            self.identity: dict[str, Any] = raw["identity"]
            if self.identity["version"] != RECORD_VERSION:
                raise VideoError(f"{path} is of another version: record again")
            self.clips = [RecordedClip(**{**c, "rows": {k: tuple(v) for k, v in c["rows"].items()}})
                          for c in raw["clips"]]
            self.motion = {name: MotionLayout(m["inputs"], m["offset"], tuple((d, n) for d, n in m["coded"]))
                           for name, m in raw["motion"].items()}
            self.n_rows = {name: sum(c.rows[name][1] for c in self.clips) for name in self.motion}
            # As plain arrays: slicing np.memmap itself costs many times as much.
            self._frames = np.asarray(np.memmap(folder / "frames.bin", np.uint8, "r"))
            self._motion = {name: np.asarray(np.memmap(folder / f"{name}.bin", layout.row, "r"))
                            for name, layout in self.motion.items()}
        except FileNotFoundError as error:
            missing = Path(error.filename).name
            raise VideoError(f"{folder} holds no recording: {missing} is missing") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise VideoError(f"{path} cannot be read: {error}") from error
        if len(self._frames) != sum(c.n_frames * c.frame_bytes for c in self.clips):
            raise VideoError(f"{folder}/frames.bin is not as long as {path} says")
        if any(len(self._motion[name]) != n for name, n in self.n_rows.items()):
            raise VideoError(f"the motion files in {folder} are not as long as {path} says")
        self.digest = digest_of(self.identity)
        self._row_ends = {name: np.cumsum([c.rows[name][1] for c in self.clips]) for name in self.motion}
        self._row_starts = {name: np.array([c.rows[name][0] for c in self.clips]) for name in self.motion}

    def frame(self, clip: int, frame: int) -> Bytes:
        """View of a frame of the clip at a place in ``clips``: uint8 [h, w, 488]."""
        c = self.clips[clip]
        start = c.offset + frame * c.frame_bytes
        return self._frames[start : start + c.frame_bytes].reshape(c.height, c.width, CHANNELS)

    def check_crop(self, crop: tuple[int, int]) -> list[int]:
        """Places in ``clips`` that hold the crop (luma samples). Raises UsageError if there are none."""
        fits = [i for i, c in enumerate(self.clips)
                if c.height * BLOCK >= crop[0] and c.width * BLOCK >= crop[1]]
        if not fits:
            raise UsageError(f"none of {len(self.clips)} recorded clips holds {crop[1]}x{crop[0]}")
        return fits

    def crops(self, rng: Rng, crop: tuple[int, int], n: int) -> Crops:
        """Random crops (height, width in luma samples, multiples of 8) of random frames, mirrored at random.

        Raises UsageError if no frame is large enough.
        """
        fits = self.check_crop(crop)
        ends = np.cumsum([self.clips[i].n_frames for i in fits])
        height, width = crop[0] // BLOCK, crop[1] // BLOCK
        records, quality, mirrored = [], [], []
        for pick, top, left, mirror_y, mirror_x in rng.random((n, 5)).tolist():
            number = int(pick * ends[-1])
            at = int(np.searchsorted(ends, number, side="right"))
            clip = self.clips[fits[at]]
            frame = self.frame(fits[at], number - int(ends[at]) + clip.n_frames)
            y, x = int(top * (clip.height - height + 1)), int(left * (clip.width - width + 1))
            flips = mirror_y < 0.5, mirror_x < 0.5
            part = frame[y : y + height, x : x + width]
            records.append(part[:: -1 if flips[0] else 1, :: -1 if flips[1] else 1])
            quality.append(clip.quality)
            mirrored.append(flips)
        return Crops(np.stack(records), np.array(quality, np.int64), np.array(mirrored))

    def rows(self, name: str, rng: Rng, n: int) -> npt.NDArray[np.void]:
        """Random rows of a motion file, each as likely as another; none if the file is empty."""
        if not self.n_rows[name]:
            return self._motion[name][:0]
        number = rng.integers(self.n_rows[name], size=n)
        ends = self._row_ends[name]
        at = np.searchsorted(ends, number, side="right")
        lengths = np.diff(ends, prepend=0)
        return np.asarray(self._motion[name][self._row_starts[name][at] + number - ends[at] + lengths[at]])


def index_of(identity: dict[str, Any], motion: dict[str, MotionLayout],
             clips: list[RecordedClip]) -> dict[str, Any]:
    """The content of recording.json."""
    return {"identity": identity, "motion": {name: asdict(layout) for name, layout in motion.items()},
            "clips": [asdict(clip) for clip in sorted(clips, key=lambda c: c.clip)]}
