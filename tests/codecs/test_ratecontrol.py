"""Rate control: the controller against made-up encoders, and within the codecs."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvc.bitstream import StreamHeader
from lvc.codecs.bitmodel import MAX_SLOPE, MIN_SLOPE, BitModel
from lvc.codecs.ratecontrol import TOLERANCE, WINDOW, RateController
from lvc.errors import UsageError
from lvc.types import EncodeOptions, Frame, Packet, PacketKind, VideoInfo

FrameMaker = Callable[..., list[Frame]]
CASCADE = (5, -1, 1, -1)
PIXELS = 90_000


@dataclass
class Source:
    """A video and a codec for it: bits fall by ``slope`` a unit of quality, and vary from frame to frame.

    Attributes:
        intra, inter: bits a pixel at quality 32.
        noise: standard deviation of log2(bits).
        complexity: by frame number, added to log2(bits).
        cuts: P frames that cost what I frames do.
    """

    fps: float = 30.0
    period: int = 32
    offsets: tuple[int, ...] = CASCADE
    intra: float = 0.6
    inter: float = 0.05
    slope: float = 0.09
    noise: float = 0.15
    complexity: Callable[[int], float] = field(default=lambda i: 0.0, repr=False)
    cuts: tuple[int, ...] = ()
    seed: int = 0
    bits: list[int] = field(default_factory=list)
    qualities: list[int] = field(default_factory=list)
    again: int = 0

    def code(self, bitrate: float, n: int, **options: Any) -> RateController:
        chance = random.Random(self.seed)
        control = RateController(bitrate, self.fps, PIXELS, intra_period=self.period, offsets=self.offsets, **options)
        for i in range(n):
            place = i % self.period if self.period > 0 else i
            error = chance.gauss(0.0, self.noise)
            quality: int | None = control.quality(place, i / self.fps)
            while quality is not None:
                asked = quality
                bits = self.cost(i, place, asked, error)
                quality = control.offer(bits)
                self.again += quality is not None
            self.bits.append(bits)
            self.qualities.append(asked)
        return control

    def cost(self, i: int, place: int, quality: int, error: float) -> int:
        if place:
            quality = min(63, max(0, quality + self.offsets[place % len(self.offsets)]))
        still = place == 0 or i in self.cuts
        level = math.log2((self.intra if still else self.inter) * PIXELS) + self.complexity(i)
        slope, share = (0.9 * self.slope, 0.5) if still else (self.slope, 1.0)
        return 60 + int(2 ** (level + slope * (quality - 32) + share * error))

    def windows(self, bitrate: float) -> list[float]:
        """Relative errors of all windows after the first second."""
        n, first = round(WINDOW * self.fps), round(self.fps)
        sums = np.cumsum([0, *self.bits])
        return [float(sums[i + n] - sums[i]) * self.fps / n / bitrate - 1 for i in range(first, len(self.bits) - n + 1)]


@pytest.mark.parametrize(("bitrate", "source"), [
    (500e3, Source()), (500e3, Source(period=-1)), (500e3, Source(period=250)), (500e3, Source(period=10)),
    (500e3, Source(period=1)), (500e3, Source(fps=24.0)), (500e3, Source(fps=60.0)), (500e3, Source(offsets=(0,))),
    (100e3, Source()), (500e3, Source(noise=0.3, seed=3)), (500e3, Source(slope=0.14)), (500e3, Source(slope=0.06)),
    (900e3, Source(inter=0.3)),
], ids=str)
def test_windows_keep_to_the_bitrate(bitrate: float, source: Source) -> None:
    """5 seconds anywhere, and no wild jumps of what P frames are coded with."""
    control = source.code(bitrate, round(9 * source.fps))
    errors = source.windows(bitrate)
    assert len(errors) > 3 * source.fps
    assert max(map(abs, errors)) < TOLERANCE
    assert abs(control.average / bitrate - 1) < 0.03
    assert control.bound() is None
    inter = [q for i, q in enumerate(source.qualities) if source.period in (1, -1) or i % source.period][10:]
    assert max(abs(a - b) for a, b in itertools.pairwise(inter)) <= 4
    assert source.again <= 3


@pytest.mark.parametrize("period", [32, -1])
def test_scene_changes_are_coded_again(period: int) -> None:
    """A cut amid P frames costs one or two attempts more, and does not spoil its window."""
    source = Source(period=period, cuts=(100, 170, 237))
    source.code(500e3, 300)
    assert 3 <= source.again <= 8
    assert max(map(abs, source.windows(500e3))) < TOLERANCE
    assert max(source.bits[i] for i in source.cuts) < 0.2 * 500e3


def test_scenes_of_other_complexity() -> None:
    """Three times as many bits at the same quality, then a sixth: bound to take a moment."""
    source = Source(cuts=(100, 250), complexity=lambda i: 0.0 if i < 100 else 1.5 if i < 250 else -1.0)
    source.code(500e3, 400)
    assert max(map(abs, source.windows(500e3))) < 0.08


def test_after_rest() -> None:
    """What a scene at rest leaves over is not spent by the next one, which does not begin at a bad guess either."""
    source = Source(complexity=lambda i: -6.0 if 150 < i < 300 else 0.0, inter=0.02)
    source.code(200e3, 480)
    assert max(source.windows(200e3)) < 0.10
    assert source.qualities[290] >= 60
    assert max(source.bits[300:310]) < 0.2 * 200e3


@pytest.mark.parametrize(("bitrate", "bound"), [(6e3, 0), (30e6, 63), (500e3, None)])
def test_bound(bitrate: float, bound: int | None) -> None:
    source = Source()
    control = source.code(bitrate, 120)
    assert control.bound() == bound
    if bound is not None:
        assert set(source.qualities[60:]) == {bound}


@settings(max_examples=15, deadline=None)
@given(n=st.integers(25, 200), bitrate=st.floats(150e3, 900e3), period=st.sampled_from((-1, 8, 32, 100)),
       seed=st.integers(0, 1000))
def test_sum_over_all_frames(n: int, bitrate: float, period: int, seed: int) -> None:
    """With the number of frames known, the sum meets the target, but for what the last frame is off by."""
    source = Source(period=period, seed=seed)
    control = source.code(bitrate, n, n_frames=n)
    assert abs(control.average / bitrate - 1) < 0.02 + 1.5 / n
    assert control.bits == sum(source.bits)


def test_more_frames_than_announced() -> None:
    source = Source()
    assert abs(source.code(500e3, 200, n_frames=50).average / 500e3 - 1) < 0.05


@settings(max_examples=40, deadline=None)
@given(bits=st.lists(st.integers(0, 10**9), min_size=1, max_size=40), steps=st.lists(st.floats(0, 50), min_size=40),
       period=st.sampled_from((-1, 1, 5)), n_frames=st.sampled_from((None, 1, 20)))
def test_anything_that_encoders_and_clocks_do(bits: list[int], steps: list[float], period: int,
                                              n_frames: int | None) -> None:
    """Whatever comes out, there is a quality of 0..63 for each frame after few attempts."""
    control = RateController(1e5, 25.0, 100, intra_period=period, offsets=CASCADE, n_frames=n_frames)
    time = 0.0
    for i, (size, step) in enumerate(zip(bits, steps, strict=False)):
        quality: int | None = control.quality(i % period if period > 0 else i, time)
        tried = []
        while quality is not None:
            assert 0 <= quality <= 63
            tried.append(quality)
            quality = control.offer(size)
        assert len(tried) <= 3
        assert len(set(tried)) == len(tried)
        time += step
    assert control.frames == min(len(bits), len(steps))


def test_variable_frame_rate() -> None:
    """What counts is time: frames of twice the duration get about twice the bits."""
    control = RateController(300e3, 30.0, PIXELS, intra_period=-1)
    total, time = 0, 0.0
    for i in range(300):
        quality: int | None = control.quality(i, time)
        while quality is not None:
            bits = int(PIXELS * (0.5 if i == 0 else 0.06) * 2 ** (0.1 * (quality - 32)))
            quality = control.offer(bits)
        time += 1 / 30 if i < 150 else 1 / 15
        total += bits if i >= 180 else 0
    assert total / (120 / 15) == pytest.approx(300e3, rel=TOLERANCE)


def test_usage() -> None:
    for bad in ({"bitrate": 0.0}, {"bitrate": math.nan}, {"frame_rate": 0.0}, {"buffer": -1.0}):
        with pytest.raises(UsageError, match="above zero"):
            RateController(**{"bitrate": 1e5, "frame_rate": 25.0, "pixels": 100, **bad})
    with pytest.raises(UsageError, match="no quality"):
        RateController(1e5, 25.0, 100).offer(10)


def test_model_learns_a_line() -> None:
    chance = random.Random(1)
    model = BitModel(10.0, 0.09)
    for _ in range(200):
        quality = chance.randint(20, 40)
        model.update(quality, 6.0 + 0.13 * quality + chance.gauss(0.0, 0.1))
    assert model.slope == pytest.approx(0.13, abs=0.02)
    for quality in (20, 40):
        assert model.predict(quality) == pytest.approx(6.0 + 0.13 * quality, abs=0.25)


def test_model_of_pictures_at_rest() -> None:
    """Bits that do not follow the quality leave the slope within its bounds, and the line goes through them."""
    model = BitModel(6.0, 0.09)
    for quality in range(64):
        model.update(quality, 9.0)
        assert MIN_SLOPE <= model.slope <= MAX_SLOPE
    assert model.predict(63) == pytest.approx(9.0, abs=0.4)


def test_model_believes_the_second_outlier() -> None:
    model = BitModel(6.0, 0.1)
    for _ in range(30):
        model.update(30, 9.0)
    model.update(30, 13.0)
    assert model.predict(30) < 10.0
    model.update(30, 13.0)
    assert model.predict(30) > 12.0


class Twice:
    """A controller that has every frame coded at a useless quality first."""

    def __init__(self, quality: int) -> None:
        self._quality = quality
        self._first = True

    def quality(self, place: int, time: float) -> int:
        self._first = True
        return 60

    def offer(self, bits: int) -> int | None:
        first, self._first = self._first, False
        return self._quality if first else None


@pytest.fixture(scope="module", params=["swift", "dvc-lite"])
def codec(request: pytest.FixtureRequest) -> Any:
    if request.param == "swift":
        from lvc.codecs.swift import SwiftCodec

        return SwiftCodec(request.getfixturevalue("swift_weights"))
    from lvc.codecs.neural import NeuralCodec

    return NeuralCodec(request.getfixturevalue("tiny_weights"))


def test_attempts_leave_no_trace(codec: Any, textured_frames: FrameMaker) -> None:
    """A frame that is coded again comes out as if that had been the first time."""
    frames = textured_frames(5, 48, 40)
    video = VideoInfo(48, 40)
    plain = codec.encoder(video, EncodeOptions(quality=30, intra_period=4))
    twice = codec.encoder(video, EncodeOptions(quality=30, intra_period=4, bitrate=10**5))
    twice.rate_control = Twice(30)
    assert [p for f in frames for p in twice.push(f)] == [p for f in frames for p in plain.push(f)]


def test_codec_keeps_to_a_bitrate(codec: Any, textured_frames: FrameMaker) -> None:
    """A scene change included; the decoder follows."""
    frames = [Frame(*f.planes, pts=3000 * i)
              for i, f in enumerate(textured_frames(14, 64, 48) + textured_frames(14, 64, 48, seed=5))]
    video = VideoInfo(64, 48)
    options = EncodeOptions(quality=36, intra_period=8)

    def run(options: EncodeOptions) -> tuple[list[Packet], Any]:
        encoder = codec.encoder(video, options)
        return [p for f in frames for p in encoder.push(f)], encoder

    packets, encoder = run(options)
    assert encoder.rate_control is None
    bitrate = round(sum(8 * len(p.payload) for p in packets) * 30 / len(frames))
    packets, encoder = run(EncodeOptions(quality=1, intra_period=8, bitrate=bitrate, target_frames=len(frames)))
    assert encoder.rate_control.bits == sum(8 * len(p.payload) for p in packets)
    assert encoder.rate_control.average == pytest.approx(bitrate, rel=0.06)
    assert [p.kind == PacketKind.INTRA for p in packets] == [i % 8 == 0 for i in range(len(frames))]
    decoder = codec.decoder(StreamHeader(codec.codec_id, codec.weights_digest, video, 8, encoder.codec_data))
    decoded = [f for p in packets for f in decoder.push(p)]
    assert [f.pts for f in decoded] == [f.pts for f in frames]
    assert np.mean([np.abs(a.y.astype(int) - b.y).mean() for a, b in zip(frames, decoded, strict=True)]) < 30
