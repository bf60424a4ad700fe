"""x265-packed: x265's stream comes back to the last bit, whatever x265 was told to do."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lvc._hevc import Side, State, UnsupportedError
from lvc.api import decode, encode, open_stream
from lvc.codecs import open_codec
from lvc.codecs.extract import extract_base
from lvc.codecs.packed import COUNT_LIMIT, WEIGHT_RATE, PackedCodec, Packer, Unpacker, trained
from lvc.codecs.registry import get_codec
from lvc.errors import CorruptStreamError, WeightsError
from lvc.types import EncodeOptions, PacketKind, VideoInfo
from lvc.video import open_video
from tests.codecs.coding import coded, decoded, same

CSRC = Path(__file__).parents[2] / "csrc" / "hevc"
DEMO = Path(__file__).parents[2] / "demo" / "cups_640x360.mkv"


def packets_of(frames, video, period=6, threads=1, **params):
    encoder = get_codec("x265").encoder(video, EncodeOptions(intra_period=period, threads=threads, params=params))
    return [p for frame in frames for p in encoder.push(frame)] + encoder.flush()


def there_and_back(packets, video):
    """Packed packets; they must come back."""
    pack, unpack = Packer(video), Unpacker(video)
    packed = [pack(packet) for packet in packets]
    assert [unpack(packet) for packet in packed] == packets
    return packed


def is_packed(packet):
    return not packet.payload.startswith(b"\0\0")


@pytest.fixture(scope="module")
def clip():
    """Fourteen frames of a real video, 320x176 of them, and what they are."""
    with open_video(DEMO) as source:
        frames = [frame for _, frame in zip(range(14), source)]
    cut = [type(f)(*(np.ascontiguousarray(p[:h, :w]) for p, (h, w) in
                     zip(f.planes, ((176, 320), (88, 160), (88, 160)), strict=True)), i) for i, f in enumerate(frames)]
    return cut, VideoInfo(320, 176)


SETTINGS = [
    {}, {"preset": "ultrafast"}, {"preset": "slower"}, {"preset": "veryslow", "crf": "20"},
    {"preset": "veryfast", "tune": "zerolatency"}, {"crf": "2"}, {"crf": "51"}, {"qp": "30"},
    {"lossless": "1", "crf": "0"}, {"tskip": "1", "crf": "12"}, {"signhide": "0"}, {"sao": "0", "deblock": "0"},
    {"deblock": "2,-1"}, {"ctu": "16"}, {"ctu": "32", "min-cu-size": "16"},
    {"max-tu-size": "8", "tu-inter-depth": "3", "tu-intra-depth": "3"},
    {"rect": "1", "amp": "1", "ref": "5"}, {"weightb": "1", "weightp": "1"}, {"max-merge": "1"}, {"temporal-mvp": "0"},
    {"aq-mode": "3", "qg-size": "16"}, {"cbqpoffs": "-3", "crqpoffs": "4"}, {"scaling-list": "default"},
    {"bframes": "8", "b-adapt": "0"}, {"bframes": "0"}, {"constrained-intra": "1", "strong-intra-smoothing": "0"},
    {"wpp": "1", "pools": "2"}, {"aud": "1", "hrd": "1", "vbv-maxrate": "900", "vbv-bufsize": "900"}, {"info": "1"},
    {"open-gop": "1", "bframes": "3", "keyint": "4"}, {"intra-refresh": "1"}, {"interlace": "tff"},
    {"log2-max-poc-lsb": "4"}, {"cu-lossless": "1", "tskip": "1"}, {"opt-qp-pps": "1", "opt-ref-list-length-pps": "1"},
    {"annexb": "1", "temporal-layers": "3"},
]


@pytest.mark.parametrize("params", SETTINGS, ids=lambda p: ",".join(f"{k}={v}" for k, v in p.items()) or "default")
def test_streams_come_back(clip, params):
    frames, video = clip
    packets = packets_of(frames, video, **params)
    packed = there_and_back(packets, video)
    assert all(is_packed(packet) for packet in packed)
    sizes = [sum(len(p.payload) for p in ps) for ps in (packets, packed)]
    assert sizes[1] < sizes[0]


def test_threads_have_entry_points_that_are_not_stored(clip):
    frames, video = clip
    packets = packets_of(frames, video, threads=2, wpp="1")
    assert packets != packets_of(frames, video, wpp="0")
    assert all(is_packed(packet) for packet in there_and_back(packets, video))


@pytest.mark.parametrize("params", [{"slices": "2"}])
def test_what_is_not_known_stays_as_it_is(clip, params):
    frames, video = clip
    packets = packets_of(frames, video, **params)
    assert there_and_back(packets, video) == packets


def units_with_other_blocks(frames, video):
    """A stream whose blocks become smaller in its middle, without a picture that begins anew."""
    first = packets_of(frames[:3], video, period=-1, ctu="64", bframes="0")
    later = packets_of(frames, video, ctu="16", bframes="0", keyint="4", **{"open-gop": "1"})
    return [p.payload for p in (*first, *later[4:])]


def test_blocks_of_another_size_in_mid_stream(clip):
    units = units_with_other_blocks(*clip)
    one, two = (Side(trained()[0], COUNT_LIMIT, WEIGHT_RATE, 1 << 20) for _ in range(2))
    for unit in units:
        assert two.unpack(one.pack(unit), 1 << 20) == unit


def test_units_that_take_long_are_not_packed(clip):
    """Bytes that cost next to nothing would be told by the million."""
    long = b"\0\0\0\1\x4e\1" + b"\5" * (1 << 14)
    with pytest.raises(UnsupportedError, match="too long"):
        Side(trained()[0], COUNT_LIMIT, WEIGHT_RATE, 1 << 20).pack(long)


@pytest.mark.parametrize("size", [(64, 64), (66, 70), (1, 1), (130, 34), (64, 256)])
def test_sizes(size, textured_frames):
    frames, video = textured_frames(4, *size), VideoInfo(*size)
    packets = packets_of(frames, video)
    assert all(is_packed(packet) for packet in there_and_back(packets, video))


def test_a_packet_that_is_not_hevc_ends_packing_up_to_the_next_intra_frame(clip):
    frames, video = clip
    packets = packets_of(frames, video)
    packets[3] = replace(packets[3], payload=b"\0\0nothing")
    packed = there_and_back(packets, video)
    after = next(i for i, p in enumerate(packets) if i > 3 and p.kind == PacketKind.INTRA)
    assert [is_packed(p) for p in packed] == [i < 3 or i >= after for i in range(len(packed))]


def test_real_video_is_smaller(clip):
    frames, video = clip
    packets = packets_of(frames, video, period=-1, crf="30")
    packed = there_and_back(packets, video)
    before, after = (sum(len(p.payload) for p in ps) for ps in (packets, packed))
    assert after < 0.96 * before


def test_bits_are_those_of_the_packets(clip):
    """What the model takes for a bin adds up to what is written, and HEVC's own to the size of the slices."""
    frames, video = clip
    side = Side(trained()[0], COUNT_LIMIT, WEIGHT_RATE, 1 << 20)
    packets = packets_of(frames, video, period=-1, crf="18")
    after = sum(len(side.pack(p.payload)) for p in packets)
    before = sum(len(p.payload) for p in packets)
    rows = side.bits().values()
    assert sum(row[2] for row in rows) / 8 == pytest.approx(after, rel=0.01)
    assert sum(row[1] for row in rows) / 8 == pytest.approx(before, rel=0.02)


