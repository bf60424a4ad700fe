"""A standard codec below, an enhancer at the decoder above.

The payloads are those of the base codec, byte for byte, so the base stream can be taken out (lvc.codecs.extract), or
decoded by itself. What the enhancer needs to know of a frame is in its packet's ``quality``: four times the level of
the frame's coding error (lvc.enhance.levels), plus ENHANCE_LUMA and ENHANCE_CHROMA for what is to be enhanced. The
encoder tries it: planes that enhancement would make worse stay as they are.

Enhancers see a frame and its neighbours within the group of pictures, which begins at an intra frame: so damage
stays within groups, and nothing comes through a cut that the encoder put an intra frame at.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from lvc.bitstream import CodecId, StreamHeader
from lvc.codecs.base import Codec, Decoder, Encoder
from lvc.codecs.external import EXTERNAL
from lvc.codecs.reduction import REDUCTION_BYTES, Reduction
from lvc.enhance.levels import LEVELS, index_of_level, level_of_index
from lvc.errors import CorruptStreamError, UsageError
from lvc.types import Frame, Packet, PacketKind, VideoInfo

LAYERED = (CodecId.RESTORE, CodecId.STSR)
"""Codecs whose payloads are those of a base codec."""

ENHANCE_LUMA, ENHANCE_CHROMA = 1, 2
"""Bits of a packet's quality; the level is above them."""

_FLAGS = ENHANCE_LUMA | ENHANCE_CHROMA
_LEAST_ERROR = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What an enhancer sees of a frame.

    Attributes:
        frame: as decoded.
        level: root mean squared error of its luma, about, in values 0..255.
        intra: whether it is the first one of a group of pictures.
    """

    frame: Frame
    level: float
    intra: bool


class Enhancer(Protocol):
    """Makes a decoded frame better."""

    def __call__(self, seen: Seen, previous: Seen | None, following: Seen | None) -> Frame:
        """The frame enhanced, with the pts it has; its neighbours are None where the group of pictures ends."""
        ...


def find_base(name: str) -> Codec:
    """The base codec of a name. Raises UsageError if there is none."""
    for codec in EXTERNAL:
        if codec.name == name:
            return codec
    raise UsageError(f"unknown base codec {name!r} (there are: {', '.join(codec.name for codec in EXTERNAL)})")


def layered_data(base: Codec, base_data: bytes) -> bytes:
    """Codec data of a layered stream: the base codec's number, then its own codec data."""
    return bytes([base.codec_id]) + base_data


def base_header(header: StreamHeader) -> tuple[Codec, StreamHeader]:
    """The base codec of a layered stream, and the header that the base stream would have.

    Raises:
        CorruptStreamError: the codec data makes no sense.
    """
    data = header.codec_data
    for codec in EXTERNAL:
        if data[:1] == bytes([codec.codec_id]):
            base = replace(header, codec_id=codec.codec_id, weights_digest=b"", codec_data=data[1:])
            if header.codec_id == CodecId.STSR:
                reduction = reduction_of(header)
                base = replace(base, video=reduction.video(header.video), codec_data=data[1 + REDUCTION_BYTES:],
                               intra_period=reduction.intra_period(header.intra_period))
            return codec, base
    raise CorruptStreamError(f"codec data {data[:8].hex()!r} of a layered stream names no base codec")


def reduction_of(header: StreamHeader) -> Reduction:
    """How the base stream of a stream of stsr differs from the video. Raises CorruptStreamError."""
    return Reduction.from_bytes(header.codec_data[1:1 + REDUCTION_BYTES])


@dataclass(frozen=True, slots=True)
class _Window:
    """Three frames in a row; the outer ones are None beyond the group of pictures."""

    previous: Seen | None
    current: Seen
    following: Seen | None


class _Neighbours:
    """Turns frames in presentation order into windows, one frame later."""

    def __init__(self) -> None:
        self._previous: Seen | None = None
        self._current: Seen | None = None

    def push(self, seen: Seen) -> list[_Window]:
        windows = []
        if self._current is not None:
            windows.append(_Window(self._previous, self._current, None if seen.intra else seen))
        self._previous = None if seen.intra else self._current
        self._current = seen
        return windows

    def flush(self) -> list[_Window]:
        windows = [] if self._current is None else [_Window(self._previous, self._current, None)]
        self._previous = self._current = None
        return windows


