"""Pictures for the report: parts of decoded frames beside the source, from files coded as the records say.

Results files hold no pictures, so a stream is made once more and decoded. That it gives the frames that were
measured is verified by their MD5.
"""

from __future__ import annotations

import base64
import hashlib
import io
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from benchlib.pictures import describe, frames_of, sha256_of
from benchlib.specs import BenchmarkError, SequenceSpec
from PIL import Image

import lvc
from lvc import Frame
from lvc.metrics import frame_to_rgb

Picture = npt.NDArray[np.uint8]

PNG_LIMIT = 96 * 1024
"""Crops whose PNG is larger than this are JPEG (quality 95, 4:4:4)."""


@dataclass(frozen=True)
class Crop:
    """A part of a picture, ready for a page.

    Attributes:
        codec: codec string; empty for the source.
        uri: data URI.
        exact: whether the frames were those that were measured, by MD5.
    """

    codec: str
    uri: str
    exact: bool = True


@dataclass(frozen=True)
class CropSet:
    """The same part of one frame, out of the source and out of each decoded file.

    Attributes:
        frame: its index. x, y, width, height: the part, in luma samples.
    """

    sequence: str
    frame: int
    x: int
    y: int
    width: int
    height: int
    crops: list[Crop]


def crop_set(sequence: SequenceSpec, records: Mapping[str, Mapping[str, Any]], cache: Path, *,
             frame: int | None = None, size: tuple[int, int] = (320, 214),
             on_progress: Callable[[str], None] | None = None) -> CropSet:
    """Code a sequence as records say, and cut the same part out of one frame of each result.

    The part is where the source moves most between that frame and the one before (and so does not depend on
    any codec).

    Args:
        sequence: the source.
        records: by codec string; all of one sequence and number of frames.
        cache: folder for decoded frames, by the MD5 of what they belong to.
        frame: index; by default the middle one.
        size: width and height of the part, in luma samples; smaller pictures are shown whole.
        on_progress: is given each codec string as its turn comes.

    Raises:
        BenchmarkError: another file than was measured, or no such frame.
        LvcError: the codec failed.
    """
    first = next(iter(records.values()))
    frames = first["sequence"]["frames"]
    index = frames // 2 if frame is None else frame
    if not 0 <= index < frames:
        raise BenchmarkError(f"{sequence.name} has no frame {index}; {frames} were measured")
    if sha256_of(sequence.path) != first["sequence"]["sha256"]:
        raise BenchmarkError(f"{sequence.path.name} is not the file that was measured as {sequence.name}")
    color = describe(sequence).color
    source, former = _source_frames(sequence, index, frames)
    x, y, width, height = busiest_part(source.y, former.y, size)
    crops = [Crop("", data_uri(frame_to_rgb(source, color)[y : y + height, x : x + width]))]
    for codec, record in records.items():
        if on_progress:
            on_progress(codec)
        picture, exact = _decoded(sequence, record, index, cache, color)
        crops.append(Crop(codec, data_uri(picture[y : y + height, x : x + width]), exact))
    return CropSet(sequence.name, index, x, y, width, height, crops)


def _source_frames(sequence: SequenceSpec, index: int, frames: int) -> tuple[Frame, Frame]:
    """A frame and the one before it (or itself, if it is the first)."""
    former = None
    for number, frame in enumerate(frames_of(sequence.path, frames=frames, size=sequence.size,
                                             frame_rate=sequence.frame_rate)):
        if number == index:
            return frame, former or frame
        former = frame
    raise BenchmarkError(f"{sequence.name} has no frame {index}")


def busiest_part(luma: Picture, former: Picture, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Where two frames differ most: x, y, width, height of a window of ``size``, at even places."""
    height, width = luma.shape
    w, h = min(size[0], width), min(size[1], height)
    change = np.abs(luma.astype(np.int64) - former)
    sums = np.pad(change.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    windows = sums[h:, w:] - sums[:-h, w:] - sums[h:, :-w] + sums[:-h, :-w]
    y, x = np.unravel_index(int(np.argmax(windows[::2, ::2])), windows[::2, ::2].shape)
    return 2 * int(x), 2 * int(y), w, h


def _decoded(sequence: SequenceSpec, record: Mapping[str, Any], index: int, cache: Path,
             color: Any) -> tuple[Picture, bool]:
    """Frame ``index`` of the record's file as RGB, and whether its MD5 is the record's."""
    known = cache / f"{record['decoded_md5']}-{index}.png"
    if known.is_file():
        with Image.open(known) as image:
            return np.asarray(image.convert("RGB")), True
    quality = record["point"].get("quality")
    with tempfile.TemporaryDirectory(prefix="lvc-report-") as folder:
        coded, decoded = Path(folder, "coded.lvc"), Path(folder, "decoded.y4m")
        lvc.encode(sequence.path, coded, codec=record["codec_string"],
                   intra_period=record["intra_period"], frames=record["sequence"]["frames"],
                   threads=record["threads"], size=sequence.size, frame_rate=sequence.frame_rate,
                   on_warning=lambda message: None, **({} if quality is None else {"quality": int(quality)}))
        lvc.decode(coded, decoded)
        digest = hashlib.md5(usedforsecurity=False)
        picture: Picture | None = None
        for number, frame in enumerate(frames_of(decoded)):
            for plane in frame.planes:
                digest.update(plane.tobytes())
            if number == index:
                picture = frame_to_rgb(frame, color)
    if picture is None:
        raise BenchmarkError(f"{record['codec_string']} on {sequence.name} gave back no frame {index}")
    exact = digest.hexdigest() == record["decoded_md5"]
    if exact:
        cache.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(known)
    return picture, exact


def data_uri(picture: Picture) -> str:
    """A picture (uint8, height x width x 3) as a data URI: PNG, or JPEG where that would be large."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    kind = "png"
    if buffer.tell() > PNG_LIMIT:
        buffer = io.BytesIO()
        # (optimize=True would fail on pictures of noise: Pillow's buffer is too small for them)
        image.save(buffer, "JPEG", quality=95, subsampling=0)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
