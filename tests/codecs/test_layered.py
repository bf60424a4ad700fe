"""Layered codecs: a base stream that is the base codec's own, and an enhancer that is switched by the frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lvc.bitstream import CodecId, StreamHeader
from lvc.codecs import codec_for_header, get_codec
from lvc.codecs.layered import LayeredDecoder, LayeredEncoder, Seen, base_header, find_base
from lvc.codecs.restore import RestoreCodec
from lvc.errors import CorruptStreamError, UsageError, WeightsError
from lvc.types import EncodeOptions, Frame, Packet, PacketKind, VideoInfo
from tests.codecs.coding import coded, decoded, same

BASES = ("x265", "svt-av1")  # x264 does not give the same bytes every time, not even with one thread


@pytest.fixture(scope="module")
def codec(restore_path) -> RestoreCodec:
    found = get_codec("restore", str(restore_path))
    assert isinstance(found, RestoreCodec)
    return found


@pytest.mark.parametrize("base", BASES)
def test_without_enhancement_it_is_the_base_codec(codec, base, textured_frames, info_of):
    frames = textured_frames(7, 80, 64)
    header, packets = coded(codec, frames, info_of(frames), base=base, enhance="off", crf="40")
    plain, own = coded(get_codec(base), frames, info_of(frames), crf="40")
    assert [(p.kind, p.payload, p.pts) for p in packets] == [(p.kind, p.payload, p.pts) for p in own]
    assert not any(p.quality & 3 for p in packets)
    assert same(decoded(codec, header, packets), decoded(get_codec(base), plain, own))


@pytest.mark.parametrize("base", BASES)
def test_without_the_network_the_base_pictures_come(codec, base, textured_frames, info_of):
    frames = textured_frames(7, 80, 64)
    header, packets = coded(codec, frames, info_of(frames), base=base, crf="40")
    plain, own = coded(get_codec(base), frames, info_of(frames), crf="40")
    assert [p.payload for p in packets] == [p.payload for p in own]
    header = replace(header, weights_digest=b"\1" * 16)  # weights that nobody has
    with pytest.raises(WeightsError):
        codec_for_header(header, str(codec.weights_digest))
    bare = codec_for_header(header, enhance=False)
    assert bare.name == base
    assert same(decoded(bare, header, packets), decoded(get_codec(base), plain, own))
    with pytest.raises(UsageError, match=base):
        bare.encoder(header.video, EncodeOptions())


def squared_errors(frame: Frame, source: Frame) -> list[float]:
    return [float(np.mean((a.astype(float) - b) ** 2)) for a, b in zip(frame.planes, source.planes, strict=True)]


def never_worse(restored: Frame, plain: Frame, source: Frame) -> bool:
    """By luma, and by the mean PSNR of both chroma planes."""
    (y, u, v), (base_y, base_u, base_v) = squared_errors(restored, source), squared_errors(plain, source)
    return y <= base_y and (u + 1e-3) * (v + 1e-3) <= (base_u + 1e-3) * (base_v + 1e-3)


def test_no_plane_gets_worse_and_switched_off_ones_stay(codec, textured_frames, info_of):
    frames = textured_frames(9, 96, 64)
    header, packets = coded(codec, frames, info_of(frames), base="x265", crf="42")
    result = decoded(codec, header, packets)
    base = decoded(codec_for_header(header, enhance=False), header, packets)
    qualities = {p.pts: p.quality for p in packets}
    for restored, plain, source in zip(result, base, frames, strict=True):
        quality = qualities[restored.pts]
        assert never_worse(restored, plain, source)
        assert bool(quality & 1) == (not np.array_equal(restored.y, plain.y))
        assert bool(quality & 2) == (not np.array_equal(restored.v, plain.v))
        level, error = 0.3 * 2 ** ((15 - quality // 4) / 2.5), squared_errors(plain, source)[0]
        assert abs(np.log2(level / error**0.5)) <= 0.21


class Teller:
    """An enhancer that writes down what it is given, and marks each frame's first sample."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int | None, int | None, bool]] = []

    def __call__(self, seen: Seen, previous: Seen | None, following: Seen | None) -> Frame:
        self.calls.append((seen.frame.pts, previous.frame.pts if previous else None,
                           following.frame.pts if following else None, seen.intra))
        y = seen.frame.y.copy()
        y[0, 0] ^= 1
        return Frame(y, seen.frame.u, seen.frame.v, seen.frame.pts)


def teller_coded(frames: list[Frame], video: VideoInfo, period: int, base_name: str) -> tuple[
        StreamHeader, list[Packet], Teller]:
    base, teller = find_base(base_name), Teller()
    inner = base.encoder(video, EncodeOptions(intra_period=period, threads=1))
    header = StreamHeader(base.codec_id, b"", video, period, inner.codec_data)
    encoder = LayeredEncoder(base, inner, base.decoder(header), teller)
    packets = [p for frame in frames for p in encoder.push(frame)] + encoder.flush()
    return StreamHeader(CodecId.RESTORE, b"", video, period, encoder.codec_data), packets, teller


