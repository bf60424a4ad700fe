"""Coding and decoding without files, for the tests of layered codecs."""

from __future__ import annotations

import numpy as np

from lvc.bitstream import StreamHeader
from lvc.codecs.base import Codec, Decoder
from lvc.types import EncodeOptions, Frame, Packet, VideoInfo


def coded(codec: Codec, frames: list[Frame], video: VideoInfo, period: int = -1,
          **params: str) -> tuple[StreamHeader, list[Packet]]:
    """Header and packets of frames by a codec with parameters; `period`: between intra frames."""
    encoder = codec.encoder(video, EncodeOptions(intra_period=period, threads=1, params=params))
    packets = [p for frame in frames for p in encoder.push(frame)] + encoder.flush()
    return StreamHeader(codec.codec_id, codec.weights_digest, video, period, encoder.codec_data), packets


def drained(decoder: Decoder, packets: list[Packet]) -> list[Frame]:
    """All frames that a decoder gives for the packets."""
    return [f for packet in packets for f in decoder.push(packet)] + decoder.flush()


def decoded(codec: Codec, header: StreamHeader, packets: list[Packet]) -> list[Frame]:
    """The frames of a stream."""
    return drained(codec.decoder(header), packets)


def same(one: list[Frame], two: list[Frame]) -> bool:
    """Whether times and samples are the same."""
    return [f.pts for f in one] == [f.pts for f in two] and all(
        np.array_equal(a, b) for x, y in zip(one, two, strict=True) for a, b in zip(x.planes, y.planes, strict=True))
