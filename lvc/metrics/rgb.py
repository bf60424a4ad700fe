"""8-bit YUV 4:2:0 to 8-bit RGB, as the RGB measures want it."""

from __future__ import annotations

import functools
import threading
from typing import Any

import av
import av.error
import av.filter
import numpy as np
import numpy.typing as npt

from lvc.errors import UsageError
from lvc.types import ColorInfo, Frame

# H.273 matrix code points, and what libavfilter's scale calls them. 2 is "unspecified": BT.601, which is
# what ffmpeg takes for untagged streams, and so what the published RGB figures were made with.
_MATRICES = {1: "bt709", 2: "bt601", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}

# Chroma samples are repeated, which is what ffmpeg does by default from 4:2:0 to RGB of the same size, and so
# what figures of papers rest on (interpolated chroma would give 0.4 to 1.5 dB more on textured video). But
# rounding is exact here, where the default is off by up to 3, and the same on every processor; that is worth
# less than 0.1 dB.
_FLAGS = "neighbor+full_chroma_int+accurate_rnd+bitexact"


class _Converter:
    """A filter graph for one size, matrix and range. Not to be shared between threads."""

    def __init__(self, width: int, height: int, matrix: str, full_range: bool) -> None:
        graph = av.filter.Graph()
        source = graph.add("buffer", f"video_size={width}x{height}:pix_fmt=yuv420p:time_base=1/1")
        matrix_and_range = f"in_color_matrix={matrix}:in_range={'pc' if full_range else 'tv'}:out_range=pc"
        scale = graph.add("scale", f"{matrix_and_range}:flags={_FLAGS}")
        form = graph.add("format", "pix_fmts=rgb24")
        sink = graph.add("buffersink")
        source.link_to(scale)
        scale.link_to(form)
        form.link_to(sink)
        graph.configure()
        self._graph: Any = graph
        self._pts = 0

    def __call__(self, planes: tuple[npt.NDArray[np.uint8], ...]) -> npt.NDArray[np.uint8]:
        height, width = planes[0].shape
        picture = av.VideoFrame(width, height, "yuv420p")
        for plane, samples in zip(picture.planes, planes, strict=True):
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
            rows[:, : plane.width] = samples
        picture.pts = self._pts
        self._pts += 1
        self._graph.push(picture)
        result = self._graph.pull()
        plane = result.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        return rows[:height, : 3 * width].reshape(height, width, 3).copy()


class _Local(threading.local):
    """One set of converters a thread; few, since a run sees few sizes."""

    def __init__(self) -> None:
        self.get = functools.lru_cache(maxsize=4)(_Converter)


_local = _Local()


def frame_to_rgb(frame: Frame, color: ColorInfo | None = None) -> npt.NDArray[np.uint8]:
    """Convert a frame to RGB through swscale.

    Each chroma sample stands for its 2x2 luma samples, as in ``ffmpeg -i in.yuv out.png``, by which learned
    codecs' papers make their RGB frames; results are rounded to the nearest 8-bit value.

    Args:
        frame: 8-bit YUV 4:2:0.
        color: matrix and range to convert by; a matrix that is unspecified (or None) means BT.601, and
            None means limited range.

    Returns:
        uint8, shape (height, width, 3), full range, channels R, G, B.

    Raises:
        UsageError: a matrix that 4:2:0 cannot have or that swscale does not know.
    """
    color = color or ColorInfo()
    matrix = _MATRICES.get(color.matrix)
    if matrix is None:
        known = ", ".join(str(code) for code in _MATRICES)
        raise UsageError(f"cannot convert to RGB by the colour matrix {color.matrix} (H.273); known: {known}")
    # With odd sizes swscale would stretch the chroma planes by slightly less than two.
    bottom, right = frame.height % 2, frame.width % 2
    luma = np.pad(frame.y, ((0, bottom), (0, right)), mode="edge") if bottom or right else frame.y
    converter = _local.get(luma.shape[1], luma.shape[0], matrix, color.full_range)
    try:
        rgb = converter((luma, frame.u, frame.v))
    except av.error.FFmpegError as error:  # pragma: no cover - only a broken FFmpeg build gets here
        size = f"{frame.width}x{frame.height}"
        raise UsageError(f"swscale cannot convert a {size} frame to RGB: {error}") from error
    return rgb[: frame.height, : frame.width]
