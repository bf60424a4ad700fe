"""x264, x265, SVT-AV1, VVenC and libaom behind the codec interface."""

from __future__ import annotations

import gc
import threading
from fractions import Fraction

import numpy as np
import pytest

from lvc.bitstream import StreamHeader
from lvc.codecs import annexb, get_codec, open_codec
from lvc.codecs.picture import to_packet
from lvc.codecs.vvenc import VvencEncoder
from lvc.errors import CorruptStreamError, LvcError, UsageError
from lvc.types import ColorInfo, EncodeOptions, Frame, Packet, PacketKind, VideoInfo

NAMES = ("x264", "x265", "svt-av1", "vvenc", "libaom")


def encode(codec: str, frames: list[Frame], video: VideoInfo | None = None, **options) -> list[Packet]:
    video = video or VideoInfo(frames[0].width, frames[0].height, Fraction(25), Fraction(1, 25))
    encoder = open_codec(codec).encoder(video, EncodeOptions(**options))
    packets = [packet for frame in frames for packet in encoder.push(frame)]
    packets += encoder.flush()
    assert encoder.flush() == []
    return packets


def decoder_of(codec: str, width: int, height: int):
    found = get_codec(codec.partition(":")[0])
    return found.decoder(StreamHeader(found.codec_id, b"", VideoInfo(width, height), 32))


def decode(codec: str, packets: list[Packet], width: int, height: int) -> list[Frame]:
    decoder = decoder_of(codec, width, height)
    return [frame for packet in packets for frame in decoder.push(packet)] + decoder.flush()


@pytest.mark.parametrize("codec", [*NAMES, "x265:preset=veryfast,tune=zerolatency",
                                   "x264:preset=slow,bframes=3"])
def test_round_trip(codec, make_frames, psnr):
    """All frames come back, in order, with their (irregular) times, and look like the source."""
    pts = [1000 + 7 * i * i for i in range(20)]
    frames = make_frames(20, 96, 64, pts)
    packets = encode(codec, frames, quality=40, intra_period=8)
    assert sorted(p.pts for p in packets) == pts
    assert [i for i, p in enumerate(packets) if p.kind == PacketKind.INTRA] == [0, 8, 16]
    assert {p.quality for p in packets} == {40}
    decoded = decode(codec, packets, 96, 64)
    assert [f.pts for f in decoded] == pts
    for ours, theirs in zip(frames, decoded):
        assert psnr(ours.y, theirs.y) > 35
        assert psnr(ours.u, theirs.u) > 35
        assert psnr(ours.v, theirs.v) > 35


@pytest.mark.parametrize("codec", NAMES)
def test_b_frames_are_in_use(codec, make_frames):
    """Decoding order is not presentation order; in AV1, some pictures are shown that were coded before."""
    packets = encode(codec, make_frames(20, 96, 64), intra_period=-1)
    if codec in ("svt-av1", "libaom"):
        assert min(len(p.payload) for p in packets) < 8
    else:
        assert [p.pts for p in packets] != sorted(p.pts for p in packets)


@pytest.mark.parametrize("codec", NAMES)
@pytest.mark.parametrize(("n", "width", "height"), [(3, 17, 33), (1, 17, 33), (2, 1, 1), (2, 70, 50)])
def test_any_size(codec, n, width, height, make_frames, psnr):
    frames = make_frames(n, width, height)
    decoded = decode(codec, encode(codec, frames, quality=50), width, height)
    assert [f.pts for f in decoded] == [f.pts for f in frames]
    assert all((f.width, f.height) == (width, height) for f in decoded)
    assert np.mean([psnr(a.y, b.y) for a, b in zip(frames, decoded)]) > 36


@pytest.mark.parametrize("codec", NAMES)
def test_every_intra_packet_is_a_beginning(codec, make_frames):
    """Decoding from any intra packet on gives just what decoding from the start gives."""
    packets = encode(codec, make_frames(15, 96, 64), intra_period=5)
    whole = {f.pts: f for f in decode(codec, packets, 96, 64)}
    starts = [i for i, p in enumerate(packets) if p.kind == PacketKind.INTRA]
    assert len(starts) == 3
    for start in starts:
        part = decode(codec, packets[start:], 96, 64)
        assert len(part) == len(packets) - start
        for frame in part:
            for a, b in zip(frame.planes, whole[frame.pts].planes):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("codec", NAMES)
