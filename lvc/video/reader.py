"""Reading video: any file that FFmpeg reads, raw YUV and folders of PNG files, as 8-bit 4:2:0 frames."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from lvc.errors import UsageError, VideoError
from lvc.types import Frame, VideoInfo
from lvc.video.base import PathLike, VideoSource, Warner, WarningHook, check_readable, one_line
from lvc.video.color import Converter, color_of
from lvc.video.raw import PngSource, RawSource

RAW_SUFFIXES = (".yuv", ".i420")
ATTACHED_PICTURE = 1 << 10  # AV_DISPOSITION_ATTACHED_PIC

# Playlists may name further files, but never reach the network.
_OPEN_OPTIONS = {"protocol_whitelist": "file,crypto,data"}

# A pts that falls back by more than so many frame durations is a new time line (clips that were joined);
# less is a single wrong stamp.
_JUMP_FRAMES = 16


def ffmpeg_url(path: Path) -> str:
    """``path`` as FFmpeg takes it whatever characters it holds ("a:b.mp4" is not protocol "a")."""
    return "file:" + os.fspath(path)


def open_input(path: Path) -> av.container.InputContainer:
    """Open a media file with PyAV; VideoError names the file and the cause."""
    check_readable(path)
    try:
        container = av.open(ffmpeg_url(path), "r", options=dict(_OPEN_OPTIONS), metadata_errors="replace")
    except (av.error.FFmpegError, ValueError) as error:
        raise VideoError(f"cannot read {path}: {one_line(error)}") from error
    if container.format.name == "tty":  # FFmpeg "reads" any text file as pictures of its characters
        container.close()
        raise VideoError(f"cannot read {path}: it is a text file, not a video")
    return container


def disposition(stream: av.stream.Stream) -> int:
    """The AV_DISPOSITION flags of a stream (an enum of changing kind in PyAV)."""
    flags: Any = stream.disposition
    return int(getattr(flags, "value", flags))


def video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The first video stream that is not cover art, preferring one that is marked as default."""
    streams = [s for s in container.streams.video if not disposition(s) & ATTACHED_PICTURE]
    default = [s for s in streams if disposition(s) & 1]
    return next(iter(default or streams), None)


class FileSource(VideoSource):
    """The video stream of a media file, through FFmpeg. See :func:`open_video`."""

    def __init__(self, path: Path, frames: int | None, warn: Warner) -> None:
        super().__init__(path, frames, warn)
        self._container = open_input(path)
        try:
            self._start()
        except BaseException:
            self._container.close()
            raise

    def _start(self) -> None:
        stream = video_stream(self._container)
        if stream is None:
            raise VideoError(f"cannot read {self.path}: it has no video stream")
        if stream.codec_context is None:
            raise VideoError(f"cannot read {self.path}: FFmpeg has no decoder for its video stream")
        self._stream = stream
        if hasattr(av.stream, "Discard"):  # newer PyAV: the demuxer then skips the packets of other streams
            for other in self._container.streams:
                if other.index != stream.index:
                    other.discard = av.stream.Discard.all
        stream.thread_type = "AUTO"
        self._converter = Converter(self.warn)
        self._decoded = self._decode()
        first = next(self._decoded, None)
        if first is None:
            raise VideoError(f"cannot read {self.path}: no frame of it can be decoded")
        self._first: av.VideoFrame | None = first
        rate = stream.average_rate or stream.guessed_rate or stream.base_rate
        time_base = stream.time_base or first.time_base
        if not rate or rate <= 0:
            rate = Fraction(30)
        try:
            self.info = VideoInfo(
                first.width, first.height, Fraction(rate), Fraction(time_base or 1 / rate), color_of(first),
                self._rotation(first), _aspect(stream), self._hint(stream.frames))
        except UsageError as error:
            raise VideoError(f"cannot read {self.path}: {error}") from error
        if first.interlaced_frame:
            self.warn("the video is interlaced; its frames are taken as progressive")

    def _rotation(self, frame: av.VideoFrame) -> int:
        """Clockwise degrees (FFmpeg's are counter-clockwise). Older files have a tag instead of a matrix."""
        data: Any
        for data in frame.side_data:
            if data.type.name == "DISPLAYMATRIX":
                a, b, _, c, d = np.frombuffer(data, np.int32)[:5].tolist()
                if a * d - b * c < 0:
                    self.warn("the video is marked as mirrored; the mirroring is lost")
        angle = -frame.rotation
        if not angle:
            try:
                angle = int(float(self._stream.metadata.get("rotate", "0")))
            except ValueError:
                angle = 0
        right = round(angle / 90) * 90
        if right != angle:
            self.warn(f"the rotation of {angle % 360} degrees is taken as {right % 360}")
        return right % 360

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Decoded pictures. Damaged packets are left out, with a warning, as players do."""
        try:
            for packet in self._container.demux(self._stream):
                try:
                    yield from packet.decode()
                except av.error.EOFError:
                    return
                except av.error.FFmpegError as error:
                    self.warn(f"the video is damaged, frames are missing: {one_line(error)}")
        except av.error.EOFError:
            return
        except (av.error.FFmpegError, ValueError) as error:
            reason = one_line(error)
            raise VideoError(f"cannot read {self.path} after frame {self.n_read}: {reason}") from error

    def _read(self) -> Iterator[Frame]:
        stamps = _Timestamps(self.info, self.warn)
        picture = self._first
        self._first = None
        color = self.info.color
        while picture is not None:
            if (picture.width, picture.height) != (self.info.width, self.info.height):
                raise VideoError(f"cannot read {self.path}: at frame {self.n_read} the picture size changes "
                                 f"from {self.info.width}x{self.info.height} to "
                                 f"{picture.width}x{picture.height}")
            now = color_of(picture)
            if (now.matrix, now.full_range) != (color.matrix, color.full_range):
                self.warn("the colour description changes within the video; that of its first frame is kept")
            yield self._converter.frame(picture, stamps.next(picture))
            picture = next(self._decoded, None)

    def _release(self) -> None:
        self._first = None
        self._decoded.close()  # type: ignore[attr-defined]
        self._container.close()


class _Timestamps:
    """Makes strictly increasing pts in the stream's time base out of what the decoder says."""

    def __init__(self, info: VideoInfo, warn: Warner) -> None:
        self._time_base = info.time_base
        self._warn = warn
        self._step = max(1, round(1 / (info.frame_rate * info.time_base)))
        self._last: int | None = None
        self._shift = 0

    def next(self, picture: av.VideoFrame) -> int:
        pts = picture.pts if picture.pts is not None else picture.dts
        if pts is None:
            if self._last is not None:
                self._warn("frames without timestamp get one by the frame rate")
            pts = 0 if self._last is None else self._last + self._step
        else:
            if picture.time_base and picture.time_base != self._time_base:
                pts = round(pts * picture.time_base / self._time_base)
            pts += self._shift
        if self._last is not None and pts <= self._last:
            self._warn("timestamps that do not increase are repaired")
            if self._last - pts > _JUMP_FRAMES * self._step:
                self._shift += self._last + self._step - pts
                pts = self._last + self._step
            else:
                pts = self._last + 1
        self._last = pts
        return pts


