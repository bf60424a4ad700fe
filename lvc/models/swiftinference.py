"""The networks of swift in C++: what encoder and decoder run. Bit for bit what lvc.models.swift* compute.

Works on numpy, channels last, without torch: lvc.ops.intnet for the layers, lvc.entropy.symbols.DirectCoder for the
coder. Only what will be coded is computed: flags at the positions of their pass, indices of a group at the positions
where its flag is set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from lvc.entropy.scales import N_SCALES
from lvc.entropy.symbols import DirectCoder
from lvc.models import swift, swiftfilter, swiftmotion, swiftsizes
from lvc.models.swift import CONTEXT_MAX, GROUPS, HIDDEN_MAX, LUMA_GROUPS, SwiftEntropy
from lvc.models.swiftfilter import CELL, INPUT_MAX, SIZE_AUX, SwiftFilter
from lvc.models.swiftmodel import SwiftModel
from lvc.models.swiftmotion import SwiftMotion
from lvc.models.swiftsizes import LEVELS, SwiftSizes
from lvc.ops.blockdct import COEFFICIENTS, LUMA
from lvc.ops.gains import QualityTable
from lvc.ops.integer import IntConv2d
from lvc.ops.intnet import Bytes, IntLayer, Part, Positions, default_simd
from lvc.ops.intnet import kernels as _nets
from lvc.types import MAX_QUALITY, Plane

Symbols = npt.NDArray[np.int16]
Planes = tuple[Plane, Plane, Plane]
_Natives = tuple[_nets.Layer, _nets.Layer, _nets.Layer]

_EDGES = (0, *(b for _, b in GROUPS))
_LUMA_GROUPS = len(LUMA_GROUPS)
_VECTOR_LOG = swiftmotion._LOG.astype(np.uint8)


@dataclass(frozen=True)
class FrameContext:
    """As lvc.models.swift.SwiftContext, of one frame: uint8 (h, w, channels).

    Attributes:
        prediction: (h, w, 96).
        former: (h, w, 96).
        aux: (h, w, 10).
        quality: 0..63.
    """

    prediction: Bytes
    former: Bytes
    aux: Bytes
    quality: int

    @property
    def shape(self) -> tuple[int, int]:
        h, w, _ = self.prediction.shape
        return h, w


def _offset(table: QualityTable, quality: int) -> npt.NDArray[np.int32]:
    return np.ascontiguousarray(table.integers(torch.tensor([quality]))[0, :, 0, 0].numpy(), np.int32)


def _index_layer(head: IntConv2d) -> IntLayer:
    """Of which the output, with an offset, is an index."""
    return IntLayer.of(head, low=0, high=N_SCALES - 1)


class EntropyInference:
    """SwiftEntropy for one frame at a time, with the weights that it has now.

    Args:
        model: with frozen tables.
        threads: the results do not depend on it.
    """

    def __init__(self, model: SwiftEntropy, threads: int = 1) -> None:
        self.model, self.threads = model, threads
        first, second, third = model.trunk
        self._trunk = (IntLayer.of(first, sources=(COEFFICIENTS, COEFFICIENTS, swift.AUX)), IntLayer.of(second),
                       IntLayer.of(third))
        self._flag_nets = [self._fuse(net[0], [(), ()][: 1 + (p > 0)]) for p, net in enumerate(model.flag_nets)]
        self._flag_heads = [_index_layer(head) for head in model.flag_heads]
        self._mix = self._fuse(model.mix, [(), ()])
        self._group_nets, self._group_heads = [], []
        for k, (a, b) in enumerate(GROUPS):
            former = tuple(d - c for c, d in swift._former_groups(k))
            sources = [(), (b - a, b - a), former][: 2 + bool(former)]
            self._group_nets.append(self._fuse(model.group_nets[k], sources))
            self._group_heads.append(_index_layer(model.group_heads[k]))

    @staticmethod
    def _fuse(module: swift._Fuse, sources: list[tuple[int, ...]]) -> IntLayer:
        parts = [Part(conv, channels) for conv, channels in zip(module.parts, sources, strict=True)]
        return IntLayer(parts, 0, HIDDEN_MAX)

    def code(self, coder: DirectCoder, symbols: Symbols | None, context: FrameContext) -> tuple[Symbols, Bytes]:
        """Code symbols (h, w, 96), None when reading.

        Returns:
            The symbols, and their symbol_context: uint8 (h, w, 96).
        """
        h, w = context.shape
        trunk = self._run_trunk(context)
        flags = None if symbols is None else _nets.flags_of(symbols, _EDGES, _LUMA_GROUPS)
        coded, _ = self._flags(coder, flags, trunk, context.quality)
        mixed = self._mix((trunk, 0), (coded, 0), threads=self.threads)
        result = np.zeros((h, w, COEFFICIENTS), np.int16)
        known = np.zeros((h, w, COEFFICIENTS), np.uint8)
        base = _offset(self.model.base_index, context.quality)
        for k, (a, b) in enumerate(GROUPS):
            positions = np.flatnonzero(coded[:, :, k]).astype(np.int32)
            index = self._group_index(k, context, mixed, known, base, positions, planar=True)
            values = None if symbols is None else _nets.take(symbols, positions, a, b - a)
            read = coder.code(values, index, self.model.distribution)
            _nets.place(np.asarray(read, np.int32), positions, a, swift.SYMBOL_CONTEXT, result, known)
        return result, known

    def indices(self, symbols: Symbols, context: FrameContext,
                wanted: npt.NDArray[np.bool_] | None = None) -> tuple[Bytes, list[Bytes]]:
        """What given symbols would be coded with: indices of flags (h, w, 6), and of each group (h, w, channels).

        Where ``wanted`` (h, w, 6) is not set those of that group are 0.
        """
        trunk = self._run_trunk(context)
        coded, flag_index = self._flags(None, _nets.flags_of(symbols, _EDGES, _LUMA_GROUPS), trunk, context.quality)
        mixed = self._mix((trunk, 0), (coded, 0), threads=self.threads)
        known = _nets.contexts(symbols, swift.SYMBOL_CONTEXT)
        base = _offset(self.model.base_index, context.quality)
        masks = [None] * len(GROUPS) if wanted is None else np.ascontiguousarray(wanted.transpose(2, 0, 1))
        return flag_index, [self._group_index(k, context, mixed, known, base, wanted=mask)
                            for k, mask in enumerate(masks)]

    def _run_trunk(self, context: FrameContext) -> Bytes:
        hidden = self._trunk[0]((context.prediction, 0), (context.former, 0), (context.aux, 0), threads=self.threads)
        for layer in self._trunk[1:]:
            hidden = layer((hidden, 0), threads=self.threads)
        return hidden

    def _group_index(self, k: int, context: FrameContext, mixed: Bytes, known: Bytes, base: npt.NDArray[np.int32],
                     positions: Positions | None = None, wanted: npt.NDArray[np.bool_] | None = None,
                     planar: bool = False) -> Bytes:
        a, b = GROUPS[k]
        former = [(known, c) for c, _ in swift._former_groups(k)]
        hidden = self._group_nets[k]((mixed, 0), (context.prediction, a), (context.former, a), *former,
                                     positions=positions, wanted=wanted, threads=self.threads)
        return self._group_heads[k]((hidden, 0), offset=base[a:b], wanted=wanted, planar=planar,
                                    threads=self.threads)

    def _flags(self, coder: DirectCoder | None, flags: Bytes | None, trunk: Bytes, quality: int) -> tuple[Bytes, Bytes]:
        """Code the flags, or take them as they are without a coder.

        Returns:
            They, and a channel of what is done, as inputs: uint8 (h, w, 7), 0 or 63. Their indices: uint8 (h, w, 6).
        """
        offsets = np.stack([_offset(table, quality) for table in self.model.flag_base])
        return _nets.code_flags(None if coder is None else coder.code, self.model.flag_distribution,
                                _natives(self._flag_nets), _natives(self._flag_heads), offsets, trunk, flags,
                                self.threads, default_simd())


class FilterInference:
    """SwiftFilter for one frame at a time, with the weights that it has now."""

    def __init__(self, model: SwiftFilter, threads: int = 1) -> None:
        self.model, self.threads = model, threads
        self._start = IntLayer.of(model.start, signed=True)
        self._middle = [IntLayer([Part(layer)], 0, HIDDEN_MAX) for layer in model.middle]
        self._end = IntLayer([Part(model.end), Part(model.direct, signed=True)], -(2**15), 2**15 - 1)

    def code_area(self, coder: DirectCoder, area: int | None) -> int:
        """As SwiftFilter.code_area, with another kind of coder."""
        even = np.array([swiftfilter._EVEN], np.uint8)
        for value in (1, 2):
            wanted = None if area is None else np.array([area >= value], np.int16)
            if not coder.code(wanted, even, self.model.flag_distribution)[0]:
                return value - 1
        return 2

    def __call__(self, decoded: Planes, predicted: Planes, size_aux: Bytes, quality: int, step: int,
                 where: npt.NDArray[np.bool_] | None = None) -> Planes:
        """Planes after the filter, of whole blocks.

        Args:
            decoded: planes before it.
            predicted: their prediction.
            size_aux: (h, w, 3), the transforms (lvc.codecs.swiftframe.size_aux).
            quality: 0..63.
            step: of luma.
            where: (h, w), the blocks to filter; all, if None. The others stay as they are.
        """
        h, w = (n // 4 for n in decoded[0].shape)
        channels = 2 * CELL + SIZE_AUX + 3
        inputs = np.zeros((h, w, -(-channels // 4) * 4), np.int8)  # whole words are read faster
        _nets.cell_inputs(decoded, predicted, 16 * swiftfilter._INPUT_SCALE, step, INPUT_MAX, inputs, self.threads,
                          default_simd())
        sizes, (rows, columns, own) = inputs[:, :, 2 * CELL : 2 * CELL + SIZE_AUX], range(channels - 3, channels)
        for i, j in np.ndindex(2, 2):
            sizes[i::2, j::2] = size_aux
        inputs[:, :, rows], inputs[:, :, columns] = np.arange(h)[:, None] % 2 * 64, np.arange(w) % 2 * 64
        inputs[:, :, own] = 2 * quality - MAX_QUALITY
        # What each layer is wanted for: the last one's cells, and one cell more around them a layer of 3x3.
        cells = None if where is None else where.repeat(2, 0).repeat(2, 1)
        wanted = [cells]
        for _ in self._middle:
            wanted.append(None if wanted[-1] is None else _grown(wanted[-1]))
        hidden = self._start((inputs, 0), wanted=wanted.pop(), threads=self.threads)
        for layer in self._middle:
            hidden = layer((hidden, 0), residual=hidden, wanted=wanted.pop(), threads=self.threads)
        corrections = self._end((hidden, 0), (inputs, 0), wanted=cells, threads=self.threads)
        y, u, v = decoded
        out = np.empty_like(y), np.empty_like(u), np.empty_like(v)
        _nets.correct(decoded, corrections, step, swiftfilter._OUTPUT_SHIFT, out, self.threads)
        return out


def _grown(cells: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Cells (h, w) and the eight around each."""
    padded = np.pad(cells, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    return rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]


