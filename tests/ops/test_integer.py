"""Integer layers are integer arithmetic, whatever the threads and the precision settings."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lvc.ops.gains import N_KNOTS, QualityTable, quantization_step
from lvc.ops.integer import EXACT_LIMIT, MAX_SHIFT, WEIGHT_MAX, WEIGHT_SHIFT, IntConv2d
from lvc.ops.rounding import clamp_ste, floor_ste, round_ste

LAYERS = [(48, 64, 3, 255, 0, 255), (120, 96, 1, 255, -1023, 1023), (16, 32, 3, 120, 0, 255)]


def random_layer(channels: int, out: int, kernel: int, x_max: int, low: int, high: int,
                 shift: int = WEIGHT_SHIFT) -> IntConv2d:
    layer = IntConv2d(channels, out, kernel, x_max=x_max, low=low, high=high)
    layer.shift.fill_(shift)
    with torch.no_grad():
        layer.weight.uniform_(-134 / 2**shift, 134 / 2**shift)  # beyond the clamp at 127, too
        layer.bias.uniform_(-300, 300)
    return layer


def reference(layer: IntConv2d, x: np.ndarray) -> np.ndarray:
    """The same in int64, by loops over the kernel; (N, C, H, W)."""
    k = layer.kernel_size
    shift = int(layer.shift)
    weight = np.clip(layer.weight.detach().double().numpy() * 2**shift, -127, 127)
    weight = np.rint(weight).astype(np.int64).reshape(len(weight), -1, k, k)
    bias = np.rint(layer.bias.detach().double().numpy() * 2**shift).astype(np.int64)
    n, _, h, w = x.shape
    padded = np.pad(x.astype(np.int64), ((0, 0), (0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    total = np.zeros((n, len(weight), h, w), np.int64) + bias[:, None, None]
    for i, j in itertools.product(range(k), range(k)):
        total += np.einsum("oc,nchw->nohw", weight[:, :, i, j], padded[:, :, i : i + h, j : j + w])
    return np.clip(total >> shift, layer.low, layer.high)


@pytest.mark.parametrize("arguments", LAYERS)
@pytest.mark.parametrize(("precision", "shift"), [("highest", 6), ("medium", 6), ("medium", 9), ("highest", 3)])
def test_convolution_is_integer_arithmetic(arguments: tuple[int, ...], precision: str, shift: int) -> None:
    """Float32 gives what int64 gives; also where float32 products may be carried out in bfloat16."""
    torch.manual_seed(0)
    channels, _, _, x_max, low, _ = arguments
    layer = random_layer(*arguments, shift)
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


def plain(layer: IntConv2d, x: torch.Tensor) -> torch.Tensor:
    """What a layer approximates, in real numbers."""
    k = layer.kernel_size
    weight = layer.weight.detach().double().reshape(len(layer.weight), -1, k, k)
    return F.conv2d(x.double(), weight, layer.bias.detach().double(), padding=k // 2).clamp(layer.low, layer.high)


@pytest.mark.parametrize("arguments", LAYERS)
@pytest.mark.parametrize("training", [False, True])
def test_without_rounding_it_is_a_convolution(arguments: tuple[int, ...], training: bool) -> None:
    """Of real numbers, weights beyond the clamp included; less one half, which rounding down takes on average."""
    torch.manual_seed(1)
    layer = IntConv2d(*arguments[:3], x_max=arguments[3], low=-1023, high=1023).train(training)
    with torch.no_grad():
        layer.weight.normal_(0.0, 0.03)
        layer.weight[0] *= 100
        layer.bias.uniform_(-30, 30)
    x = torch.randint(0, arguments[3] + 1, (2, arguments[0], 9, 7)).float()
    layer.rounding = False
    got = layer(x)
    torch.testing.assert_close(got.double(), (plain(layer, x) - 0.5).clamp(-1023, 1023), rtol=1e-4, atol=0.51)
    inside = plain(layer, x).abs() < 1000
    torch.testing.assert_close(got.double()[inside], plain(layer, x)[inside] - 0.5, rtol=1e-4, atol=1e-2)
    assert (got != got.round()).float().mean() > 0.5
    got.sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.isfinite().all()
    assert layer.weight.grad[1:].any(1).all()


@pytest.mark.parametrize(("largest", "shift"), [
    (0.01, MAX_SHIFT), (0.1245, 10), (0.1246, 9), (0.249, 9), (0.2491, 8), (1.99, 6), (1.993, 5), (60.0, 1), (127.0, 0),
    (500.0, 0)])
def test_calibration_holds_the_largest_weight(largest: float, shift: int) -> None:
    """The unit is the finest in which the largest weight is at most 127.5, which rounds to 127."""
    torch.manual_seed(0)
    layer = IntConv2d(20, 8, 3, x_max=127, low=-1023, high=1023)
    with torch.no_grad():
        layer.weight.uniform_(-largest / 2, largest / 2)
        layer.weight[3, 5] = -largest
        layer.bias.uniform_(-50, 50)
    layer.calibrate()
    assert int(layer.shift) == shift
    weight, bias = layer.integers()
    assert torch.equal(weight, weight.round())
    assert torch.equal(bias, bias.round())
    assert weight.abs().max() == min(WEIGHT_MAX, round(largest * 2**shift))
    if shift < MAX_SHIFT and largest < WEIGHT_MAX:
        assert weight.abs().max() > WEIGHT_MAX / 2
        assert (weight - layer.weight.detach() * 2**shift).abs().max() <= 0.51
    x = torch.randint(0, 128, (1, 20, 6, 5)).float()
    np.testing.assert_array_equal(layer(x).detach().numpy(), reference(layer, x.numpy()))


def test_calibration_leaves_room() -> None:
    layer = IntConv2d(20, 8, 1, x_max=127, low=-1023, high=1023, gain=0.0)
    for room, shift in ((0.0, MAX_SHIFT), (0.49, 8), (1.9, 6), (3.0, 5)):
        layer.calibrate(room)
        assert int(layer.shift) == shift
        assert room * 2**shift <= WEIGHT_MAX + 0.5
    with torch.no_grad():
        layer.weight[0, 0] = 3.5
    layer.calibrate(0.49)
    assert int(layer.shift) == 5


def test_the_unit_is_part_of_the_state() -> None:
    layer, other = (random_layer(4, 3, 1, 255, -1023, 1023, shift) for shift in (9, 6))
    other.load_state_dict(layer.state_dict())
    x = torch.randint(0, 256, (1, 4, 5, 5)).float()
    assert int(other.shift) == 9
    assert torch.equal(other(x), layer(x))


def test_weights_without_a_unit_are_in_sixty_fourths() -> None:
    """As all were before layers had units of their own; whatever the unit of the layer was."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(random_layer(4, 3, 1, 255, 0, 255), random_layer(3, 2, 1, 255, -1023, 1023))
    old = {key: value for key, value in net.state_dict().items() if not key.endswith("shift")}
    again = torch.nn.Sequential(random_layer(4, 3, 1, 255, 0, 255, 9), random_layer(3, 2, 1, 255, -1023, 1023, 2))
    assert again.load_state_dict(old) == ([], [])
    assert len(old) == 4  # it is not the caller's state that is filled up
    x = torch.randint(0, 256, (1, 4, 5, 5)).float()
    assert [int(layer.shift) for layer in again] == [6, 6]
    assert torch.equal(again(x), net(x))


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
