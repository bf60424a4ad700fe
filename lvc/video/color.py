"""Colour descriptions, and the ways between FFmpeg's pictures and 8-bit YUV 4:2:0 planes.

Code points are those of ITU-T H.273, which FFmpeg uses as they are. Every change of pixel format goes through
swscale; 8-bit 4:2:0 in, planar or NV12, is copied and never touched.
"""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from lvc.errors import VideoError
from lvc.types import ColorInfo, Frame, Plane
from lvc.video.base import Warner, one_line

UNSPECIFIED = 2
FULL_RANGE = 2  # AVCOL_RANGE_JPEG
LIMITED_RANGE = 1  # AVCOL_RANGE_MPEG
BT709 = 1
BT601 = 6
HD_HEIGHT = 720
"""Pictures at least this high are BT.709 where nothing says otherwise, lower ones BT.601, as players do."""

NATIVE_FORMATS = ("yuv420p", "yuvj420p", "nv12", "nv21")
GRAY_FORMATS = ("gray", "gray8")

# SWS_BICUBIC, SWS_FULL_CHR_H_INT, SWS_FULL_CHR_H_INP, SWS_ACCURATE_RND, SWS_BITEXACT: the same result on
# every machine, whatever its vector instructions.
SCALE_FLAGS = 0x4 | 0x2000 | 0x4000 | 0x40000 | 0x80000

# From code points of H.273 to those of swscale; others (YCgCo, ICtCp, ...) have no conversion there.
_SWS_MATRIX = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}


def default_matrix(height: int) -> int:
    """The matrix (H.273 code point) that is meant where none is given."""
    return BT709 if height >= HD_HEIGHT else BT601


def is_rgb(frame: av.VideoFrame) -> bool:
    """Whether the samples are R, G and B (planar, packed or by palette)."""
    return bool(frame.format.is_rgb) or frame.format.name == "pal8"


def color_of(frame: av.VideoFrame, *, still: bool = False) -> ColorInfo:
    """The colour description of ``frame`` once it is YUV 4:2:0.

    Args:
        frame: as decoded.
        still: a still picture, whose gray levels have full range as those of RGB.
    """
    full = int(frame.color_range) == FULL_RANGE or frame.format.name.startswith("yuvj")
    matrix = int(frame.colorspace)
    if is_rgb(frame) or (still and frame.format.name.startswith(("gray", "ya", "mono"))):
        full, matrix = False, default_matrix(frame.height)
    return ColorInfo(int(frame.color_primaries), int(frame.color_trc), matrix, full)


def _rows(plane: av.video.plane.VideoPlane, width: int, height: int) -> Plane:
    """A view, shape (height, width), of the samples of a plane, without the padding at the end of rows."""
    stride = plane.line_size
    if stride < width:
        raise VideoError(f"a picture plane has rows of {stride} bytes for {width} samples")
    samples: Plane = np.frombuffer(memoryview(plane), np.uint8)
    return samples[: stride * height].reshape(height, stride)[:, :width]


