"""The encoder-side search of the dvc family: better trade-offs for the same decoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lvc.bitstream import StreamHeader
from lvc.codecs.neural import NeuralCodec
from lvc.codecs.neuralsearch import MAX_EFFORT, OptimizedQuantization, Search
from lvc.entropy import Estimate
from lvc.entropy.scales import logistic_bits
from lvc.errors import UsageError
from lvc.models.dvc import Latents
from lvc.types import EncodeOptions, Frame, VideoInfo
from lvc.weights import Weights

FrameMaker = Callable[..., list[Frame]]
QUALITY = torch.tensor([36])


@pytest.fixture(scope="module")
def codec(tiny_weights: Weights) -> NeuralCodec:
    return NeuralCodec(tiny_weights)


def pictures(codec: NeuralCodec, frames: list[Frame]) -> list[Tensor]:
    coder = codec.encoder(VideoInfo(frames[0].width, frames[0].height), EncodeOptions())._coder
    return [coder.picture(frame, codec.weights.inter.multiple) for frame in frames]


@torch.no_grad()
def cost_of(codec: NeuralCodec, current: Tensor, reference: Tensor, size: tuple[int, int], **how: Any) -> float:
    """Bits plus squared errors in bits of a coded frame, by the model's own estimate."""
    model, coder = codec.weights.inter, Estimate(noise=False)
    out = model(coder, None if "latents" in how else current, reference, QUALITY, **how)
    return float(coder.take() + Search(model, size, 1)._error(out.picture, current, QUALITY))


def test_every_effort_costs_less(codec: NeuralCodec, textured_frames: FrameMaker) -> None:
    """On frames that fit the padding and on ones that do not."""
    for width, height in ((96, 64), (70, 50)):
        before, now = pictures(codec, textured_frames(2, width, height, motion=(3 * 2, -2)))
        flow = torch.zeros(1, 2, now.shape[2] // 2, now.shape[3] // 2)
        flow[:, 0], flow[:, 1] = -6.0, 2.0
        costs = [cost_of(codec, now, before, (height, width), flow=flow)]
        for effort in (1, 2, 3):
            with torch.no_grad():
                latents = Search(codec.weights.inter, (height, width), effort)(now, before, QUALITY, flow)
            costs.append(cost_of(codec, now, before, (height, width), latents=latents))
        assert costs[1] < 0.99 * costs[0]
        assert costs[2] < costs[1]
        assert costs[3] <= costs[2]


def test_motion_is_left_out_where_nothing_moves(codec: NeuralCodec, textured_frames: FrameMaker) -> None:
    (still,) = pictures(codec, textured_frames(1, 96, 64))
    flow = torch.randn(1, 2, 16, 24, generator=torch.Generator().manual_seed(0)) * 4.0
    with torch.no_grad():
        off = Search(codec.weights.inter, (64, 96), 1)(still, still, QUALITY, flow)
    assert off.motion is not None
    assert not off.motion.any()
    before, now = pictures(codec, textured_frames(2, 96, 64, motion=(8, 0)))
    flow = torch.zeros(1, 2, 16, 24)
    flow[:, 0] = -8.0
    with torch.no_grad():
        on = Search(codec.weights.inter, (64, 96), 1)(now, before, QUALITY, flow)
    assert on.motion is not None
    assert on.motion.any()


@pytest.mark.parametrize("effort", range(MAX_EFFORT + 1))
@pytest.mark.parametrize("motion", ["classical", "network"])
def test_the_decoder_follows(codec: NeuralCodec, textured_frames: FrameMaker, effort: int, motion: str) -> None:
    """Its frames are the encoder's references to the last bit; nothing in the stream tells of the effort."""
    frames = textured_frames(3, 70, 50)
    video = VideoInfo(70, 50)
    encoder = codec.encoder(video, EncodeOptions(36, params={"effort": str(effort), "motion": motion}))
    assert encoder.codec_data == codec.encoder(video, EncodeOptions()).codec_data
    decoder = codec.decoder(StreamHeader(codec.codec_id, codec.weights_digest, video, 32, encoder.codec_data))
    for frame in frames:
        (packet,) = encoder.push(frame)
        (decoded,) = decoder.push(packet)
        reference = encoder._coder.reference
        assert reference is not None
        for a, b in zip(decoded.planes, reference.planes, strict=True):
            np.testing.assert_array_equal(a, b)
    assert not any(p.requires_grad or p.grad is not None for p in codec.weights.inter.parameters())


def test_wrong_efforts_are_named(codec: NeuralCodec) -> None:
    for text in ("4", "-1", "high"):
        with pytest.raises(UsageError, match="effort"):
            codec.encoder(VideoInfo(32, 32), EncodeOptions(params={"effort": text}))


def test_symbols_cost_least() -> None:
    """Of the nearest integer, the one below and zero, against a search by hand."""
    rng = torch.Generator().manual_seed(1)
    y = torch.randn(1, 4, 8, 8, generator=rng) * 3.0
    index = torch.randint(0, 64, y.shape, generator=rng).float()
    mean = torch.randint(-2, 3, y.shape, generator=rng).float()
    for weight in (torch.tensor(0.5), torch.tensor([1.0, 2.0, 8.0, 1e6])[None, :, None, None]):
        coder = OptimizedQuantization([None, weight])
        assert torch.equal(coder.conditional(y, index, mean), y.round())  # no weight: plain rounding
        chosen = coder.conditional(y, index, mean)
        value, symbol = y - mean, chosen.detach() - mean
        wide = weight.expand(y.shape)
        for place in np.ndindex(*y.shape):
            v, i, w = value[place], index[place], float(wide[place])
            nearest = float(v.round())
            options = {nearest, nearest - np.sign(nearest), 0.0}
            costs = {s: float(logistic_bits(torch.tensor(s), i)) + w * (float(v) - s) ** 2 for s in options}
            assert costs[float(symbol[place])] == pytest.approx(min(costs.values()), rel=1e-5, abs=1e-5)
        expected = logistic_bits(symbol, index).sum() + logistic_bits(y.round() - mean, index).sum()
        assert float(coder.take()) == pytest.approx(float(expected), rel=1e-5)
        assert torch.equal(coder.chosen[1], chosen)
    assert torch.equal(symbol[:, 3], value[:, 3].round())  # errors that dear: the nearest


def test_given_latents_are_what_is_coded(codec: NeuralCodec, textured_frames: FrameMaker) -> None:
    """The analysis' own latents given back change nothing, and with both given the picture is not looked at."""
    before, now = pictures(codec, textured_frames(2, 96, 64))
    model = codec.weights.inter
    flow = torch.full((1, 2, 16, 24), -3.0)
    with torch.no_grad():
        plain = model(Estimate(noise=False), now, before, QUALITY, flow)
        motion = model.motion.latent(flow / model.motion_step(QUALITY), QUALITY)
        step = 3.0 * 2.0 ** ((63 - 36) / 13)
        residual = model.residual.latent((now - plain.prediction) / step, QUALITY)
        given = model(Estimate(noise=False), None, before, QUALITY, latents=Latents(motion, residual))
        half = model(Estimate(noise=False), now, before, QUALITY, latents=Latents(motion=motion))
    torch.testing.assert_close(given.picture, plain.picture, atol=0.05, rtol=0)
    torch.testing.assert_close(half.picture, plain.picture, atol=0.0, rtol=0)
