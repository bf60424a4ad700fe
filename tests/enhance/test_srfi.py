"""SRFI: the network of stsr, and clips of whole frames through it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torchvision.ops import deform_conv2d

from lvc.enhance.cliprestorer import ClipRestorer
from lvc.enhance.srfi import CONFIGS, SRFI, SRFI_LITE, DeformedConv2d, FlowPyramid, Srfi, SrfiConfig
from lvc.models.complexity import counting
from lvc.types import Frame

TINY = SrfiConfig("stsr-tiny", width=8, blocks=1, tail=1, groups=2, flow_levels=2, flow_kernel=3, flow_widths=(8,))


def clip(count: int = 4, h: int = 8, w: int = 12, n: int = 2, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Arguments of Srfi."""
    rng = torch.Generator().manual_seed(seed)
    plain, middles = (torch.rand(n, t, 24, h, w, generator=rng) * 255 for t in (count, count - 1))
    kinds = torch.zeros(n, count, 2)
    kinds[:, 0, 0] = 1.0
    return plain, middles, torch.rand(n, count, generator=rng) * 5 + 1, kinds, torch.tensor([1.5, 2.0])[:n]


def active(config: SrfiConfig = TINY, seed: int = 0) -> Srfi:
    """A random network whose every part matters."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        net = Srfi(config)
        for name, parameter in net.named_parameters():
            if not parameter.any():
                parameter.normal_(0.0, 1.0 if "shift" in name else 0.05)
    return net


@pytest.mark.parametrize("count", [1, 2, 5])
def test_it_begins_as_the_identity(count):
    plain, middles, *rest = clip(count)
    frames, between = Srfi(TINY)(plain, middles, *rest)
    assert torch.equal(frames, plain)
    assert torch.equal(between, middles)
    frames, between = active()(plain, middles, *rest)
    assert frames.shape == plain.shape
    assert between.shape == middles.shape
    assert not torch.equal(frames, plain)


def test_gradients_reach_all_parts():
    net = active()
    frames, between = net(*clip())
    (frames.square().mean() + between.square().mean()).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_a_new_network_learns():
    """Steps down the gradient from the identity move the parts behind the zeros, too."""
    torch.manual_seed(0)
    net, arguments = Srfi(TINY), clip()
    target = arguments[0] + 1.0, arguments[1] - 1.0
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    losses = []
    for _ in range(12):
        losses.append(sum((a - b).square().mean() for a, b in zip(net(*arguments), target, strict=True)))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert float(losses[-1].detach()) < 0.7 * float(losses[0].detach())
    for name, value in net.named_parameters():
        assert not torch.equal(value, before[name]), name


@pytest.mark.parametrize("groups", [1, 4])
def test_deformed_convolutions_are_those_of_torchvision(groups):
    torch.manual_seed(0)
    layer = DeformedConv2d(8, 6)
    x, offsets, mask = torch.randn(2, 8, 7, 9), torch.randn(2, groups * 18, 7, 9) * 3, torch.rand(2, groups * 9, 7, 9)
    expected = deform_conv2d(x, offsets, layer.weight, layer.bias, padding=1, mask=mask)
    torch.testing.assert_close(layer(x, offsets, mask), expected, atol=1e-5, rtol=1e-5)
    plain = torch.nn.functional.conv2d(x, layer.weight, layer.bias, padding=1)
    still = layer(x, torch.zeros_like(offsets), torch.ones_like(mask))
    torch.testing.assert_close(still, plain, atol=1e-5, rtol=1e-5)


def test_flow_begins_as_zero_and_is_learned():
    torch.manual_seed(0)
    net = FlowPyramid(TINY)
    world = torch.nn.functional.avg_pool2d(torch.rand(1, 16, 24, 32), 5, 1, 2) * 255
    luma, other = world[..., 2:18, 4:28], world[..., 3:19, 4:28]  # content moves up by one
    assert not net(luma, other).any()
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(60):
        loss = (net(luma, other) - torch.tensor([0.0, -1.0])[:, None, None]).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.3


def test_the_recurrence_runs_both_ways():
    plain, *rest = clip(5, n=1)
    net = active()
    changed = plain.clone()
    changed[:, 2] += 20 * torch.rand_like(plain[:, 2])
    with torch.no_grad():
        one, two = net(plain, *rest)[0], net(changed, *rest)[0]
    for t in (0, 1, 3, 4):
        assert not torch.equal(one[:, t], two[:, t])


@pytest.mark.parametrize("config", [TINY, SRFI_LITE])
def test_complexity(config):
    """What is stated is what lvc.models.complexity counts on a clip, and is little enough."""
    net = Srfi(config)
    count, side = 3, 2 * 2**config.flow_levels
    arguments = clip(count, side, side, n=1)
    pixels = 16 * side * side
    with torch.no_grad(), counting(net) as macs:
        inputs = net.propagated(arguments[0], arguments[2], net.conditions(*arguments[2:]))
        propagated = macs()
        hidden = torch.zeros(1, 32)
        net.picture(arguments[0][:, 0], inputs[0][0], inputs[1][0], arguments[2][:, 0], hidden)
        tail = macs() - propagated
        net.between(arguments[1][:, 0], inputs[1][0], inputs[1][1], arguments[2][:, 0], hidden)
        middle = macs() - propagated - tail
    flows = 2 * (count - 1)
    flow = sum(layer.weight.numel() / 4**i for i, level in enumerate(list(net.flow.levels)[::-1])
               for layer in level if hasattr(layer, "weight")) * side * side
    kept = (propagated - flows * flow) / count + 2 * flow + tail
    assert net.kmac_per_pixel(1) == pytest.approx(kept / pixels / 1000, rel=1e-6)
    assert net.kmac_per_pixel(2) == pytest.approx((kept + middle) / 2 / pixels / 1000, rel=1e-6)


def test_configurations():
    assert Srfi(SRFI_LITE).kmac_per_pixel(1) < 25
    assert Srfi(SRFI_LITE).kmac_per_pixel(2) < 25
    with torch.device("meta"):
        assert Srfi(SRFI).kmac_per_pixel(1) > 300
    for config in CONFIGS.values():
        assert SrfiConfig.from_json(config.to_json()) == config


def frames_of(count: int, width: int, height: int, seed: int = 0) -> list[Frame]:
    rng = np.random.default_rng(seed)
    half = ((height + 1) // 2, (width + 1) // 2)
    return [Frame(*(rng.integers(0, 256, s, dtype=np.uint8) for s in ((height, width), half, half)), 10 * i)
            for i in range(count)]


def test_clips_of_frames():
    """Of any size, what is asked for only, as the network itself gives it."""
    frames, middles = frames_of(3, 29, 18), frames_of(2, 29, 18, 1)
    restorer = ClipRestorer(active(), True, 2.0, bfloat16=False)
    arguments = frames, (2.0, 3.0, 4.0), (True, False, False), (middles[0], middles[1], None)
    whole, between = restorer(*arguments, range(3))
    part, one = restorer(*arguments, range(1, 2))
    assert [f is None for f in part] == [True, False, True]
    assert [f is None for f in one] == [True, False, True]
    assert between[2] is None
    for given, expected in ((part[1], whole[1]), (one[1], between[1])):
        assert given.pts == expected.pts
        assert all(np.array_equal(a, b) for a, b in zip(given.planes, expected.planes, strict=True))
    assert [f.pts for f in whole] == [0, 10, 20]
    assert all(a.shape == b.shape for f, g in zip(whole, frames) for a, b in zip(f.planes, g.planes))
    assert any(not np.array_equal(a.y, b.y) for a, b in zip(whole, frames, strict=True))


def test_what_it_is_told_matters():
    frames = frames_of(2, 16, 16)

    def luma(av1: bool = False, scale: float = 1.0, level: float = 3.0, intra: bool = True) -> bytes:
        restorer = ClipRestorer(active(), av1, scale, bfloat16=False)
        return restorer(frames, (level, 3.0), (intra, False), (None, None), range(2))[0][0].y.tobytes()

    found = [luma(), luma(av1=True), luma(scale=1.5), luma(scale=2.0), luma(level=5.0), luma(intra=False)]
    assert all(a != b for a, b in itertools.combinations(found, 2))