class SizesInference:
    """SwiftSizes for one frame at a time, with the weights that it has now."""

    def __init__(self, model: SwiftSizes, threads: int = 1) -> None:
        self.model, self.threads = model, threads
        first, second, third = model.joins
        self._joins = IntLayer.of(first, signed=True), IntLayer.of(second), _index_layer(third)
        self._offset = np.full(1, 36, np.int32)
        groups = len(LUMA_GROUPS)
        weights = np.zeros((2 * groups, 2 * LUMA), np.int8)
        for k, (a, b) in enumerate(LUMA_GROUPS):
            weights[k, a:b] = weights[groups + k, LUMA + a : LUMA + b] = 1
        # Sums over the luma channels of each group, of the prediction and of the former frame.
        self._sums = _nets.Layer(2 * groups, [(1, False, CONTEXT_MAX, [LUMA, LUMA], weights,
                                               np.zeros(2 * groups, np.int32), 0, 0, 2**15 - 1, 1)],
                                 0, 2**15 - 1, True)
        self._shifts = np.array(swiftsizes._SUM_SHIFTS * 2)

    def code(self, coder: DirectCoder, sizes: Bytes | None, context: FrameContext, motion_sizes: Bytes,
             former_sizes: Bytes | None) -> Bytes:
        """As SwiftSizes.forward: maps are uint8 (h, w), None when reading."""
        h, w = context.shape
        result, left = np.full((h, w), 8, np.uint8), np.ones((h, w), np.bool_)
        sources = self._sources(context, motion_sizes, former_sizes)
        for level, size in enumerate(LEVELS):
            f = size // 8
            rows, columns = h // f, w // f
            if not rows or not columns:
                continue
            fixed = self._features(sources, context.quality, f, level)
            todo = left[: rows * f : f, : columns * f : f]
            coded, done = np.zeros((rows, columns), np.int8), np.zeros((rows, columns), np.int8)
            black = (np.arange(rows)[:, None] + np.arange(columns)) % 2 == 0
            for p, phase in enumerate((black, ~black)):
                positions = np.flatnonzero(todo & phase).astype(np.int32)
                index = self._index(fixed, p, coded, done, positions)[0]
                wanted = None
                if sizes is not None:
                    wanted = (sizes[: rows * f : f, : columns * f : f].ravel()[positions] == size).astype(np.int16)
                coded.reshape(-1)[positions] = coder.code(wanted, index, self.model.flag_distribution) > 0
                done[phase] = 1
            chosen = np.repeat(np.repeat(coded > 0, f, 0), f, 1)
            result[: rows * f, : columns * f][chosen] = size
            left[: rows * f, : columns * f] &= ~chosen
        return result

    def index(self, context: FrameContext, motion_sizes: Bytes, former_sizes: Bytes | None, size: int) -> Bytes:
        """Indices of the flags of a level where no neighbour is known: (h // f, w // f), f = size // 8."""
        sources = self._sources(context, motion_sizes, former_sizes)
        fixed = self._features(sources, context.quality, size // 8, LEVELS.index(size))
        none = np.zeros(fixed.shape[:2], np.int8)
        return self._index(fixed, 0, none, none)[0]

    def _sources(self, context: FrameContext, motion_sizes: Bytes, former_sizes: Bytes | None) -> npt.NDArray[np.int32]:
        """(h, w, .), of which the network sees means over squares."""
        sums = self._sums.run([(context.prediction, 0), (context.former, 0)], None, None, None, None, False,
                              self.threads, default_simd())
        former = np.zeros_like(motion_sizes) if former_sizes is None else former_sizes
        return np.concatenate((sums, context.aux[:, :, [1, 4, 5, 6]], motion_sizes[:, :, None], former[:, :, None]), 2,
                              dtype=np.int32)

    def _features(self, sources: npt.NDArray[np.int32], quality: int, f: int, level: int) -> npt.NDArray[np.int8]:
        """(rows, columns, F), with those of the phase and the neighbours zero."""
        h, w, n = sources.shape
        rows, columns = h // f, w // f
        # Along rows first: neighbouring channels are added up together.
        across = sources[: rows * f].reshape(rows, f, w, n).sum(1)
        means = across[:, : columns * f].reshape(rows, columns, f, n).sum(2) >> (2 * (f.bit_length() - 1))
        means[:, :, : len(self._shifts)] >>= self._shifts
        features = np.zeros((rows, columns, swiftsizes._FEATURES), np.int8)
        features[:, :, :n] = np.minimum(means, swiftsizes._MAX)
        for k, size in enumerate(LEVELS):
            features[:, :, n + k] = (means[:, :, -1] >= size) * swiftsizes._MAX
        features[:, :, n + 2], features[:, :, n + 3] = swiftsizes._MAX * level, quality
        return features

    def _index(self, fixed: npt.NDArray[np.int8], phase: int, coded: npt.NDArray[np.int8],
               done: npt.NDArray[np.int8], positions: Positions | None = None) -> Bytes:
        """(1, n), or (1, rows, columns) without positions."""
        fixed[:, :, -5] = phase * swiftsizes._MAX
        known = np.pad((2 * coded - done) * np.int8(swiftsizes._MAX), 1)
        around = known[:-2, 1:-1], known[2:, 1:-1], known[1:-1, :-2], known[1:-1, 2:]
        for k, value in enumerate(around):
            fixed[:, :, k - 4] = value
        hidden = self._joins[1]((self._joins[0]((fixed, 0), positions=positions), 0))
        return self._joins[2]((hidden, 0), offset=self._offset, planar=True)


class MotionInference:
    """SwiftMotion for one frame at a time, with the weights that it has now."""

    _OFFSETS = 30, 36  # of the indices of vectors and of splits

    def __init__(self, model: SwiftMotion) -> None:
        self.model = model
        self._vectors, self._splits = (_head(net) for net in (model.vectors, model.splits))
        self._compound = _head(model.compound, signed=True) if hasattr(model, "compound") else None

    def code(self, coder: DirectCoder, field: npt.NDArray[np.int16] | None, sizes: Bytes | None,
             shape: tuple[int, int], quality: int, former: npt.NDArray[np.int16] | None,
             former_sizes: Bytes | None) -> tuple[npt.NDArray[np.int16], Bytes]:
        """As SwiftMotion.forward, with another kind of coder."""
        return _nets.code_motion(
            coder.code, self.model.flag_distribution, self.model.distribution, self._vectors, self._splits,
            self._OFFSETS, field, sizes, shape, quality, former, former_sizes, _VECTOR_LOG, default_simd())

    def code_compound(self, coder: DirectCoder, compound: npt.NDArray[np.bool_] | None,
                      context: swiftmotion.CompoundContext) -> npt.NDArray[np.bool_]:
        """As SwiftMotion.code_compound, with another kind of coder."""
        assert self._compound is not None
        return _nets.code_compound(
            coder.code, self.model.flag_distribution, self._compound, self._OFFSETS[0], context.field, context.sizes,
            context.second, context.difference.astype(np.int32), context.former, compound, context.age,
            context.quality, _VECTOR_LOG, default_simd())


def _head(module: nn.Sequential, signed: bool = False) -> _Natives:
    """Three layers, the last one's outputs indices."""
    first, second, third = module
    return _natives((IntLayer.of(first, signed=signed), IntLayer.of(second), _index_layer(third)))


def _natives(layers: Sequence[IntLayer]) -> _Natives:
    """Of three layers, as the extension module takes them."""
    first, second, third = (layer.native for layer in layers)
    return first, second, third


class SwiftInference:
    """All networks of a model, with the weights that they have now."""

    def __init__(self, model: SwiftModel, threads: int = 1) -> None:
        self.motion = MotionInference(model.motion)
        self.sizes = SizesInference(model.sizes, threads)
        self.entropy = EntropyInference(model.entropy, threads)
        self.filter = None if model.filter is None else FilterInference(model.filter, threads)
