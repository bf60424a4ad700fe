"""Bitrates and sizes as text, the container's share, and bitrates for external codecs."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from lvc.bitstream import CodecId, StreamHeader, StreamWriter
from lvc.codecs import open_codec
from lvc.codecs.rates import (
    container_bytes,
    parse_bitrate,
    parse_target_size,
    payload_bitrate,
    payload_bitrate_of_size,
)
from lvc.errors import UsageError
from lvc.types import EncodeOptions, Frame, Packet, PacketKind, VideoInfo


@pytest.mark.parametrize(("text", "value"), [
    ("500k", 500_000), ("1.5M", 1_500_000), ("0.5m", 500_000), (" 64000 ", 64_000), (2e6, 2_000_000), (".1G", 10**8)])
def test_bitrates(text: str | float, value: int) -> None:
    assert parse_bitrate(text) == value


@pytest.mark.parametrize("text", ["", "k", "500", "0", "-1M", "1e6", "5 0k", "5x", "500kib", 0, -5, float("nan"),
                                  float("inf"), True, "9" * 400])
def test_no_bitrates(text: str | float) -> None:
    with pytest.raises(UsageError, match="bitrate"):
        parse_bitrate(text)


@pytest.mark.parametrize(("text", "value"), [
    ("2M", 2_000_000), ("800k", 800_000), ("2MiB", 2 << 20), ("1.5KiB", 1536), ("3mb", 3_000_000),
    ("700", 700), (5, 5)])
def test_sizes(text: str | float, value: int) -> None:
    assert parse_target_size(text) == value


@pytest.mark.parametrize("text", ["", "M", "0", "-2M", "2Mbit", "two", 0, None])
def test_no_sizes(text: str | float) -> None:
    with pytest.raises(UsageError, match="target size"):
        parse_target_size(text)


@pytest.mark.parametrize(("period", "size"), [(1, 300), (10, 300), (-1, 300), (32, 20_000)])
def test_container_bytes(period: int, size: int) -> None:
    """What is foretold is what a stream has, or a little more."""
    video = VideoInfo(64, 48)
    header = StreamHeader(int(CodecId.X265), b"", video, period)
    file = io.BytesIO()
    with StreamWriter(file, header) as writer:
        for i in range(100):
            intra = i == 0 or (period > 0 and i % period == 0)
            writer.write_packet(Packet(PacketKind.INTRA if intra else PacketKind.INTER, bytes(size), 3000 * i))
    once, each = container_bytes(header, 100)
    taken = len(file.getvalue()) - 100 * size
    assert taken <= once + 100 * each <= 1.3 * taken + 10


def test_nothing_left() -> None:
    header = StreamHeader(int(CodecId.X265), b"", VideoInfo(64, 48), 32)
    assert 90_000 < payload_bitrate(100_000, header) < 99_000
    with pytest.raises(UsageError, match="container"):
        payload_bitrate(1000, header)
    with pytest.raises(UsageError, match="target size 5000 leaves nothing"):
        payload_bitrate_of_size(5000, 4900, header, 100)
    # 10 s: 8 * 100000 / 10, less what the container takes
    assert 75_000 < payload_bitrate_of_size(100_000, 0, header, 300) < 80_000


def test_codec_strings() -> None:
    assert open_codec("x265:bitrate=1.5M").options(EncodeOptions()).bitrate == 1_500_000
    for text, options in (("x265:bitrate=200k,quality=3", EncodeOptions()),
                          ("x265:quality=3", EncodeOptions(bitrate=10**5)),
                          ("x265:bitrate=200k", EncodeOptions(bitrate=10**5)),
                          ("x265:bitrate=fast", EncodeOptions())):
        with pytest.raises(UsageError):
            open_codec(text).options(options)
    for values in ({"bitrate": 0}, {"target_frames": 0}):
        with pytest.raises(UsageError):
            EncodeOptions(**values)


@pytest.mark.parametrize("codec", ["x264:crf=30", "x265:qp=30", "svt-av1:crf=30", "libaom:crf=30", "vvenc:qp=30"])
def test_external_codecs_take_one_target(codec: str) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        open_codec(codec).encoder(VideoInfo(64, 64), EncodeOptions(bitrate=10**5))


@pytest.mark.parametrize("codec", ["x264:preset=ultrafast", "x265:preset=ultrafast", "svt-av1:preset=12",
                                   "libaom:preset=8", "vvenc"])
def test_external_codecs_follow_a_bitrate(codec: str, textured_frames: Callable[..., list[Frame]]) -> None:
    """Their own rate control needs some time to settle; but what is asked for is what decides."""
    frames = textured_frames(30, 64, 64)
    sizes = []
    for bitrate in (30_000, 120_000):
        encoder = open_codec(codec).encoder(VideoInfo(64, 64), EncodeOptions(bitrate=bitrate, threads=1))
        packets = [p for f in frames for p in encoder.push(f)] + encoder.flush()
        assert len(packets) == 30
        sizes.append(sum(len(p.payload) for p in packets))
    assert sizes[1] > 1.25 * sizes[0]
