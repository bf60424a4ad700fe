"""Writing video, by suffix: Matroska, MP4, QuickTime, y4m, raw YUV, folders of PNG files."""

from __future__ import annotations

import contextlib
import os
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av

from lvc.errors import UsageError, VideoError
from lvc.types import Frame, VideoInfo
from lvc.video.base import PathLike, VideoSink, Warner, WarningHook, one_line
from lvc.video.color import set_color, to_444, to_picture
from lvc.video.raw import PlainSink, PngSink
from lvc.video.remux import container_format, open_output, output_shift
from lvc.video.side import SideMuxer

SUFFIXES = (".mkv", ".mp4", ".m4v", ".mov", ".y4m", ".yuv")


class FileSink(VideoSink):
    """Matroska (FFV1) or MP4/QuickTime (H.264) through FFmpeg. See :func:`open_sink`."""

    def __init__(self, path: Path, info: VideoInfo, side: Path | None, overwrite: bool, warn: Warner,
                 crf: int, preset: str) -> None:
        super().__init__(path, info, overwrite, warn)
        self._kind = container_format(path) or "matroska"
        self._side_path = side
        self._crf, self._preset = crf, preset
        self._side: SideMuxer | None = None
        self._output: av.container.OutputContainer | None = None
        self._shift = Fraction(0)
        self._full_chroma = self._kind != "matroska" and bool(info.width % 2 or info.height % 2)
        if self._full_chroma:
            warn(f"H.264 holds no {info.width}x{info.height} 4:2:0 video (odd size): it is written as 4:4:4")
        try:
            open(self.temporary, "xb").close()  # PyAV opens it with the first frame; errors shall come now
            self._output = open_output(self.temporary, self._kind)
            self._add_video()
            if side is not None:
                self._side = SideMuxer(side, self._output, warn)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self._discard()
            raise VideoError(f"cannot write {path}: {one_line(error)}") from error
        except BaseException:
            self._discard()
            raise

    def _add_video(self) -> None:
        assert self._output is not None
        info = self.info
        if self._kind == "matroska":
            # Every slice with its checksum, so that damage of an archive does not stay unseen.
            codec, options = "ffv1", {"level": "3", "slicecrc": "1"}
            if min(info.width, info.height) < 64:
                options["slices"] = "1"  # what FFmpeg chooses by itself does not work for all small sizes
        else:
            codec, options = "libx264", {"preset": self._preset, "crf": str(self._crf)}
            if self._crf == 0:
                options = {"preset": self._preset, "qp": "0"}
        stream = cast(av.VideoStream, self._output.add_stream(codec, rate=info.frame_rate, options=options))
        stream.width, stream.height = info.width, info.height
        stream.pix_fmt = "yuv444p" if self._full_chroma else "yuv420p"
        context = stream.codec_context
        context.framerate = info.frame_rate
        context.time_base = info.time_base
        set_color(context, info.color)
        if info.sample_aspect_ratio:
            context.sample_aspect_ratio = info.sample_aspect_ratio
            if self._kind == "matroska":
                # FFV1 holds it, but PyAV shows it neither to a muxer nor to a reader.
                stream.metadata["SAMPLE_ASPECT_RATIO"] = str(info.sample_aspect_ratio)
        if info.rotation:
            if hasattr(stream, "set_display_rotation"):
                stream.set_display_rotation(-info.rotation)  # counter-clockwise there
            else:
                self.warn(f"this version of PyAV cannot write the rotation of {info.rotation} degrees")
        self._stream = stream

    def _write(self, frame: Frame) -> None:
        base = self.info.time_base
        if self.n_written == 0:
            self._start(frame.pts * base)
        picture = (to_444 if self._full_chroma else to_picture)(frame, self.info.color)
        picture.pts = frame.pts + round(self._shift / base)
        picture.time_base = base
        try:
            self._mux(self._stream.encode(picture))
        except (av.error.FFmpegError, ValueError) as error:
            raise VideoError(f"cannot write {self.path}: {one_line(error)}") from error

    def _start(self, first: Fraction) -> None:
        side_start = self._side.first_time if self._side is not None else None
        self._shift = output_shift(self._kind, first, side_start)
        if self._side is not None:
            self._side.start(self._shift)

    def _mux(self, packets: list[av.Packet[Any]]) -> None:
        assert self._output is not None
        for packet in packets:
            stamp = packet.dts if packet.dts is not None else packet.pts
            if self._side is not None and stamp is not None:
                self._side.pump(stamp * Fraction(packet.time_base))
            self._output.mux(packet)

    def _finish(self) -> None:
        assert self._output is not None
        try:
            self._mux(self._stream.encode(None))
            if self._side is not None:
                self._side.finish()
            self._output.close()
        except (av.error.FFmpegError, ValueError) as error:
            raise VideoError(f"cannot write {self.path}: {one_line(error)}") from error
        self._output = None
        os.replace(self.temporary, self.path)

    def _discard(self) -> None:
        if self._side is not None:
            self._side.close()
        if self._output is not None:
            with contextlib.suppress(av.error.FFmpegError, OSError, ValueError):  # it is removed anyway
                self._output.close()
            self._output = None
        self.temporary.unlink(missing_ok=True)


