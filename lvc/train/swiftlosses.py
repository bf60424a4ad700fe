"""What swift's networks are trained for, each on recordings (lvc.train.swiftdata): bits, or what is left of errors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lvc.entropy.distributions import TableDistribution
from lvc.entropy.scales import N_SCALES
from lvc.entropy.symbols import EstimateSymbols
from lvc.models.swift import SwiftContext, SwiftEntropy
from lvc.models.swiftfilter import SwiftFilter
from lvc.models.swiftmotion import SwiftMotion
from lvc.models.swiftsizes import SwiftSizes
from lvc.ops.blockdct import quantizer_step
from lvc.ops.blockmotion import BLOCK
from lvc.ops.rounding import clamp_ste
from lvc.train.losses import rate_weights
from lvc.train.swiftdata import NOT_CODED, Crops, MotionLayout

MotionBatch = dict[str, tuple[MotionLayout, npt.NDArray[np.void]]]


_EMPTY_WEIGHT = 0.3
"""Of a filter's squared errors in transforms without symbols."""

_ERROR_FLOOR = 0.02
"""Squared steps: what is smaller is not worth learning from."""


class _CountingSymbols(EstimateSymbols):
    """Also tells the bits of each distribution, for the log."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__(weight)
        self.by_distribution: dict[int, float] = {}

    def symbols(self, value: Tensor | None, index: Tensor, mask: Tensor,
                distribution: TableDistribution) -> Tensor:
        value = super().symbols(value, index, mask, distribution)
        key = id(distribution)
        self.by_distribution[key] = self.by_distribution.get(key, 0.0) + float(self.bits[-1].sum())
        return value


def entropy_loss(model: SwiftEntropy, symbols: Tensor,
                 context: SwiftContext) -> tuple[Tensor, dict[str, float]]:
    """Bits a luma sample, each sample of the batch weighted by lvc.train.losses.rate_weights.

    Returns the loss and figures: "bpp_flags", "bpp_coefficients", "loss".
    """
    samples = symbols[:, 0].numel() * BLOCK**2
    coder = _CountingSymbols(rate_weights(context.quality)[1] / samples)
    model(coder, symbols, context)
    assert isinstance(coder.loss, Tensor)
    bits = coder.by_distribution
    weighted = sum(float((b * coder.weight).sum()) for b in coder.bits)
    return coder.loss, {"bpp_flags": bits[id(model.flag_distribution)] / samples,
                        "bpp_coefficients": bits[id(model.distribution)] / samples, "loss": weighted}


def motion_loss(model: SwiftMotion | SwiftSizes, batch: MotionBatch) -> tuple[Tensor, dict[str, float]]:
    """Bits of all rows of the batch, divided by the number of the most numerous (vectors).

    Returns the loss and figures: "bits_" and the name of each network, a row; "loss".
    """
    size = max(len(rows) for _, rows in batch.values())
    total: Tensor | float = 0.0
    figures: dict[str, float] = {}
    for name, (layout, rows) in batch.items():
        coder = EstimateSymbols(torch.full((1,), 1.0 / size))
        inputs = torch.from_numpy(np.ascontiguousarray(rows["inputs"].T, np.float32))[None, :, None]
        symbols = torch.from_numpy(np.ascontiguousarray(rows["symbols"].T, np.float32))[None, :, None]
        index = clamp_ste(model.get_submodule(name)(inputs) + layout.offset, 0, N_SCALES - 1)
        start = 0
        for distribution, count in layout.coded:
            part = symbols[:, start : start + count]
            table = model.get_submodule(distribution)
            assert isinstance(table, TableDistribution)
            coder.symbols(part, index[:, start : start + count], part != NOT_CODED, table)
            start += count
        total = total + coder.loss
        figures[f"bits_{name}"] = sum(float(b.sum()) for b in coder.bits) / max(1, len(rows))
    assert isinstance(total, Tensor)
    weighted = sum(figures[f"bits_{name}"] * len(rows) / size for name, (_, rows) in batch.items())
    return total, {**figures, "loss": weighted}


def filter_loss(model: SwiftFilter, crops: Crops) -> tuple[Tensor, dict[str, float]]:
    """Squared error after the correction, relative to that before: (N,) averaged.

    Errors where transforms are empty count less: encoders mostly leave out what the filter does there
    (lvc.models.swiftfilter.AREAS).

    Returns the loss and figures: "loss", and "gain" in dB, of 6:1:1 squared errors, luma, U and V.
    """
    steps = torch.tensor([quantizer_step(int(q)) for q in crops.quality])[:, None, None, None]
    error = (crops.cells("source") - crops.cells("decoded")).float() * (16.0 / steps)
    weight = torch.cat((torch.full((16,), 6.0 / 16), torch.full((8,), 1.0 / 4)))[:, None, None] / 8.0
    coded = crops.coded_cells()
    weight = weight * (coded + _EMPTY_WEIGHT * (1.0 - coded))
    corrected = error - model(crops.filter_input()) * 2.0**-8
    before, after = ((weight * e.square()).sum(1).mean((1, 2)) for e in (error, corrected))
    loss = (after / (before + _ERROR_FLOOR)).mean()
    gain = 10.0 * torch.log10((before + 1e-6) / (after.detach() + 1e-6)).mean()
    return loss, {"loss": float(loss.detach()), "gain": float(gain)}
