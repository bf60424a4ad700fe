"""stsr with filters behind the classical enhancer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lvc import decode, encode
from lvc.codecs import codec_for_header, get_codec, stsr
from lvc.codecs.extract import extract_base
from lvc.codecs.layered import COEFFICIENTS, FILTERED, GAP_WAYS
from lvc.codecs.stsr import StsrCodec
from lvc.enhance import adaptivefit
from lvc.errors import CorruptStreamError, UsageError
from lvc.types import EncodeOptions, Frame
from tests.codecs.coding import coded, decoded, drained, same


@pytest.fixture(scope="module")
def codec(restore_path) -> StsrCodec:
    found = get_codec("stsr", str(restore_path))
    assert isinstance(found, StsrCodec)
    return found


@pytest.fixture(autouse=True)
def generous(monkeypatch):
    """These clips are too small for coefficients to pay. Decisions on frames are those of the classical enhancer."""
    monkeypatch.setattr(adaptivefit, "DECIBEL_WORTH", 20.0)
    monkeypatch.setattr(stsr, "FILTERED_MARGIN", stsr.MARGIN)


def error(frames: list[Frame], sources: list[Frame]) -> float:
    """Mean squared error of luma, on a scale of decibels."""
    return float(np.mean([10.0 * np.log10(np.mean((a.y.astype(float) - b.y) ** 2) + 1e-3)
                          for a, b in zip(frames, sources, strict=True)]))


@pytest.mark.parametrize("enhance", ["on", "filters"])
@pytest.mark.parametrize(("kt", "ks"), [("1", "1"), ("2", "1"), ("2", "2"), ("auto", "1")])
def test_frames_get_better_than_by_the_classical_enhancer(codec, enhance, kt, ks, textured_frames, info_of):
    # x265 4.1 does not give the same bytes twice on pictures of 64x64, which it codes smaller ones as
    frames = textured_frames(21, 96 * int(ks), 64 * int(ks), motion=(2, 1))
    params = {"base": "x265", "kt": kt, "ks": ks, "crf": "34"}
    header, packets = coded(codec, frames, info_of(frames), enhance=enhance, **params)
    plain_header, plain = coded(StsrCodec(), frames, info_of(frames), **params)
    assert any(p.quality & COEFFICIENTS for p in packets)
    result = decoded(codec, header, packets)
    bare = decoded(codec_for_header(header, enhance=False), header, packets)
    assert same(bare, decoded(StsrCodec(), plain_header, plain))
    assert [f.pts for f in result] == [f.pts for f in frames]
    assert error(result, frames) < error(bare, frames) - 0.1
    untouched = {p.pts for p in packets if not p.quality & FILTERED}
    for one, two in zip(result, bare, strict=True):
        assert one.pts not in untouched or same([one], [two])


def test_without_reduction_it_is_restore(codec, restore_path, textured_frames, info_of):
    frames = textured_frames(7, 80, 64)
    header, packets = coded(codec, frames, info_of(frames), base="x265", crf="36")
    other = get_codec("restore", str(restore_path))
    own_header, own = coded(other, frames, info_of(frames), base="x265", crf="36")
    assert [(p.payload, p.quality, p.pts) for p in packets] == [(p.payload, p.quality, p.pts) for p in own]
    assert same(decoded(codec, header, packets), decoded(other, own_header, own))


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_lengths_and_odd_sizes(codec, count, textured_frames, info_of):
    frames = textured_frames(count, 67, 49)
    header, packets = coded(codec, frames, info_of(frames), base="x265", kt="2", ks="1.5", crf="34")
    result = decoded(codec, header, packets)
    assert [(f.pts, f.width, f.height) for f in result] == [(i, 67, 49) for i in range(count)]


def test_files(restore_path, textured_frames, write_video, tmp_path):
    source, stream = write_video(tmp_path / "in.mkv", textured_frames(9, 80, 64)), tmp_path / "a.lvc"
    encode(source, stream, codec=f"stsr:base=x265,kt=2,crf=34,weights={restore_path}")
    decode(stream, tmp_path / "a.y4m", weights=restore_path)
    decode(stream, tmp_path / "b.y4m", enhance=False)
    assert (tmp_path / "a.y4m").read_bytes() != (tmp_path / "b.y4m").read_bytes()
    encode(source, tmp_path / "c.lvc", codec="stsr:base=x265,kt=2,crf=34,enhance=off")
    decode(tmp_path / "c.lvc", tmp_path / "c.y4m")
    assert (tmp_path / "b.y4m").read_bytes() == (tmp_path / "c.y4m").read_bytes()
    reports = [extract_base(tmp_path / f"{name}.lvc", tmp_path / f"{name}.mp4") for name in "ac"]
    assert [r.frames for r in reports] == [5, 5]
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "c.mp4").read_bytes()


def test_damaged_packets(codec, textured_frames, info_of):
    frames = textured_frames(5, 64, 64)
    header, packets = coded(codec, frames, info_of(frames), base="x265", kt="2", crf="34", bframes="0")
    gap = next(i for i, p in enumerate(packets) if not p.payload)
    wrong = [*packets]
    wrong[gap] = replace(packets[gap], quality=4 * 5 * GAP_WAYS)
    with pytest.raises(CorruptStreamError, match=r"quality 60 is above 59"):
        drained(codec.decoder(header), wrong)
    with pytest.raises(UsageError, match="enhance must be on, filters, off"):
        codec.encoder(header.video, EncodeOptions(params={"enhance": "maybe"}))
    with pytest.raises(UsageError, match="enhance must be off"):
        StsrCodec().encoder(header.video, EncodeOptions(params={"enhance": "on"}))
