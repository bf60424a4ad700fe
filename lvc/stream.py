"""Reading lvc streams: frames out of packets, damage reported, and what a stream holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from lvc.bitstream import Damage, SideData, StreamHeader, StreamReader
from lvc.codecs import codec_for_header, codec_name
from lvc.codecs.base import Codec, Decoder
from lvc.errors import BitstreamError, CodecError, CorruptStreamError, VideoError
from lvc.types import Frame, Packet, PacketKind, VideoInfo

PathLike = str | os.PathLike[str]
_EBML = b"\x1a\x45\xdf\xa3"


@dataclass(frozen=True, slots=True)
class Lost:
    """Something of a stream that could not be decoded.

    Attributes:
        error: what was wrong, with packet number and byte offset.
        frames: number of frames that are missing for it, None if unknown.
    """

    error: BitstreamError
    frames: int | None

    def __str__(self) -> str:
        if self.frames is None:
            return f"{self.error}; frames are lost, it is not known how many"
        if not self.frames:
            return f"{self.error}; no frame is lost"
        return f"{self.error}; {self.frames} {'frame is' if self.frames == 1 else 'frames are'} lost"


class DecodedStream:
    """Frames of an lvc stream in presentation order, decoded as they are asked for; one pass.

    An iterator and a context manager; made by :func:`open_stream`. Memory does not grow with the stream.

    Attributes:
        header: the stream header.
        video: properties of the video.
        codec: name of the codec.
        damage: what was lost so far; complete when iteration has ended. Always empty if strict.
    """

    def __init__(self, path: Path, strict: bool, weights: str | None = None, enhance: bool = True) -> None:
        self._path = path
        self._strict = strict
        self._file = _open(path)
        try:
            self._reader = StreamReader(self._file, strict=strict)
            self.header: StreamHeader = self._reader.header
            self.video: VideoInfo = self.header.video
            self._codec: Codec = codec_for_header(self.header, weights, enhance=enhance)
            self._decoder: Decoder = self._codec.decoder(self.header)
        except BaseException:
            self._file.close()
            raise
        self.codec: str = self._codec.name
        self.damage: list[Lost] = []
        self._waiting: dict[int, int] = {}
        self._last: int | None = None
        self._skipping = False
        self._frames = self._decode()

    @property
    def offset(self) -> int:
        """Byte offset of the packet read last."""
        return self._reader.offset

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        """The next frame.

        Raises:
            CorruptStreamError: damage, if strict.
            VideoError: the file cannot be read.
        """
        return next(self._frames)

    def _decode(self) -> Iterator[Frame]:
        for item in self._reader:
            if isinstance(item, Damage):
                self.damage.append(Lost(item.error, item.lost_frames))
                if item.lost_frames != 0:
                    # what follows is an intra frame, and needs nothing of what was before
                    yield from self._restart()
            elif isinstance(item, Packet):
                yield from self._push(item)
        yield from self._drain()

    def _push(self, packet: Packet) -> Iterator[Frame]:
        if self._skipping and packet.kind != PacketKind.INTRA:
            last = self.damage[-1]
            self.damage[-1] = Lost(last.error, (last.frames or 0) + 1)
            return
        self._skipping = False
        self._waiting[packet.pts] = self._waiting.get(packet.pts, 0) + 1
        number, offset = self._reader.number, self._reader.offset
        try:
            frames = self._decoder.push(packet)
        except BitstreamError as error:
            located = CorruptStreamError(str(error), packet=number, offset=offset)
            if self._strict:
                raise located from error
            self.damage.append(Lost(located, 0))
            yield from self._restart()
            self._skipping = True
        else:
            yield from self._give(frames)

    def _give(self, frames: list[Frame]) -> Iterator[Frame]:
        for frame in frames:
            count = self._waiting.get(frame.pts, 0)
            if not count or (self._last is not None and frame.pts <= self._last):
                self._report("a frame's presentation time does not follow that of the frame before", 0)
                continue
            if count == 1:
                del self._waiting[frame.pts]
            else:
                self._waiting[frame.pts] = count - 1
            self._last = frame.pts
            yield frame

    def _restart(self) -> Iterator[Frame]:
        """Take what the decoder still holds, and go on with a new one; count what never came out."""
        try:
            frames = self._decoder.flush()
        except BitstreamError:
            frames = []  # the damage that led here is reported already
        yield from self._give(frames)
        self._decoder = self._codec.decoder(self.header)
        missing = sum(self._waiting.values())
        self._waiting.clear()
        last = self.damage[-1]
        if missing and last.frames is not None:
            self.damage[-1] = Lost(last.error, last.frames + missing)

    def _drain(self) -> Iterator[Frame]:
        try:
            frames = self._decoder.flush()
        except BitstreamError as error:
            if self._strict:
                raise
            frames = []
            self.damage.append(Lost(error, 0))
        yield from self._give(frames)
        missing = sum(self._waiting.values())
        self._waiting.clear()
        if missing:
            self._report("packets gave no frame", missing)

    def _report(self, message: str, frames: int) -> None:
        error = CorruptStreamError(message, packet=self._reader.number, offset=self._reader.offset)
        if self._strict:
            raise error
        self.damage.append(Lost(error, frames))

    def save_side(self, path: PathLike) -> bool:
        """Write the carried audio, subtitles and tags into a Matroska file.

        Reads the whole stream on its own; iteration is not touched. Of damaged data the part before the
        damage is saved.

        Returns:
            False, and no file, if there is nothing.

        Raises:
            CorruptStreamError: damage, if strict.
            VideoError: a file cannot be read or written.
        """
        following: int | None = None
        with _open(self._path) as source:
            reader = StreamReader(source, strict=self._strict)
            target: BinaryIO | None = None
            try:
                for item in reader:
                    if not isinstance(item, SideData):
                        continue
                    if target is None:
                        if not item.data.startswith(_EBML):
                            break  # its beginning is lost
                        target = open(path, "wb")  # noqa: SIM115 - closed below
                    elif reader.number != following:
                        break  # a hole
                    following = reader.number + 1
                    target.write(item.data)
            except OSError as error:
                raise VideoError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from error
            finally:
                if target is not None:
                    target.close()
        return following is not None

    def close(self) -> None:
        """Let go of the file; no further frames are given. May be called more than once."""
        self._frames = iter(())
        self._file.close()

    def __enter__(self) -> DecodedStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


def open_stream(path: PathLike, *, strict: bool = False, weights: PathLike | None = None,
                enhance: bool = True) -> DecodedStream:
    """Open an lvc file to get its frames, one by one.

    >>> with open_stream("video.lvc") as stream:  # doctest: +SKIP
    ...     for frame in stream:
    ...         print(frame.pts, frame.y.mean())

    Args:
        path: an lvc file.
        strict: raise at the first damage. Otherwise decoding goes on at the next intra frame, and
            ``stream.damage`` says what was lost.
        weights: a weights file, for streams that were not made with the weights of the package.
        enhance: false decodes a layered stream without enhancement: restore by its base codec alone, stsr by that
            and the classical enhancer. Other streams are what they are.

    Raises:
        VideoError: the file cannot be read.
        BitstreamError: no lvc stream, of a newer version, or its header is damaged.
        CodecError: the codec is unknown or not available.
        WeightsError: it was made with other weights than those at hand.
    """
    return DecodedStream(Path(path), strict, None if weights is None else os.fspath(weights), enhance)


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What a stream holds, from its packets, without decoding.

    Attributes:
        codec: name of the codec, or ``unknown (number)``.
        weights_digest: of the weights it was made with; empty if none.
        video: properties of the video.
        intra_period: as the header says.
        bytes: size of the file.
        frames, intra_frames: number of frames, and of those that decoding can start at.
        packets: number of packets but for the closing one.
        intra_bytes, inter_bytes, side_bytes: sizes of the payloads; the rest of the file is overhead.
        quality: (lowest, highest) of the frames.
        duration: playing time in seconds.
        damage: what is wrong with the stream; empty if nothing is.
    """

    codec: str
    weights_digest: bytes
    video: VideoInfo
    intra_period: int
    bytes: int
    frames: int
    intra_frames: int
    packets: int
    intra_bytes: int
    inter_bytes: int
    side_bytes: int
    quality: tuple[int, int]
    duration: float
    damage: tuple[Lost, ...]

    @property
    def overhead_bytes(self) -> int:
        """Header, packet headers, checksums, index."""
        return self.bytes - self.intra_bytes - self.inter_bytes - self.side_bytes

    @property
    def kbps(self) -> float:
        """Kilobits (1000) a second of the file but for carried audio and such; 0 if there are no frames."""
        return 8e-3 * (self.bytes - self.side_bytes) / self.duration if self.duration else 0.0

    @property
    def bpp(self) -> float:
        """Bits a pixel, likewise."""
        pixels = self.frames * self.video.width * self.video.height
        return 8 * (self.bytes - self.side_bytes) / pixels if pixels else 0.0

    def to_dict(self) -> dict[str, Any]:
        """For JSON: numbers and strings only, fractions as ``"30000/1001"``."""
        video = self.video
        return {
            "codec": self.codec, "weights_digest": self.weights_digest.hex(),
            "width": video.width, "height": video.height, "frame_rate": str(video.frame_rate),
            "time_base": str(video.time_base), "rotation": video.rotation,
            "sample_aspect_ratio": str(video.sample_aspect_ratio),
            "color": {"primaries": video.color.primaries, "transfer": video.color.transfer,
                      "matrix": video.color.matrix, "full_range": video.color.full_range},
            "intra_period": self.intra_period, "frames": self.frames, "intra_frames": self.intra_frames,
            "packets": self.packets, "quality": list(self.quality), "duration": self.duration,
            "bytes": self.bytes, "intra_bytes": self.intra_bytes, "inter_bytes": self.inter_bytes,
            "side_bytes": self.side_bytes, "overhead_bytes": self.overhead_bytes, "kbps": self.kbps,
            "bpp": self.bpp, "complete": not self.damage,
            "damage": [{"message": str(lost), "packet": lost.error.packet, "offset": lost.error.offset,
                        "frames": lost.frames} for lost in self.damage],
        }


