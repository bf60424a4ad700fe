"""The models of the dvc family: shapes, one path for writing and reading, configurations, complexity."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from lvc.entropy import Estimate, FactorizedModel, Hyperprior, Read, Write
from lvc.models import CONFIGS, DVC, DVC_LITE, ContextInterModel, InterModel, IntraModel, ModelConfig
from lvc.models.complexity import context_decode_kmac_per_pixel, kmac_per_pixel
from lvc.models.config import EntropyConfig, FlowConfig
from lvc.ops.transforms import Layer

MakeModels = Callable[..., tuple[InterModel, IntraModel]]
VARIANTS: dict[str, dict[str, Any]] = {
    "lite": {},
    "factorized": {
        "motion_entropy": EntropyConfig("factorized"),
        "residual_entropy": EntropyConfig("factorized"),
        "intra_entropy": EntropyConfig("factorized"),
    },
    "rgb": {
        "picture": "rgb",
        "dct_start": False,
        "fold": 1,
        "loop_filter": False,
        "flow": FlowConfig(levels=3, kernel=3, widths=(8, 8), unshuffle=1),
        "motion": (Layer(2, 3, 8),) * 3,
        "residual": (Layer(2, 5, 16),) * 3,
        "intra": (Layer(2, 5, 16),) * 3,
    },
}


@pytest.fixture(scope="module", params=sorted(VARIANTS))
def models(
    request: pytest.FixtureRequest, tiny_config: ModelConfig, make_models: MakeModels
) -> tuple[InterModel, IntraModel]:
    pair = make_models(dataclasses.replace(tiny_config, **VARIANTS[request.param]))
    for model in pair:
        for module in model.modules():
            if isinstance(module, FactorizedModel | Hyperprior):
                module.freeze()
    return pair


def pictures(model: InterModel | IntraModel, factors: tuple[int, int], count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    h, w = (model.multiple * f // model.space.stride for f in factors)
    return [torch.rand(1, model.space.channels, h, w, generator=generator) * 255 for _ in range(count)]


@pytest.mark.parametrize("factors", [(1, 1), (1, 3), (3, 1)])
def test_writing_and_reading_give_one_picture(
    models: tuple[InterModel, IntraModel], factors: tuple[int, int]
) -> None:
    """At odd multiples of the padding; the decoder sees the bytes and the reference alone."""
    inter, intra = models
    quality = torch.tensor([45])
    with torch.inference_mode():
        current, reference = pictures(inter, factors, 2)
        writer = Write()
        written = inter(writer, current, reference, quality)
        data = writer.finish()
        reader = Read(data)
        decoded = inter(reader, None, reference, quality)
        reader.close()
        assert len(data) > 20
        assert written.picture.shape == current.shape
        for name in ("picture", "prediction", "warped", "flow_hat"):
            assert torch.equal(getattr(decoded, name), getattr(written, name)), name
        assert decoded.flow is None
        assert written.motion_bits is None
        assert written.flow is not None
        assert written.flow_hat.shape == written.flow.shape

        (picture,) = pictures(intra, factors, 1)
        writer = Write()
        written_intra = intra(writer, picture, quality, picture.shape[-2:])
        reader = Read(writer.finish())
        assert torch.equal(intra(reader, None, quality, picture.shape[-2:]), written_intra)
        reader.close()


def test_estimate_counts_motion_and_residual(models: tuple[InterModel, IntraModel]) -> None:
    inter, _ = models
    current, reference = pictures(inter, (1, 2), 2)
    quality = torch.tensor([45])
    coder, writer = Estimate(noise=False), Write()
    with torch.inference_mode():
        out = inter(coder, current, reference, quality)
        inter(writer, current, reference, quality)
    bits = coder.take()
    assert out.motion_bits is not None
    assert 0 < float(out.motion_bits) < float(bits)
    # Nothing is trained, so that many values are escapes, which cost less than they are estimated at.
    assert float(bits) / 8 > 0.98 * len(writer.finish()) - 8


def test_given_motion_is_what_is_coded(tiny_config: ModelConfig, make_models: MakeModels) -> None:
    inter, _ = make_models(tiny_config)
    current, reference = pictures(inter, (2, 2), 2)
    flow = torch.tensor([5.0, -3.0])[None, :, None, None].expand(1, 2, 16, 16)
    with torch.inference_mode():
        out = inter(Estimate(False), current, reference, torch.tensor([63]), flow)
    assert out.flow is flow
    # The motion autoencoder starts as an orthonormal transform, with steps of about half a sample here.
    torch.testing.assert_close(out.flow_hat[..., 2:-2, 2:-2], flow[..., 2:-2, 2:-2], rtol=0, atol=1.0)


def test_samples_of_a_batch_do_not_mix(tiny_config: ModelConfig, make_models: MakeModels) -> None:
    """Qualities differ from sample to sample, and each sample gets what it would get alone."""
    inter, _ = make_models(tiny_config)
    current, reference, other, other_reference = pictures(inter, (1, 1), 4)
    with torch.inference_mode():
        both = inter(
            Estimate(False),
            torch.cat((current, other)),
            torch.cat((reference, other_reference)),
            torch.tensor([20, 60]),
        ).picture
        for i, pair in enumerate(((current, reference), (other, other_reference))):
            alone = inter(Estimate(False), *pair, torch.tensor([(20, 60)[i]])).picture
            torch.testing.assert_close(both[i : i + 1], alone, rtol=0, atol=0.05)


@pytest.mark.parametrize(
    "config", [*CONFIGS.values(), dataclasses.replace(DVC_LITE, name="x", refine=(1, 2, 3))]
)
def test_configurations_survive_json(config: ModelConfig) -> None:
    assert ModelConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"name": 3}',
        "null",
        DVC.to_json().replace("kernel", "kernels"),
        DVC.to_json().replace('"refine"', '"refined"'),
    ],
)
def test_what_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        ModelConfig.from_json(text)


def test_paper_size() -> None:
    """What DESIGN and the class say: about 700 kMAC a pixel; OpenDVC's layer sizes."""
    inter = InterModel(DVC)
    cost = kmac_per_pixel(inter)
    assert 600 <= cost.encode <= 800
    assert cost.decode < kmac_per_pixel(inter, motion_estimation=False).encode < cost.encode
    assert 5.5e6 < sum(p.numel() for p in inter.parameters()) < 8.5e6
    first = inter.motion_estimation.nets[0][0]
    assert first.weight.shape == (32, 4, 7, 7)
    # Of the flow network at full resolution alone, by hand: 7x7 convolutions 4-32-64-32-16-2.
    flow = 49 * (4 * 32 + 32 * 64 + 64 * 32 + 32 * 16 + 16 * 2) / 1000
    estimated = cost.encode - kmac_per_pixel(inter, motion_estimation=False).encode
    assert estimated == pytest.approx(flow * sum(4.0**-i for i in range(5)), rel=1e-6)


