"""Recordings: what swift's networks see and what is coded, kept while its encoder runs over training clips.

The decoder of swift is all integer and its symbols are given, so a network learns from a recording what it
would learn inside the encoder. A recording is a folder:

``frames.bin``
    uint8, for each coded frame [h, w, 586] at 1/8 of the luma resolution, frames of a clip in the order of
    coding. The channels of a position are, one after the other:

    ========  =====  ===============================================================================
    channels  type   meaning
    ========  =====  ===============================================================================
    96        uint8  ``SwiftContext.prediction``
    96        int8   symbols, limited to -127..127
    96        uint8  ``SwiftContext.former``
    10        uint8  ``SwiftContext.aux``
    96        uint8  samples decoded, before the in-loop filter: 64 of luma, 16 of U, 16 of V, row by row
    96        uint8  samples predicted
    96        uint8  samples of the source
    ========  =====  ===============================================================================

``vectors.bin``, ``splits.bin``, ``compound.bin``, ``joins.bin``
    one file for each network of lvc.models.swiftmotion and swiftsizes, as far as the model has it: a row for each
    time that it was asked, its inputs (int8), then the symbols that were coded with its outputs (int16, little
    endian; NOT_CODED where nothing was).

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
import torch.nn.functional as F
from torch import Tensor

from lvc.codecs.swiftcoding import CodedResidual
from lvc.codecs.swiftframe import Planes, filled_transforms
from lvc.errors import UsageError, VideoError
from lvc.models.swift import AUX, SwiftContext
from lvc.models.swiftfilter import SIZE_AUX, filter_input, to_cells
from lvc.ops.blockdct import COEFFICIENTS, LUMA, SIZES, quantizer_step
from lvc.ops.blockmotion import BLOCK

RECORD_VERSION = 3

NOT_CODED = -(2**15)
"""In place of a symbol of motion that the stream does not hold."""

_SIZES = {"prediction": COEFFICIENTS, "symbols": COEFFICIENTS, "former": COEFFICIENTS, "aux": AUX,
          "decoded": COEFFICIENTS, "predicted": COEFFICIENTS, "source": COEFFICIENTS}
CHANNELS = sum(_SIZES.values())
"""Bytes a position."""

_ENDS = np.cumsum(list(_SIZES.values())).tolist()
_PLACES = {name: slice(end - size, end) for (name, size), end in zip(_SIZES.items(), _ENDS, strict=True)}

Bytes = npt.NDArray[np.uint8]
Rng = np.random.Generator


@dataclass(frozen=True)
class RecordedClip:
    """A clip of a recording.

    Attributes:
        clip: its number in the cache. height, width: of its frames, in blocks.
        n_frames: coded frames. quality: asked for, 0..63; those of its frames are around it (lvc.codecs.swift.CASCADE).
        offset: of the first frame, in bytes.
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


def _blocks(planes: Planes) -> Bytes:
    """Planes of whole blocks -> [h, w, 96]."""
    parts = []
    for plane, n in zip(planes, (8, 4, 4)):
        h, w = plane.shape
        parts.append(plane.reshape(h // n, n, w // n, n).transpose(0, 2, 1, 3).reshape(h // n, w // n, n * n))
    return np.concatenate(parts, 2)


def pack_frame(coded: CodedResidual, source: Planes) -> Bytes:
    """What is kept of a frame: uint8 [h, w, 586]. ``source``: planes of whole blocks."""
    h, w, _ = coded.symbols.shape
    record = np.empty((h, w, CHANNELS), np.uint8)
    for name in ("prediction", "former", "aux"):
        record[..., _PLACES[name]] = getattr(coded.context, name)
    record[..., _PLACES["symbols"]] = np.clip(coded.symbols, -127, 127).astype(np.int8).view(np.uint8)
    for name, planes in (("decoded", coded.decoded), ("predicted", coded.predicted), ("source", source)):
        record[..., _PLACES[name]] = _blocks(planes)
    return record


@dataclass(frozen=True)
class Crops:
    """Parts of recorded frames.

    Attributes:
        records: uint8 [N, h, w, 586].
    """

    records: Bytes

    @property
    def quality(self) -> Tensor:
        """(N,), 0..63: of each frame."""
        return torch.from_numpy(self.records[:, 0, 0, _PLACES["aux"].start].astype(np.int64))

    def _part(self, name: str, dtype: type[np.generic] = np.uint8) -> Tensor:
        part = np.ascontiguousarray(self.records[..., _PLACES[name]].transpose(0, 3, 1, 2))
        return torch.from_numpy(part.view(dtype).astype(np.float32))

    def residual(self) -> tuple[Tensor, SwiftContext]:
        """Symbols (N, 96, h, w) and contexts, as SwiftEntropy takes them."""
        return self._part("symbols", np.int8), SwiftContext(
            self._part("prediction"), self._part("former"), self._part("aux"), self.quality)

    def cells(self, name: str) -> Tensor:
        """Samples "decoded", "predicted" or "source" as of lvc.models.swiftfilter.to_cells; float64."""
        blocks = self._part(name).double()
        y = F.pixel_shuffle(blocks[:, :LUMA], 8)
        u, v = (F.pixel_shuffle(part, 4) for part in blocks[:, LUMA:].split(16, 1))
        return to_cells(y, u, v)

    def coded_cells(self) -> Tensor:
        """(N, 1, H/4, W/4), 1 for cells of transforms that have symbols other than zero, else 0."""
        filled = (self.records[..., _PLACES["symbols"]] != 0).any(-1)
        sizes = self.records[..., _PLACES["aux"].stop - SIZE_AUX] // 24 * 8  # as size_aux tells them
        blocks = np.stack([filled_transforms(np.maximum(8, 2 * s), f) for s, f in zip(sizes, filled, strict=True)])
        return torch.from_numpy(blocks.repeat(2, 1).repeat(2, 2)[:, None].astype(np.float32))

    def filter_input(self) -> Tensor:
        """What the in-loop filter sees."""
        steps = torch.tensor([quantizer_step(int(q)) for q in self.quality])
        return filter_input(self.cells("decoded"), self.cells("predicted"), self._part("aux")[:, -SIZE_AUX:],
                            self.quality, steps)


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
        """View of a frame of the clip at a place in ``clips``: uint8 [h, w, 586]."""
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
        """Random crops (height, width in luma samples, multiples of 8) of random frames.

        They start at multiples of the largest transform. Raises UsageError if no frame is large enough.
        """
        fits = self.check_crop(crop)
        ends = np.cumsum([self.clips[i].n_frames for i in fits])
        height, width = crop[0] // BLOCK, crop[1] // BLOCK
        align = SIZES[-1] // BLOCK
        records = []
        for pick, top, left in rng.random((n, 3)).tolist():
            number = int(pick * ends[-1])
            at = int(np.searchsorted(ends, number, side="right"))
            clip = self.clips[fits[at]]
            frame = self.frame(fits[at], number - int(ends[at]) + clip.n_frames)
            y = int(top * ((clip.height - height) // align + 1)) * align
            x = int(left * ((clip.width - width) // align + 1)) * align
            records.append(frame[y : y + height, x : x + width])
        return Crops(np.stack(records))

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