def probe(path: PathLike) -> StreamInfo:
    """Read a whole stream without decoding, and check it.

    Raises:
        VideoError: the file cannot be read.
        BitstreamError: no lvc stream, of a newer version, or its header is damaged.
    """
    counts = dict.fromkeys(PacketKind, 0)
    sizes = dict.fromkeys(PacketKind, 0)
    side = pieces = 0
    low, high = None, 0
    first: int | None = None
    last = 0
    damage = []
    with _open(Path(path)) as file:
        reader = StreamReader(file, strict=False)
        header = reader.header
        for item in reader:
            if isinstance(item, Damage):
                damage.append(Lost(item.error, item.lost_frames))
            elif isinstance(item, SideData):
                side += len(item.data)
                pieces += 1
            else:
                counts[item.kind] += 1
                sizes[item.kind] += len(item.payload)
                low = item.quality if low is None else min(low, item.quality)
                high = max(high, item.quality)
                last = item.pts if first is None else max(last, item.pts)
                first = item.pts if first is None else min(first, item.pts)
        total = os.fstat(file.fileno()).st_size
    video = header.video
    frames = sum(counts.values())
    duration = 0.0 if first is None else float((last - first) * video.time_base + 1 / video.frame_rate)
    try:
        codec = codec_name(header.codec_id)
    except CodecError:
        codec = f"unknown ({header.codec_id})"
    return StreamInfo(codec, header.weights_digest, video, header.intra_period, total, frames,
                      counts[PacketKind.INTRA], frames + pieces, sizes[PacketKind.INTRA],
                      sizes[PacketKind.INTER], side, (low or 0, high), duration, tuple(damage))


def _open(path: Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise VideoError(f"cannot read {path}: {error.strerror or error}") from error