def _aspect(stream: av.VideoStream) -> Fraction:
    """Sample aspect ratio, 0 if unknown. FFV1 keeps it where PyAV does not look: see FileSink."""
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    if not aspect:
        try:
            aspect = Fraction(stream.metadata.get("SAMPLE_ASPECT_RATIO", "0"))
        except (ValueError, ZeroDivisionError):
            aspect = Fraction(0)
    return Fraction(aspect) if aspect > 0 else Fraction(0)


def open_video(path: PathLike, *, size: tuple[int, int] | None = None,
               frame_rate: Fraction | int | float | None = None, frames: int | None = None,
               on_warning: WarningHook | None = None) -> VideoSource:
    """Open a video for reading, frame by frame, as 8-bit YUV 4:2:0.

    Any file that FFmpeg reads (y4m included), raw I420 (.yuv, .i420, or whatever ``size`` is given for), or a
    folder of PNG files. 8-bit 4:2:0 video comes bit-exact; any other format is converted by swscale, with a
    warning. RGB becomes BT.709 (from 720 lines on) or BT.601 in limited range, and ``info.color`` says so.
    Timestamps stay in the stream's own time base, the first one may be other than 0. Rotation is reported
    in ``info.rotation`` and not applied.

    Args:
        path: file or folder.
        size: (width, height) of raw YUV; not for other sources.
        frame_rate: frames a second of raw YUV or of PNG files, 30 if not given; not for other sources.
        frames: stop after so many frames; None means all.
        on_warning: takes each warning, one line; by default it is ``warnings.warn(..., VideoWarning)``.

    Raises:
        VideoError: a source that is missing, empty, unreadable, without video stream, or of wrong size, by
            its name and cause. During iteration: damage that ends the file, or a change of picture size.
        UsageError: arguments that do not fit each other.
    """
    source = Path(path)
    warn = Warner(source, on_warning)
    rate = None if frame_rate is None else _rate(frame_rate)
    if source.is_dir():
        if size is not None:
            raise UsageError("size is for raw YUV files only, not for a folder of PNG files")
        return PngSource(source, rate, frames, warn)
    if size is not None or source.suffix.lower() in RAW_SUFFIXES:
        return RawSource(source, size, rate, frames, warn)
    if rate is not None:
        raise UsageError(f"frame_rate is for raw YUV and PNG files only; {source} has its own")
    return FileSource(source, frames, warn)


def _rate(value: Fraction | int | float) -> Fraction:
    try:
        rate = Fraction(value).limit_denominator(1001)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"frame rate must be a number, not {value!r}") from error
    if rate <= 0:
        raise UsageError(f"frame rate must be above zero, not {value}")
    return rate