def test_lite_size() -> None:
    model = ContextInterModel(DVC_LITE)
    assert 20 <= context_decode_kmac_per_pixel(model) <= 40
    assert sum(p.numel() for p in model.parameters()) < 1.5e6
    assert kmac_per_pixel(IntraModel(DVC_LITE)).decode < 25


def test_complexity_counts_every_kind_of_layer(tiny_config: ModelConfig) -> None:
    """By hand for the intra model: transforms with GDN, hyperprior with integer layers, no loop filter."""
    config = dataclasses.replace(tiny_config, loop_filter=False, dct_start=False)
    # In samples of the packed picture (a quarter of luma): 5x5 to 24 at 1/4, GDN; 5x5 to 96 at 1/16.
    transform = (25 * 6 * 24 + 24 * 24) / 4 + 25 * 24 * 96 / 16
    # The IGDN of 24 channels runs at the same resolution on the way back, transposed convolutions, too.
    decoder = (3 * 3 * 8 * 32) / 64 + 8 * 96 / 16
    encoder = (96 * 8) / 16 + 25 * 8 * 8 / 64
    cost = kmac_per_pixel(IntraModel(config))
    assert cost.decode == pytest.approx((transform + decoder) / 4000)
    assert cost.encode == pytest.approx((2 * transform + decoder + encoder) / 4000)
