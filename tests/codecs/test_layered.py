"""Layered codecs: a base stream that is the base codec's own, and filters behind it that come with the stream."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lvc.bitstream import CodecId, StreamHeader
from lvc.codecs import codec_for_header, filtered, get_codec
from lvc.codecs.filtered import FilteredDecoder, FilteredEncoder, Filtering
from lvc.codecs.layered import COEFFICIENTS, FILTERED, base_header, find_base, layered_data, split_payload
from lvc.codecs.restore import RestoreCodec
from lvc.enhance import adaptivefit
from lvc.enhance.adaptive import Views
from lvc.enhance.prior import FilterPrior, situation
from lvc.enhance.restorer import Restorer
from lvc.enhance.seen import Window
from lvc.errors import CorruptStreamError, UsageError, WeightsError
from lvc.types import EncodeOptions, Frame, PacketKind, VideoInfo
from tests.codecs.coding import coded, decoded, drained, same

BASES = ("x265", "svt-av1")  # x264 does not give the same bytes every time, not even with one thread


@pytest.fixture(scope="module")
def codec(restore_path) -> RestoreCodec:
    found = get_codec("restore", str(restore_path))
    assert isinstance(found, RestoreCodec)
    return found


@pytest.fixture(autouse=True)
def generous(monkeypatch):
    """These clips are too small for coefficients to pay."""
    monkeypatch.setattr(adaptivefit, "DECIBEL_WORTH", 20.0)


@pytest.mark.parametrize("base", BASES)
def test_without_enhancement_it_is_the_base_codec(codec, base, textured_frames, info_of):
    frames = textured_frames(7, 80, 64)
    header, packets = coded(codec, frames, info_of(frames), base=base, enhance="off", crf="40")
    plain, own = coded(get_codec(base), frames, info_of(frames), crf="40")
    assert [(p.kind, p.payload, p.pts) for p in packets] == [(p.kind, p.payload, p.pts) for p in own]
    assert not any(p.quality & 3 for p in packets)
    assert same(decoded(codec, header, packets), decoded(get_codec(base), plain, own))


@pytest.mark.parametrize("enhance", ["on", "filters"])
@pytest.mark.parametrize("base", BASES)
def test_without_the_network_the_base_pictures_come(codec, base, enhance, textured_frames, info_of):
    frames = textured_frames(7, 80, 64)
    header, packets = coded(codec, frames, info_of(frames), base=base, crf="40", enhance=enhance)
    plain, own = coded(get_codec(base), frames, info_of(frames), crf="40")
    assert any(p.quality & COEFFICIENTS for p in packets)
    assert [split_payload(p)[1].payload for p in packets] == [p.payload for p in own]
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


def gain(restored: Frame, plain: Frame, source: Frame) -> float:
    """Of 6:1:1 PSNR."""
    parts = [10.0 * np.log10((b + 1e-3) / (a + 1e-3))
             for a, b in zip(squared_errors(restored, source), squared_errors(plain, source), strict=True)]
    return (6.0 * parts[0] + parts[1] + parts[2]) / 8.0


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("enhance", ["on", "filters"])
def test_frames_get_better_and_those_switched_off_stay(codec, base, enhance, textured_frames, info_of):
    frames = textured_frames(9, 96, 64)
    header, packets = coded(codec, frames, info_of(frames), base=base, crf="42", enhance=enhance)
    result = decoded(codec, header, packets)
    plain = decoded(codec_for_header(header, enhance=False), header, packets)
    qualities = {p.pts: p.quality for p in packets}
    gains = []
    for restored, bare, source in zip(result, plain, frames, strict=True):
        quality = qualities[restored.pts]
        if not quality & FILTERED:
            assert same([restored], [bare])
        gains.append(gain(restored, bare, source))
        level, error = 0.3 * 2 ** ((15 - quality // 4) / 2.5), squared_errors(bare, source)[0]
        assert abs(np.log2(level / error**0.5)) <= 0.21
    assert min(gains) > -0.05
    assert np.mean(gains) > 0.1


class Teller(Restorer):
    """Writes down what it is given."""

    def __init__(self) -> None:
        super().__init__(None, False)
        self.calls: list[tuple[int | None, ...]] = []

    def __call__(self, window: Window) -> Views:
        self.calls.append((*(None if seen is None else seen.frame.pts for seen in window), window[2].intra))
        return super().__call__(window)


def told() -> tuple[Filtering, list[tuple[int | None, ...]]]:
    teller = Teller()
    return Filtering(teller, FilterPrior(), situation(False, False)), teller.calls


def told_encoder(video: VideoInfo, period: int, base_name: str, filtering: Filtering) -> tuple[
        FilteredEncoder, StreamHeader]:
    base = find_base(base_name)
    inner = base.encoder(video, EncodeOptions(intra_period=period, threads=1, params={"crf": "40"}))
    header = StreamHeader(base.codec_id, b"", video, period, inner.codec_data)
    data = layered_data(base, b"\0", inner.codec_data)
    return FilteredEncoder(inner, base.decoder(header), data, filtering), header


@pytest.mark.parametrize("base", BASES)
def test_neighbours_stay_within_the_group_of_pictures(base, textured_frames, info_of):
    frames = [Frame(f.y, f.u, f.v, 10 * i) for i, f in enumerate(textured_frames(7, 64, 64))]
    filtering, calls = told()
    encoder, _ = told_encoder(info_of(frames), 3, base, filtering)
    packets = [p for frame in frames for p in encoder.push(frame)] + encoder.flush()
    expected = [(None, None, 0, 10, 20, True), (None, 0, 10, 20, None, False), (0, 10, 20, None, None, False),
                (None, None, 30, 40, 50, True), (None, 30, 40, 50, None, False), (30, 40, 50, None, None, False),
                (None, None, 60, None, None, True)]
    assert calls == expected
    header = StreamHeader(CodecId.RESTORE, b"", info_of(frames), 3, encoder.codec_data)
    inner, plain = base_header(header)
    filtering, calls = told()
    result = drained(FilteredDecoder(inner.decoder(plain), filtering), packets)
    filtered_ones = {p.pts for p in packets if p.quality & FILTERED}
    assert calls == [call for call in expected if call[2] in filtered_ones]
    assert filtered_ones
    assert [f.pts for f in result] == [f.pts for f in frames]


def test_long_groups_of_pictures_get_new_coefficients(codec, monkeypatch, textured_frames, info_of):
    monkeypatch.setattr(filtered, "GROUP", 4)
    frames = textured_frames(10, 64, 64)
    header, packets = coded(codec, frames, info_of(frames), base="x265", crf="40")
    starts = sorted(p.pts for p in packets if p.quality & COEFFICIENTS)
    assert starts == [0, 4, 8]
    assert len(decoded(codec, header, packets)) == 10


def test_groups_are_coded_before_all_frames_are_there(codec, textured_frames, info_of):
    frames = textured_frames(40, 64, 64)
    encoder = codec.encoder(info_of(frames), EncodeOptions(intra_period=3, threads=1,
                                                           params={"base": "x265", "crf": "40", "bframes": "0",
                                                                   "rc-lookahead": "0"}))
    early = [p for frame in frames for p in encoder.push(frame)]
    assert len(early) >= 20
    assert len(early) + len(encoder.flush()) == 40


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
    """Even without an intra frame at the cut."""
    one, two = textured_frames(3, 96, 64), textured_frames(3, 96, 64, seed=9)
    frames = [Frame(f.y, f.u, f.v, i) for i, f in enumerate((*one, *two))]
    header, packets = coded(codec, frames, info_of(frames), base="x265", crf="40")
    base = decoded(codec_for_header(header, enhance=False), header, packets)
    for restored, plain, source in zip(decoded(codec, header, packets), base, frames, strict=True):
        assert gain(restored, plain, source) > -0.05


def test_wrong_parameters(codec, restore_path):
    video = VideoInfo(64, 64)

    def options(**params: str) -> EncodeOptions:
        return EncodeOptions(params=params)

    with pytest.raises(UsageError, match=r"unknown base codec 'dvc' \(there are: .*x265"):
        codec.encoder(video, options(base="dvc"))
    with pytest.raises(UsageError, match="enhance must be on, filters, off"):
        codec.encoder(video, options(enhance="maybe"))
    with pytest.raises(UsageError, match=r"x265.*nonsense"):
        codec.encoder(video, options(base="x265", nonsense="1"))
    with pytest.raises(WeightsError):
        get_codec("swift", str(restore_path))


@pytest.mark.parametrize("data", [b"", b"\0", b"\x10", b"\xff\1", b"\2", b"\2\2"])
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
    with pytest.raises(CorruptStreamError, match="coefficients"):
        codec.decoder(header).push(replace(packets[0], quality=2, payload=b""))
    with pytest.raises(CorruptStreamError, match="coefficients"):
        codec.decoder(header).push(replace(packets[0], quality=2, payload=b"\xf0\7abc"))
    with pytest.raises(CorruptStreamError, match="coefficients"):
        codec.decoder(header).push(replace(packets[0], quality=2, payload=b"\0abc"))
    bare = [replace(split_payload(p)[1], quality=1) for p in packets]
    with pytest.raises(CorruptStreamError, match="no coefficients came"):
        drained(codec.decoder(header), bare)
    with pytest.raises(CorruptStreamError, match="inter frame"):
        codec.decoder(header).push(packets[1])
    twice = codec.decoder(header)
    with pytest.raises(CorruptStreamError, match="comes twice"):
        [twice.push(replace(packet, pts=0)) for packet in packets] + [twice.flush()]