class LayeredEncoder:
    """Codes by the base codec, decodes that again, and tries the enhancer on each frame.

    A packet waits until its frame is judged: one frame longer than the base codec's own delay.

    Args:
        base: its codec. encoder, decoder: of the base stream.
        enhancer: None enhances nothing.
    """

    def __init__(self, base: Codec, encoder: Encoder, decoder: Decoder, enhancer: Enhancer | None) -> None:
        self.codec_data = layered_data(base, encoder.codec_data)
        self._encoder, self._decoder, self._enhancer = encoder, decoder, enhancer
        self._sources: dict[int, Frame] = {}
        self._held: deque[Packet] = deque()
        self._intra: set[int] = set()
        self._qualities: dict[int, int] = {}
        self._neighbours = _Neighbours()

    def push(self, frame: Frame) -> list[Packet]:
        """Take one frame; see Encoder. Raises what the base codec raises."""
        packets = self._encoder.push(frame)
        self._sources[frame.pts] = frame
        self._take(packets)
        return self._ready()

    def flush(self) -> list[Packet]:
        """Return all remaining packets."""
        self._take(self._encoder.flush())
        self._see(self._decoder.flush())
        self._judge(self._neighbours.flush())
        return self._ready()

    def _take(self, packets: Sequence[Packet]) -> None:
        for packet in packets:
            self._held.append(packet)
            if packet.kind == PacketKind.INTRA:
                self._intra.add(packet.pts)
            self._see(self._decoder.push(packet))

    def _see(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            error = squared_errors(frame, self._sources[frame.pts])[0]
            index = index_of_level(math.sqrt(error))
            self._qualities[frame.pts] = -1 - index  # not judged yet
            intra = frame.pts in self._intra
            self._intra.discard(frame.pts)
            self._judge(self._neighbours.push(Seen(frame, level_of_index(index), intra)))

    def _judge(self, windows: Sequence[_Window]) -> None:
        for window in windows:
            frame = window.current.frame
            source = self._sources.pop(frame.pts)
            flags = 0
            if self._enhancer is not None:
                enhanced = self._enhancer(window.current, window.previous, window.following)
                flags = better_planes(squared_errors(enhanced, source), squared_errors(frame, source))
            index = -1 - self._qualities[frame.pts]
            self._qualities[frame.pts] = index * (_FLAGS + 1) + flags

    def _ready(self) -> list[Packet]:
        packets = []
        while self._held and self._qualities.get(self._held[0].pts, -1) >= 0:
            packet = self._held.popleft()
            packets.append(replace(packet, quality=self._qualities.pop(packet.pts)))
        return packets


class LayeredDecoder:
    """Decodes the base stream and enhances what the packets say; one frame later than the base codec.

    Args:
        decoder: of the base stream. enhancer: what the encoder tried.
    """

    def __init__(self, decoder: Decoder, enhancer: Enhancer) -> None:
        self._decoder, self._enhancer = decoder, enhancer
        self._packets: dict[int, tuple[int, bool]] = {}
        self._wanted: dict[int, int] = {}
        self._neighbours = _Neighbours()

    def push(self, packet: Packet) -> list[Frame]:
        """Take one packet. Raises CorruptStreamError on a payload or a quality that cannot be right."""
        if not 0 <= packet.quality < LEVELS * (_FLAGS + 1):
            raise CorruptStreamError(f"quality {packet.quality} is above {LEVELS * (_FLAGS + 1) - 1}")
        self._packets[packet.pts] = packet.quality, packet.kind == PacketKind.INTRA
        return self._see(self._decoder.push(packet))

    def flush(self) -> list[Frame]:
        """Return all remaining frames."""
        frames = self._see(self._decoder.flush()) + self._enhance(self._neighbours.flush())
        self._packets.clear()
        return frames

    def _see(self, decoded: Sequence[Frame]) -> list[Frame]:
        frames = []
        for frame in decoded:
            if frame.pts not in self._packets:
                raise CorruptStreamError(f"presentation time {frame.pts} comes twice")
            quality, intra = self._packets.pop(frame.pts)
            self._wanted[frame.pts] = quality & _FLAGS
            level = level_of_index(quality // (_FLAGS + 1))
            frames += self._enhance(self._neighbours.push(Seen(frame, level, intra)))
        return frames

    def _enhance(self, windows: Sequence[_Window]) -> list[Frame]:
        frames = []
        for window in windows:
            frame = window.current.frame
            wanted = self._wanted.pop(frame.pts)
            if wanted:
                frame = mixed(frame, self._enhancer(window.current, window.previous, window.following), wanted)
            frames.append(frame)
        return frames


@dataclass(slots=True)
class BaseOnly:
    """A layered stream decoded without its enhancer. Implements lvc.codecs.base.Codec but for encoding.

    Attributes:
        name: of the base codec. weights_digest: any that the stream has: none are needed.
    """

    name: str
    codec_id: int
    weights_digest: bytes

    def encoder(self, video: VideoInfo, options: object) -> Encoder:
        """Raises UsageError: the base codec itself encodes."""
        raise UsageError(f"this codec decodes only; {self.name} encodes")

    def decoder(self, header: StreamHeader) -> Decoder:
        """Raises CorruptStreamError if the codec data makes no sense."""
        base, inner = base_header(header)
        return base.decoder(inner)


def squared_errors(frame: Frame, source: Frame) -> tuple[float, float, float]:
    """Mean squared errors of Y, U and V."""
    y, u, v = (float(np.mean((a.astype(np.float32) - b) ** 2))
               for a, b in zip(frame.planes, source.planes, strict=True))
    return y, u, v


def better_planes(enhanced: Sequence[float], plain: Sequence[float]) -> int:
    """Which planes enhancement makes better, by squared errors; U and V go together, by the mean of their PSNR."""
    luma = enhanced[0] < plain[0]
    chroma = (enhanced[1] + _LEAST_ERROR) * (enhanced[2] + _LEAST_ERROR) < (
        plain[1] + _LEAST_ERROR) * (plain[2] + _LEAST_ERROR)
    return ENHANCE_LUMA * luma + ENHANCE_CHROMA * chroma


def mixed(plain: Frame, enhanced: Frame | None, wanted: int) -> Frame:
    """The planes that are wanted enhanced, by ENHANCE_LUMA and ENHANCE_CHROMA, beside the plain others."""
    if enhanced is None or not wanted:
        return plain
    luma = enhanced if wanted & ENHANCE_LUMA else plain
    chroma = enhanced if wanted & ENHANCE_CHROMA else plain
    return Frame(luma.y, chroma.u, chroma.v, plain.pts)
