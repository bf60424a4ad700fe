"""Synthetic frames and sound for the video tests, and files made of them with PyAV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from lvc.types import Frame

MakeVideo = Callable[..., Path]


def texture(width: int, height: int, index: int = 0) -> Frame:
    """A moving gradient with a little noise; every sample value may occur."""
    random = np.random.default_rng(index)
    rows, columns = np.mgrid[:height, :width]
    y = (rows * 3 + columns * 2 + 7 * index) % 256
    y = np.clip(y + random.integers(-4, 5, y.shape), 0, 255).astype(np.uint8)
    shape = (height + 1) // 2, (width + 1) // 2
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    u = ((rows * 5 + 3 * index) % 256).astype(np.uint8)
    v = ((columns * 5 + 9 * index) % 256).astype(np.uint8)
    return Frame(y, u, v, index)


def smooth(width: int, height: int, index: int = 0) -> Frame:
    """A gradient within legal limited-range colours, without fine chroma."""
    rows, columns = np.mgrid[:height, :width]
    y = (60 + 120 * columns / width + 20 * rows / height + index).astype(np.uint8)
    shape = (height + 1) // 2, (width + 1) // 2
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    u = (110 + 30 * rows / shape[0]).astype(np.uint8)
    v = (140 - 20 * columns / shape[1]).astype(np.uint8)
    return Frame(y, u, v, index)


def picture(frame: Frame) -> av.VideoFrame:
    """The frame as a yuv420p picture, filled by way of PyAV's own array conversion where the size is even."""
    result = av.VideoFrame(frame.width, frame.height, "yuv420p")
    for plane, samples in zip(result.planes, frame.planes, strict=True):
        padded = np.zeros((samples.shape[0], plane.line_size), np.uint8)
        padded[:, : samples.shape[1]] = samples
        data = padded.tobytes()
        plane.update(data + bytes(plane.buffer_size - len(data)))
    return result


def assert_same(left: Sequence[Frame], right: Sequence[Frame]) -> None:
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        for a, b in zip(one.planes, other.planes, strict=True):
            np.testing.assert_array_equal(a, b)


def tone(stream: av.AudioStream, start: Fraction, samples: int) -> list[Any]:
    """Packets of a 440 Hz tone from ``start`` seconds on."""
    packets: list[Any] = []
    wave = np.sin(np.arange(samples) * 440 * 2 * np.pi / 44100).astype(np.float32) * 0.5
    for offset in range(0, samples, 1024):
        block = wave[None, offset : offset + 1024]
        sound = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout="mono")
        sound.sample_rate = 44100
        sound.pts = offset + round(start * 44100)
        sound.time_base = Fraction(1, 44100)
        packets += stream.encode(sound)
    return packets + stream.encode(None)


def make_video(path: Path, frames: Sequence[Any], *, codec: str = "ffv1", rate: int = 25,
               time_base: Fraction | None = None, pix_fmt: str = "yuv420p", rotation: int = 0,
               audio_start: Fraction | None = None, tags: dict[str, str] | None = None,
               chapters: Sequence[dict[str, Any]] = (), options: dict[str, str] | None = None,
               **context: Any) -> Path:
    """Encode frames (Frame, or pictures of PyAV), each with its pts, with a tone beside them if asked for.

    ``context`` are attributes of the video encoder, such as ``color_range=2``.
    """
    base = time_base or Fraction(1, rate)
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height = frames[0].width, frames[0].height
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = base
        for key, value in context.items():
            setattr(stream.codec_context, key, value)
        if rotation:
            stream.set_display_rotation(rotation)
        sound = None
        if audio_start is not None:
            sound = output.add_stream("aac", rate=44100, layout="mono")
            sound.codec_context.time_base = Fraction(1, 44100)
        output.metadata.update(tags or {})
        output.set_chapters(list(chapters))
        if sound is not None:
            output.mux(tone(sound, audio_start, 44100 * len(frames) // rate))
        for frame in frames:
            image = picture(frame) if isinstance(frame, Frame) else frame
            image.pts, image.time_base = frame.pts, base
            output.mux(stream.encode(image))
        output.mux(stream.encode(None))
    return path
