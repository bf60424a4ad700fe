"""Transforms, warping, picture spaces and blocks: what they are before training is known exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.fft import dctn

from lvc.ops.blocks import PyramidFlow, RefinementNet, high_pass, soft_clip
from lvc.ops.compressai_adapter import GDN
from lvc.ops.picture import Packed420, Rgb444, pad_planes, picture_space
from lvc.ops.transforms import (
    AnalysisTransform,
    Layer,
    SynthesisTransform,
    dct_matrix,
    packed_dct_basis,
    start_as_dct,
)
from lvc.ops.warp import backward_warp, resize_flow


def dct_start(layers: list[Layer], channels: int = 6) -> tuple[AnalysisTransform, SynthesisTransform]:
    pair = AnalysisTransform(channels, layers, 0.0), SynthesisTransform(channels, layers, 0.0)
    start_as_dct(*pair)
    for transform in pair:  # without its nonlinearity a transform can be judged exactly
        for module in transform:
            if isinstance(module, GDN):
                with torch.no_grad():
                    module.gamma.zero_()
                    module.beta.copy_(module.beta_reparam.init(torch.ones_like(module.beta)))
    return pair


def test_gdn_is_divisive_normalization() -> None:
    """Balle et al. (2016): x / sqrt(beta + gamma x^2), and the inverse form a product."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 5)
    for inverse in (False, True):
        gdn = GDN(3, inverse=inverse, gamma_init=0.2)
        norm = torch.sqrt(1.0 + 0.2 * x**2)
        torch.testing.assert_close(gdn(x).detach(), x * norm if inverse else x / norm, rtol=1e-4, atol=1e-5)


def test_dct_is_that_of_scipy() -> None:
    block = np.random.default_rng(0).standard_normal((8, 8))
    matrix = dct_matrix(8).numpy()
    np.testing.assert_allclose(matrix @ block @ matrix.T, dctn(block, norm="ortho"), atol=1e-12)


def test_packed_dct_basis_is_the_dct_of_each_plane() -> None:
    rng = np.random.default_rng(1)
    y, uv = rng.standard_normal((8, 8)), rng.standard_normal((2, 4, 4))
    packed = Packed420().pack(torch.from_numpy(y)[None, None], torch.from_numpy(uv)[None])
    got = torch.einsum("kcij,cij->k", packed_dct_basis(), packed[0]).numpy()
    expected = np.concatenate([dctn(plane, norm="ortho").ravel() for plane in (y, *uv)])
    np.testing.assert_allclose(got, expected, atol=1e-12)
    basis = packed_dct_basis().flatten(1)
    torch.testing.assert_close(basis @ basis.T, torch.eye(96, dtype=torch.float64))


@pytest.mark.parametrize(
    "layers", [[Layer(2, 5, 48), Layer(2, 5, 96), Layer(1, 3, 96)], [Layer(2, 3, 24), Layer(2, 5, 110)]]
)
def test_transforms_start_orthonormal_and_invertible(layers: list[Layer]) -> None:
    torch.manual_seed(0)
    analysis, synthesis = dct_start(layers)
    x = torch.randn(2, 6, 16, 24) * 50
    with torch.no_grad():
        y = analysis(x)
        back = synthesis(y)
    assert y.shape == (2, layers[-1].channels, 4, 6)
    torch.testing.assert_close(back, x, rtol=0, atol=2e-3)
    torch.testing.assert_close(y[:, :96].square().sum(), x.square().sum(), rtol=1e-4, atol=0)


def test_three_layers_start_as_the_packed_dct() -> None:
    analysis, _ = dct_start([Layer(2, 5, 48), Layer(2, 5, 96), Layer(1, 3, 96)])
    x = torch.randn(1, 6, 8, 8)
    expected = F.conv2d(x, packed_dct_basis().float(), stride=4)
    torch.testing.assert_close(analysis(x).detach(), expected, rtol=0, atol=1e-4)