def test_codec_gives_the_pictures_of_x265(clip):
    frames, video = clip
    plain, packed = get_codec("x265"), get_codec("x265-packed")
    header, packets = coded(plain, frames, video, 6, crf="30")
    own_header, own_packets = coded(packed, frames, video, 6, crf="30")
    assert own_header.codec_data == trained()[1]
    assert same(decoded(plain, header, packets), decoded(packed, own_header, own_packets))
    assert all(is_packed(p) for p in own_packets)


def test_other_weights_are_refused(clip):
    frames, video = clip
    codec = get_codec("x265-packed")
    header, _ = coded(codec, frames[:2], video)
    with pytest.raises(WeightsError, match="packed with weights 00000000"):
        codec.decoder(replace(header, codec_data=b"\0" * 4))
    with pytest.raises(WeightsError, match=r"\(none\)"):
        codec.decoder(replace(header, codec_data=b""))


def test_damage_is_told(clip):
    frames, video = clip
    pack = Packer(video)
    packed = [pack(p) for p in packets_of(frames, video)]
    unpack = Unpacker(video)
    with pytest.raises(CorruptStreamError, match="cannot start at an inter frame"):
        unpack(packed[1])
    rng = np.random.default_rng(3)
    told = 0
    for _ in range(100):
        unpack = Unpacker(video)
        unpack(packed[0])
        data = bytearray(packed[1].payload)
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        try:
            unpack(replace(packed[1], payload=bytes(data)))
        except CorruptStreamError:
            told += 1
    assert told > 10  # most of the rest become another picture: that is for the container's checksum
    with pytest.raises(CorruptStreamError, match="packed data"):
        unpack(replace(packed[0], payload=packed[0].payload + b"more"))