@pytest.mark.parametrize("base", ["x265", "svt-av1"])
def test_neighbours_stay_within_the_group_of_pictures(base, textured_frames, info_of):
    frames = [Frame(f.y, f.u, f.v, 10 * i) for i, f in enumerate(textured_frames(7, 64, 64))]
    header, packets, teller = teller_coded(frames, info_of(frames), 3, base)
    expected = [(0, None, 10, True), (10, 0, 20, False), (20, 10, None, False),
                (30, None, 40, True), (40, 30, 50, False), (50, 40, None, False), (60, None, None, True)]
    assert teller.calls == expected
    inner, plain = base_header(header)
    all_on = [replace(p, quality=p.quality | 3) for p in packets]
    listener = Teller()
    decoder = LayeredDecoder(inner.decoder(plain), listener)
    result = [f for p in all_on for f in decoder.push(p)] + decoder.flush()
    assert listener.calls == expected
    assert [f.pts for f in result] == [f.pts for f in frames]


def test_a_lost_group_does_not_change_the_next(codec, textured_frames, info_of):
    frames = textured_frames(9, 64, 64)
    header, packets = coded(codec, frames, info_of(frames), 3, base="x264", crf="40")
    whole = decoded(codec, header, packets)
    starts = [i for i, p in enumerate(packets) if p.kind == PacketKind.INTRA]
    assert len(starts) == 3
    rest = decoded(codec, header, packets[starts[1]:])
    assert same(rest, whole[3:])


@pytest.mark.parametrize(("count", "width", "height"), [(1, 64, 64), (2, 65, 67), (5, 33, 47), (3, 200, 66)])
def test_sizes_and_lengths(codec, count, width, height, textured_frames, info_of):
    frames = textured_frames(count, width, height)
    header, packets = coded(codec, frames, info_of(frames), base="x265", crf="38")
    result = decoded(codec, header, packets)
    assert [f.pts for f in result] == list(range(count))
    assert all((f.width, f.height) == (width, height) for f in result)


def test_a_cut_brings_no_ghost(codec, textured_frames, info_of):
    """Even without an intra frame at the cut: the encoder leaves alone what would get worse."""
    one, two = textured_frames(3, 96, 64), textured_frames(3, 96, 64, seed=9)
    frames = [Frame(f.y, f.u, f.v, i) for i, f in enumerate((*one, *two))]
    header, packets = coded(codec, frames, info_of(frames), base="x265", crf="40")
    base = decoded(codec_for_header(header, enhance=False), header, packets)
    for restored, plain, source in zip(decoded(codec, header, packets), base, frames, strict=True):
        assert never_worse(restored, plain, source)


def test_wrong_parameters(codec, restore_path):
    video = VideoInfo(64, 64)

    def options(**params: str) -> EncodeOptions:
        return EncodeOptions(params=params)

    with pytest.raises(UsageError, match=r"unknown base codec 'dvc' \(there are: .*x265"):
        codec.encoder(video, options(base="dvc"))
    with pytest.raises(UsageError, match="enhance must be on or off"):
        codec.encoder(video, options(enhance="maybe"))
    with pytest.raises(UsageError, match=r"x265.*nonsense"):
        codec.encoder(video, options(base="x265", nonsense="1"))
    with pytest.raises(WeightsError):
        get_codec("swift", str(restore_path))


@pytest.mark.parametrize("data", [b"", b"\0", b"\x10", b"\xff\1"])
def test_wrong_codec_data(codec, data):
    header = StreamHeader(CodecId.RESTORE, codec.weights_digest, VideoInfo(64, 64), 32, data)
    with pytest.raises(CorruptStreamError, match="codec data"):
        codec.decoder(header)
    with pytest.raises(CorruptStreamError, match="codec data"):
        codec_for_header(header, enhance=False)


def test_damaged_packets(codec, textured_frames, info_of):
    frames = textured_frames(3, 64, 64)
    header, packets = coded(codec, frames, info_of(frames), base="x265", crf="40")
    decoder = codec.decoder(header)
    with pytest.raises(CorruptStreamError, match="quality 64"):
        decoder.push(replace(packets[0], quality=64))
    with pytest.raises(CorruptStreamError):
        codec.decoder(header).push(replace(packets[0], payload=b""))
    with pytest.raises(CorruptStreamError, match="inter frame"):
        codec.decoder(header).push(packets[1])
    twice = codec.decoder(header)
    with pytest.raises(CorruptStreamError, match="comes twice"):
        [twice.push(replace(packet, pts=0)) for packet in packets] + [twice.flush()]
