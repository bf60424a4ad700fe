"""What swift's encoder, decoder and training share about a frame: prediction, transform, contexts. All integer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lvc.models.swift import AUX, CONTEXT_MAX, SwiftContext, symbol_context
from lvc.models.swiftfilter import INPUT_SCALE, SwiftFilter
from lvc.ops.blockdct import (
    FRACTION_SHIFT,
    forward_dct,
    in_steps,
    inverse_dct,
    magnitude_context,
    quantizer_step,
    quarter_steps,
)
from lvc.ops.blockmotion import BLOCK, Field, predict
from lvc.types import Plane

WINDOW = "cosine"
"""Blending of neighbouring blocks' predictions."""

Planes = tuple[Plane, Plane, Plane]

_LOG = np.minimum(CONTEXT_MAX, np.round(8.0 * np.log2(1.0 + np.arange(4096)))).astype(np.uint8)


def _log(x: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    return _LOG[np.minimum(np.abs(x), 4095)]


def pad_to_blocks(planes: Planes) -> Planes:
    """Extend planes by replication so that luma is made of whole blocks."""
    def pad(plane: Plane, height: int, width: int) -> Plane:
        return np.pad(plane, ((0, height - plane.shape[0]), (0, width - plane.shape[1])), "edge")

    y, u, v = planes
    h, w = (-(-n // BLOCK) * BLOCK // 2 for n in y.shape)
    return pad(y, 2 * h, 2 * w), pad(u, h, w), pad(v, h, w)


def _tensors(planes: Planes) -> tuple[Tensor, Tensor, Tensor]:
    y, u, v = (torch.from_numpy(p.astype(np.int32)) for p in planes)
    return y, u, v


@dataclass
class Reference:
    """The former decoded frame, of whole blocks: planes, its symbols (96, h, w) or None after an I frame."""

    planes: Planes
    symbols: Tensor | None


@dataclass
class Prediction:
    """The prediction of a frame and what follows from it.

    Attributes:
        planes: of whole blocks.
        quality: 0..63.
        context: of the residual's entropy model.
        quarters: (96, h, w), the prediction's transform in quarters of a step.
    """

    planes: Planes
    quality: int
    context: SwiftContext
    quarters: Tensor

    @property
    def step(self) -> int:
        return quantizer_step(self.quality)

    def residual(self, current: Planes) -> Tensor:
        """Coefficients (96, h, w) of current - prediction in units of their steps, float64."""
        pairs = zip(_tensors(current), _tensors(self.planes))
        return in_steps(forward_dct(*(a - b for a, b in pairs)), self.step)

    def filter_inputs(self, symbols: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What SwiftFilter takes, for symbols (96, h, w)."""
        return (self.quarters + symbols * INPUT_SCALE)[None], symbols[None], self.context.aux

    def reconstruct(self, symbols: Tensor, loop_filter: SwiftFilter | None) -> Planes:
        """Symbols (96, h, w) -> decoded planes of whole blocks."""
        values = symbols * 2**FRACTION_SHIFT
        if loop_filter is not None:
            values = values + loop_filter(*self.filter_inputs(symbols))[0]
        residual = inverse_dct(values, self.step)
        y, u, v = ((torch.from_numpy(p.astype(np.float64)) + r).clamp(0, 255).to(torch.uint8).numpy()
                   for p, r in zip(self.planes, residual))
        return y, u, v


def predict_frame(reference: Reference, vectors: Field, quality: int) -> Prediction:
    """Prediction of a frame by a field, and the contexts of its residual."""
    planes = predict(reference.planes, vectors, window=WINDOW)
    coefficients, step = forward_dct(*_tensors(planes)), quantizer_step(quality)
    context = magnitude_context(coefficients, step)
    aux = torch.from_numpy(_aux(reference, planes, vectors, quality))
    former = (torch.zeros(context.shape) if reference.symbols is None
              else symbol_context(_shifted(reference.symbols, vectors)))
    return Prediction(planes, quality, SwiftContext(
        context.float()[None], former[None], aux.float()[None], torch.tensor([quality])),
        quarter_steps(coefficients, step))


def _shifted(symbols: Tensor, vectors: Field) -> Tensor:
    """The former frame's symbols at the block that each vector points to."""
    _, h, w = symbols.shape
    blocks = (vectors.astype(np.int32) + 16) >> 5
    rows = np.clip(np.arange(h)[:, None] + blocks[1], 0, h - 1)
    columns = np.clip(np.arange(w)[None] + blocks[0], 0, w - 1)
    return symbols[:, torch.from_numpy(rows).long(), torch.from_numpy(columns).long()]


def _aux(reference: Reference, planes: Planes, vectors: Field, quality: int) -> npt.NDArray[np.uint8]:
    """(8, h, w): quality, whether the reference is an I frame, motion (2), its change (2), change of luma, zero."""
    _, h, w = vectors.shape
    aux = np.zeros((AUX, h, w), np.uint8)
    aux[0] = quality
    aux[1] = CONTEXT_MAX if reference.symbols is None else 0
    d = vectors.astype(np.int32)
    aux[2:4] = _log(d)
    padded = np.pad(d, ((0, 0), (1, 1), (1, 1)), "edge")
    neighbours = (padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, 1:-1, 2:])
    aux[4:6] = _log(np.max([np.abs(n - d) for n in neighbours], 0))
    change = np.abs(planes[0].astype(np.int16) - reference.planes[0]).reshape(h, BLOCK, w, BLOCK)
    aux[6] = _log(change.sum((1, 3), dtype=np.int64) >> 4)  # mean absolute change of a block, in quarters
    return aux