def test_pictures_larger_than_the_video_are_refused(clip):
    frames, video = clip
    packed = Packer(video)(packets_of(frames[:2], video)[0])
    with pytest.raises(CorruptStreamError, match="larger than the video"):
        Unpacker(VideoInfo(16, 16))(packed)


@pytest.mark.parametrize("codec", ["x265-packed:crf=30", "restore:base=x265-packed,crf=30,weights={}",
                                   "stsr:base=x265-packed,kt=2,crf=30,weights={}"])
def test_files(codec, restore_path, clip, write_video, tmp_path):
    """Packed and not, streams decode to the same, and the same standard stream comes out."""
    source, outputs = write_video(tmp_path / "in.mkv", clip[0][:7]), []
    for name in ("x265-packed", "x265"):
        stream, text = tmp_path / f"{name}.lvc", codec.format(restore_path).replace("x265-packed", name)
        encode(source, stream, codec=text, intra_period=4, threads=1)
        assert extract_base(stream, tmp_path / f"{name}.mp4").codec == "x265"
        decode(stream, tmp_path / f"{name}.y4m", weights=str(restore_path) if "{}" in codec else None)
        with open_stream(stream, enhance=False) as frames:
            plain = b"".join(f.y.tobytes() for f in frames)
        outputs.append(((tmp_path / f"{name}.y4m").read_bytes(), (tmp_path / f"{name}.mp4").read_bytes(), plain,
                        stream.stat().st_size))
    assert outputs[0][1:3] == outputs[1][1:3]
    assert outputs[0][3] < outputs[1][3]
    if codec.startswith("x265"):
        assert outputs[0][0] == outputs[1][0]  # coefficients of filters depend on bits


def test_parameters_go_to_x265():
    codec = open_codec("x265-packed:preset=veryfast,tune=zerolatency,crf=27")
    assert isinstance(codec.codec, PackedCodec)
    assert codec.weights_digest == b""


def test_no_torch_is_needed():
    command = "import sys; from lvc.codecs import packed; packed.trained(); print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


@pytest.mark.slow
def test_random_damage_under_sanitizers_and_without_vector_instructions(clip, tmp_path):
    """As many bytes as with them, and no read beyond an array."""
    frames, video = clip
    units = [p.payload for p in packets_of(frames[:5], video, period=-1, crf="30", preset="slower", tskip="1")]
    units += units_with_other_blocks(frames[:6], video)
    file, program = tmp_path / "units", tmp_path / "check"
    file.write_bytes(b"".join(len(unit).to_bytes(4, "little") + unit for unit in units))
    flags = ["-std=c++17", "-O1", "-g", "-Wall", "-Wextra", "-fno-sanitize-recover=all", "-DLVC_HEVC_PLAIN"]
    sources = [CSRC / "tests" / "check_packer.cpp", *sorted(CSRC.glob("*.cpp"))]
    subprocess.run([os.environ.get("CXX", "c++"), *flags, "-fsanitize=address,undefined", *sources, "-o", program],
                   check=True)
    result = subprocess.run([program, file, "1", "30"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    side = Side(State(), COUNT_LIMIT, WEIGHT_RATE, 1 << 20)
    value = 14695981039346656037
    for byte in b"".join(side.pack(unit) for unit in units):
        value = (value ^ byte) * 1099511628211 % 2**64
    assert result.stdout.split()[0] == f"{value:016x}"
