"""How swift codes block motion: interlaced, from coarse to fine, with integer networks for the probabilities.

The field (lvc.ops.blockmotion) is a quad-tree of squares of 32, 16 and 8 luma samples with a vector each. First
come the vectors of all 32x32 squares (of their first block), on grids of 8, 4, 2 and 1 squares, so that most are
predicted from coded neighbours on all sides; then which squares are split, and the vectors of the other three
quarters, one after the other; then the same for squares of 16. A vector has candidates: neighbours, the former
frame's vector, and their median. Flags tell whether it equals one of them, in turn, and if none, how far it is from
the median. A network that sees how the candidates differ chooses the distributions.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lvc.coding import CdfTables
from lvc.entropy.distributions import TableDistribution
from lvc.entropy.scales import N_SCALES
from lvc.entropy.symbols import SymbolCoder
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
_MAX = 63
_HIDDEN = 127

Ints = npt.NDArray[np.int32]
_LOG = np.minimum(_MAX, np.round(8.0 * np.log2(1.0 + np.arange(512)))).astype(np.int32)


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


class SwiftMotion(nn.Module):
    """Codes a field and its squares."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.vectors = _head(_VECTOR_FEATURES, _CANDIDATES + 2, width)
        self.splits = _head(_SPLIT_FEATURES, 1, width)
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
        for ys, xs, offsets, level in state.roots():
            self._code_vectors(coder, state, field, ys, xs, offsets, level)
        for side, level in ((ROOT, 7), (ROOT // 2, 8)):
            ys, xs = np.nonzero(state.sizes[::side, ::side] == 8 * side)
            split = self._code_splits(coder, state, sizes, ys * side, xs * side, side)
            state.spread(side)
            half = side // 2
            offsets = [(0, 0), (-1, 0), (0, -1), (0, half), (half, 0)]
            for quarter_ys, quarter_xs in state.split(ys[split] * side, xs[split] * side, side):
                self._code_vectors(coder, state, field, quarter_ys, quarter_xs, offsets, level)
                state.spread(half, quarter_ys, quarter_xs)
        return state.field.astype(np.int16), state.sizes

    def _code_vectors(self, coder: SymbolCoder, state: _State, field: npt.NDArray[np.int16] | None, ys: Ints, xs: Ints,
                      offsets: list[tuple[int, int]], level: int) -> None:
        if not len(ys):
            return
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
        if not len(ys):
            return np.zeros(0, np.bool_)
        index = clamp_ste(self.splits(_columns(state.split_features(ys, xs, side))) + 36.0, 0, N_SCALES - 1)
        split = None
        if sizes is not None:
            split = torch.from_numpy((sizes[ys, xs] < 8 * side).astype(np.float32))[None, None, None]
        mask = torch.ones(1, 1, 1, len(ys), dtype=torch.bool)
        return np.asarray(coder.symbols(split, index, mask, self.flag_distribution)[0, 0, 0].numpy() > 0)

    def freeze(self) -> None:
        """Fix everything that a decoder needs as integers."""
        self.flag_distribution.freeze()
        self.distribution.freeze()

    def tables(self) -> dict[str, CdfTables]:
        """The frozen integer tables by name."""
        return {"flags": self.flag_distribution.cdf, "values": self.distribution.cdf}

    def set_tables(self, tables: dict[str, CdfTables]) -> None:
        self.flag_distribution.set_cdf(tables["flags"])
        self.distribution.set_cdf(tables["values"])


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

    def roots(self) -> Iterator[tuple[Ints, Ints, list[tuple[int, int]], int]]:
        """Positions of the squares' first blocks, grid by grid: (ys, xs, where candidates lie, level 0..6)."""
        i, j = (np.arange(-(-n // ROOT)) for n in self.shape)
        i, j = i[:, None], j[None]
        level = 0
        grids: list[tuple[npt.NDArray[np.bool_], list[tuple[int, int]]]] = [
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
            self.known[ys, xs] = True

    def spread(self, side: int, ys: Ints | None = None, xs: Ints | None = None) -> None:
        """Give the vectors of first blocks to their whole squares (of all squares of that side, or of some)."""
        h, w = self.shape
        if ys is None or xs is None:
            rows, columns = np.arange(h) // side * side, np.arange(w) // side * side
            squares = self.sizes[rows[:, None], columns[None]] == 8 * side
            filled = self.field[:, rows[:, None], columns[None]]
            self.field = np.where(squares, filled, self.field)
            self.known[:] = True
            return
        for a in range(side):
            for b in range(side):
                inside = (ys + a < h) & (xs + b < w)
                self.field[:, ys[inside] + a, xs[inside] + b] = self.field[:, ys[inside], xs[inside]]

    def split(self, ys: Ints, xs: Ints, side: int) -> list[tuple[Ints, Ints]]:
        """Split squares; returns the first blocks of their second, third and fourth quarters that lie inside."""
        h, w = self.shape
        half = side // 2
        for a in range(side):
            for b in range(side):
                inside = (ys + a < h) & (xs + b < w)
                self.sizes[ys[inside] + a, xs[inside] + b] = 4 * side
        quarters = []
        for a, b in ((0, half), (half, 0), (half, half)):
            inside = (ys + a < h) & (xs + b < w)
            quarters.append((ys[inside] + a, xs[inside] + b))
        return quarters

    def vector_features(self, ys: Ints, xs: Ints, offsets: list[tuple[int, int]],
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
