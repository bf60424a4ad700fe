"""Reading frames to be measured.

Source and decoded file are read here by PyAV alone, not by lvc.video: an error in lvc's own reader or
writer must show in the figures, and would not if the same code stood on both sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import av.error
import numpy as np

from benchlib.specs import BenchmarkError, SequenceSpec
from lvc import Frame
from lvc.types import ColorInfo

_NOT_420 = "{}: the benchmark measures 8-bit 4:2:0, this is {}"


@dataclass(frozen=True)
class Picture:
    """What is known of a sequence without decoding it."""

    width: int
    height: int
    frame_rate: Fraction
    color: ColorInfo


def _open(
    path: Path, size: tuple[int, int] | None, frame_rate: Fraction | None
) -> av.container.InputContainer:
    try:
        if path.suffix.lower() != ".yuv":
            return av.open(str(path))
        if size is None:
            raise BenchmarkError(f"{path.name}: a .yuv file needs its size; give it in a TOML list")
        options = {"video_size": f"{size[0]}x{size[1]}", "pixel_format": "yuv420p",
                   "framerate": str(frame_rate or Fraction(30))}
        return av.open(str(path), format="rawvideo", options=options)
    except (av.error.FFmpegError, OSError) as error:
        raise BenchmarkError(f"{path.name}: cannot be read ({error})") from error


def describe(sequence: SequenceSpec) -> Picture:
    """Size, frame rate and colour of a sequence.

    Raises:
        BenchmarkError: not a video, or not 8-bit 4:2:0. (lvc would convert it; but then the conversion
            would be part of what is measured.)
    """
    with _open(sequence.path, sequence.size, sequence.frame_rate) as container:
        if not container.streams.video:
            raise BenchmarkError(f"{sequence.path.name}: no video stream")
        stream = container.streams.video[0]
        context = stream.codec_context
        if context.pix_fmt not in ("yuv420p", "yuvj420p"):
            raise BenchmarkError(_NOT_420.format(sequence.path.name, context.pix_fmt))
        color = ColorInfo(
            primaries=int(context.color_primaries),
            transfer=int(context.color_trc),
            matrix=int(context.colorspace),
            full_range=context.pix_fmt == "yuvj420p" or int(context.color_range) == 2,
        )
        return Picture(context.width, context.height, Fraction(stream.average_rate or 30), color)


def count_frames(sequence: SequenceSpec) -> int | None:
    """Number of frames that a file claims to have; None if it does not say."""
    if sequence.size is not None:
        width, height = sequence.size
        return sequence.path.stat().st_size // (width * height + 2 * ((width + 1) // 2) * ((height + 1) // 2))
    with _open(sequence.path, sequence.size, sequence.frame_rate) as container:
        stream = container.streams.video[0]
        if stream.frames:
            return int(stream.frames)
        if container.duration and stream.average_rate:
            return max(1, round(container.duration / av.time_base * stream.average_rate))
    return None


def frames_of(
    path: Path,
    *,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    frame_rate: Fraction | None = None,
) -> Iterator[Frame]:
    """Frames of a video file in presentation order, the first ``frames`` of them.

    Raises:
        BenchmarkError: a file that cannot be read, or that is not 8-bit 4:2:0.
    """
    with _open(path, size, frame_rate) as container:
        if not container.streams.video:
            raise BenchmarkError(f"{path.name}: no video stream")
        try:
            for picture in islice(container.decode(video=0), frames):
                yield _to_frame(picture, path)
        except av.error.FFmpegError as error:
            raise BenchmarkError(f"{path.name}: cannot be decoded ({error})") from error


def _to_frame(picture: av.VideoFrame, path: Path) -> Frame:
    if picture.format.name not in ("yuv420p", "yuvj420p"):
        raise BenchmarkError(_NOT_420.format(path.name, picture.format.name))
    planes = []
    for plane in picture.planes:
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        planes.append(rows[:, : plane.width].copy())
    return Frame(*planes, pts=picture.pts or 0)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
