"""How much a model computes: multiply-adds for each luma sample of a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lvc.coding import CdfTables
from lvc.models.dvc import InterModel
from lvc.models.dvccontext import ContextInterModel
from lvc.models.intra import IntraModel
from lvc.models.swiftmodel import SwiftModel
from lvc.ops.blockdct import COEFFICIENTS
from lvc.ops.blockmotion import BLOCK
from lvc.ops.compressai_adapter import GDN, EntropyBottleneck
from lvc.ops.integer import IntConv2d


@dataclass(frozen=True)
class Complexity:
    """Thousands of multiply-adds a luma sample (kMAC a pixel).

    Attributes:
        encode: all that an encoder runs, its reconstruction included.
        decode: what a decoder runs.
    """

    encode: float
    decode: float


def kmac_per_pixel(model: InterModel | IntraModel, *, motion_estimation: bool = True) -> Complexity:
    """Count the multiply-adds of convolutions (transposed and integer ones, too) and of GDN.

    Warping, resampling, activations and entropy coding are not counted: a bicubic warp is about 0.02 kMAC a
    sample and plane. The model runs once on an empty picture, which changes nothing in it.

    Args:
        model: of either kind.
        motion_estimation: whether an encoder's flow network counts; not with classical motion.
    """
    device = next(model.parameters()).device
    stride, side = model.space.stride, model.multiple  # the least picture: all layers scale with its area
    height = width = side // stride
    picture = torch.zeros(1, model.space.channels, height, width, device=device)
    quality = torch.zeros(1, dtype=torch.int64, device=device)

    def forward(current: Tensor | None) -> None:
        if isinstance(model, IntraModel):
            model(_Shapes(), current, quality, (height, width))
            return
        flow = None
        if current is not None and not motion_estimation:
            scale = model.config.flow.unshuffle
            flow = torch.zeros(1, 2, side // scale, side // scale, device=device)
        model(_Shapes(), current, picture, quality, flow)

    kmac = []
    for current in (picture, None):
        with torch.inference_mode(), counting(model) as count:
            forward(current)
        kmac.append(count() / (1000.0 * side * side))
    return Complexity(encode=kmac[0], decode=kmac[1])


def context_decode_kmac_per_pixel(model: ContextInterModel) -> float:
    """Thousands of multiply-adds a luma sample that a decoder needs for a P frame of the second design, at most.

    Counted as by kmac_per_pixel, with both networks on; those of the probabilities at every 8x8 block, though they run
    only where something is coded. The shadow's transforms and interpolation are not counted.
    """
    side = 4 * BLOCK
    picture = torch.zeros(1, model.space.channels, side // 2, side // 2)
    symbols, quality = torch.zeros(1, COEFFICIENTS, 4, 4), torch.zeros(1, dtype=torch.int64)
    with torch.inference_mode(), counting(model) as count:
        prediction = model.prediction(picture, picture, torch.zeros(1, 2, 4, 4), quality)
        model.filtered(model.decoded(prediction, symbols, quality)[0], prediction, picture, quality)
    layers = [m for part in (model.entropy, model.motion) for m in part.modules() if isinstance(m, IntConv2d)]
    return count() / (1000.0 * side**2) + sum(layer.weight.numel() for layer in layers) / (1000.0 * BLOCK**2)


_SQUARES = 1 / 32**2 + 1 / 16**2
_SWIFT_POSITIONS = {"filter.": 1 / 4**2, "sizes.": 2 * _SQUARES, "motion.splits.": _SQUARES}
"""How often layers run for each luma sample, by the beginnings of their names; all others: once a block. Sizes are
asked for in two passes."""


def swift_decode_kmac_per_pixel(model: SwiftModel) -> float:
    """Thousands of multiply-adds a luma sample that swift's decoder needs for the networks of a P frame, at most.

    Counted from the weights of the layers: those of the filter run for each 4x4 luma samples, those that tell how
    squares are divided for each square of 32 and 16, all others for each 8x8 block (of motion and coefficients
    only where something is coded, hence at most). Transforms, interpolation and entropy coding are not counted.
    """
    total = 0.0
    for name, layer in model.named_modules():
        if isinstance(layer, IntConv2d):
            positions = next((n for start, n in _SWIFT_POSITIONS.items() if name.startswith(start)), 1 / BLOCK**2)
            total += positions * layer.weight.numel()
    return total / 1000.0


class _Shapes:
    """A coder that only gives tensors of the right shapes."""

    def conditional(self, y: Tensor | None, index: Tensor, mean: Tensor | None,
                    tables: CdfTables | None) -> Tensor:
        return torch.zeros_like(index)

    def factorized(self, z: Tensor | None, shape: tuple[int, int, int, int], limit: int,
                   density: EntropyBottleneck, tables: CdfTables | None) -> Tensor:
        return torch.zeros(shape, device=next(density.parameters()).device)


@contextmanager
def counting(model: nn.Module) -> Iterator[Callable[[], int]]:
    """While in it, convolutions and GDN of a model count their multiply-adds; what it gives tells the sum."""
    total = 0

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.ConvTranspose2d):
            total += inputs[0].numel() * module.weight[0].numel()
        elif isinstance(module, IntConv2d):
            total += output.numel() * module.weight.shape[1]
        elif isinstance(module, GDN):
            total += output.numel() * output.shape[1]

    handles = [module.register_forward_hook(hook) for module in model.modules()]
    try:
        yield lambda: total
    finally:
        for handle in handles:
            handle.remove()
