"""Encoders and decoders out of libavcodec behind lvc's interface."""

from __future__ import annotations

import os
import threading
from typing import Any

import av
import av.logging

from lvc.codecs.external_options import Settings
from lvc.codecs.picture import crop_frame, from_av, one_line, pad_frame, padded_size, to_av, to_packet
from lvc.codecs.scheduling import ordinary_threads
from lvc.errors import CodecError, CorruptStreamError, UsageError
from lvc.types import Frame, Packet, PacketKind, VideoInfo

_logging = threading.Lock()


class PtsQueue:
    """Numbers pictures for a codec and gives their presentation times back.

    Codecs see 0, 1, 2, ...; so variable frame rates, jumps and doubled times cannot disturb them.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, int] = {}
        self._count = 0

    def put(self, pts: int) -> int:
        """Number of the next picture."""
        self._waiting[self._count] = pts
        self._count += 1
        return self._count - 1

    def take(self, number: int | None) -> int | None:
        """Presentation time of a picture; None if there is no such number, or it was taken already."""
        return None if number is None else self._waiting.pop(number, None)

    def __len__(self) -> int:
        return len(self._waiting)


class AvEncoder:
    """An encoder of libavcodec.

    Args:
        name: of the codec in error messages.
        library: libavcodec's name of the encoder.
        params_option: the option that takes the library's own parameters.
        settings: what to open it with.
        minimum: smallest width and height the encoder takes; smaller pictures are extended.
        video: what will be pushed.
        quality: written into the packets.
        threads: 0 lets the encoder choose.

    Raises:
        CodecError: the encoder is not part of this PyAV, or cannot be opened.
        UsageError: the encoder does not know a parameter, or refuses its value.
    """

    codec_data = b""

    def __init__(self, name: str, library: str, params_option: str, settings: Settings, minimum: int,
                 video: VideoInfo, quality: int, threads: int) -> None:
        self._name = name
        self._quality = quality
        self._pts = PtsQueue()
        self._done = False
        self._size = (video.width, video.height)
        self._padded = padded_size(video.width, video.height, 2, minimum)
        # SVT-AV1 writes to stderr by itself, and asks for this variable whenever it is opened
        os.environ.setdefault("SVT_LOG", "-1")
        try:
            context: Any = av.CodecContext.create(library, "w")
        except ValueError:
            raise CodecError(f"{name} is not available: this build of PyAV has no {library}") from None
        context.width, context.height = self._padded
        context.pix_fmt = "yuv420p"
        context.framerate = video.frame_rate
        context.time_base = 1 / video.frame_rate
        context.thread_count = threads
        if video.sample_aspect_ratio:
            context.sample_aspect_ratio = video.sample_aspect_ratio
        context.color_primaries = video.color.primaries
        context.color_trc = video.color.transfer
        context.colorspace = video.color.matrix
        context.color_range = 2 if video.color.full_range else 1
        context.options = {**settings.options, params_option: settings.joined()}
        self._context = context
        self._open()

    def _open(self) -> None:
        # unknown parameters are but a warning in the log for libavcodec
        with _logging, ordinary_threads():
            level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
            av.logging.set_level(av.logging.WARNING)
            av.logging.set_skip_repeated(False)  # or a parameter would be unknown the first time only
            try:
                with av.logging.Capture() as log:
                    self._context.open()
            except (av.FFmpegError, ValueError) as error:
                text = " ".join(line[2].strip() for line in log) or one_line(error)
                raise UsageError(f"{self._name} cannot be opened: {text}") from error
            finally:
                av.logging.set_level(level)
                av.logging.set_skip_repeated(skips)
        for _, _, text in log:
            if text.startswith(("Unknown option", "Invalid value", "Error parsing option")):
                raise UsageError(f"{self._name}: {text.strip().rstrip('.')}")

    def push(self, frame: Frame) -> list[Packet]:
        """Take one frame of the video's size.

        Raises:
            UsageError: the frame has another size, or the encoder was flushed.
            CodecError: the encoder failed.
        """
        if self._done:
            raise UsageError(f"{self._name}: a frame was pushed after the last one")
        if (frame.width, frame.height) != self._size:
            raise UsageError(f"{self._name}: a {frame.width}x{frame.height} frame does not fit a video of "
                             f"{self._size[0]}x{self._size[1]}")
        return self._encode(to_av(pad_frame(frame, self._padded), self._pts.put(frame.pts)))

    def flush(self) -> list[Packet]:
        """Return all remaining packets; no frame may follow."""
        if self._done:
            return []
        self._done = True
        packets = self._encode(None)
        if len(self._pts):
            raise CodecError(f"{self._name} failed: {len(self._pts)} frames gave no packet")
        return packets

    def _encode(self, picture: av.VideoFrame | None) -> list[Packet]:
        try:
            coded = self._context.encode(picture)
        except (av.FFmpegError, ValueError) as error:
            raise CodecError(f"{self._name} failed: {one_line(error)}") from error
        packets = []
        for item in coded:
            pts = self._pts.take(item.pts)
            if pts is None:
                raise CodecError(f"{self._name} failed: it gave a packet for no frame")
            payload, intra = self._finish(bytes(item), bool(item.is_keyframe))
            kind = PacketKind.INTRA if intra else PacketKind.INTER
            packets.append(Packet(kind, payload, pts, self._quality))
        return packets

    def _finish(self, data: bytes, key: bool) -> tuple[bytes, bool]:
        """Payload, and whether decoding can start at it; for subclasses to refine."""
        return data, key


class AvDecoder:
    """A decoder of libavcodec.

    Args:
        name: of the codec in error messages.
        library: libavcodec's name of the decoder.
        minimum: as of the encoder.
        video: out of the stream header.

    Raises:
        CodecError: the decoder is not part of this PyAV.
    """

    def __init__(self, name: str, library: str, minimum: int, video: VideoInfo) -> None:
        self._name = name
        self._size = (video.width, video.height)
        self._padded = padded_size(video.width, video.height, 2, minimum)
        self._pts = PtsQueue()
        try:
            context: Any = av.CodecContext.create(library, "r")
        except ValueError:
            raise CodecError(f"{name} is not available: this build of PyAV has no {library}") from None
        # keeps a damaged size field from taking memory; coded sizes are rounded up to units of up to 128x128
        limit = (self._padded[0] + 128) * (self._padded[1] + 128)
        context.options = {"err_detect": "explode", "max_pixels": str(limit)}
        context.thread_count = 0
        # not frame threads: what is wrong with a packet must be told when that packet is pushed
        context.thread_type = "SLICE"
        self._context = context
        self._started = False

    def push(self, packet: Packet) -> list[Frame]:
        """Take one packet.

        Raises:
            CorruptStreamError: it cannot be decoded.
        """
        if not self._started and packet.kind != PacketKind.INTRA:
            raise CorruptStreamError(f"{self._name} cannot start at an inter frame")
        if not packet.payload:
            # no data means the end of the stream to libavcodec
            raise CorruptStreamError(f"{self._name} packet is empty")
        self._started = True
        item = to_packet(packet.payload)
        item.pts = self._pts.put(packet.pts)
        return self._decode(item)

    def flush(self) -> list[Frame]:
        """Return all remaining frames. An intra packet may follow.

        Raises:
            CorruptStreamError: frames are missing.
        """
        if not self._started:
            return []
        frames = self._decode(None)
        self._context.flush_buffers()
        self._started = False
        lost = len(self._pts)
        self._pts = PtsQueue()
        if lost and not frames:
            # with frames, the caller sees by their times what is missing; they must not get lost, too
            raise CorruptStreamError(f"{self._name} gave no picture for {lost} packets")
        return frames

    def _decode(self, item: av.Packet[Any] | None) -> list[Frame]:
        try:
            pictures = self._context.decode(item)
        except (av.FFmpegError, ValueError) as error:
            raise CorruptStreamError(f"{self._name} packet cannot be decoded: {one_line(error)}") from error
        frames = []
        for picture in pictures:
            pts = self._pts.take(picture.pts)
            if pts is None or picture.is_corrupt:
                raise CorruptStreamError(f"{self._name} gave a damaged picture")
            frames.append(crop_frame(from_av(picture, self._padded, pts), *self._size))
        return frames
