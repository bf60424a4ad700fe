"""Swift's in-loop filter: corrections of the reconstructed coefficients, in exact integer arithmetic.

It works where the residual is, in the transform domain at 1/8 resolution: it sees the reconstruction and the coded
symbols in units of the quantization step, moves values within their quantization intervals, attenuates what the
prediction got wrong, and smooths over block borders. The correction is added before the one inverse transform.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lvc.models.swift import AUX, CONTEXT_MAX, HIDDEN_MAX
from lvc.ops.blockdct import COEFFICIENTS, LUMA
from lvc.ops.integer import IntConv2d

INPUT_SCALE = 4
"""Inputs count quarters of a step."""

DIRECT_SCALE = 8
_INPUT_MAX = 127
_OUTPUT_MAX = 1023
_DC = (0, LUMA, LUMA + 1)


class SwiftFilter(nn.Module):
    """(reconstruction, symbols, aux) -> corrections (N, 96, h, w), integers that count 2**-8 steps.

    That unit is lvc.ops.blockdct.FRACTION_SHIFT.

    Shape: reconstruction: (N, 96, h, w), coefficients in quarters of a step, rounded down, not limited.
        symbols: (N, 96, h, w). aux: (N, 8, h, w). All integers in float32.
    """

    def __init__(self, width: int = 96, layers: int = 2) -> None:
        super().__init__()
        relu = {"low": 0, "high": HIDDEN_MAX}
        self.start = IntConv2d(2 * COEFFICIENTS + AUX, width, 1, x_max=_INPUT_MAX, **relu)
        self.middle = nn.ModuleList(IntConv2d(width, width, 3, x_max=HIDDEN_MAX, **relu) for _ in range(layers))
        self.direct = IntConv2d(2 * COEFFICIENTS + AUX, COEFFICIENTS, 1, x_max=_INPUT_MAX, low=-_OUTPUT_MAX,
                                high=_OUTPUT_MAX, gain=0.0)
        self.end = IntConv2d(width, COEFFICIENTS, 1, x_max=HIDDEN_MAX, low=-_OUTPUT_MAX,
                             high=_OUTPUT_MAX, gain=0.0)

    def forward(self, reconstruction: Tensor, symbols: Tensor, aux: Tensor) -> Tensor:
        return self.correct(torch.cat((filter_input(reconstruction, symbols), aux), 1))

    def correct(self, x: Tensor) -> Tensor:
        """The networks alone: (N, 200, h, w), filter_input and aux, to corrections."""
        hidden = self.start(x)
        for layer in self.middle:
            hidden = (hidden + layer(hidden)).clamp(max=HIDDEN_MAX)
        # The direct path is linear: it shrinks towards zero, and to the centres of the quantization intervals.
        y = self.end(hidden) + DIRECT_SCALE * self.direct(x)
        assert isinstance(y, Tensor)
        return y


def filter_input(reconstruction: Tensor, symbols: Tensor) -> Tensor:
    """Both in quarters of a step, limited to 127: (N, 192, h, w)."""
    return torch.cat((_detail(reconstruction), symbols * INPUT_SCALE), 1).clamp(-_INPUT_MAX, _INPUT_MAX)


def _detail(reconstruction: Tensor) -> Tensor:
    """The DC coefficients become differences to the mean of their four neighbours: exact integers."""
    dc = reconstruction[:, _DC]
    padded = nn.functional.pad(dc, (1, 1, 1, 1), "replicate")
    around = padded[:, :, :-2, 1:-1] + padded[:, :, 2:, 1:-1] + padded[:, :, 1:-1, :-2] + padded[:, :, 1:-1, 2:]
    result = reconstruction.clone()
    result[:, _DC] = dc - torch.floor(around * 0.25)
    return result


assert CONTEXT_MAX <= _INPUT_MAX
