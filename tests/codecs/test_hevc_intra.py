"""Single pictures through HEVC."""

from __future__ import annotations

import numpy as np
import pytest

from lvc.codecs.hevc_intra import HevcIntra
from lvc.errors import CorruptStreamError, UsageError
from lvc.types import Frame

# made by HevcIntra("slower", -2) with x265 4.1 at QP 40 of a 16x16
# picture, all planes 90: must stay decodable for ever
GOLDEN = "12c36ea11c760be51674b84e7bb516573a05002801af0e60f6d52fc33f4677fc"


@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 33), (16, 16), (64, 64), (63, 130)])
def test_round_trip(width, height, make_frames, psnr):
    frame = make_frames(1, width, height)[0]
    codec = HevcIntra()
    decoded = codec.decode(codec.encode(frame, 10), width, height)
    for ours, theirs in zip(frame.planes, decoded.planes):
        assert psnr(ours, theirs) > 40
    assert decoded.pts == 0


def test_qp_trades_size_for_quality(make_frames, psnr):
    frame = make_frames(1, 96, 64, noise=40)[0]
    codec = HevcIntra()
    coded = [codec.encode(frame, qp) for qp in (0, 20, 35, 51)]
    sizes = [len(data) for data in coded]
    assert sizes == sorted(sizes, reverse=True)
    quality = [psnr(frame.y, codec.decode(data, 96, 64).y) for data in coded]
    assert quality == sorted(quality, reverse=True)
    assert quality[0] > 50


def test_equal_input_gives_equal_bytes(make_frames):
    frames = make_frames(2, 48, 48)
    codec = HevcIntra()
    first = [codec.encode(frame, 30) for frame in frames]
    assert [HevcIntra().encode(frame, 30) for frame in reversed(frames)] == first[::-1]
    assert codec.encode(frames[0], 30) == first[0]


def test_parameter_sets_cost_little(make_frames):
    """About 80 bytes uncompressed."""
    codec = HevcIntra()
    assert codec.encode(make_frames(1, 416, 240)[0], 45)[0] < 12
    assert codec.encode(make_frames(1, 99, 77)[0], 45)[0] < 40


def test_golden():
    frame = HevcIntra().decode(bytes.fromhex(GOLDEN), 16, 16)
    for plane, value in zip(frame.planes, (88, 92, 92)):
        np.testing.assert_array_equal(plane, np.full_like(plane, value))


def test_damage(make_frames):
    """Every damaged picture gives a frame of the right size or CorruptStreamError, nothing else."""
    codec = HevcIntra()
    data = codec.encode(make_frames(1, 64, 48)[0], 40)
    failed = 0
    for i in range(len(data)):
        for damaged in (data[:i] + bytes((data[i] ^ 0xFF,)) + data[i + 1:], data[:i]):
            try:
                frame = codec.decode(damaged, 64, 48)
            except CorruptStreamError:
                failed += 1
            else:
                assert (frame.width, frame.height) == (64, 48)
    assert failed > 30
    assert codec.decode(data, 64, 48).width == 64


@pytest.mark.parametrize("data", [b"", b"\0", b"\5abc", b"\xff" * 300, b"\3\0\0\0" + b"x" * 50])
def test_garbage(data):
    with pytest.raises(CorruptStreamError):
        HevcIntra().decode(data, 64, 64)


def test_picture_of_another_size(make_frames):
    codec = HevcIntra()
    data = codec.encode(make_frames(1, 512, 512)[0], 45)
    with pytest.raises(CorruptStreamError):
        codec.decode(data, 64, 64)


def test_usage(make_frames):
    frame = make_frames(1, 16, 16)[0]
    for qp in (-1, 52):
        with pytest.raises(UsageError, match="QP"):
            HevcIntra().encode(frame, qp)
    with pytest.raises(UsageError, match="offset"):
        HevcIntra(chroma_qp_offset=13)
    with pytest.raises(UsageError, match="size"):
        HevcIntra().decode(b"\1\0\0", 0, 16)


def test_silent(make_frames, capfd):
    codec = HevcIntra()
    codec.decode(codec.encode(make_frames(1, 32, 32)[0], 30), 32, 32)
    assert capfd.readouterr() == ("", "")


def test_masking_moves_bits_to_calm_blocks(psnr):
    """Half flat but for a faint texture, half wild: with masking the one comes out better, the other worse."""
    rng = np.random.default_rng(0)
    y = np.full((64, 128), 120.0)
    y[:, :64] += rng.normal(0, 5, (64, 64))
    y[:, 64:] += rng.normal(0, 40, (64, 64))
    chroma = np.full((32, 64), 128, np.uint8)
    frame = Frame(y.clip(0, 255).astype(np.uint8), chroma, chroma, 0)

    def halves(codec):
        decoded = codec.decode(codec.encode(frame, 26), 128, 64)
        return [psnr(frame.y[:, part], decoded.y[:, part]) for part in (slice(0, 56), slice(72, 128))]

    plain, masked = halves(HevcIntra()), halves(HevcIntra(masking=1.5))
    assert masked[0] > plain[0] + 1
    assert masked[1] < plain[1] - 1
    assert len({HevcIntra(masking=1.5).encode(frame, 30) for _ in range(2)}) == 1
    for qp in (0, 51):
        HevcIntra(masking=1.5).decode(HevcIntra(masking=1.5).encode(frame, qp), 128, 64)
    with pytest.raises(UsageError, match="masking"):
        HevcIntra(masking=3.5)
