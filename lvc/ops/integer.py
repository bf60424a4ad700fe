"""Convolutions in exact integer arithmetic, carried out on float32.

Integers are exact in float32 while every partial sum stays below 2**24, whatever the order of summation,
the number of threads or the device. Activations here are integers of at most 8 bits and a sign, weights
integers of at most 7 bits and a sign in a unit of each layer's own, so that the sum over a few hundred inputs stays
within that bound; it is asserted when a layer is built (worst case) and again at export (with the weights as they are).

The convolution is a gather (unfold) and a matrix product: a library may carry out a 3x3 convolution by
Winograd's algorithm, which is not exact on integers, but it has no such freedom with a product.

Training runs the same integers forward and straight-through gradients backward, so nothing changes at export.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvc.ops.rounding import clamp_ste, round_ste

WEIGHT_MAX = 127
WEIGHT_SHIFT = 6
MAX_SHIFT = 10
EXACT_LIMIT = 2**24


class IntConv2d(nn.Module):
    """Convolution of integers, requantized: floor((W x + b) / 2**shift), clamped to [low, high].

    Args:
        in_channels, out_channels: numbers of channels.
        kernel_size: 1 or 3 (stride 1, zero padding).
        x_max: largest magnitude of an input (an integer).
        low, high: clamp of the output; (0, 255) makes it a rectifier.
        gain: standard deviation of the initial response, relative to the input's.

    Attributes:
        shift: weights and biases are integers in units of 2**-shift; stored with them. 6 at first, see calibrate.
        rounding: off, the layer computes with real numbers and no rounding: for the first part of a training,
            where steps would be too coarse to learn from.

    Shape: (N, in_channels, H, W) -> (N, out_channels, H, W), float32 tensors of integers.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1, *, x_max: int,
                 low: int, high: int, gain: float = 1.0) -> None:
        super().__init__()
        fan_in = in_channels * kernel_size**2
        self.kernel_size, self.x_max, self.low, self.high = kernel_size, x_max, low, high
        self.register_buffer("shift", torch.tensor(WEIGHT_SHIFT))
        self.rounding = True
        self.weight = nn.Parameter(torch.randn(out_channels, fan_in) * (gain / fan_in**0.5))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        worst = fan_in * WEIGHT_MAX * x_max
        if worst >= EXACT_LIMIT:
            raise ValueError(f"partial sums of up to {worst} are not exact in float32")

    def integers(self) -> tuple[Tensor, Tensor]:
        """Weights (out, in * k * k) and biases (out,) as they are used: integers in float32."""
        scale = 2.0 ** int(self.shift)
        if not self.rounding:
            return self.weight * scale, self.bias * scale
        weight = round_ste(clamp_ste(self.weight * scale, -WEIGHT_MAX, WEIGHT_MAX))
        return weight, round_ste(self.bias * scale)

    def calibrate(self, room: float = 0.0) -> None:
        """Choose the finest unit of weights, 2**-10 to 1, that holds the largest one.

        Args:
            room: weights up to that magnitude must fit, too: for what is yet to be learned.
        """
        largest = max(room, float(self.weight.detach().abs().max()), 1e-9)
        self.shift.fill_(max(0, min(MAX_SHIFT, math.floor(math.log2((WEIGHT_MAX + 0.5) / largest)))))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Weights from before layers had their own unit.
        state_dict.setdefault(prefix + "shift", torch.tensor(WEIGHT_SHIFT))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def largest_sum(self) -> float:
        """Bound of the magnitude of any partial sum with the present weights; exact if below 2**24."""
        weight, bias = self.integers()
        return float((weight.abs().sum(1) * self.x_max + bias.abs()).max().detach())

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            total = self._sums(x)
        return cast(Tensor, _Requantize.apply(total, self.low, self.high, int(self.shift), self.rounding))

    def _sums(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        weight, bias = self.integers()
        if self.training and self.kernel_size > 1:
            # Faster, and as good as exact for learning.
            kernel = weight.reshape(len(weight), -1, self.kernel_size, self.kernel_size)
            return F.conv2d(x, kernel, bias, padding=1)
        columns = x.flatten(2) if self.kernel_size == 1 else F.unfold(x, self.kernel_size, padding=1)
        return (weight @ columns).reshape(n, -1, h, w) + bias[:, None, None]


class _Requantize(torch.autograd.Function):
    """floor(x / 2**shift) clamped to [low, high]; the gradient is that of the clamp alone."""

    @staticmethod
    def forward(ctx: Any, total: Tensor, low: int, high: int, shift: int, rounding: bool) -> Tensor:
        value = total * 2.0**-shift
        value = torch.floor(value) if rounding else value - 0.5  # what rounding down takes on average
        ctx.save_for_backward((value >= low) & (value <= high))
        ctx.shift = shift
        return value.clamp_(low, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inside, = ctx.saved_tensors
        return gradient * inside * 2.0**-ctx.shift, None, None, None, None
