"""Integer layers are integer arithmetic, whatever the threads and the precision settings."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lvc.ops.gains import N_KNOTS, QualityTable, quantization_step
from lvc.ops.integer import EXACT_LIMIT, WEIGHT_SHIFT, IntConv2d
from lvc.ops.rounding import clamp_ste, floor_ste, round_ste

LAYERS = [(48, 64, 3, 255, 0, 255), (120, 96, 1, 255, -1023, 1023), (16, 32, 3, 120, 0, 255)]


def random_layer(channels: int, out: int, kernel: int, x_max: int, low: int, high: int) -> IntConv2d:
    layer = IntConv2d(channels, out, kernel, x_max=x_max, low=low, high=high)
    with torch.no_grad():
        layer.weight.uniform_(-2.1, 2.1)  # beyond the clamp at 127/64, too
        layer.bias.uniform_(-300, 300)
    return layer


def reference(layer: IntConv2d, x: np.ndarray) -> np.ndarray:
    """The same in int64, by loops over the kernel; (N, C, H, W)."""
    k = layer.kernel_size
    weight = np.clip(layer.weight.detach().double().numpy() * 2**WEIGHT_SHIFT, -127, 127)
    weight = np.rint(weight).astype(np.int64).reshape(len(weight), -1, k, k)
    bias = np.rint(layer.bias.detach().double().numpy() * 2**WEIGHT_SHIFT).astype(np.int64)
    n, _, h, w = x.shape
    padded = np.pad(x.astype(np.int64), ((0, 0), (0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    total = np.zeros((n, len(weight), h, w), np.int64) + bias[:, None, None]
    for i, j in itertools.product(range(k), range(k)):
        total += np.einsum("oc,nchw->nohw", weight[:, :, i, j], padded[:, :, i : i + h, j : j + w])
    return np.clip(total >> WEIGHT_SHIFT, layer.low, layer.high)


@pytest.mark.parametrize("arguments", LAYERS)
@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_convolution_is_integer_arithmetic(arguments: tuple[int, ...], precision: str) -> None:
    """Float32 gives what int64 gives; also where float32 products may be carried out in bfloat16."""
    torch.manual_seed(0)
    channels, _, _, x_max, low, _ = arguments
    layer = random_layer(*arguments)
    extreme = torch.where(layer.weight.detach().sum(0) > 0, float(x_max), 0.0)[:channels]
    x = torch.randint(0 if low == 0 else -x_max, x_max + 1, (2, channels, 13, 17)).float()
    x[1] = extreme[:, None, None]  # long sums of one sign
    expected = reference(layer, x.numpy())
    before, threads = torch.get_float32_matmul_precision(), torch.get_num_threads()
    try:
        torch.set_float32_matmul_precision(precision)
        for n in (1, 2):
            torch.set_num_threads(n)
            np.testing.assert_array_equal(layer(x).detach().numpy(), expected)
            with torch.inference_mode():
                np.testing.assert_array_equal(layer(x).numpy(), expected)
                by_parts = torch.cat([layer(part) for part in x.split(1)])
                np.testing.assert_array_equal(by_parts.numpy(), expected)
    finally:
        torch.set_float32_matmul_precision(before)
        torch.set_num_threads(threads)
    assert len(np.unique(expected)) > 20


def test_output_is_clamped_to_its_range() -> None:
    layer = random_layer(8, 16, 1, 255, 0, 255)
    out = layer(torch.full((1, 8, 4, 4), 255.0))
    assert (out.min(), out.max()) == (0, 255)


def test_sums_beyond_float32_are_refused() -> None:
    IntConv2d(56, 8, 3, x_max=255, low=0, high=255)
    with pytest.raises(ValueError, match="not exact"):
        IntConv2d(58, 8, 3, x_max=255, low=0, high=255)
    layer = IntConv2d(4, 2, 1, x_max=100, low=0, high=255)
    with torch.no_grad():
        layer.weight[:] = torch.tensor([[1.0, -2.0, 0.25, 0.0], [0.0, 0.0, 0.0, 0.5]])
        layer.bias[:] = torch.tensor([3.0, -1000.0])
    assert layer.largest_sum() == max((64 + 127 + 16) * 100 + 3 * 64, 32 * 100 + 64000)
    with torch.no_grad():
        layer.bias[0] = EXACT_LIMIT
    assert layer.largest_sum() >= EXACT_LIMIT


def test_gradients_pass_rounding_but_not_inactive_outputs() -> None:
    torch.manual_seed(0)
    layer = random_layer(4, 3, 3, 255, 0, 255)
    x = torch.randint(0, 256, (1, 4, 5, 5)).float().requires_grad_()
    weight, bias = layer.integers()
    linear = (F.conv2d(x, weight.reshape(3, 4, 3, 3), bias, padding=1) / 64).floor().detach()
    active = (linear >= 0) & (linear <= 255)
    assert active.any()
    assert not active.all()
    layer(x).sum().backward()
    expected = F.conv_transpose2d(active.float(), weight.detach().reshape(3, 4, 3, 3), padding=1) / 64
    torch.testing.assert_close(x.grad, expected)
    torch.testing.assert_close(layer.bias.grad, active.sum((0, 2, 3)).float())


def test_rounding() -> None:
    x = torch.tensor([-2.5, -1.5, -0.5, -0.2, 0.5, 1.5, 2.5, 1e6 + 0.5, 300.25], requires_grad=True)
    for function, expected in (
        (round_ste, torch.round(x)),
        (floor_ste, torch.floor(x)),
        (lambda v: clamp_ste(v, -1.0, 2.0), x.clamp(-1, 2)),
    ):
        out = function(x)
        assert torch.equal(out, expected)
        (gradient,) = torch.autograd.grad(out.sum(), x)
        assert torch.equal(gradient, torch.ones_like(x))


def test_quantization_step_doubles_every_thirteen_qualities() -> None:
    step = quantization_step(torch.arange(64))
    assert step[63] == pytest.approx(3.0)
    torch.testing.assert_close(step[:51] / step[13:], torch.full((51,), 2.0))


def test_quality_table_interpolates_between_its_knots() -> None:
    table = QualityTable(3, start=2.0)
    assert torch.equal(table(torch.tensor([0, 17, 63])), torch.full((3, 3, 1, 1), 2.0))
    with torch.no_grad():
        table.knots.copy_(torch.arange(N_KNOTS * 3.0).reshape(N_KNOTS, 3) ** 2)
    knots = table.knots.detach()
    quality = torch.tensor([0, 9, 63, 12])  # a knot every nine qualities
    expected = torch.stack((knots[0], knots[1], knots[7], knots[1] * (2 / 3) + knots[2] / 3))
    torch.testing.assert_close(table(quality)[:, :, 0, 0].detach(), expected)


def test_frozen_quality_table_no_longer_depends_on_its_knots() -> None:
    torch.manual_seed(0)
    table, quality = QualityTable(5), torch.arange(64)
    with torch.no_grad():
        table.knots.normal_()
    expected = torch.round(table(quality)).detach()
    assert torch.equal(table.integers(quality).detach(), expected)
    table.integers(quality).sum().backward()
    assert table.knots.grad is not None
    table.freeze()
    with torch.no_grad():
        table.knots.zero_()
    assert torch.equal(table.integers(quality), expected)
    assert not table.integers(quality).requires_grad


def test_quality_tables_load_whether_frozen_or_not() -> None:
    plain, frozen = QualityTable(4, start=3.0), QualityTable(4, start=9.0)
    frozen.freeze()
    target = QualityTable(4)
    target.load_state_dict(frozen.state_dict())
    assert torch.equal(target.frozen, frozen.frozen)
    assert target.frozen is not frozen.frozen
    target.load_state_dict(plain.state_dict())
    assert target.frozen.shape == (0, 4)
    assert target.integers(torch.tensor([5])).flatten().tolist() == [3.0] * 4