class _WithSideFile(VideoSink):
    """A sink of a format that holds video only: what goes with it is copied beside it when it is complete."""

    def __init__(self, sink: VideoSink, side: Path) -> None:
        self._sink, self._side_path = sink, side
        self.path, self.info, self.warn, self.temporary = sink.path, sink.info, sink.warn, sink.temporary
        self.n_written, self._last_pts, self._open = 0, None, True

    def _write(self, frame: Frame) -> None:
        self._sink.write(frame)

    def _finish(self) -> None:
        self._sink.close()
        beside = self.path.with_name(self.path.name + ".side.mka")
        shutil.copyfile(self._side_path, beside)
        self.warn(f"audio, subtitles and tags do not fit in; they are in {beside.name}")

    def _discard(self) -> None:
        self._sink.abort()


def open_sink(path: PathLike, info: VideoInfo, *, side: PathLike | None = None, overwrite: bool = True,
              crf: int = 10, preset: str = "veryfast", on_warning: WarningHook | None = None) -> VideoSink:
    """Open a video for writing; the suffix says how.

    ========================  =======================================================================
    .mkv                      FFV1, lossless; times in whole milliseconds (Matroska)
    .mp4 .m4v .mov            H.264 by x264 (``crf``, ``preset``; crf 0 is lossless); times exact
    .y4m                      lossless, constant frame rate
    .yuv                      lossless, raw I420, no header
    folder, "/", no suffix    RGB files frame_000001.png, ... by the colour matrix and range of the video
    ========================  =======================================================================

    Colour description, sample aspect ratio, rotation and (variable) frame times are written where the format
    has room for them; a warning names what it has not. H.264 has no 4:2:0 video of odd width or height: such
    video is written as 4:4:4 with repeated chroma samples, with a warning.

    Args:
        path: the file or folder; appears when it is complete, at :meth:`VideoSink.close`.
        info: size, rate, time base and colour of the frames to come.
        side: a file made by :func:`extract_side`. Its streams, chapters and tags go into .mkv, .mp4 and .mov
            together with the video; for other formats it is copied beside, as NAME.side.mka, with a warning.
        overwrite: replace a file that exists; otherwise VideoError.
        crf: quality of H.264, 0 (lossless) to 51.
        preset: speed of x264.
        on_warning: takes each warning, one line; by default ``warnings.warn(..., VideoWarning)``.

    Raises:
        VideoError: unknown suffix, a folder that is missing or not writable, an existing file.
        UsageError: crf out of range.
    """
    target = Path(path)
    if not 0 <= crf <= 51:
        raise UsageError(f"crf must be from 0 to 51, not {crf}")
    warn = Warner(target, on_warning)
    suffix = target.suffix.lower()
    if str(path).endswith(("/", os.sep)) or not suffix or target.is_dir():
        sink: VideoSink = PngSink(target, info, overwrite, warn)
    elif suffix in (".y4m", ".yuv"):
        sink = PlainSink(target, info, overwrite, warn, y4m=suffix == ".y4m")
    elif container_format(target) is not None and suffix in SUFFIXES:
        return FileSink(target, info, None if side is None else Path(side), overwrite, warn, crf, preset)
    else:
        known = ", ".join(SUFFIXES)
        raise VideoError(f"cannot write {target}: unknown suffix {suffix}; use {known} or a folder")
    return sink if side is None else _WithSideFile(sink, Path(side))