def test_decoder_goes_on_after_flush(codec, make_frames):
    packets = encode(codec, make_frames(6, 64, 48), intra_period=-1)
    decoder = decoder_of(codec, 64, 48)
    rounds = []
    for _ in range(2):
        rounds.append([f.pts for p in packets for f in decoder.push(p)] + [f.pts for f in decoder.flush()])
    assert rounds == [list(range(6))] * 2


@pytest.mark.parametrize("codec", NAMES)
def test_intra_only_and_single_intra(codec, make_frames):
    frames = make_frames(6, 64, 48)
    assert all(p.kind == PacketKind.INTRA for p in encode(codec, frames, intra_period=1))
    kinds = [p.kind for p in encode(codec, frames, intra_period=-1)]
    assert kinds == [PacketKind.INTRA] + [PacketKind.INTER] * 5


@pytest.mark.parametrize("codec", NAMES)
def test_quality_is_monotone(codec, make_frames, psnr):
    frames = make_frames(4, 96, 64, noise=40)
    sizes, distortions = [], []
    for quality in (0, 15, 30, 45, 63):
        packets = encode(codec, frames, quality=quality)
        sizes.append(sum(len(p.payload) for p in packets))
        distortions.append(np.mean([psnr(a.y, b.y) for a, b in zip(frames, decode(codec, packets, 96, 64))]))
    assert sizes == sorted(sizes)
    assert sizes[-1] > 4 * sizes[0]
    assert distortions == sorted(distortions)
    assert distortions[-1] > distortions[0] + 12


def test_explicit_parameters(make_frames):
    """crf and qp go over the quality, keyint over the intra period, the rest to the library."""
    frames = make_frames(10, 96, 64)
    small = encode("x265:crf=45,keyint=5", frames, quality=63)
    large = encode("x265:qp=10", frames, quality=0)
    assert sum(len(p.payload) for p in small) < sum(len(p.payload) for p in large) / 4
    assert [p.kind for p in small].count(PacketKind.INTRA) == 2
    ordered = encode("x265:bframes=0", frames)
    assert [p.pts for p in ordered] == list(range(10))


def test_options_in_the_codec_string(make_frames):
    packets = encode("x264:quality=11,intra_period=2,threads=1", make_frames(4, 32, 32), quality=50)
    assert {p.quality for p in packets} == {11}
    assert [p.kind for p in packets].count(PacketKind.INTRA) == 2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("params", "part"), [
    ("no-such-thing=1", "no-such-thing"), ("preset=warp", "warp"), ("qp=1000", "qp"), ("qp=x", "qp"),
    ("keyint=0", "keyint"), ("keyint=x", "keyint"), ("ra te=1", "ra te"),
    ("quality=64", "quality"), ("quality=x", "quality")])
def test_bad_parameters(name, params, part, make_frames):
    """One line that names the codec and the parameter, at the latest when the last frame is in; every time."""
    for _ in range(2):
        with pytest.raises(UsageError) as caught:
            encode(f"{name}:{params}", make_frames(2, 64, 64))
        assert part in str(caught.value)
        assert "\n" not in str(caught.value)
        if not params.startswith("quality=6"):
            assert name in str(caught.value)


@pytest.mark.parametrize("codec", ["x264:tune=warp", "x265:tune=psnr.warp", "x265:crf=52", "x264:crf=1,qp=1",
                                   "vvenc:crf=20", "svt-av1:irefresh-type=1",
                                   "vvenc:decodingrefreshtype=cra", "libaom:tune=warp", "libaom:crf=64",
                                   "libaom:enable-fwd-kf=1", "libaom:enable-qm=many"])
def test_bad_values(codec, make_frames):
    with pytest.raises(UsageError, match=codec.partition(":")[0]):
        encode(codec, make_frames(2, 64, 64))


@pytest.mark.parametrize("name", NAMES)
def test_misuse(name, make_frames):
    encoder = get_codec(name).encoder(VideoInfo(64, 48), EncodeOptions())
    with pytest.raises(UsageError, match="32x32"):
        encoder.push(make_frames(1, 32, 32)[0])
    encoder.push(make_frames(1, 64, 48)[0])
    assert len(encoder.flush()) == 1
    with pytest.raises(UsageError, match="after the last"):
        encoder.push(make_frames(1, 64, 48)[0])


