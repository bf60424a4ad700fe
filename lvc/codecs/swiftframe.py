"""What swift's encoder, decoder and training share about a frame: prediction, transform, contexts. All integer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lvc.models.swift import AUX, CONTEXT_MAX, SwiftContext, log_magnitudes, symbol_context
from lvc.models.swiftfilter import SIZE_AUX, SwiftFilter, corrected, filter_input, from_cells, to_cells
from lvc.ops.blockdct import (
    COEFFICIENTS,
    forward_dct,
    in_steps,
    inverse_dct,
    magnitude_context,
    quantizer_step,
)
from lvc.ops.blockmotion import BLOCK, Field, Second, predict
from lvc.types import Plane

WINDOW = "cosine"
"""Blending of neighbouring blocks' predictions."""

Planes = tuple[Plane, Plane, Plane]
Sizes = npt.NDArray[np.uint8]

_LOG = log_magnitudes(4096)


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


def _cells(planes: Planes) -> Tensor:
    y, u, v = (torch.from_numpy(p.astype(np.float64))[None, None] for p in planes)
    return to_cells(y, u, v)


@dataclass
class Reference:
    """The former decoded frame, of whole blocks.

    Attributes:
        planes: its samples.
        symbols, sizes: its residual (96, h, w) and the transforms of that (h, w); None after an I frame.
    """

    planes: Planes
    symbols: Tensor | None = None
    sizes: Sizes | None = None


@dataclass
class Prediction:
    """The prediction of a frame and what follows from it.

    Attributes:
        planes: of whole blocks.
        quality: 0..63.
        sizes: of the residual's transforms, uint8 (h, w) of 8, 16 and 32.
        context: of the residual's entropy model.
    """

    planes: Planes
    quality: int
    sizes: Sizes
    context: SwiftContext
    _transforms: dict[int, Tensor]

    @property
    def step(self) -> int:
        return quantizer_step(self.quality)

    def with_sizes(self, sizes: Sizes) -> Prediction:
        """The same with other transforms of the residual."""
        def magnitudes(size: int) -> Tensor:
            if size not in self._transforms:
                self._transforms[size] = magnitude_context(forward_dct(*_tensors(self.planes), size), self.step)
            return self._transforms[size]

        aux = self.context.aux.clone()
        aux[0, -SIZE_AUX:] = torch.from_numpy(size_aux(sizes))
        context = replace(self.context, prediction=_mixed(magnitudes, sizes).float()[None], aux=aux)
        return Prediction(self.planes, self.quality, sizes, context, self._transforms)

    def residual(self, current: Planes) -> Tensor:
        """Coefficients (96, h, w) of current - prediction in units of their steps, float64."""
        y, u, v = (a - b for a, b in zip(_tensors(current), _tensors(self.planes)))
        return in_steps(_mixed(lambda size: forward_dct(y, u, v, size), self.sizes), self.step)

    def decoded(self, symbols: Tensor) -> Planes:
        """Symbols (96, h, w) -> planes of whole blocks, not filtered."""
        residual = [torch.zeros(p.shape, dtype=torch.float64) for p in self.planes]
        for size in np.unique(self.sizes):
            part = symbols * torch.from_numpy(self.sizes == size)
            residual = [a + b for a, b in zip(residual, inverse_dct(part, self.step, int(size)))]
        y, u, v = ((torch.from_numpy(p.astype(np.float64)) + r).clamp(0, 255).to(torch.uint8).numpy()
                   for p, r in zip(self.planes, residual))
        return y, u, v

    def filtered(self, decoded: Planes, loop_filter: SwiftFilter) -> Planes:
        """Decoded planes after the in-loop filter."""
        cells, steps = _cells(decoded), torch.tensor([self.step])
        x = filter_input(cells, _cells(self.planes), self.context.aux[:, -SIZE_AUX:], self.context.quality, steps)
        y, u, v = (p[0, 0].to(torch.uint8).numpy() for p in from_cells(corrected(cells, loop_filter(x), steps)))
        return y, u, v

    def where_coded(self, symbols: Tensor, there: Planes, elsewhere: Planes) -> Planes:
        """Samples of ``there`` in the transforms that have symbols (96, h, w), of ``elsewhere`` in the others."""
        return where_filled(self.sizes, (symbols != 0).any(0).numpy(), there, elsewhere)


