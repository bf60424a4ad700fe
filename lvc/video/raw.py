"""Headerless YUV files, YUV4MPEG2 (.y4m) output and folders of PNG files."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from lvc.errors import UsageError, VideoError
from lvc.types import Frame, VideoInfo
from lvc.video.base import VideoSink, VideoSource, Warner, check_readable, natural_key, one_line
from lvc.video.color import Converter, RgbConverter, color_of

DEFAULT_RATE = Fraction(30)


class RawSource(VideoSource):
    """A headerless file of 8-bit planar YUV 4:2:0 frames (I420): Y, U, V of each, one after another."""

    def __init__(self, path: Path, size: tuple[int, int] | None, frame_rate: Fraction | None,
                 frames: int | None, warn: Warner) -> None:
        super().__init__(path, frames, warn)
        if size is None:
            raise VideoError(f"cannot read {path}: the size (width and height) of raw YUV must be given")
        check_readable(path)
        rate = frame_rate or DEFAULT_RATE
        self.info = VideoInfo(size[0], size[1], rate, 1 / rate)
        chroma_width, chroma_height = self.info.chroma_size
        self._frame_bytes = size[0] * size[1] + 2 * chroma_width * chroma_height
        total = path.stat().st_size
        if total % self._frame_bytes:
            raise VideoError(f"cannot read {path}: its {total} bytes are not a whole number of "
                             f"{size[0]}x{size[1]} 4:2:0 frames ({self._frame_bytes} bytes each)")
        self.info = replace(self.info, n_frames=self._hint(total // self._frame_bytes))
        self._file = open(path, "rb")  # noqa: SIM115  closed by _release

    def _read(self) -> Iterator[Frame]:
        width, height = self.info.width, self.info.height
        chroma = self.info.chroma_size[::-1]
        luma_end = width * height
        u_end = luma_end + chroma[0] * chroma[1]
        for pts in range(1 << 62):
            data = np.fromfile(self._file, np.uint8, self._frame_bytes)
            if data.size == 0:
                return
            if data.size < self._frame_bytes:
                raise VideoError(f"cannot read {self.path}: it ends within frame {pts}")
            # Copies, so that a frame that is kept does not keep a buffer of all three planes alive.
            yield Frame(data[:luma_end].reshape(height, width).copy(),
                        data[luma_end:u_end].reshape(chroma).copy(), data[u_end:].reshape(chroma).copy(), pts)

    def _release(self) -> None:
        self._file.close()


class PngSource(VideoSource):
    """A folder of PNG files of one size, in natural order of their names (img2 before img10)."""

    def __init__(self, path: Path, frame_rate: Fraction | None, frames: int | None, warn: Warner) -> None:
        super().__init__(path, frames, warn)
        try:
            names = [name for name in os.listdir(path) if name.lower().endswith(".png")
                     and not name.startswith(".")]
        except OSError as error:
            raise VideoError(f"cannot read {path}: {one_line(error)}") from error
        if not names:
            raise VideoError(f"cannot read {path}: there is no PNG file in this folder")
        self._names = sorted(names, key=natural_key)
        self._converter = Converter(warn, still=True)
        first = self._picture(self._names[0])
        rate = frame_rate or DEFAULT_RATE
        try:
            self.info = VideoInfo(first.width, first.height, rate, 1 / rate, color_of(first, still=True),
                                  n_frames=self._hint(len(names)))
        except UsageError as error:
            raise VideoError(f"cannot read {path}: {error}") from error

    def _picture(self, name: str) -> av.VideoFrame:
        try:
            data = (self.path / name).read_bytes()
            # A new decoder each time: FFmpeg's keeps rows of the picture before and adds them to the next.
            decoder: av.VideoCodecContext = av.CodecContext.create("png", "r")
            decoder.thread_count = 1
            pictures = decoder.decode(av.Packet(data)) if data else []
        except (OSError, ValueError, av.error.FFmpegError) as error:
            raise VideoError(f"cannot read {self.path / name}: {one_line(error)}") from error
        if not pictures:
            raise VideoError(f"cannot read {self.path / name}: not a complete PNG file")
        return pictures[0]

    def _read(self) -> Iterator[Frame]:
        for pts, name in enumerate(self._names):
            picture = self._picture(name)
            if (picture.width, picture.height) != (self.info.width, self.info.height):
                raise VideoError(f"cannot read {self.path / name}: it is {picture.width}x{picture.height}, "
                                 f"the first picture is {self.info.width}x{self.info.height}")
            yield self._converter.frame(picture, pts)

    def _release(self) -> None:
        pass


class PlainSink(VideoSink):
    """Frames one after another in a file without timestamps: raw I420, or YUV4MPEG2 if ``y4m``."""

    def __init__(self, path: Path, info: VideoInfo, overwrite: bool, warn: Warner, *, y4m: bool) -> None:
        super().__init__(path, info, overwrite, warn)
        self._y4m = y4m
        self._first_pts = 0
        kind = "y4m" if y4m else "raw YUV"
        if info.rotation:
            warn(f"{kind} files hold no rotation: {info.rotation} degrees are lost")
        try:
            self._file = open(self.temporary, "xb")  # noqa: SIM115  closed by _finish and _discard
            if y4m:
                self._file.write(y4m_header(info))
        except OSError as error:
            self._remove()
            raise self._failure(error) from error

    def _write(self, frame: Frame) -> None:
        if self.n_written == 0:
            self._first_pts = frame.pts
        # Half a frame's worth off the constant rate is more than rounding of timestamps.
        place = (frame.pts - self._first_pts) * self.info.time_base * self.info.frame_rate
        if abs(place - self.n_written) > Fraction(1, 2):
            self.warn("the output holds no timestamps: the variable frame rate is lost")
        if self._y4m:
            self._file.write(b"FRAME\n")
        for plane in frame.planes:
            self._file.write(np.ascontiguousarray(plane).data)

    def _finish(self) -> None:
        self._file.close()
        os.replace(self.temporary, self.path)

    def _discard(self) -> None:
        self._file.close()
        self._remove()

    def _remove(self) -> None:
        self.temporary.unlink(missing_ok=True)


def y4m_header(info: VideoInfo) -> bytes:
    """The first line of a YUV4MPEG2 file.

    4:2:0 is written as C420jpeg, the name that all readers know; the range as the extension
    XCOLORRANGE, as FFmpeg does.
    """
    aspect = info.sample_aspect_ratio
    return (f"YUV4MPEG2 W{info.width} H{info.height} "
            f"F{info.frame_rate.numerator}:{info.frame_rate.denominator} Ip "
            f"A{aspect.numerator}:{aspect.denominator if aspect else 0} C420jpeg "
            f"XCOLORRANGE={'FULL' if info.color.full_range else 'LIMITED'}\n").encode("ascii")


class PngSink(VideoSink):
    """A folder of 8-bit RGB files frame_000001.png, frame_000002.png, ...

    In a folder that exists, former files of such names are replaced at close(), and other files stay.
    """

    _NAME = re.compile(r"frame_[0-9]{6,}\.png")

    def __init__(self, path: Path, info: VideoInfo, overwrite: bool, warn: Warner) -> None:
        if path.exists() and not path.is_dir():
            raise VideoError(f"cannot write {path}: a file of that name exists, and a folder is needed")
        super().__init__(path, info, overwrite or not (path.is_dir() and any(path.iterdir())), warn)
        self._converter = RgbConverter(info.color, info.height)
        self._encoder: av.VideoCodecContext = av.CodecContext.create("png", "w")
        self._encoder.width, self._encoder.height = info.width, info.height
        self._encoder.pix_fmt = "rgb24"
        self._encoder.thread_count = 1  # more would hold pictures back
        self._encoder.time_base = Fraction(1, 30)  # demanded by FFmpeg, of no effect
        try:
            self.temporary.mkdir()
        except OSError as error:
            raise self._failure(error) from error

    def _write(self, frame: Frame) -> None:
        try:
            picture = self._converter.picture(frame)
            picture.pts = self.n_written
            packets = self._encoder.encode(picture)
        except av.error.FFmpegError as error:
            raise VideoError(f"cannot write {self.path}: {one_line(error)}") from error
        name = f"frame_{self.n_written + 1:06d}.png"
        (self.temporary / name).write_bytes(b"".join(bytes(packet) for packet in packets))

    def _finish(self) -> None:
        if not self.path.is_dir():
            os.rename(self.temporary, self.path)
            return
        for old in self.path.iterdir():
            if self._NAME.fullmatch(old.name):
                old.unlink()
        for new in self.temporary.iterdir():
            os.replace(new, self.path / new.name)
        self.temporary.rmdir()

    def _discard(self) -> None:
        shutil.rmtree(self.temporary, ignore_errors=True)
