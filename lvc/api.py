"""Files in, files out: what ``import lvc`` offers. All of it streams: memory does not grow with the video."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from lvc.bitstream import StreamHeader, StreamWriter
from lvc.codecs import open_codec
from lvc.codecs.rates import parse_bitrate, parse_target_size, payload_bitrate
from lvc.errors import CorruptStreamError, UsageError, VideoError
from lvc.ratetarget import missed_target, options_for_size
from lvc.stream import DecodedStream, Lost, StreamInfo, open_stream, probe
from lvc.types import EncodeOptions, VideoInfo
from lvc.video import VideoSource, VideoWarning, extract_side, open_sink, open_video

__all__ = ["DecodeReport", "DecodedStream", "EncodeReport", "Lost", "Progress", "StreamInfo", "decode",
           "encode", "open_codec", "open_stream", "probe"]

PathLike = str | os.PathLike[str]
_SIDE_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Progress:
    """How far encoding or decoding is.

    Attributes:
        frames: frames done.
        total: frames there are, None if unknown.
        bytes: of the stream, written or read so far.
        video_seconds: playing time of the frames done.
        seconds: since the start.
    """

    frames: int
    total: int | None
    bytes: int
    video_seconds: float
    seconds: float


ProgressHook = Callable[[Progress], None]
WarningHook = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class EncodeReport:
    """What :func:`encode` did.

    Attributes:
        frames: number of frames.
        bytes: size of the file.
        side_bytes: of these, carried audio, subtitles and metadata.
        seconds: time it took.
        duration: playing time of the video in seconds.
        video: properties of the video.
        codec: name of the codec.
    """

    frames: int
    bytes: int
    side_bytes: int
    seconds: float
    duration: float
    video: VideoInfo
    codec: str

    @property
    def bpp(self) -> float:
        """Bits a pixel: of the whole file but for carried audio and such."""
        return 8 * (self.bytes - self.side_bytes) / (self.frames * self.video.width * self.video.height)

    @property
    def kbps(self) -> float:
        """Kilobits (1000) a second, likewise."""
        return 8e-3 * (self.bytes - self.side_bytes) / self.duration

    @property
    def fps(self) -> float:
        """Frames coded a second."""
        return self.frames / max(self.seconds, 1e-9)


@dataclass(frozen=True, slots=True)
class DecodeReport:
    """What :func:`decode` did.

    Attributes:
        frames: number of frames written.
        damage: what was lost, in stream order; empty if nothing was.
        seconds: time it took.
        duration: playing time from the first to the last frame, in seconds.
        video: properties of the video.
        codec: name of the codec.
    """

    frames: int
    damage: tuple[Lost, ...]
    seconds: float
    duration: float
    video: VideoInfo
    codec: str

    @property
    def complete(self) -> bool:
        """Whether the output is all that was encoded."""
        return not self.damage

    @property
    def fps(self) -> float:
        """Frames decoded a second."""
        return self.frames / max(self.seconds, 1e-9)


class _Clock:
    """Counts frames and tells a hook."""

    def __init__(self, video: VideoInfo, total: int | None, hook: ProgressHook | None) -> None:
        self._video, self._total, self._hook = video, total, hook
        self._start = time.monotonic()
        self.first: int | None = None
        self.last = 0
        self.frames = 0

    def count(self, pts: int, size: int) -> None:
        if self.first is None:
            self.first = pts
        self.last = pts
        self.frames += 1
        if self._hook is not None:
            self._hook(Progress(self.frames, self._total, size, self.duration, self.seconds))

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    @property
    def duration(self) -> float:
        """Playing time: from the first to the last frame, and one nominal frame time more."""
        if self.first is None:
            return 0.0
        return float((self.last - self.first) * self._video.time_base + 1 / self._video.frame_rate)


def encode(src: PathLike, dst: PathLike, *, codec: str = "swift", quality: int | None = None,
           bitrate: str | float | None = None, target_size: str | float | None = None,
           intra_period: int = 32, frames: int | None = None, threads: int = 0,
           size: tuple[int, int] | None = None, frame_rate: Fraction | float | None = None,
           progress: ProgressHook | None = None, on_warning: WarningHook | None = None) -> EncodeReport:
    """Encode a video file into an lvc stream.

    Audio, subtitles, chapters and tags of the source are carried along unchanged.

    Args:
        src: any file that FFmpeg reads, raw I420, or a folder of PNG files.
        dst: appears under this name when it is complete, and replaces what is there.
        codec: codec string, ``swift`` or ``x265:preset=veryfast,crf=27``.
        quality: 0 (smallest file) .. 63 (best picture); 32 if neither bitrate nor target_size is given either.
        bitrate: bits a second of the video, container included, audio not; a number or text such as ``500k`` or
            ``1.5M``. The quality changes from frame to frame so that, after the first second, 5 seconds anywhere keep
            within 5 % of it (external codecs: as well as their own rate control does in one pass).
        target_size: bytes of the whole file, all that is carried along included; a number or text such as ``800k``,
            ``2M`` or ``2MiB``. The length of the video must be known.
        intra_period: an intra frame every so many frames; -1 for the first frame only.
        frames: at most so many frames; None for all.
        threads: 0 lets the codec choose.
        size: (width, height) of raw video.
        frame_rate: frames a second of raw video or PNG files.
        progress: called after every frame.
        on_warning: takes warnings, one line each; by default ``warnings.warn``. One of them names what was reached if
            that is not the bitrate or size that was asked for.

    Raises:
        UsageError: an argument that makes no sense; more than one of quality, bitrate and target_size; a size for a
            video of unknown length, or smaller than what is carried along.
        VideoError: the source cannot be read, or the stream not be written.
        CodecError: the codec is unknown, not available, or failed.
        WeightsError: the codec's weights are missing or damaged.
    """
    configured = open_codec(codec)
    size_limit = None if target_size is None else parse_target_size(target_size)
    options = configured.options(EncodeOptions(
        quality=32 if quality is None else quality, intra_period=intra_period, threads=threads,
        bitrate=None if bitrate is None else parse_bitrate(bitrate)))
    if sum(value is not None for value in (quality, options.bitrate, size_limit)) > 1:  # a codec string may have one
        raise UsageError("quality, bitrate and target size exclude each other")
    asked_bitrate = options.bitrate
    _check_different(src, dst)
    with open_video(src, size=size, frame_rate=frame_rate, frames=frames, on_warning=on_warning) as source:
        clock = _Clock(source.info, source.info.n_frames, progress)
        carries = size is None and not _only_video(source)
        plain = StreamHeader(configured.codec_id, configured.weights_digest, source.info, _intra_period(options))
        if size_limit is not None:
            options = configured.options(options_for_size(options, source, plain, size_limit, frames, carries))
        elif options.bitrate is not None:
            options = replace(options, bitrate=payload_bitrate(options.bitrate, plain))
        encoder = configured.codec.encoder(source.info, options)
        header = StreamHeader(configured.codec_id, configured.weights_digest, source.info,
                              _intra_period(options), encoder.codec_data)
        with _complete_file(Path(dst)) as file, StreamWriter(file, header) as writer:
            for frame in source:
                for packet in encoder.push(frame):
                    writer.write_packet(packet)
                clock.count(frame.pts, writer.offset)
            for packet in encoder.flush():
                writer.write_packet(packet)
            if not clock.frames:
                raise VideoError(f"{os.fspath(src)} holds no frame")
            side_bytes = 0
            if carries:
                until = clock.last * source.info.time_base + 1 / source.info.frame_rate
                side_bytes = _write_side(source, writer, until if frames == clock.frames else None, on_warning)
            writer.close()
            total = writer.offset
    report = EncodeReport(clock.frames, total, side_bytes, clock.seconds, clock.duration, source.info,
                          configured.name)
    missed = missed_target(report.bytes, report.kbps, asked_bitrate, size_limit, getattr(encoder, "rate_control", None))
    if missed:
        _warn(missed, on_warning)
    return report


def _intra_period(options: EncodeOptions) -> int:
    """What the header says: external codecs let ``keyint`` go over the intra period."""
    text = options.params.get("keyint", "")
    if text.isdecimal() and int(text) > 0:
        return int(text)
    return -1 if text in ("-1", "infinite") else options.intra_period


def _only_video(source: VideoSource) -> bool:
    """Whether the source is of a kind that holds nothing besides video."""
    return source.path.is_dir() or source.path.suffix.lower() in (".yuv", ".i420", ".y4m", ".png")


def _write_side(source: VideoSource, writer: StreamWriter, until: Fraction | None,
                on_warning: WarningHook | None) -> int:
    """Carry along what the source has besides video, up to a time; return its size in the stream."""
    start = writer.offset
    with _temporary_folder() as folder:
        path = folder / "side.mka"
        try:
            if not extract_side(source.path, path, until=until, on_warning=on_warning):
                return 0
        except VideoError as error:
            # a picture without its sound is better than none, after all the work
            _warn(str(error), on_warning)
            return 0
        with open(path, "rb") as file:
            while piece := file.read(_SIDE_CHUNK):
                writer.write_side(piece)
    return writer.offset - start


def decode(src: PathLike, dst: PathLike, *, strict: bool = False, weights: PathLike | None = None,
           enhance: bool = True, progress: ProgressHook | None = None,
           on_warning: WarningHook | None = None) -> DecodeReport:
    """Decode an lvc stream into a video file.

    Of a damaged stream everything before the damage is decoded, and everything from the next intra frame on;
    the report says what was lost. Frames keep their presentation times.

    Args:
        src: an lvc file.
        dst: .mp4, .mov (H.264), .mkv (FFV1, lossless), .y4m, .yuv, or a folder for PNG files. Appears under
            this name when it is complete, and replaces what is there.
        strict: raise at the first damage, and write nothing.
        weights: a weights file, for streams that were not made with the weights of the package.
        enhance: false decodes a layered stream without enhancement: restore by its base codec alone, stsr by that
            and the classical enhancer. Other streams are what they are.
        progress: called after every frame.
        on_warning: takes warnings, one line each; by default ``warnings.warn``.

    Raises:
        UsageError: an argument that makes no sense.
        BitstreamError: no lvc stream, of a newer version, no frame can be decoded, or strict and damaged.
        CodecError: the codec is unknown or not available.
        WeightsError: it was made with other weights than those at hand.
        VideoError: the stream cannot be read, or the output not be written.
    """
    _check_different(src, dst)
    with open_stream(src, strict=strict, weights=weights, enhance=enhance) as stream, _temporary_folder() as folder:
        side = folder / "side.mka"
        found = stream.save_side(side)
        clock = _Clock(stream.video, stream.video.n_frames, progress)
        try:
            sink = open_sink(dst, stream.video, side=side if found else None, on_warning=on_warning)
        except VideoError as error:
            if not found:
                raise
            sink = open_sink(dst, stream.video, on_warning=on_warning)
            _warn(f"what goes with the video is lost: {error}", on_warning)
        with sink:
            for frame in stream:
                sink.write(frame)
                clock.count(frame.pts, stream.offset)
            if not clock.frames:
                empty = CorruptStreamError("the stream has no frame")
                raise stream.damage[0].error if stream.damage else empty
        return DecodeReport(clock.frames, tuple(stream.damage), clock.seconds, clock.duration, stream.video,
                            stream.codec)


def _warn(message: str, hook: WarningHook | None) -> None:
    if hook is not None:
        hook(message)
    else:
        warnings.warn(message, VideoWarning, stacklevel=3)


def _check_different(src: PathLike, dst: PathLike) -> None:
    try:
        same = os.path.exists(dst) and os.path.samefile(src, dst)
    except OSError:
        same = False
    if same:
        raise UsageError(f"{os.fspath(dst)} is input and output at once")


@contextlib.contextmanager
def _complete_file(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when the block ends well, and vanishes when it does not."""
    if path.is_dir():
        raise VideoError(f"cannot write {path}: it is a folder")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(temporary, "xb") as file:
            yield file
        os.replace(temporary, path)
    except OSError as error:
        raise VideoError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="lvc-")
    except OSError as error:
        raise VideoError(f"cannot write temporary files: {error.strerror or error}") from error
    with folder as name:
        yield Path(name)
