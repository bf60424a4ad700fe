"""A motion autoencoder that loses nothing: a pyramid of block vectors in integers, and its probabilities.

DVC codes motion by an autoencoder with rounded latents. Here its transform is reversible: of the vectors of 2x2 squares
the first one stands for all four on the next coarser scale, and how the other three differ from it are the latents (the
lazy wavelet), on LEVELS scales from blocks of 8x8 luma samples on (lvc.ops.blockmotion). So every machine has the same
vectors.

Latents are coded from coarse to fine. On each scale a small integer network sees how the vectors of the coarser scale
differ between neighbours, the latents there and in the former field and, in the second of two interleaved passes, those
of the four neighbours. It tells whether there are any; and then for each of the three whether it leads to the vector of
a neighbour, of the former field or of those before it, or else how large it is.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvc.entropy.distributions import TableDistribution, TableModule
from lvc.entropy.scales import N_SCALES
from lvc.entropy.symbols import SymbolCoder
from lvc.models.swift import HIDDEN_MAX, _Fuse, log_magnitudes
from lvc.ops.integer import IntConv2d
from lvc.ops.rounding import clamp_ste

LEVELS = 5
"""Scales: squares of 16, 32, ... 256 luma samples above blocks of 8."""

VECTOR_MAX = 2**12 - 1
"""Magnitude of a component, in quarters of a sample."""

_CHILDREN = ((0, 1), (1, 0), (1, 1))
"""Where the three further squares of 2x2 are: rows and columns."""

_NEIGHBOURS = ((0, -1), (0, 1), (-1, 0), (1, 0))
_LATENTS = 2 * len(_CHILDREN)
_MAX = 63
_REACH = 18
_FLAGS = 5
_INPUTS = 8 + 2 * _LATENTS + 2 + LEVELS + 8 + 1
_LOG = torch.from_numpy(log_magnitudes(512).astype(np.float32))


def _log(x: Tensor) -> Tensor:
    """Integers -> signed log-magnitudes, -63..63."""
    return x.sign() * _LOG[x.abs().clamp(max=511).long()]


def _whole(field: Tensor) -> Tensor:
    """A field (N, 2, h, w), extended by replication to whole squares of the coarsest scale."""
    side = 2**LEVELS
    return F.pad(field, (0, -field.shape[3] % side, 0, -field.shape[2] % side), "replicate")


def _squares(whole: Tensor, level: int) -> tuple[Tensor, Tensor]:
    """Vectors of the squares of a scale (N, 2, h, w), and the latents below them (N, 6, h, w)."""
    near = whole[:, :, :: 2**level, :: 2**level]
    first = near[..., ::2, ::2]
    return first, torch.cat([near[..., i::2, j::2] - first for i, j in _CHILDREN], 1)


def _refine(vectors: Tensor, latents: Tensor) -> Tensor:
    """The inverse of _squares: vectors of the next finer scale."""
    out = vectors.repeat_interleave(2, 2).repeat_interleave(2, 3)
    for k, (i, j) in enumerate(_CHILDREN):
        out[..., i::2, j::2] += latents[:, 2 * k : 2 * k + 2]
    return out


def _around(x: Tensor, places: tuple[tuple[int, int], ...], mode: str) -> list[Tensor]:
    """x at neighbouring places; beyond the border what F.pad's mode says."""
    h, w = x.shape[2:]
    padded = F.pad(x, (1, 1, 1, 1), mode)
    return [padded[..., 1 + i : 1 + i + h, 1 + j : 1 + j + w] for i, j in places]


