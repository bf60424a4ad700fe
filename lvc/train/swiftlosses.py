"""What swift's networks are trained for, each on recordings (lvc.train.swiftdata): bits, or what is left of errors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lvc.codecs.swiftquant import CHROMA_WEIGHT, LAGRANGIAN
from lvc.entropy.distributions import TableDistribution
from lvc.entropy.scales import N_SCALES
from lvc.entropy.symbols import EstimateSymbols
from lvc.models.swift import SwiftContext, SwiftEntropy
from lvc.models.swiftfilter import DIRECT_SCALE, SwiftFilter
from lvc.models.swiftmotion import SwiftMotion
from lvc.ops.blockdct import CHROMA_STEP, COEFFICIENTS, FRACTION_SHIFT, LUMA
from lvc.ops.blockmotion import BLOCK
from lvc.ops.rounding import clamp_ste
from lvc.train.losses import rate_weights
from lvc.train.swiftdata import NOT_CODED, Crops, MotionLayout

MotionBatch = dict[str, tuple[MotionLayout, npt.NDArray[np.void]]]


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


def motion_loss(model: SwiftMotion, batch: MotionBatch) -> tuple[Tensor, dict[str, float]]:
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
    """Squared error after the correction, in bits a luma sample at the encoder's Lagrangian.

    Samples are weighted as for entropy_loss.
    Returns the loss and figures: "loss", and "gain", the part of the error that the filter takes away.
    """
    error = crops.error()
    balance = rate_weights(torch.from_numpy(crops.quality))[1][:, None, None, None]
    weight = torch.full((COEFFICIENTS, 1, 1), LAGRANGIAN)
    weight[LUMA:] *= CHROMA_WEIGHT * (CHROMA_STEP / 16.0) ** 2
    weight = weight * balance / (error[:, 0].numel() * BLOCK**2)
    corrected = error - model.correct(crops.filter_input()) * 2.0**-FRACTION_SHIFT
    loss = (weight * corrected.square()).sum()
    before = float((weight * error.square()).sum())
    return loss, {"loss": float(loss.detach()), "gain": 1.0 - float(loss.detach()) / max(before, 1e-12)}


@torch.no_grad()
def start_filter(model: SwiftFilter, crops: Crops) -> None:
    """Set the direct path of a filter to the least-squares optimum over its two inputs of each coefficient.

    So training starts with the shrinkage and the interval centres that a linear filter can have, and not at zero.
    """
    inputs = crops.filter_input()[:, : 2 * COEFFICIENTS].double().transpose(0, 1).flatten(1)
    target = crops.error().double().transpose(0, 1).flatten(1) * (2**FRACTION_SHIFT / DIRECT_SCALE)
    for k in range(COEFFICIENTS):
        a = inputs[[k, COEFFICIENTS + k]]
        # A little damping: a coefficient that is always zero has no optimum.
        best = torch.linalg.solve(a @ a.T + torch.eye(2, dtype=torch.float64), a @ target[k])
        model.direct.weight[k, [k, COEFFICIENTS + k]] = best.float()
    model.direct.bias.fill_(0.5)  # integer layers round down