def test_layers_that_cannot_start_as_a_dct_are_named() -> None:
    for layers, channels in (
        ([Layer(2, 5, 48)], 6),
        ([Layer(2, 5, 23), Layer(2, 5, 96)], 6),
        ([Layer(2, 5, 48), Layer(2, 5, 96), Layer(1, 3, 90)], 6),
        ([Layer(2, 5, 48), Layer(2, 5, 96), Layer(1, 3, 96)], 3),
    ):
        with pytest.raises(ValueError):
            start_as_dct(AnalysisTransform(channels, layers), SynthesisTransform(channels, layers))


@pytest.mark.parametrize("layers", [[Layer(2, 5, 8)] * 4, [Layer(2, 3, 8), Layer(1, 3, 4)]])
def test_transform_shapes(layers: list[Layer]) -> None:
    stride = 2 ** sum(layer.stride == 2 for layer in layers)
    y = AnalysisTransform(3, layers)(torch.randn(1, 3, 48, 80))
    assert y.shape == (1, layers[-1].channels, 48 // stride, 80 // stride)
    assert SynthesisTransform(3, layers)(y).shape == (1, 3, 48, 80)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_warp_by_whole_samples_is_a_shift(mode: str) -> None:
    image = torch.randint(0, 256, (1, 2, 20, 30)).float()
    flow = torch.tensor([3.0, -2.0])[None, :, None, None].expand(1, 2, 20, 30)
    warped = backward_warp(image, flow, mode)
    torch.testing.assert_close(warped[..., 4:-4, 4:-4], image[..., 2:-6, 7:-1], rtol=0, atol=2e-2)
    outside = backward_warp(image, torch.full((1, 2, 20, 30), -100.0), mode)
    torch.testing.assert_close(outside, image[..., :1, :1].expand_as(image), rtol=0, atol=1e-2)
    assert backward_warp(image[..., :1, :1], flow[..., :1, :1], mode).shape == (1, 2, 1, 1)


def test_warp_and_resampling_stay_in_float32_under_autocast() -> None:
    image, flow = torch.rand(1, 1, 8, 600) * 255, torch.full((1, 2, 8, 600), 0.3)
    expected = backward_warp(image, flow)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(backward_warp(image, flow), expected)
        assert resize_flow(flow.bfloat16(), (4, 300), 0.5).dtype == torch.float32


def test_resized_flow_keeps_its_motion() -> None:
    ramp = torch.arange(16.0)[None, None, None].expand(1, 2, 8, 16)
    up = resize_flow(ramp, (16, 32), 2.0)
    torch.testing.assert_close(up[0, 0, 5, 1:-1], 2.0 * (torch.arange(1.0, 31.0) / 2 - 0.25))
    assert resize_flow(ramp, (8, 16), 1.0) is ramp


@pytest.mark.parametrize("name", ["yuv420", "rgb"])
@pytest.mark.parametrize(("height", "width"), [(32, 48), (33, 17), (1, 1), (31, 64)])
def test_picture_spaces_go_round(name: str, height: int, width: int) -> None:
    """Planes of any size, padded, packed, unpacked and cropped, are what they were."""
    space = picture_space(name)
    half = ((height + 1) // 2, (width + 1) // 2)
    y, uv = (torch.randint(0, 256, size).float() for size in ((2, 1, height, width), (2, 2, *half)))
    padded = pad_planes(y, uv, 32)
    assert padded[0].shape[-2] % 32 == padded[0].shape[-1] % 32 == 0
    assert torch.equal(padded[0][..., :height, :width], y)
    assert torch.equal(padded[1][..., : half[0], : half[1]], uv)
    assert (padded[0][..., height:, :width] == y[..., -1:, :]).all()
    picture = space.pack(*padded)
    tall, wide = padded[0].shape[-2:]
    assert picture.shape == (2, space.channels, tall // space.stride, wide // space.stride)
    back_y, back_uv = space.unpack(picture)
    torch.testing.assert_close(back_y, padded[0], rtol=0, atol=2e-3)
    torch.testing.assert_close(back_uv, padded[1], rtol=0, atol=2e-3)


def test_rgb_is_that_of_bt601() -> None:
    """Code values of the primaries, ITU-R BT.601 limited range."""
    for rgb, yuv in (
        ((255, 255, 255), (235, 128, 128)),
        ((255, 0, 0), (81.5, 90.2, 240)),
        ((0, 0, 255), (40.9, 240, 109.8)),
        ((0, 0, 0), (16, 128, 128)),
    ):
        y = torch.full((1, 1, 2, 2), float(yuv[0]))
        uv = torch.tensor(yuv[1:]).float()[None, :, None, None]
        torch.testing.assert_close(
            Rgb444().pack(y, uv)[0, :, 0, 0], torch.tensor(rgb).float(), rtol=0, atol=0.6
        )


@pytest.mark.parametrize("name", ["yuv420", "rgb"])
def test_pictures_move_by_luma_samples(name: str) -> None:
    """Flow of a quarter of the resolution, (4, -2) luma samples: (2, -1) in chroma."""
    space = picture_space(name)
    y, uv = (
        torch.rand(1, 1, 32, 48) * 200,
        F.interpolate(torch.rand(1, 2, 4, 6) * 200, (16, 24), mode="bilinear"),
    )
    flow = torch.tensor([4.0, -2.0])[None, :, None, None].expand(1, 2, 8, 12)
    moved_y, moved_uv = space.unpack(space.warp(space.pack(y, uv), flow))
    torch.testing.assert_close(moved_y[..., 8:-8, 8:-8], y[..., 6:-10, 12:-4], rtol=0, atol=0.1)
    inner = moved_uv[..., 4:-4, 4:-4] - uv[..., 3:-5, 6:-2]
    assert inner.abs().mean() < 1.0


def test_flow_and_refinement_start_at_zero() -> None:
    torch.manual_seed(0)
    for unshuffle in (1, 4):
        net = PyramidFlow(levels=3, kernel=3, widths=(8, 8), unshuffle=unshuffle)
        flow = net(torch.rand(2, 1, 32, 64) * 255, torch.rand(2, 1, 32, 64) * 255)
        assert torch.equal(flow, torch.zeros(2, 2, 32 // unshuffle, 64 // unshuffle))
    for fold in (1, 2):
        refine = RefinementNet(5, 3, (8, 8, 8), fold)
        assert torch.equal(refine(torch.randn(1, 5, 16, 24)), torch.zeros(1, 3, 16, 24))


def test_flow_network_learns_a_shift() -> None:
    """The sign convention: current(x) ~ reference(x + flow(x))."""
    torch.manual_seed(0)
    big = F.avg_pool2d(torch.randn(1, 1, 70, 70), 5, 1) * 200 + 128
    reference, current = big[..., :64, :64], big[..., :64, 2:66]  # current(x) = reference(x + 2)
    net = PyramidFlow(levels=2, kernel=3, widths=(16, 16), unshuffle=4)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(60):
        flow = net(current, reference)
        loss = (
            (backward_warp(reference, resize_flow(flow, (64, 64), 1.0)) - current)[..., 8:-8, 8:-8]
            .abs()
            .mean()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    middle = flow[0, :, 3:-3, 3:-3].flatten(1).median(1).values
    assert middle[0].item() == pytest.approx(2.0, abs=0.5)
    assert middle[1].item() == pytest.approx(0.0, abs=0.5)


def test_high_pass_removes_what_is_flat() -> None:
    assert high_pass(torch.full((1, 2, 8, 12), 77.0)).abs().max() < 1e-4
    x = torch.zeros(1, 1, 16, 16)
    x[..., 8, 8] = 36.0
    out = high_pass(x)
    assert out[0, 0, 8, 8] == pytest.approx(35.0)
    assert out[0, 0, 6, 6] == pytest.approx(-1.0)
    assert out[0, 0, 2, 2] == 0.0


def test_soft_clip_is_bounded_and_the_identity_near_zero() -> None:
    x = torch.tensor([-1e6, -8.0, 0.0, 0.01, 8.0, 1e6])
    torch.testing.assert_close(
        soft_clip(x), torch.tensor([-8.0, -4.0, 0.0, 0.00999, 4.0, 8.0]), rtol=1e-3, atol=1e-4
    )
