"""A standard codec below, an enhancer at the decoder above: what restore and stsr share.

The payloads are those of the base codec, byte for byte, but for coefficients that may stand before them: so the base
stream can be taken out (lvc.codecs.extract), or decoded by itself. What the enhancer needs to know of a frame is in its
packet's ``quality``: four times the level of the frame's coding error (lvc.enhance.levels), plus two bits for what is
to be done. The encoder tries it: what enhancement would make worse stays as it is.

Enhancers see a frame and its neighbours within the group of pictures, which begins at an intra frame: so damage
stays within groups, and nothing comes through a cut that the encoder put an intra frame at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from lvc.bitstream import CodecId, StreamHeader
from lvc.bitstream.fields import Cursor, FieldError, read_uvarint, write_uvarint
from lvc.codecs.base import Codec, Decoder, Encoder
from lvc.codecs.external import EXTERNAL
from lvc.codecs.reduction import FILTERING, REDUCTION_BYTES, Reduction
from lvc.codecs.unwrapping import UnwrappingDecoder
from lvc.errors import CorruptStreamError, UsageError
from lvc.types import Frame, Packet, VideoInfo

LAYERED = (CodecId.RESTORE, CodecId.STSR)
"""Codecs whose payloads are those of a base codec."""

ENHANCE_LUMA, ENHANCE_CHROMA = 1, 2
FILTERED, COEFFICIENTS = 1, 2
"""Bits of a packet's quality, the former two of stsr, the latter two of restore; the level is above them."""

CHOICES = 4
"""What the two bits can be."""

GAP_WAYS = 3
"""Of a packet of stsr with filters and without payload, the level is that of the frame of the base stream before it,
less 0 to 4; GAP_WAYS times this, plus the way that the frame is made in, stands in its place."""

MODES = (0, 1)
"""Of restore: filters alone, or with a network."""

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


def find_base(name: str) -> Codec:
    """The base codec of a name. Raises UsageError if there is none."""
    for codec in EXTERNAL:
        if codec.name == name:
            return codec
    raise UsageError(f"unknown base codec {name!r} (there are: {', '.join(codec.name for codec in EXTERNAL)})")


def layered_data(base: Codec, how: bytes, base_data: bytes) -> bytes:
    """Codec data of a layered stream: the base codec's number, what the layer says, then the base codec's own data."""
    return bytes([base.codec_id]) + how + base_data


def join_payload(packet: Packet, coefficients: bytes) -> Packet:
    """A packet of restore out of that of the base codec: coefficients stand before its payload, if there are any."""
    if not coefficients:
        return packet
    return replace(packet, payload=write_uvarint(len(coefficients)) + coefficients + packet.payload)


def split_payload(packet: Packet) -> tuple[bytes, Packet]:
    """The inverse of join_payload. Raises CorruptStreamError."""
    if not packet.quality & COEFFICIENTS:
        return b"", packet
    cursor = Cursor(packet.payload)
    try:
        coefficients = cursor.take(read_uvarint(cursor))
    except FieldError as error:
        raise CorruptStreamError(f"coefficients of filters: {error}") from error
    if not coefficients:
        raise CorruptStreamError("coefficients of filters are missing")
    return coefficients, replace(packet, payload=packet.payload[cursor.pos:])


def bare_packet(packet: Packet) -> Packet:
    """A packet of stsr with filters as it would be without them. Raises CorruptStreamError."""
    bare = split_payload(packet)[1]
    upper = packet.quality // CHOICES
    return replace(bare, quality=CHOICES * (upper if bare.payload else upper % GAP_WAYS))


def base_packet(header: StreamHeader, packet: Packet) -> Packet:
    """What the base codec's decoder takes, of a packet of a layered stream. Raises CorruptStreamError."""
    if header.codec_id == CodecId.STSR and reduction_of(header).enhancer not in FILTERING:
        return packet
    return split_payload(packet)[1]


def base_header(header: StreamHeader) -> tuple[Codec, StreamHeader]:
    """The base codec of a layered stream, and the header that the base stream would have.

    Raises:
        CorruptStreamError: the codec data makes no sense.
    """
    data = header.codec_data
    for codec in EXTERNAL:
        if data[:1] == bytes([codec.codec_id]):
            base = replace(header, codec_id=codec.codec_id, weights_digest=b"", codec_data=data[2:])
            if header.codec_id == CodecId.STSR:
                reduction = reduction_of(header)
                base = replace(base, video=reduction.video(header.video), codec_data=data[1 + REDUCTION_BYTES:],
                               intra_period=reduction.intra_period(header.intra_period))
            else:
                mode_of(header)
            return codec, base
    raise CorruptStreamError(f"codec data {data[:8].hex()!r} of a layered stream names no base codec")


def mode_of(header: StreamHeader) -> int:
    """Of a stream of restore, one of MODES. Raises CorruptStreamError."""
    mode = header.codec_data[1:2]
    if mode not in [bytes([known]) for known in MODES]:
        raise CorruptStreamError(f"codec data {header.codec_data[:8].hex()!r} names no way to restore")
    return mode[0]


def reduction_of(header: StreamHeader) -> Reduction:
    """How the base stream of a stream of stsr differs from the video. Raises CorruptStreamError."""
    return Reduction.from_bytes(header.codec_data[1:1 + REDUCTION_BYTES])


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
        return UnwrappingDecoder(base.decoder(inner), partial(base_packet, header))


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
