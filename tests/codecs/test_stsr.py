"""stsr: reduced base streams, and the ways back to the video."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from lvc.api import decode, encode, open_stream, probe
from lvc.bitstream import CodecId, StreamHeader
from lvc.codecs import codec_for_header, get_codec, open_codec
from lvc.codecs.extract import extract_base
from lvc.codecs.layered import base_header
from lvc.codecs.rebuild import BOTH, FOLLOWING, PREVIOUS
from lvc.codecs.stsr import StsrCodec
from lvc.errors import CodecError, CorruptStreamError, UsageError, WeightsError
from lvc.types import EncodeOptions, Frame, PacketKind, VideoInfo
from tests.codecs.coding import coded, decoded, same

BASES = ("x264", "x265", "svt-av1")


@pytest.fixture(scope="module")
def codec() -> StsrCodec:
    return StsrCodec()


def psnr(a: Frame, b: Frame) -> float:
    return float(10 * np.log10(255**2 / max(np.mean((a.y.astype(float) - b.y) ** 2), 1e-9)))


@pytest.mark.parametrize("base", ["x265", "svt-av1"])  # x264's streams are not the same every time at such sizes
def test_without_reduction_it_is_the_base_codec(codec, base, textured_frames, info_of):
    frames = textured_frames(7, 80, 66)
    header, packets = coded(codec, frames, info_of(frames), base=base, crf="38")
    plain, own = coded(get_codec(base), frames, info_of(frames), crf="38")
    assert [(p.kind, p.payload, p.pts) for p in packets] == [(p.kind, p.payload, p.pts) for p in own]
    assert same(decoded(codec, header, packets), decoded(get_codec(base), plain, own))


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("kt", "ks"), [("2", "1"), ("1", "1.5"), ("2", "2")])
def test_the_base_stream_is_that_of_the_reduced_video(codec, base, kt, ks, textured_frames, info_of):
    frames = textured_frames(8, 131, 97)
    header, packets = coded(codec, frames, info_of(frames), 6, base=base, crf="30", kt=kt, ks=ks)
    inner, plain = base_header(header)
    scale = float(ks)
    assert (plain.video.width, plain.video.height) == (int(np.ceil(131 / scale)), int(np.ceil(97 / scale)))
    assert plain.video.frame_rate == header.video.frame_rate / int(kt)
    assert plain.intra_period == 6 // int(kt)
    kept = [p for p in packets if p.payload]
    assert sorted(p.pts for p in kept) == ([0, 2, 4, 6, 7] if kt == "2" else list(range(8)))
    low = decoded(inner, plain, kept)
    assert [f.pts for f in low] == sorted(p.pts for p in kept)
    assert {p.pts for p in kept if p.kind == PacketKind.INTRA} == {0, 6}
    result = decoded(codec, header, packets)
    assert [f.pts for f in result] == list(range(8))
    assert all((f.width, f.height) == (131, 97) for f in result)
    assert same(result, decoded(codec_for_header(header, enhance=False), header, packets))
    if kt == "2" and ks == "1":
        assert same([f for f in result if f.pts in (0, 2, 4, 6, 7)], low)


def test_frames_come_back_well(codec, textured_frames, info_of):
    """Motion in a straight line: what was left out is about as good as what was coded."""
    frames = textured_frames(9, 160, 96)
    header, packets = coded(codec, frames, info_of(frames), base="x265", crf="20", kt="2")
    ways = {p.pts: p.quality for p in packets if not p.payload}
    assert ways == dict.fromkeys((1, 3, 5, 7), 4 * BOTH)
    result = decoded(codec, header, packets)
    for t in (1, 3, 5, 7):
        sides = max(psnr(result[t - 1], frames[t]), psnr(result[t + 1], frames[t]))
        assert psnr(result[t], frames[t]) > sides + 3


@pytest.mark.parametrize("base", ["x265", "svt-av1", "vvenc"])
@pytest.mark.parametrize("count", [1, 2, 3, 6, 7])
def test_every_length(codec, base, count, textured_frames, info_of):
    frames = [Frame(f.y, f.u, f.v, 100 + 10 * i) for i, f in enumerate(textured_frames(count, 64, 64))]
    header, packets = coded(codec, frames, info_of(frames), 3, base=base, kt="2", ks="2")
    assert [f.pts for f in decoded(codec, header, packets)] == [f.pts for f in frames]
    assert packets[0].kind == PacketKind.INTRA
    assert {p.pts for p in packets if p.payload} == {f.pts for f in frames[::2]} | {frames[-1].pts}


@pytest.mark.parametrize(("width", "height"), [(1, 1), (65, 67), (33, 47), (200, 66)])
@pytest.mark.parametrize("ks", ["1", "1.5", "2"])
def test_every_size(codec, ks, width, height, textured_frames, info_of):
    frames = textured_frames(3, width, height)
    header, packets = coded(codec, frames, info_of(frames), base="x264", kt="2", ks=ks, crf="16")
    result = decoded(codec, header, packets)
    assert [f.pts for f in result] == [0, 1, 2]
    assert all(a.shape == b.shape for f, g in zip(result, frames) for a, b in zip(f.planes, g.planes))
    assert psnr(result[0], frames[0]) > (15 if ks != "1" else 30)


@pytest.mark.parametrize(("cut", "way"), [(3, FOLLOWING), (4, PREVIOUS)])
@pytest.mark.parametrize("base", ["x265", "svt-av1"])
def test_a_cut_at_a_frame_left_out_brings_no_ghost(codec, base, cut, way, textured_frames, info_of):
    """Frame 3 is left out, between 2 and 4: it is of one scene or the other."""
    one, two = (textured_frames(n, 96, 64, seed=seed, motion=(2, 0)) for n, seed in ((cut, 0), (8 - cut, 9)))
    frames = [Frame(f.y, f.u, f.v, i) for i, f in enumerate((*one, *two))]
    header, packets = coded(codec, frames, info_of(frames), base=base, kt="2", crf="20")
    assert next(p.quality for p in packets if p.pts == 3) == 4 * way
    result = decoded(codec, header, packets)
    side = result[2 if way == PREVIOUS else 4]
    assert all(np.array_equal(a, b) for a, b in zip(result[3].planes, side.planes, strict=True))
    assert psnr(result[3], frames[3]) > psnr(frames[cut - 1], frames[cut]) + 6


def test_frames_left_out_stand_before_the_later_of_their_neighbours(codec, textured_frames, info_of):
    frames = textured_frames(24, 64, 64)
    _, packets = coded(codec, frames, info_of(frames), 12, base="x265", kt="2", bframes="3")
    place = {p.pts: i for i, p in enumerate(packets)}
    assert [p.pts for p in packets if p.payload] != sorted(p.pts for p in packets if p.payload)  # B frames
    for t in range(1, 22, 2):
        later = max(place[t - 1], place[t + 1])
        assert place[t] < later
        assert all(not p.payload for p in packets[place[t]:later])


def test_a_lost_group(codec, textured_frames, info_of):
    """What is behind an intra frame needs nothing from before it; what is before it, at most that frame itself."""
    frames = textured_frames(11, 64, 64)
    header, packets = coded(codec, frames, info_of(frames), 4, base="x264", kt="2", crf="30")
    whole = decoded(codec, header, packets)
    starts = [i for i, p in enumerate(packets) if p.kind == PacketKind.INTRA]
    assert [packets[i].pts for i in starts] == [0, 4, 8]
    assert same(decoded(codec, header, packets[starts[1]:]), whole[4:])
    assert same(decoded(codec, header, packets[:starts[1]]), whole[:3])  # 3 lacks a neighbour


def test_files(textured_frames, write_video, tmp_path):
    source = write_video(tmp_path / "in.mkv", [Frame(f.y, f.u, f.v, pts) for f, pts in zip(
        textured_frames(8, 80, 64), (5, 6, 7, 8, 9, 12, 13, 20), strict=True)])
    stream = tmp_path / "a.lvc"
    encode(source, stream, codec="stsr:base=x265,kt=2,ks=1.5,crf=30", intra_period=6)
    info = probe(stream)
    assert (info.codec, info.frames, info.intra_frames, info.damage) == ("stsr", 8, 2, ())
    for enhance in (True, False):
        report = decode(stream, tmp_path / f"{enhance}.mkv", enhance=enhance)
        assert (report.frames, report.complete) == (8, True)
    with av.open(str(tmp_path / "True.mkv")) as container:
        times = [Fraction(f.pts) * f.time_base for f in container.decode(video=0)]
    assert [(t - times[0]) / (times[1] - times[0]) for t in times] == [0, 1, 2, 3, 4, 7, 8, 15]
    base = extract_base(stream, tmp_path / "a.mp4")
    assert (base.codec, base.frames) == ("x265", 5)
    with av.open(str(tmp_path / "a.mp4")) as container:
        shown = list(container.decode(video=0))
    assert [(f.width, f.height) for f in shown] == [(64, 64)] * 5  # 54x43, extended to the least that x265 takes
    data = bytearray(stream.read_bytes())
    data[int(0.7 * len(data))] ^= 255
    (tmp_path / "bad.lvc").write_bytes(data)
    with open_stream(tmp_path / "bad.lvc") as frames:
        rest = [f.pts for f in frames]
    assert len(rest) + sum(lost.frames or 0 for lost in frames.damage) == 8
    assert 0 < len(rest) < 8


def test_codec_strings(codec, tmp_path):
    configured = open_codec("stsr:base=x265,kt=2,ks=1.5,crf=27")
    digest = get_codec("restore").weights_digest
    assert (configured.name, configured.codec_id, configured.weights_digest) == ("stsr", int(CodecId.STSR), digest)
    video = VideoInfo(64, 64)
    for params, message in (({"kt": "3"}, "kt must be one of 1, 2, auto, not '3'"),
                            ({"ks": "4"}, r"ks must be one of 1, 1\.5, 2, not '4'"),
                            ({"base": "dvc"}, "unknown base codec 'dvc'"),
                            ({"base": "x265", "nonsense": "1"}, "x265.*nonsense")):
        with pytest.raises(UsageError, match=message):
            codec.encoder(video, EncodeOptions(params=params))
    with pytest.raises(WeightsError):
        get_codec("stsr", str(tmp_path / "none.safetensors"))
    with pytest.raises(CodecError):
        get_codec("stsrr")
    with pytest.raises(UsageError, match="64x64"):
        codec.encoder(video, EncodeOptions()).push(Frame(*(np.zeros(s, np.uint8) for s in ((8, 8), (4, 4), (4, 4)))))


@pytest.mark.parametrize("data", [b"", b"\2", b"\2\0\1", b"\2\0\1\5", b"\2\0\0\2", b"\2\4\1\2", b"\xff\0\1\2"])
def test_wrong_codec_data(codec, data):
    header = StreamHeader(CodecId.STSR, b"", VideoInfo(64, 64), 32, data)
    for enhance in (True, False):
        with pytest.raises(CorruptStreamError, match="codec data"):
            codec_for_header(header, enhance=enhance).decoder(header)


def test_damaged_packets(codec, textured_frames, info_of):
    frames = textured_frames(5, 64, 64)
    header, packets = coded(codec, frames, info_of(frames), base="x264", kt="2", tune="zerolatency")
    assert [p.pts for p in packets] == [0, 1, 2, 3, 4]

    def tried(number: int, **changes) -> None:
        decoder = codec.decoder(header)
        for i, packet in enumerate(packets):
            decoder.push(replace(packet, **changes) if i == number else packet)
        decoder.flush()

    for number, changes, message in (
            (0, {"quality": 64}, "quality 64 is above 63"), (1, {"quality": 12}, "quality 12 is above 11"),
            (0, {"quality": 1}, "without one"), (1, {"quality": 2}, "without one"),
            (1, {"kind": PacketKind.INTRA}, "intra packet is empty"), (0, {"payload": b"", "quality": 0}, "empty"),
            (2, {"pts": 0}, "comes twice"), (4, {"pts": -2}, "too late"),
            (3, {"pts": 1}, "not alone"), (3, {"pts": 0}, "not alone"), (1, {"pts": -5}, "not alone")):
        with pytest.raises(CorruptStreamError, match=message):
            tried(number, **changes)


def test_weights_of_a_stream_matter_with_the_network_only(codec, textured_frames, info_of):
    frames = textured_frames(3, 64, 64)
    header, packets = coded(codec, frames, info_of(frames), base="x264", kt="2")
    header = replace(header, weights_digest=b"\1" * 16)
    assert len(decoded(codec_for_header(header), header, packets)) == 3
    for enhancer in b"\1\2\3":
        other = replace(header, codec_data=header.codec_data[:1] + bytes([enhancer]) + header.codec_data[2:])
        with pytest.raises(WeightsError, match="of stsr"):
            codec_for_header(other)
        assert len(decoded(codec_for_header(other, enhance=False), other, packets)) == 3
