"""How swift codes block motion: interlaced, from coarse to fine, with integer networks for the probabilities.

The field (lvc.ops.blockmotion) is a quad-tree of squares of 32, 16 and 8 luma samples with a vector each. First
come the vectors of all 32x32 squares (of their first block), on grids of 8, 4, 2 and 1 squares, so that most are
predicted from coded neighbours on all sides; then which squares are split, and the vectors of the other three
quarters, one after the other; then the same for squares of 16. A vector has candidates: neighbours, the former
frame's vector, and their median. Flags tell whether it equals one of them, in turn, and if none, how far it is from
the median. A network that sees how the candidates differ chooses the distributions.

Where there is a second reference, a flag for each square of the finished field tells whether it is predicted by
the mean of both: the large ones first, those of a size in two passes as on a chequer-board.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lvc.entropy.distributions import TableDistribution, TableModule
from lvc.entropy.scales import N_SCALES
from lvc.entropy.symbols import SymbolCoder
from lvc.models.swift import log_magnitudes
from lvc.ops.integer import IntConv2d
from lvc.ops.rounding import clamp_ste

ROOT = 4
"""Blocks along a side of the largest squares."""

VECTOR_MAX = 2**14 - 1
"""Magnitude of a component, in quarters of a sample; differences then fit 16 bits."""
_CANDIDATES = 7
"""The median, up to five known neighbours, and the former frame's vector."""

_LEVELS = 9
_VECTOR_FEATURES = 3 * _CANDIDATES + _LEVELS + 2
_SPLIT_FEATURES = 2 * 4 + 4 + 2 + 3
_COMPOUND_FEATURES = 2 * 4 + 2 + 3 + 5
_MAX = 63
_HIDDEN = 127

Ints = npt.NDArray[np.int32]
Offsets = list[tuple[int, int]]
Bools = npt.NDArray[np.bool_]
_LOG = log_magnitudes(512).astype(np.int32)


def _log(x: Ints) -> Ints:
    return np.asarray(np.sign(x) * _LOG[np.minimum(np.abs(x), 511)], np.int32)


def _head(inputs: int, outputs: int, width: int) -> nn.Sequential:
    relu = {"low": 0, "high": _HIDDEN}
    return nn.Sequential(IntConv2d(inputs, width, 1, x_max=_MAX, **relu),
                         IntConv2d(width, width, 1, x_max=_HIDDEN, **relu),
                         IntConv2d(width, outputs, 1, x_max=_HIDDEN, low=-1023, high=1023, gain=0.1))


def _columns(features: Ints) -> Tensor:
    """(n, F) -> (1, F, 1, n) float32."""
    return torch.from_numpy(np.ascontiguousarray(features.T, np.float32))[None, :, None]


@dataclass(frozen=True, slots=True, eq=False)
class CompoundContext:
    """What both sides know before the flags of squares predicted by two references.

    Attributes:
        field, sizes: int16 [2, h, w] and uint8 [h, w], as coded.
        second: int16 [2, h, w], the vectors into the second reference.
        difference: integers [h, w], at least 0: sum of absolute differences of both predictions of each block, in
            quarters of the quantization step.
        former: bool [h, w], the flags of the former frame, or None if it had none.
        age: frames from the second reference to the present one.
        quality: 0..63.
    """

    field: npt.NDArray[np.int16]
    sizes: npt.NDArray[np.uint8]
    second: npt.NDArray[np.int16]
    difference: npt.NDArray[np.integer]
    former: Bools | None
    age: int
    quality: int