class MotionPyramid(TableModule):
    """Codes a field, given the former one."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        relu = {"low": 0, "high": HIDDEN_MAX}
        self.trunk = nn.Sequential(IntConv2d(_INPUTS, width, 1, x_max=_MAX, **relu),
                                   IntConv2d(width, width, 1, x_max=HIDDEN_MAX, **relu))
        self.flag_head = self._head(width, 1)
        self.nets = nn.ModuleList(_Fuse([(width, 1, HIDDEN_MAX), (8, 1, _MAX)], width) for _ in _CHILDREN)
        self.heads = nn.ModuleList(self._head(width, _FLAGS + 4) for _ in _CHILDREN)
        self.flag_distribution = TableDistribution(1, signed=False)
        self.distribution = TableDistribution(_REACH, signed=False)

    @staticmethod
    def _head(width: int, outputs: int) -> IntConv2d:
        return IntConv2d(width, outputs, 1, x_max=HIDDEN_MAX, low=-1023, high=1023, gain=0.1)

    def forward(self, coder: SymbolCoder, field: Tensor | None, former: Tensor | None, quality: Tensor,
                shape: tuple[int, int]) -> Tensor:
        """Code a field (None when reading); returns it.

        Args:
            coder: counts, writes or reads.
            field: (N, 2, h, w) integers in float32, of at most VECTOR_MAX; h and w are the shape.
            former: the former frame's, or None.
            quality: (N,) integers 0..63.
        """
        n, (h, w), side = len(quality), shape, 2**LEVELS
        wanted, past = (None if x is None else _whole(x) for x in (field, former))
        base = torch.zeros(n, 2, -(-h // side), -(-w // side)) if past is None else past[..., ::side, ::side]
        start = None if wanted is None else (wanted[..., ::side, ::side] - base).reshape(1, 1, 1, -1)
        even = torch.full((1, 1, 1, base.numel()), 36.0)
        vectors = base + self._number(coder, start, even - 16.0, even, even > 0).reshape(base.shape)
        coarser = torch.zeros(n, _LATENTS, *vectors.shape[2:])
        for level in reversed(range(LEVELS)):
            f = 2 ** (level + 1)
            inside = torch.zeros(vectors.shape[2:], dtype=torch.bool)
            inside[: -(-h // f), : -(-w // f)] = True  # beyond the picture, latents are zero
            latents = None if wanted is None else _squares(wanted, level)[1]
            coded = self._scale(coder, latents, vectors, coarser, None if past is None else _squares(past, level),
                                quality, level, inside)
            vectors = _refine(vectors, coded)
            coarser = coded.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return vectors[:, :, :h, :w].clamp(-VECTOR_MAX, VECTOR_MAX)

    def _scale(self, coder: SymbolCoder, latents: Tensor | None, vectors: Tensor, coarser: Tensor,
               past: tuple[Tensor, Tensor] | None, quality: Tensor, level: int, inside: Tensor) -> Tensor:
        """Code the latents of a scale, in two passes."""
        n, _, h, w = vectors.shape
        plane = torch.zeros(n, 1, h, w)
        around = torch.cat(_around(vectors, _NEIGHBOURS, "replicate"), 1) - vectors.repeat(1, 4, 1, 1)
        scale = plane.repeat(1, LEVELS, 1, 1)
        scale[:, level] = _MAX
        fixed = [_log(around), _log(coarser), plane.repeat(1, _LATENTS, 1, 1) if past is None else _log(past[1]),
                 plane if past is None else plane + _MAX, plane + quality.float()[:, None, None, None], scale]
        known = torch.cat([x - vectors for x in _around(vectors, _CHILDREN, "replicate")], 1)
        before = torch.zeros_like(known) if past is None else past[1] + (past[0] - vectors).repeat(1, 3, 1, 1)
        candidates = torch.cat((known, before), 1).movedim(1, 3)
        black = (torch.arange(h)[:, None] + torch.arange(w)) % 2 == 0
        result = torch.zeros(n, h, w, _LATENTS)
        for second, phase in enumerate((black, ~black)):
            here = (phase & inside).expand(n, -1, -1)
            if not here.any():
                continue
            sizes = _log(result).abs().unflatten(3, (3, 2)).amax(3).movedim(3, 1)
            near = _around(sizes, _NEIGHBOURS, "constant")
            inputs = torch.cat([*fixed, *near, plane + float(_MAX * second)], 1).movedim(1, 3)[here]
            wanted = None if latents is None else latents.movedim(1, 3)[here]
            if isinstance(coder, _Rows):
                assert wanted is not None
                result[here] = coder.row(inputs, candidates[here], wanted)
            else:
                result[here] = self.code_rows(coder, inputs, candidates[here], wanted)
        return result.movedim(3, 1)

    @torch.no_grad()
    def rows(self, field: Tensor, former: Tensor | None, quality: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What code_rows takes, of all places of a field; to learn from.

        Arguments are as of forward. The coarsest vectors are left out: no network tells of them.
        """
        recorder = _Rows()
        self.forward(recorder, field, former, quality, (field.shape[2], field.shape[3]))
        inputs, candidates, latents = (torch.cat(parts) for parts in zip(*recorder.rows))
        return inputs, candidates, latents

    def code_rows(self, coder: SymbolCoder, inputs: Tensor, candidates: Tensor, latents: Tensor | None) -> Tensor:
        """Code the latents (n, 6) of places, None when reading.

        Args:
            inputs: (n, .), what the network sees.
            candidates: (n, 12), latents that lead to the vector of a neighbour for each of the three squares, and of
                the former field.
        """
        hidden = self.trunk(_columns(inputs))
        filled = None if latents is None else (latents != 0).any(1).float()[None, None, None]
        index = clamp_ste(self.flag_head(hidden) + 30.0, 0, N_SCALES - 1)
        open_ = coder.symbols(filled, index, index >= 0, self.flag_distribution)[0, 0, 0] > 0
        result = torch.zeros(len(inputs), _LATENTS)
        if not open_.any():
            return result
        hidden, candidates = hidden[..., open_], candidates[open_].T
        values = torch.zeros(_LATENTS, candidates.shape[1])
        wanted = None if latents is None else latents[open_].T
        for k in range(len(_CHILDREN)):
            own = slice(2 * k, 2 * k + 2)
            known = [candidates[own], candidates[6 + 2 * k : 8 + 2 * k], *(values[2 * i : 2 * i + 2] for i in range(k))]
            features = torch.cat([*known, *torch.zeros(4 - len(known), *values[:2].shape)])
            out = self.heads[k](self.nets[k](hidden, _log(features)[None, :, None]))
            values = torch.cat((values[: 2 * k], self._vector(coder, None if wanted is None else wanted[own], known,
                                                              clamp_ste(out + 36.0, 0, N_SCALES - 1)),
                                values[2 * k + 2 :]))
        result[open_] = values.T
        return result

    def _vector(self, coder: SymbolCoder, wanted: Tensor | None, known: list[Tensor], index: Tensor) -> Tensor:
        """Code a latent (2, n) by flags for zero and each other known one that differs from those before, or else by
        its components."""
        left = torch.ones(index.shape[3], dtype=torch.bool)
        result = torch.zeros_like(known[0])
        tried: list[Tensor] = []
        for k, candidate in enumerate([result.clone(), *known]):
            fresh = left.clone()
            for other in tried:
                fresh &= (candidate != other).any(0)
            tried.append(candidate)
            if not fresh.any():
                continue
            flag = None if wanted is None else (wanted == candidate).all(0).float()[None, None, None]
            hit = coder.symbols(flag, index[:, k : k + 1], fresh[None, None, None], self.flag_distribution)[0, 0, 0] > 0
            result = torch.where(hit, candidate, result)
            left = left & ~hit
        if not left.any():
            return result
        parts = []
        for k in range(2):
            value = None if wanted is None else wanted[k][None, None, None]
            magnitude, negative = (index[:, i : i + 1] for i in (_FLAGS + 2 * k, _FLAGS + 2 * k + 1))
            parts.append(self._number(coder, value, magnitude, negative, left[None, None, None])[0, 0, 0])
        return torch.where(left, torch.stack(parts), result)

    def _number(self, coder: SymbolCoder, value: Tensor | None, magnitude: Tensor, negative: Tensor,
                mask: Tensor) -> Tensor:
        """Code integers (1, 1, 1, n) by their magnitude and, where that is not zero, their sign."""
        size = coder.symbols(None if value is None else value.abs(), magnitude, mask, self.distribution)
        size = size.clamp(0, 4 * VECTOR_MAX)  # of damaged streams
        minus = coder.symbols(None if value is None else (value < 0).float(), negative, size > 0,
                              self.flag_distribution)
        return torch.where(minus > 0, -size, size)


class _Rows:
    """A coder that codes nothing, and keeps what would be learned from."""

    def __init__(self) -> None:
        self.rows: list[tuple[Tensor, Tensor, Tensor]] = []

    def row(self, inputs: Tensor, candidates: Tensor, latents: Tensor) -> Tensor:
        self.rows.append((inputs, candidates, latents))
        return latents

    def symbols(self, value: Tensor | None, index: Tensor, mask: Tensor, distribution: TableDistribution) -> Tensor:
        assert value is not None
        return value * mask


def _columns(features: Tensor) -> Tensor:
    """(n, F) -> (1, F, 1, n)."""
    return features.T.contiguous()[None, :, None]
