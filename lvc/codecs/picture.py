"""Pictures between lvc and libavcodec: padding to what an encoder takes, cropping, copying of planes."""

from __future__ import annotations

from typing import Any

import av
import numpy as np

from lvc.errors import CorruptStreamError, UsageError
from lvc.types import Frame, Plane, VideoInfo


def check_size(frame: Frame, video: VideoInfo) -> None:
    """Raises UsageError if a frame is not of its video's size."""
    if (frame.width, frame.height) != (video.width, video.height):
        raise UsageError(f"frame of {frame.width}x{frame.height} in a video of {video.width}x{video.height}")


def padded_size(width: int, height: int, multiple: int = 2, minimum: int = 16) -> tuple[int, int]:
    """The least (width, height) that holds a picture: multiples of ``multiple``, at least ``minimum``."""
    return max(minimum, -(-width // multiple) * multiple), max(minimum, -(-height // multiple) * multiple)


def pad_frame(frame: Frame, size: tuple[int, int]) -> Frame:
    """Extend a frame to ``size`` (width, height; even) at the right and bottom by repeating edges."""
    width, height = size
    if (width, height) == (frame.width, frame.height):
        return frame
    planes = []
    for plane, w, h in zip(frame.planes, (width, width // 2, width // 2), (height, height // 2, height // 2),
                           strict=True):
        planes.append(np.pad(plane, ((0, h - plane.shape[0]), (0, w - plane.shape[1])), mode="edge"))
    return Frame(planes[0], planes[1], planes[2], frame.pts)


def crop_frame(frame: Frame, width: int, height: int) -> Frame:
    """The top left ``width`` x ``height`` samples of a frame that is at least that large."""
    if (width, height) == (frame.width, frame.height):
        return frame
    cw, ch = (width + 1) // 2, (height + 1) // 2
    return Frame(np.ascontiguousarray(frame.y[:height, :width]), np.ascontiguousarray(frame.u[:ch, :cw]),
                 np.ascontiguousarray(frame.v[:ch, :cw]), frame.pts)


def shown(planes: tuple[Plane, Plane, Plane], video: VideoInfo, pts: int) -> Frame:
    """What of decoded planes, at least as large as the video, is output: a copy, since others refer to them."""
    y, u, v = planes
    width, height = video.chroma_size
    return Frame(y[: video.height, : video.width].copy(), u[:height, :width].copy(), v[:height, :width].copy(), pts)


def to_av(frame: Frame, pts: int) -> av.VideoFrame:
    """Copy a frame of even width and height into one of PyAV."""
    picture = av.VideoFrame(frame.width, frame.height, "yuv420p")
    for plane, source in zip(picture.planes, frame.planes, strict=True):
        target = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # type: ignore[call-overload]
        target[: source.shape[0], : source.shape[1]] = source
    picture.pts = pts
    return picture


def to_packet(data: bytes) -> av.Packet[Any]:
    """Copy coded bytes into a packet of PyAV.

    ``av.Packet(data)`` would only refer to the bytes. To let go of them takes the interpreter lock, which a
    decoder's thread may never get: PyAV holds it while it flushes or frees the decoder, which waits for that
    thread.
    """
    packet: av.Packet[Any] = av.Packet(len(data))
    packet.update(data)
    return packet


def from_av(picture: Any, size: tuple[int, int], pts: int) -> Frame:
    """Copy a decoded picture; 10-bit samples are rounded to 8 bits.

    Raises:
        CorruptStreamError: the picture is not 4:2:0 of 8 or 10 bits, or not ``size`` (width, height) large.
    """
    name = picture.format.name
    # full range H.264 decodes to the deprecated name (yuvj420p) of the same layout
    if name not in ("yuv420p", "yuvj420p", "yuv420p10le"):
        raise CorruptStreamError(f"decoded picture is {name}, not 4:2:0 of 8 or 10 bits")
    if (picture.width, picture.height) != size:
        raise CorruptStreamError(f"decoded picture is {picture.width}x{picture.height}, "
                                 f"not {size[0]}x{size[1]}")
    dtype = np.dtype("<u2") if name == "yuv420p10le" else np.dtype(np.uint8)
    planes: list[Plane] = []
    for index, plane in enumerate(picture.planes):
        w, h = size if index == 0 else (size[0] // 2, size[1] // 2)
        rows: Any = np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype.itemsize)[:h, :w]
        if dtype.itemsize == 2:
            rows = np.minimum((rows + np.uint16(2)) >> np.uint16(2), 255)
        planes.append(rows.astype(np.uint8))
    return Frame(planes[0], planes[1], planes[2], pts)


def one_line(error: BaseException) -> str:
    """The text of an error of PyAV, without file names and line breaks."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split())