class SwiftMotion(TableModule):
    """Codes a field and its squares; with two references, also which squares are predicted by both."""

    def __init__(self, width: int = 48, references: int = 1) -> None:
        super().__init__()
        self.vectors = _head(_VECTOR_FEATURES, _CANDIDATES + 2, width)
        self.splits = _head(_SPLIT_FEATURES, 1, width)
        if references > 1:
            self.compound = _head(_COMPOUND_FEATURES, 1, width)
        self.flag_distribution = TableDistribution(1, signed=False)
        self.distribution = TableDistribution(18, signed=True)

    def forward(self, coder: SymbolCoder, field: npt.NDArray[np.int16] | None, sizes: npt.NDArray[np.uint8] | None,
                shape: tuple[int, int], quality: int, former: npt.NDArray[np.int16] | None,
                former_sizes: npt.NDArray[np.uint8] | None) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
        """Code a field (None when reading); returns it with its sizes.

        Args:
            coder: counts, writes or reads.
            field, sizes: int16 [2, h, w], limited to VECTOR_MAX, and uint8 [h, w] (8, 16 or 32), as of BlockMotion.
            shape: (h, w), blocks.
            quality: 0..63.
            former, former_sizes: those of the former frame; None after an I frame.
        """
        state = _State(shape, quality, former, former_sizes)

        def vectors(ys: Ints, xs: Ints, offsets: Offsets, level: int) -> None:
            self._code_vectors(coder, state, field, ys, xs, offsets, level)

        def splits(ys: Ints, xs: Ints, side: int) -> npt.NDArray[np.bool_]:
            return self._code_splits(coder, state, sizes, ys, xs, side)

        return state.code(vectors, splits)

    def _code_vectors(self, coder: SymbolCoder, state: _State, field: npt.NDArray[np.int16] | None, ys: Ints, xs: Ints,
                      offsets: Offsets, level: int) -> None:
        candidates, fresh, features = state.vector_features(ys, xs, offsets, level)
        index = clamp_ste(self.vectors(_columns(features)) + 30.0, 0, N_SCALES - 1)
        target = None if field is None else field[:, ys, xs].astype(np.int32)
        n = _CANDIDATES
        open_ = torch.ones(1, 1, 1, len(ys), dtype=torch.bool)
        result = candidates[0].copy()
        for k in range(n):
            hit = None
            if target is not None:
                hit = torch.from_numpy((target == candidates[k]).all(0).astype(np.float32))[None, None, None]
            mask = open_ & torch.from_numpy(fresh[k])
            hit = coder.symbols(hit, index[:, k : k + 1], mask, self.flag_distribution) > 0
            chosen = hit[0, 0, 0].numpy()
            result[:, chosen] = candidates[k][:, chosen]
            open_ = open_ & ~hit
        difference = None
        if target is not None:
            difference = torch.from_numpy((target - candidates[0]).astype(np.float32))[None, :, None]
        coded = coder.symbols(difference, index[:, n:], open_.expand(-1, 2, -1, -1), self.distribution)
        result += coded[0, :, 0].numpy().astype(np.int32)
        state.field[:, ys, xs] = np.clip(result, -VECTOR_MAX, VECTOR_MAX)

    def _code_splits(self, coder: SymbolCoder, state: _State, sizes: npt.NDArray[np.uint8] | None, ys: Ints, xs: Ints,
                     side: int) -> npt.NDArray[np.bool_]:
        index = clamp_ste(self.splits(_columns(state.split_features(ys, xs, side))) + 36.0, 0, N_SCALES - 1)
        split = None
        if sizes is not None:
            split = torch.from_numpy((sizes[ys, xs] < 8 * side).astype(np.float32))[None, None, None]
        mask = torch.ones(1, 1, 1, len(ys), dtype=torch.bool)
        return np.asarray(coder.symbols(split, index, mask, self.flag_distribution)[0, 0, 0].numpy() > 0)

    def code_compound(self, coder: SymbolCoder, compound: Bools | None, context: CompoundContext) -> Bools:
        """Code which squares are predicted by the mean of two references; returns bool [h, w].

        Args:
            coder: counts, writes or reads.
            compound: bool [h, w], the same in all blocks of a square; None when reading.
            context: of the same h, w.
        """
        def flags(ys: Ints, xs: Ints, features: Ints) -> Bools:
            index = clamp_ste(self.compound(_columns(features)) + 30.0, 0, N_SCALES - 1)
            value = None if compound is None else torch.from_numpy(compound[ys, xs].astype(np.float32))
            coded = coder.symbols(None if value is None else value[None, None, None], index,
                                  torch.ones(1, 1, 1, len(ys), dtype=torch.bool), self.flag_distribution)
            return np.asarray(coded[0, 0, 0].numpy() > 0)

        return go_through_compound(context, flags)


