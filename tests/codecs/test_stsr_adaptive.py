"""stsr with kt=auto: what is decided, and that it is right."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lvc.bitstream import StreamHeader
from lvc.codecs import get_codec, open_codec
from lvc.codecs.base import Codec
from lvc.codecs.stsr import StsrCodec
from lvc.codecs.stsradaptive import SEGMENT, AdaptiveEncoder, Outcome, better_reduced, other_quality, outcome
from lvc.errors import UsageError
from lvc.types import EncodeOptions, Frame, Packet, VideoInfo
from tests.codecs.coding import decoded


def restless(frames: list[Frame], seed: int = 0) -> list[Frame]:
    """Odd frames jump, so that nothing between even ones tells of them."""
    rng = np.random.default_rng(seed)
    return [f if f.pts % 2 == 0 else
            Frame(*(np.roll(p, rng.integers(5, 20, 2), (0, 1)) for p in f.planes), f.pts) for f in frames]


def coded(codec: Codec, frames: list[Frame], video: VideoInfo, **params: str) -> tuple[
        AdaptiveEncoder, StreamHeader, list[Packet]]:
    encoder = codec.encoder(video, EncodeOptions(intra_period=-1, threads=1, params=params))
    packets = [p for frame in frames for p in encoder.push(frame)] + encoder.flush()
    return encoder, StreamHeader(codec.codec_id, b"", video, -1, encoder.codec_data), packets


def test_each_segment_is_decided_on(textured_frames, info_of):
    smooth = textured_frames(2 * SEGMENT + 5, 96, 64, motion=(2, 0))
    frames = [*smooth[:SEGMENT], *restless(smooth[SEGMENT:])]
    codec = StsrCodec()
    params = {"base": "x264", "preset": "veryfast", "crf": "36", "kt": "auto"}
    encoder, header, packets = coded(codec, frames, info_of(frames), **params)
    assert isinstance(encoder, AdaptiveEncoder)
    assert encoder.decisions == [2, 1, 1]
    assert sorted(p.pts for p in packets if not p.payload) == list(range(1, SEGMENT, 2))
    result = decoded(codec, header, packets)
    assert [f.pts for f in result] == list(range(2 * SEGMENT + 5))
    assert same_as_told(codec, encoder, result, frames)


def same_as_told(codec: Codec, encoder: AdaptiveEncoder, result: list[Frame], frames: list[Frame]) -> bool:
    """The encoder's cost is that of what a decoder gives."""
    cost = 0.0
    for frame, source in zip(result, frames, strict=True):
        for weight, a, b in zip((6, 1, 1), frame.planes, source.planes, strict=True):
            cost += weight * math.log(float(np.mean((a.astype(float) - b) ** 2)) + 1e-3)
    return math.isclose(cost, encoder._encoder.cost, rel_tol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 3, SEGMENT, SEGMENT + 1, SEGMENT + 2])
def test_every_length(count, textured_frames, info_of):
    frames = [Frame(f.y, f.u, f.v, 7 * i) for i, f in enumerate(textured_frames(count, 64, 64))]
    codec = StsrCodec()
    _, header, packets = coded(codec, frames, info_of(frames), base="x264", preset="ultrafast", crf="40", kt="auto",
                               ks="2")
    assert [f.pts for f in decoded(codec, header, packets)] == [f.pts for f in frames]
    assert packets[-1].payload or len(packets) > 1


def test_where_nothing_is_gained_it_is_the_base_codec(textured_frames, info_of):
    frames = restless(textured_frames(SEGMENT + 3, 64, 64))
    params = {"preset": "ultrafast", "crf": "24"}
    encoder, _, packets = coded(StsrCodec(), frames, info_of(frames), base="x265", kt="auto", **params)
    assert encoder.decisions == [1, 1]
    base = get_codec("x265").encoder(info_of(frames), EncodeOptions(intra_period=-1, threads=1, params=params))
    own = [p for frame in frames for p in base.push(frame)] + base.flush()
    assert [(p.kind, p.payload, p.pts) for p in packets] == [(p.kind, p.payload, p.pts) for p in own]


def test_the_comparison():
    full, other = Outcome(1000.0, 40.0), Outcome(500.0, 37.0)
    assert better_reduced(full, other, Outcome(500.0, 37.2))  # above the line
    assert not better_reduced(full, other, Outcome(500.0, 37.01))  # but for less than the margin
    assert not better_reduced(full, other, Outcome(500.0, 36.8))
    assert not better_reduced(full, other, Outcome(100.0, 36.9))  # beyond the line's end
    assert better_reduced(full, other, Outcome(707.1, 38.7))
    assert not better_reduced(full, other, Outcome(707.1, 38.3))
    assert better_reduced(full, Outcome(2000.0, 43.0), Outcome(500.0, 37.2))  # the other one may be better, too
    assert not better_reduced(full, other, Outcome(1100.0, 40.0))
    assert better_reduced(full, other, Outcome(1100.0, 41.0))
    assert not better_reduced(full, Outcome(1000.0, 39.0), Outcome(500.0, 41.0))  # no line to be above
    assert not better_reduced(full, Outcome(500.0, 41.0), Outcome(500.0, 41.0))


def test_trials_measure_what_is_coded(textured_frames, info_of):
    """Bits fall and errors rise with crf; every second frame takes fewer bits."""
    frames, codec = textured_frames(9, 96, 64), StsrCodec()

    def tried(crf: str, kt: int) -> Outcome:
        options = EncodeOptions(intra_period=-1, threads=1, params={"base": "x264", "preset": "ultrafast", "crf": crf})
        return outcome(codec.encoder(info_of(frames), options), frames, kt)

    fine, coarse, reduced = tried("24", 1), tried("34", 1), tried("24", 2)
    assert fine.bits > coarse.bits
    assert fine.quality > coarse.quality + 2
    assert reduced.bits < fine.bits


@pytest.mark.parametrize(("params", "quality", "expected"), [
    ({"crf": "30"}, 32, {"crf": "34"}), ({"crf": "50.5"}, 32, {"crf": "46.5"}), ({"qp": "20"}, 32, {"qp": "24"}),
    ({}, 32, 26), ({}, 3, 9), ({"crf": "x"}, 32, {"crf": "x"})])
def test_the_other_quality(params, quality, expected):
    found = other_quality(EncodeOptions(quality=quality, params=params))
    assert (dict(found.params) if params else found.quality) == expected


def test_misuse():
    video = VideoInfo(64, 64)
    for text, options in (("stsr:kt=auto,bitrate=500k", EncodeOptions()),
                          ("stsr:kt=auto", EncodeOptions(bitrate=9000))):
        with pytest.raises(UsageError, match="needs a quality, not a bitrate"):
            open_codec(text).encoder(video, options)
    with pytest.raises(UsageError, match="crf"):
        open_codec("stsr:base=x265,kt=auto,crf=x").encoder(video, EncodeOptions())
    with pytest.raises(UsageError, match="ks must be"):
        open_codec("stsr:kt=auto,ks=auto").encoder(video, EncodeOptions())
