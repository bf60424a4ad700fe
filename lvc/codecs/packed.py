"""x265-packed: x265's stream with its entropy coding replaced.

HEVC codes a picture's decisions ("bins") with adaptive probabilities that start from fixed tables at every picture, one
context for each bin. Here the same bins are coded with probabilities that begin where training left them, last for the
whole group of pictures, and are mixed from what a dozen contexts say: the blocks around, the nearest picture, the
coefficients so far (csrc/hevc). The stream of x265 comes back to the last bit, so what its decoder gives is the same,
in fewer bytes.

A packet's payload is one access unit. If it begins with two zero bytes, it is the standard's own byte stream as it is:
what the packer does not know (several slices, tiles, other chroma formats) is left alone. Otherwise it is packed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from lvc._hevc import CorruptError, Side, State, UnsupportedError
from lvc.bitstream import StreamHeader
from lvc.codecs.base import Codec, Decoder, Encoder
from lvc.codecs.unwrapping import UnwrappingDecoder
from lvc.errors import CorruptStreamError, WeightsError
from lvc.shipped import locate
from lvc.types import EncodeOptions, Frame, Packet, PacketKind, VideoInfo

NAME = "x265-packed"

_DIGEST_BYTES = 4
_RAW = b"\0\0"
"""What a start code begins with, and packed data never."""

COUNT_LIMIT, WEIGHT_RATE = 255, 16
"""Of what is learned while coding (csrc/hevc/model.h)."""
WEIGHT_UNIT = 32
"""Weights are stored in 16 bits, in units of this."""

_MARGIN = 128
"""Coded sizes are rounded up to whole blocks."""


@lru_cache(1)
def trained() -> tuple[State, bytes]:
    """What all streams begin with, and the first bytes of its file's SHA-256. Raises WeightsError."""
    from safetensors.numpy import load_file

    path, sha256 = locate(NAME)
    try:
        arrays = load_file(path)
        state = State(arrays["chance"], arrays["count"], arrays["weights"].astype(np.int32) * WEIGHT_UNIT)
    except (OSError, KeyError, ValueError) as error:
        raise WeightsError(f"weights {path.name} cannot be used: {error}") from error
    return state, bytes.fromhex(sha256)[:_DIGEST_BYTES]


def _side(video: VideoInfo) -> Side:
    return Side(trained()[0], COUNT_LIMIT, WEIGHT_RATE, (video.width + _MARGIN) * (video.height + _MARGIN))


class Packer:
    """Packs packets in decoding order; after one that cannot be packed, they stay as they are up to an intra packet."""

    def __init__(self, video: VideoInfo) -> None:
        self._side, self._check = _side(video), Unpacker(video)
        self._works = False

    def __call__(self, packet: Packet) -> Packet:
        """The packet with its payload packed, if that can be undone."""
        if packet.kind == PacketKind.INTRA:
            self._side.reset()
            self._works = True
        if not self._works:
            return packet
        try:
            packed = replace(packet, payload=self._side.pack(packet.payload) or b"\0")
            # HEVC allows for more than one way to write the same: only what comes back exactly may be packed
            self._works = not packed.payload.startswith(_RAW) and self._check(packed).payload == packet.payload
        except (UnsupportedError, CorruptStreamError):
            self._works = False
        return packed if self._works else packet


class Unpacker:
    """The reverse."""

    def __init__(self, video: VideoInfo) -> None:
        self._side = _side(video)
        self._most = 4 * (video.width + _MARGIN) * (video.height + _MARGIN)
        self._started = False

    def __call__(self, packet: Packet) -> Packet:
        """The packet as it was. Raises CorruptStreamError."""
        if packet.kind == PacketKind.INTRA:
            self._side.reset()
            self._started = True
        if packet.payload.startswith(_RAW):
            return packet
        if not self._started:
            raise CorruptStreamError(f"{NAME} cannot start at an inter frame")
        try:
            return replace(packet, payload=self._side.unpack(packet.payload, self._most))
        except CorruptError as error:
            self._started = False
            raise CorruptStreamError(f"{NAME} packet cannot be unpacked: {error}") from error


class PackedEncoder:
    """Packs what another encoder gives."""

    def __init__(self, encoder: Encoder, video: VideoInfo) -> None:
        self._encoder, self._pack = encoder, Packer(video)
        self.codec_data = trained()[1] + encoder.codec_data

    def push(self, frame: Frame) -> list[Packet]:
        """Take one frame; see Encoder. Raises what the other encoder raises."""
        return [self._pack(packet) for packet in self._encoder.push(frame)]

    def flush(self) -> list[Packet]:
        """Return all remaining packets."""
        return [self._pack(packet) for packet in self._encoder.flush()]


@dataclass(slots=True)
class PackedCodec:
    """A codec of HEVC streams that are stored packed. Implements lvc.codecs.base.Codec.

    Attributes:
        base: whose streams they are.
    """

    base: Codec
    name: str
    codec_id: int
    weights_digest: bytes = b""

    def encoder(self, video: VideoInfo, options: EncodeOptions) -> Encoder:
        """Raises what the base codec raises, and WeightsError."""
        return PackedEncoder(self.base.encoder(video, options), video)

    def decoder(self, header: StreamHeader) -> Decoder:
        """Raises WeightsError if the stream was made with others."""
        return UnwrappingDecoder(self.base.decoder(self.base_header(header)), self.unwrap(header))

    def base_header(self, header: StreamHeader) -> StreamHeader:
        """The header that the stream would have if it were not packed."""
        return replace(header, codec_id=self.base.codec_id, codec_data=header.codec_data[_DIGEST_BYTES:])

    def unwrap(self, header: StreamHeader) -> Callable[[Packet], Packet]:
        """What makes packets in decoding order those of the base codec. Raises WeightsError."""
        found, own = header.codec_data[:_DIGEST_BYTES], trained()[1]
        if found != own:
            raise WeightsError(f"the stream was packed with weights {found.hex() or '(none)'} of {NAME}, this version "
                               f"of lvc has {own.hex()}")
        return Unpacker(header.video)