@pytest.mark.parametrize("name", NAMES)
def test_damaged_payloads(name, make_frames):
    """Whatever a payload holds, a decoder gives frames of the right size or an LvcError."""
    packets = encode(name, make_frames(4, 64, 48), intra_period=2, quality=20)
    rng = np.random.default_rng(1)
    failed = 0
    for _ in range(25):
        index = int(rng.integers(len(packets)))
        data = bytearray(packets[index].payload)
        for _ in range(4):
            data[int(rng.integers(len(data)))] ^= int(rng.integers(1, 256))
        damaged = [*packets]
        damaged[index] = Packet(packets[index].kind, bytes(data[:int(rng.integers(1, len(data) + 1))]),
                                packets[index].pts)
        try:
            frames = decode(name, damaged, 64, 48)
        except LvcError:
            failed += 1
        else:
            assert all((f.width, f.height) == (64, 48) for f in frames)
    assert failed
    decoder = decoder_of(name, 64, 48)
    with pytest.raises(CorruptStreamError, match="inter"):
        decoder.push(Packet(PacketKind.INTER, packets[1].payload, 1))
    with pytest.raises(CorruptStreamError, match="empty"):
        decoder.push(Packet(PacketKind.INTRA, b"", 1))


@pytest.mark.parametrize("name", NAMES)
def test_stream_of_another_size(name, make_frames):
    """The payload's picture size is not trusted."""
    packets = encode(name, make_frames(2, 256, 256))
    with pytest.raises(CorruptStreamError):
        decode(name, packets, 64, 64)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_beside_the_picture(name, make_frames):
    """No version strings, delimiters or timing SEI: they would count against the codec."""
    packets = encode(name, make_frames(3, 64, 64))
    if name in ("svt-av1", "libaom"):
        assert not any(p.payload.startswith(b"\x12\x00") for p in packets)
        return
    units = [unit for p in packets for unit in annexb.split_units(p.payload)]
    kind, unwanted = {"x264": (annexb.h264_type, {6, 9}), "x265": (annexb.h265_type, {35, 39, 40}),
                      "vvenc": (annexb.h266_type, {20})}[name]
    assert not {kind(unit) for unit in units} & unwanted
    if name != "x265":
        assert all(annexb.join_units(annexb.split_units(p.payload)) == p.payload for p in packets)


@pytest.mark.parametrize("name", NAMES)
def test_silent(name, make_frames, capfd):
    encode(name, make_frames(3, 16, 16))
    with pytest.raises(UsageError):
        encode(f"{name}:no-such-thing=1", make_frames(3, 16, 16))
    with pytest.raises(UsageError):
        encode(f"{name}:preset=warp", make_frames(1, 16, 16))
    assert capfd.readouterr() == ("", "")


def test_colour_is_tagged(make_frames, psnr):
    import av

    frames = make_frames(1, 64, 64)
    video = VideoInfo(64, 64, color=ColorInfo(9, 16, 9, True))
    for name, library in (("x264", "h264"), ("x265", "hevc"), ("svt-av1", "libdav1d"), ("vvenc", "vvc"),
                          ("libaom", "libdav1d")):
        packets = encode(name, frames, video)
        context = av.CodecContext.create(library, "r")
        picture = (context.decode(to_packet(packets[0].payload)) + context.decode(None))[0]
        assert picture.color_range == 2, name
        tags = (int(picture.color_primaries), int(picture.color_trc), int(picture.colorspace))
        assert tags == (9, 16, 9), name
        decoded = decode(name, packets, 64, 64)[0]
        assert psnr(frames[0].y, decoded.y) > 30, name


def test_vvenc_leaves_no_process(make_frames):
    """An encoder that is dropped half way takes its process and its thread with it."""
    encoder = get_codec("vvenc").encoder(VideoInfo(64, 48), EncodeOptions())
    assert isinstance(encoder, VvencEncoder)
    encoder.push(make_frames(1, 64, 48)[0])
    process, reader = encoder._process, encoder._reader
    assert process.poll() is None
    del encoder
    gc.collect()
    assert process.poll() is not None
    reader.join(5)
    assert not reader.is_alive()
    assert threading.active_count() < 50
