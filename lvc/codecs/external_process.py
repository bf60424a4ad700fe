"""Encoders that PyAV's libavcodec lacks, through an ffmpeg executable."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import tempfile
import threading
import weakref
from fractions import Fraction
from typing import IO, Any

import av

from lvc.codecs.av_codec import PtsQueue
from lvc.codecs.external_options import Settings
from lvc.codecs.picture import one_line, pad_frame, padded_size
from lvc.errors import CodecError, UsageError
from lvc.types import Frame, Packet, PacketKind, Plane, VideoInfo


def find_ffmpeg(name: str) -> str:
    """Path of the ffmpeg executable that imageio-ffmpeg brings along. Raises CodecError if there is none."""
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        raise CodecError(f"{name} is not available: it needs the package imageio-ffmpeg") from None


class ProcessEncoder:
    """An encoder in a process of its own: raw pictures go in, a container comes out and is taken apart.

    A thread empties the process's output all the time, so neither side can wait for the other for ever, and
    the process takes pictures no faster than it codes them, so memory is bounded. The process ends with this
    object at the latest. Subclasses say what is particular to an encoder.

    Args:
        settings: what to open it with.
        minimum: smallest width and height coded; smaller pictures are extended.
        video: what will be pushed.
        quality: written into the packets.
        threads: 0 lets the encoder choose.

    Raises:
        CodecError: there is no ffmpeg executable.
    """

    name: str
    """In codec strings and error messages."""
    pixel_format: str
    """Of the pictures that go in, as ffmpeg calls it."""
    container: str
    """What comes out."""
    codec_data = b""

    def __init__(self, settings: Settings, minimum: int, video: VideoInfo, quality: int,
                 threads: int = 0) -> None:
        self._quality = quality
        self._pts = PtsQueue()
        self._done = False
        self._rate = video.frame_rate
        self._first: Fraction | None = None
        self._size = (video.width, video.height)
        self._padded = padded_size(video.width, video.height, 2, minimum)
        width, height = self._padded
        color = video.color
        tags = ["-color_primaries", str(color.primaries), "-color_trc", str(color.transfer),
                "-colorspace", str(color.matrix), "-color_range", "2" if color.full_range else "1"]
        command = [
            find_ffmpeg(self.name), "-hide_banner", "-nostdin", "-loglevel", "error",
            "-f", "rawvideo", "-pixel_format", self.pixel_format, "-video_size", f"{width}x{height}",
            "-framerate", str(video.frame_rate), *tags, "-i", "pipe:0",
            # the same tags on both sides, so that ffmpeg sees no reason to convert
            "-pix_fmt", self.pixel_format, *tags, *self.arguments(settings, video, threads),
            "-fps_mode", "passthrough", "-flush_packets", "1", "-f", self.container, "pipe:1",
        ]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        try:
            # a session of its own: Ctrl-C is for us, and we end the process
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                             stderr=self._log, bufsize=0, start_new_session=True)
        except OSError as error:
            raise CodecError(f"{self.name} is not available: {one_line(error)}") from error
        self._queue: queue.SimpleQueue[tuple[Fraction, bytes, bool] | None] = queue.SimpleQueue()
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=_read_packets, daemon=True,
                                        args=(self._process.stdout, self.container, self._queue))
        self._reader.start()
        self._end = weakref.finalize(self, _kill, self._process)

    def arguments(self, settings: Settings, video: VideoInfo, threads: int) -> list[str]:
        """Options of ffmpeg that choose and set the encoder and the muxer."""
        raise NotImplementedError

    def samples(self, plane: Plane) -> bytes:
        """A plane in ``pixel_format``."""
        return plane.tobytes()

    def finish(self, data: bytes, key: bool) -> tuple[bytes, bool]:
        """Payload of a packet, and whether decoding can start at it."""
        raise NotImplementedError

    def usage_error(self, line: str) -> str | None:
        """What is wrong with the parameters, if a line of ffmpeg's log says so."""
        raise NotImplementedError

    def push(self, frame: Frame) -> list[Packet]:
        """Take one frame of the video's size.

        Raises:
            UsageError: the frame has another size, the encoder was flushed, or it refuses a parameter.
            CodecError: the encoder failed.
        """
        if self._done:
            raise UsageError(f"{self.name}: a frame was pushed after the last one")
        if (frame.width, frame.height) != self._size:
            raise UsageError(f"{self.name}: a {frame.width}x{frame.height} frame does not fit a video of "
                             f"{self._size[0]}x{self._size[1]}")
        padded = pad_frame(frame, self._padded)
        self._pts.put(frame.pts)
        assert self._process.stdin is not None
        try:
            for plane in padded.planes:
                view = memoryview(self.samples(plane))
                while view:
                    view = view[self._process.stdin.write(view):]
        except OSError:
            raise self._failure() from None
        return self._collect()

    def flush(self) -> list[Packet]:
        """Return all remaining packets; no frame may follow. Raises as :meth:`push`."""
        if self._done:
            return []
        self._done = True
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except OSError:
            raise self._failure() from None
        self._reader.join()
        if self._process.wait() != 0:
            raise self._failure()
        packets = self._collect()
        if len(self._pts):
            raise CodecError(f"{self.name} failed: {len(self._pts)} frames gave no packet")
        return packets

    def _collect(self) -> list[Packet]:
        packets = []
        while not self._queue.empty():
            item = self._queue.get()
            if item is None:
                break
            seconds, data, key = item
            if self._first is None:
                # the first packet is the first picture: GOPs are closed
                self._first = seconds
            pts = self._pts.take(round((seconds - self._first) * self._rate))
            if pts is None:
                raise CodecError(f"{self.name} failed: it gave a packet for no frame")
            payload, intra = self.finish(data, key)
            kind = PacketKind.INTRA if intra else PacketKind.INTER
            packets.append(Packet(kind, payload, pts, self._quality))
        return packets

    def _failure(self) -> CodecError | UsageError:
        self._end()
        self._log.seek(0)
        log = self._log.read(1 << 16).decode(errors="replace")
        lines = [line.rpartition("] ")[2].strip() for line in log.splitlines()]
        for line in lines:
            message = self.usage_error(line)
            if message:
                return UsageError(f"{self.name}: {message}")
        return CodecError(f"{self.name} failed: {lines[0] if lines else 'its process ended early'}")


def _read_packets(stdout: IO[bytes], container: str,
                  packets: queue.SimpleQueue[tuple[Fraction, bytes, bool] | None]) -> None:
    try:
        # what goes wrong here, the exit status and the log of the process tell better
        with contextlib.suppress(av.FFmpegError, ValueError, IndexError, OSError):
            options = {"probesize": "4096", "analyzeduration": "0"}
            source: Any = av.open(stdout, format=container, options=options)
            with source:
                for packet in source.demux(video=0):
                    if packet.size:
                        packets.put((packet.pts * packet.time_base, bytes(packet), bool(packet.is_keyframe)))
    finally:
        # never leave the process waiting for a reader
        with contextlib.suppress(OSError, ValueError):
            while stdout.read(1 << 16):
                pass
        packets.put(None)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None and not pipe.closed:
            try:
                pipe.close()
            except (OSError, ValueError):
                continue
