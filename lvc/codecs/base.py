"""The one interface that every codec implements, ours and external ones alike."""

from __future__ import annotations

from typing import Protocol

from lvc.bitstream import StreamHeader
from lvc.types import EncodeOptions, Frame, Packet, VideoInfo


class Encoder(Protocol):
    """Takes frames in presentation order, gives packets in decoding order."""

    codec_data: bytes
    """Goes into the stream header as it is (at most 64 KiB); known as soon as the encoder exists."""

    def push(self, frame: Frame) -> list[Packet]:
        """Take one frame; return the packets that are ready (none while looking ahead)."""
        ...

    def flush(self) -> list[Packet]:
        """No frame follows: return all remaining packets."""
        ...


class Decoder(Protocol):
    """Takes packets in decoding order, gives frames in presentation order.

    After a packet was lost, the caller drops packets up to the next INTRA one and pushes that:
    a decoder must then go on without memory of what was before.
    """

    def push(self, packet: Packet) -> list[Frame]:
        """Take one packet; return the frames that are ready. Raises LvcError on a damaged payload."""
        ...

    def flush(self) -> list[Frame]:
        """No packet follows: return all remaining frames."""
        ...


class Codec(Protocol):
    """A factory of encoders and decoders.

    Attributes:
        name: as in codec strings: ``dvc-lite``, ``x265``, ...
        codec_id: its number in the bitstream (lvc.bitstream.CodecId).
        weights_digest: first 16 bytes of the SHA-256 of the weights file; empty if there are none.
    """

    name: str
    codec_id: int
    weights_digest: bytes

    def encoder(self, video: VideoInfo, options: EncodeOptions) -> Encoder: ...

    def decoder(self, header: StreamHeader) -> Decoder: ...