def where_filled(sizes: Sizes, filled: npt.NDArray[np.bool_], there: Planes, elsewhere: Planes) -> Planes:
    """Samples of ``there`` in the transforms of which any position is filled (h, w), of ``elsewhere`` in the others."""
    coded = filled_transforms(sizes, filled)
    y, u, v = (np.where(coded.repeat(n, 0).repeat(n, 1), a, b)
               for n, a, b in zip((BLOCK, BLOCK // 2, BLOCK // 2), there, elsewhere))
    return y, u, v


def filled_transforms(sizes: Sizes, filled: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which blocks (h, w) lie in transforms of which any position is filled (h, w)."""
    coded = np.zeros(sizes.shape, np.bool_)
    for size in (8, 16, 32):
        coded |= (sizes == size) & _any_in_squares(filled, size // 8)
    return coded


def _any_in_squares(x: npt.NDArray[np.bool_], f: int) -> npt.NDArray[np.bool_]:
    """Whether any of each square of f x f positions is set, at every one of them."""
    h, w = x.shape
    padded = np.pad(x, ((0, -h % f), (0, -w % f)))
    squares = padded.reshape(padded.shape[0] // f, f, padded.shape[1] // f, f).any((1, 3))
    return squares.repeat(f, 0).repeat(f, 1)[:h, :w]


def _mixed(transform: Callable[[int], Tensor], sizes: Sizes) -> Tensor:
    """What transform(size) gives (., h, w), for each size where that is the size."""
    first, *others = (int(size) for size in np.unique(sizes))
    out = transform(first)
    for size in others:
        out = torch.where(torch.from_numpy(sizes == size), transform(size), out)
    return out


def size_map(sizes: Sizes) -> Tensor:
    """Sizes (h, w) as SwiftSizes takes them."""
    return torch.from_numpy(sizes.astype(np.float32))[None, None]


def size_aux(sizes: Sizes) -> npt.NDArray[np.uint8]:
    """(3, h, w): transform sizes 0, 24, 48, and a block's row and column in its transform times 16."""
    h, w = sizes.shape
    blocks = sizes // 8
    return np.stack((blocks // 2 * 24, np.arange(h, dtype=np.uint16)[:, None] % blocks * 16,
                     np.arange(w, dtype=np.uint16)[None] % blocks * 16)).astype(np.uint8)


def predict_frame(reference: Reference, vectors: Field, quality: int, second: Second | None = None) -> Prediction:
    """Prediction of a frame by a field, and the contexts of its residual, all transforms 8x8."""
    planes = predict(reference.planes, vectors, second=second, window=WINDOW)
    aux = torch.from_numpy(_aux(reference, planes, vectors, quality)).float()[None]
    _, h, w = vectors.shape
    empty = torch.zeros(1, COEFFICIENTS, h, w)
    former = empty if reference.symbols is None else symbol_context(_shifted(reference.symbols, vectors))[None]
    context = SwiftContext(empty, former, aux, torch.tensor([quality]))
    sizes = np.full((h, w), 8, np.uint8)
    return Prediction(planes, quality, sizes, context, {}).with_sizes(sizes)


def _shifted(symbols: Tensor, vectors: Field) -> Tensor:
    """The former frame's symbols at the block that each vector points to."""
    _, h, w = symbols.shape
    blocks = (vectors.astype(np.int32) + 16) >> 5
    rows = np.clip(np.arange(h)[:, None] + blocks[1], 0, h - 1)
    columns = np.clip(np.arange(w)[None] + blocks[0], 0, w - 1)
    return symbols[:, torch.from_numpy(rows).long(), torch.from_numpy(columns).long()]


def _aux(reference: Reference, planes: Planes, vectors: Field, quality: int) -> npt.NDArray[np.uint8]:
    """(10, h, w): quality, whether the reference is an I frame, motion (2), its change (2), change of luma, zeros."""
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