class Converter:
    """Makes 8-bit YUV 4:2:0 frames of whatever FFmpeg decodes; holds the swscale context between frames."""

    def __init__(self, warn: Warner, *, still: bool = False) -> None:
        self._warn = warn
        self._still = still
        self._scaler = VideoReformatter()

    def frame(self, picture: av.VideoFrame, pts: int) -> Frame:
        """Copy or convert ``picture``. Planes are contiguous and belong to the frame.

        Raises VideoError if swscale does not know the format.
        """
        width, height = picture.width, picture.height
        chroma = (width + 1) // 2, (height + 1) // 2
        name = picture.format.name
        if name in GRAY_FORMATS and not self._still:
            neutral = np.full(chroma[::-1], 128, np.uint8)
            return Frame(_rows(picture.planes[0], width, height).copy(), neutral, neutral.copy(), pts)
        if name in ("nv12", "nv21"):
            pairs = _rows(picture.planes[1], 2 * chroma[0], chroma[1])
            first, second = pairs[:, 0::2].copy(), pairs[:, 1::2].copy()
            u, v = (first, second) if name == "nv12" else (second, first)
            return Frame(_rows(picture.planes[0], width, height).copy(), u, v, pts)
        if name not in ("yuv420p", "yuvj420p"):
            picture = self._convert(picture)
        return Frame(_rows(picture.planes[0], width, height).copy(), _rows(picture.planes[1], *chroma).copy(),
                     _rows(picture.planes[2], *chroma).copy(), pts)

    def _convert(self, picture: av.VideoFrame) -> av.VideoFrame:
        name = picture.format.name
        color = color_of(picture, still=self._still)
        try:
            if is_rgb(picture) or (self._still and not name.startswith("yuv")):
                matrix = "BT.709" if color.matrix == BT709 else "BT.601"
                self._warn(f"{name} pictures are converted to 8-bit YUV 4:2:0 ({matrix}, limited range)")
                if not is_rgb(picture):  # gray with or without alpha: the levels of RGB
                    picture = self._scaler.reformat(picture, format="rgb24", src_color_range=FULL_RANGE,
                                                    dst_color_range=FULL_RANGE)
                return self._scaler.reformat(
                    picture, format="yuv420p", interpolation=SCALE_FLAGS,
                    src_colorspace=_SWS_MATRIX[color.matrix], dst_colorspace=_SWS_MATRIX[color.matrix],
                    src_color_range=FULL_RANGE, dst_color_range=LIMITED_RANGE)
            self._warn(f"{name} pictures are converted to 8-bit YUV 4:2:0")
            level = FULL_RANGE if color.full_range else LIMITED_RANGE
            return self._scaler.reformat(picture, format="yuv420p", interpolation=SCALE_FLAGS,
                                         src_color_range=level, dst_color_range=level)
        except (av.error.FFmpegError, ValueError) as error:
            reason = one_line(error)
            raise VideoError(f"cannot convert {name} pictures to 8-bit YUV 4:2:0: {reason}") from error


def to_picture(frame: Frame, color: ColorInfo) -> av.VideoFrame:
    """A yuv420p picture for FFmpeg, with the colour description on it. Samples are copied; no pts is set."""
    picture = av.VideoFrame(frame.width, frame.height, "yuv420p")
    for plane, samples in zip(picture.planes, frame.planes, strict=True):
        height, width = samples.shape
        _rows(plane, width, height)[...] = samples
    set_color(picture, color)
    return picture


def to_444(frame: Frame, color: ColorInfo) -> av.VideoFrame:
    """A yuv444p picture; each chroma sample is repeated for its 2x2 luma samples, so nothing is lost."""
    picture = av.VideoFrame(frame.width, frame.height, "yuv444p")
    for plane, samples in zip(picture.planes, frame.planes, strict=True):
        if samples.shape != frame.y.shape:
            samples = samples.repeat(2, axis=0).repeat(2, axis=1)[: frame.height, : frame.width]
        _rows(plane, frame.width, frame.height)[...] = samples
    set_color(picture, color)
    return picture


def set_color(target: av.VideoFrame | av.VideoCodecContext, color: ColorInfo) -> None:
    """Write a colour description onto a picture or an encoder."""
    target.color_primaries = color.primaries
    target.color_trc = color.transfer
    target.colorspace = color.matrix
    target.color_range = FULL_RANGE if color.full_range else LIMITED_RANGE


class RgbConverter:
    """Makes 8-bit RGB pictures of frames, by their matrix and range.

    A matrix that is not given is BT.709 from 720 lines on, BT.601 below; one that swscale does not know
    raises VideoError.
    """

    def __init__(self, color: ColorInfo, height: int) -> None:
        matrix = default_matrix(height) if color.matrix == UNSPECIFIED else color.matrix
        if matrix not in _SWS_MATRIX:
            raise VideoError(f"pictures of colour matrix {matrix} (ITU-T H.273) cannot be converted to RGB")
        self._color = ColorInfo(color.primaries, color.transfer, matrix, color.full_range)
        self._scaler = VideoReformatter()

    def picture(self, frame: Frame) -> av.VideoFrame:
        """An rgb24 picture of the frame's size."""
        matrix = _SWS_MATRIX[self._color.matrix]
        return self._scaler.reformat(
            to_picture(frame, self._color), format="rgb24", interpolation=SCALE_FLAGS,
            src_colorspace=matrix, dst_colorspace=matrix,
            src_color_range=FULL_RANGE if self._color.full_range else LIMITED_RANGE,
            dst_color_range=FULL_RANGE)