class _State:
    """A field while it is coded: vectors known so far, and features of those to come."""

    def __init__(self, shape: tuple[int, int], quality: int, former: npt.NDArray[np.int16] | None,
                 former_sizes: npt.NDArray[np.uint8] | None) -> None:
        self.shape, self.quality = shape, quality
        self.former = None if former is None else former.astype(np.int32)
        self.former_sizes = former_sizes
        self.field = np.zeros((2, *shape), np.int32)
        self.known = np.zeros(shape, np.bool_)
        self.sizes = np.full(shape, 8 * ROOT, np.uint8)

    def code(self, vectors: Callable[[Ints, Ints, Offsets, int], None],
             splits: Callable[[Ints, Ints, int], npt.NDArray[np.bool_]]
             ) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
        """Go through all squares in the order of coding; returns the field and its sizes.

        Args:
            vectors: codes those of squares at (ys, xs) with candidates at these offsets, at a level 0..8.
            splits: codes which of the squares at (ys, xs) of that many blocks a side are split.
        """
        for ys, xs, root_offsets, level in self.roots():
            if len(ys):
                vectors(ys, xs, root_offsets, level)
            self.known[ys, xs] = True
        for side, level in ((ROOT, 7), (ROOT // 2, 8)):
            ys, xs = (places.astype(np.int32) * side for places in np.nonzero(self.sizes[::side, ::side] == 8 * side))
            split = splits(ys, xs, side) if len(ys) else np.zeros(0, np.bool_)
            self.spread(side)
            half = side // 2
            offsets = [(0, 0), (-1, 0), (0, -1), (0, half), (half, 0)]
            for quarter_ys, quarter_xs in self.split(ys[split], xs[split], side):
                if len(quarter_ys):
                    vectors(quarter_ys, quarter_xs, offsets, level)
                self.spread(half, quarter_ys, quarter_xs)
        return self.field.astype(np.int16), self.sizes

    def roots(self) -> Iterator[tuple[Ints, Ints, Offsets, int]]:
        """Positions of the squares' first blocks, grid by grid: (ys, xs, where candidates lie, level 0..6)."""
        i, j = (np.arange(-(-n // ROOT)) for n in self.shape)
        i, j = i[:, None], j[None]
        level = 0
        grids: list[tuple[npt.NDArray[np.bool_], Offsets]] = [
            ((i % 8 == 0) & (j % 8 == 0), [])]
        for s in (4, 2, 1):
            odd_i, odd_j = i % (2 * s) == s, j % (2 * s) == s
            on_i, on_j = i % (2 * s) == 0, j % (2 * s) == 0
            d = s * ROOT
            grids.append((odd_i & odd_j, [(-d, -d), (-d, d), (d, -d), (d, d)]))
            grids.append(((odd_i & on_j) | (on_i & odd_j), [(-d, 0), (d, 0), (0, -d), (0, d)]))
        for level, (mask, offsets) in enumerate(grids):
            ys, xs = np.nonzero(mask)
            ys, xs = ys.astype(np.int32) * ROOT, xs.astype(np.int32) * ROOT
            yield ys, xs, offsets, level

    def spread(self, side: int, ys: Ints | None = None, xs: Ints | None = None) -> None:
        """Give the vectors of first blocks to their whole squares (of all squares of that side, or of some)."""
        if ys is None or xs is None:
            squares = self.sizes == 8 * side
            self.known[:] = True
        elif side == 1:
            return
        else:
            squares = self._squares(ys, xs, side)
        self.field = np.where(squares, self._expand(self.field[:, ::side, ::side], side), self.field)

    def _expand(self, squares: npt.NDArray[Any], side: int) -> npt.NDArray[Any]:
        """(..., rows, columns) of squares to (..., h, w)."""
        h, w = self.shape
        return np.repeat(np.repeat(squares, side, -2), side, -1)[..., :h, :w]

    def _squares(self, ys: Ints, xs: Ints, side: int) -> npt.NDArray[np.bool_]:
        """Which blocks lie in the squares at (ys, xs)."""
        squares = np.zeros([-(-n // side) for n in self.shape], np.bool_)
        squares[ys // side, xs // side] = True
        return self._expand(squares, side)

    def split(self, ys: Ints, xs: Ints, side: int) -> list[tuple[Ints, Ints]]:
        """Split squares; returns the first blocks of their second, third and fourth quarters that lie inside."""
        h, w = self.shape
        half = side // 2
        self.sizes[self._squares(ys, xs, side)] = 4 * side
        quarters = []
        for a, b in ((0, half), (half, 0), (half, half)):
            inside = (ys + a < h) & (xs + b < w)
            quarters.append((ys[inside] + a, xs[inside] + b))
        return quarters

    def vector_features(self, ys: Ints, xs: Ints, offsets: Offsets,
                        level: int) -> tuple[Ints, npt.NDArray[np.bool_], Ints]:
        """Candidates (7, 2, n), the median first; (7, n) which are there and new; features (n, F), 63 at most."""
        h, w = self.shape
        n = len(ys)
        vectors = np.zeros((_CANDIDATES, 2, n), np.int32)
        there = np.zeros((_CANDIDATES, n), np.bool_)
        for k, (a, b) in enumerate(offsets, 1):
            y, x = np.clip(ys + a, 0, h - 1), np.clip(xs + b, 0, w - 1)
            vectors[k] = self.field[:, y, x]
            there[k] = (y == ys + a) & (x == xs + b) & self.known[y, x]
        if self.former is not None:
            vectors[-1] = self.former[:, ys, xs]
            there[-1] = True
        count = there.sum(0)
        ordered = np.sort(np.where(there[:, None], vectors, 2**20), 0)
        middle = np.maximum(count - 1, 0) // 2
        median = np.take_along_axis(ordered, middle[None, None], 0)[0]
        vectors[0] = np.where(count > 0, median, 0)
        there[0] = True
        equal = (vectors[:, None] == vectors[None]).all(2) & there[:, None] & there[None]
        fresh = there & ~np.tril(equal.transpose(2, 0, 1), -1).any(2).T
        votes = np.where(fresh, equal.sum(1) * 9, 0)
        spread = np.where(there[:, None], np.abs(_log(vectors - vectors[0])), 0)
        features = np.concatenate((spread[:, 0], spread[:, 1], votes, np.zeros((_LEVELS + 2, n), np.int32)))
        features[3 * _CANDIDATES + level] = _MAX
        features[-2] = np.abs(_log(vectors[0])).max(0)
        features[-1] = self.quality
        return vectors, fresh, features.T.astype(np.int32)

    def split_features(self, ys: Ints, xs: Ints, side: int) -> Ints:
        h, w = self.shape
        features = np.zeros((len(ys), _SPLIT_FEATURES), np.int32)
        own = self.field[:, ys, xs]
        for k, (a, b) in enumerate(((-side, 0), (0, -side), (0, side), (side, 0))):
            y, x = np.clip(ys + a, 0, h - 1), np.clip(xs + b, 0, w - 1)
            features[:, k] = np.abs(_log(self.field[:, y, x] - own)).max(0)
            if self.former_sizes is not None:
                features[:, 8 + k] = (self.former_sizes[y, x] < 8 * side) * _MAX
            features[:, 4 + k] = (self.sizes[y, x] < 8 * side) * _MAX
        if self.former_sizes is not None and self.former is not None:
            features[:, 12] = (self.former_sizes[ys, xs] < 8 * side) * 32 + 31
            features[:, 13] = np.abs(_log(self.former[:, ys, xs] - own)).max(0)
        features[:, 14] = np.abs(_log(own)).max(0)
        features[:, 15] = self.quality
        features[:, 16] = _MAX if side == ROOT else 0
        return features


def _corners(sizes: npt.NDArray[np.uint8]) -> tuple[Ints, Ints]:
    """The first blocks of all squares."""
    n = sizes.astype(np.int32) // 8
    i, j = np.indices(sizes.shape, np.int32)
    ys, xs = np.nonzero((i % n == 0) & (j % n == 0))
    return ys.astype(np.int32), xs.astype(np.int32)


def _fill(target: Bools, ys: Ints, xs: Ints, side: int, values: Bools) -> None:
    """Put a value into each square, as far as it lies inside."""
    h, w = target.shape
    for a in range(side):
        for b in range(side):
            inside = (ys + a < h) & (xs + b < w)
            target[ys[inside] + a, xs[inside] + b] = values[inside]


def go_through_compound(context: CompoundContext, flags: Callable[[Ints, Ints, Ints], Bools]) -> Bools:
    """Go through all squares in the order of coding: flags(ys, xs, features) codes those of some. Bool [h, w]."""
    result = np.zeros(context.sizes.shape, np.bool_)
    known = np.zeros_like(result)
    ys, xs = _corners(context.sizes)
    for side, odd in ((side, odd) for side in (ROOT, ROOT // 2, 1) for odd in (0, 1)):
        here = (context.sizes[ys, xs] == 8 * side) & ((ys + xs) // side % 2 == odd)
        rows, columns = ys[here], xs[here]
        if len(rows):
            features = compound_features(context, result, known, rows, columns, side)
            _fill(result, rows, columns, side, flags(rows, columns, features))
            _fill(known, rows, columns, side, np.ones(len(rows), np.bool_))
    return result


def compound_features(context: CompoundContext, compound: Bools, known: Bools, ys: Ints, xs: Ints,
                      side: int) -> Ints:
    """What tells whether squares take both references: integers [n, F] of magnitude 63 at most.

    Args:
        context: see there.
        compound, known: bool [h, w], the flags so far, and where they are known.
        ys, xs: [n], the first blocks of the squares.
        side: blocks along a side of the squares.
    """
    h, w = context.sizes.shape
    field, second = context.field.astype(np.int32), context.second.astype(np.int32)
    features = np.zeros((len(ys), _COMPOUND_FEATURES), np.int32)
    own = field[:, ys, xs]
    for k, (a, b) in enumerate(((-1, 0), (0, -1), (side, 0), (0, side))):
        y, x = np.clip(ys + a, 0, h - 1), np.clip(xs + b, 0, w - 1)
        there = known[y, x] & (y == ys + a) & (x == xs + b)
        features[:, k] = there * np.where(compound[y, x], _MAX, -_MAX)
        features[:, 4 + k] = np.abs(_log(field[:, y, x] - own)).max(0)
    total, most, count = (np.zeros(len(ys), np.int64) for _ in range(3))
    for a in range(side):
        for b in range(side):
            inside = (ys + a < h) & (xs + b < w)
            y, x = np.minimum(ys + a, h - 1), np.minimum(xs + b, w - 1)
            value = np.where(inside, context.difference[y, x], 0)
            total, most, count = total + value, np.maximum(most, value), count + inside
    features[:, 8] = _log((total // np.maximum(count, 1) >> 3).astype(np.int32))
    features[:, 9] = _log((most >> 3).astype(np.int32))
    features[:, 10] = _MAX if side == ROOT else 0
    features[:, 11] = _MAX if side == 1 else 0
    if context.former is not None:
        features[:, 12] = np.where(context.former[ys, xs], _MAX, -_MAX)
    features[:, 13] = np.abs(_log(own)).max(0)
    features[:, 14] = np.abs(_log(second[:, ys, xs] - own)).max(0)
    features[:, 15] = min(12 * context.age, _MAX)
    features[:, 16] = context.quality
    features[:, 17] = _MAX if context.age > 4 else 0
    return features
