"""Swift's P frames as encoder and decoder carry them out: in C++ and numpy, bit for bit what swiftframe says.

lvc.codecs.swiftframe, lvc.codecs.swiftquant and lvc.models.swift* are the readable reference, and what is trained.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lvc.codecs.swiftframe import _LOG, WINDOW, Planes, Sizes, filled_transforms, size_aux
from lvc.codecs.swiftquant import CHROMA_WEIGHT, ROUNDING, _weights, best_sizes
from lvc.entropy.distributions import TableDistribution
from lvc.entropy.symbols import DirectCoder
from lvc.models.swift import AUX, CONTEXT_MAX, GROUPS, LUMA_GROUPS
from lvc.models.swiftfilter import AREAS, SIZE_AUX
from lvc.models.swiftinference import EntropyInference, FilterInference, FrameContext, SwiftInference, Symbols
from lvc.models.swiftmodel import SwiftModel
from lvc.ops.blockdct import SIZES, quantizer_step
from lvc.ops.blockmotion import Field, Second, predict
from lvc.ops.blocksteps import BlockSteps
from lvc.ops.blocktransform import (
    Coefficients,
    forward_dct,
    in_steps,
    magnitude_context,
    reconstruct,
    squares,
)
from lvc.ops.intnet import kernels as _nets


@dataclass(frozen=True)
class Reference:
    """The former decoded frame, of whole blocks.

    Attributes:
        planes: Y, U, V.
        context: uint8 (h, w, 96), symbol_context of its symbols; None after an I frame, as what follows.
        sizes: of its transforms, uint8 (h, w).
    """

    planes: Planes
    context: npt.NDArray[np.uint8] | None = None
    sizes: Sizes | None = None


@dataclass(frozen=True)
class CodedResidual:
    """The residual of a frame as it was coded.

    Attributes:
        reference: what the frame decodes to.
        predicted: planes of its prediction.
        fixed_context: what the symbols would be coded by if all transforms were 8x8; the sizes are coded by it.
        context: what the symbols were coded by.
        symbols: int16 (h, w, 96).
        decoded: planes before the in-loop filter.
    """

    reference: Reference
    predicted: Planes
    fixed_context: FrameContext
    context: FrameContext
    symbols: Symbols
    decoded: Planes


class SymbolChooser:
    """Rate-distortion optimized quantization, as lvc.codecs.swiftquant.choose_symbols, once or more.

    Args:
        networks: tell what symbols cost.
        passes: at least 1. From the second on, distributions are those that the former pass led to.
        fidelity: what errors are worth, relative to LAGRANGIAN.
    """

    def __init__(self, networks: EntropyInference, passes: int, fidelity: float = 1.0) -> None:
        self._networks, self._passes = networks, passes
        model = networks.model
        self._value_bits, self._flag_bits = (_bits(d) for d in (model.distribution, model.flag_distribution))
        self._weights = np.ascontiguousarray(fidelity * _weights()[:, 0, 0].numpy())

    def __call__(self, coefficients: npt.NDArray[np.float32],
                 context: FrameContext) -> tuple[Symbols, npt.NDArray[np.float32]]:
        """Coefficients in units of their steps (h, w, 96) -> symbols (h, w, 96) and their cost (h, w)."""
        symbols, cost = first_guess(coefficients), np.empty(0, np.float32)
        edges = (0, *(b for _, b in GROUPS))
        # A group that the nearest integers leave empty, and those after it, too, has nothing to choose.
        filled = _nets.flags_of(_nets.first_guess(coefficients, 0.5), edges, len(LUMA_GROUPS)).view(np.bool_)
        for _ in range(self._passes):
            flag_index, index = self._networks.indices(symbols, context, filled)
            symbols, cost = _nets.choose(coefficients, index, flag_index, edges, len(LUMA_GROUPS), self._value_bits,
                                         self._flag_bits, self._weights, self._networks.threads)
        return symbols, cost


class InterCoder:
    """Codes P frames, given their motion, with the weights that a model has now.

    Args:
        model: with frozen tables.
        threads: at least 1; the results do not depend on it.
        passes: of the encoder's choice of symbols (SymbolChooser).
    """

    def __init__(self, model: SwiftModel, threads: int = 1, passes: int = 1) -> None:
        self.model, self.threads = model, threads
        self.networks = SwiftInference(model, threads)
        self._chooser = SymbolChooser(self.networks.entropy, passes)

    def code(self, coder: DirectCoder, reference: Reference, field: Field, squares: Sizes, quality: int, *,
             second: Second | None = None, current: Planes | None = None, try_sizes: bool = True) -> CodedResidual:
        """Code the residual of a frame.

        Args:
            coder: writes or reads.
            reference: the frame before.
            field, squares: the motion, as coded.
            quality: 0..63.
            second: another reference.
            current: the frame, of whole blocks; None when reading.
            try_sizes: whether the encoder looks for transform sizes; all are 8x8 otherwise.
        """
        networks, threads = self.networks, self.threads
        predicted = predict(reference.planes, field, second=second, window=WINDOW)
        frame = PredictedFrame(reference, predicted, field, quality, threads)
        sizes = None
        if current is not None:
            sizes = (self.choose_sizes(frame, current, squares, reference.sizes) if try_sizes
                     else np.full(squares.shape, 8, np.uint8))
        sizes = networks.sizes.code(coder, sizes, frame.context, squares, reference.sizes)
        context = frame.context_of(sizes)
        symbols = None
        if current is not None:
            symbols, _ = self.choose(frame.residual(current, sizes), context)
        symbols, known = networks.entropy.code(coder, symbols, context)
        planes = decoded = reconstruct(predicted, symbols, frame.step, sizes, threads)
        if networks.filter is not None:
            planes = self._filter(networks.filter, coder, frame, decoded, symbols, sizes, current)
        return CodedResidual(Reference(planes, known, sizes), predicted, frame.context, context, symbols, decoded)

    @staticmethod
    def _filter(network: FilterInference, coder: DirectCoder, frame: PredictedFrame, decoded: Planes, symbols: Symbols,
                sizes: Sizes, current: Planes | None) -> Planes:
        @functools.cache
        def planes(area: int) -> Planes:
            if AREAS[area] == "none":
                return decoded
            filled = None if AREAS[area] == "all" else filled_transforms(sizes, symbols.any(2))
            if filled is not None and current is not None:  # who tries all areas has it
                return _mixed(filled, planes(AREAS.index("all")), decoded)
            return network(decoded, frame.planes, _size_aux(sizes), frame.quality, frame.step, filled)

        best = None
        if current is not None:
            best = min(range(len(AREAS)), key=lambda area: _weighted_error(planes(area), current))
        return planes(network.code_area(coder, best))

    def choose(self, coefficients: npt.NDArray[np.float32],
               context: FrameContext) -> tuple[Symbols, npt.NDArray[np.float32]]:
        """As of SymbolChooser."""
        return self._chooser(coefficients, context)

    def choose_sizes(self, frame: PredictedFrame, current: Planes, motion_sizes: Sizes,
                     former: Sizes | None) -> Sizes:
        """As lvc.codecs.swiftquant.choose_sizes."""
        flags = self.model.sizes.flag_distribution

        def cost(size: int) -> Tensor:
            sizes = np.full(motion_sizes.shape, size, np.uint8)
            return torch.from_numpy(self.choose(frame.residual(current, sizes), frame.context_of(sizes))[1])

        def flag_bits(size: int) -> Tensor:
            index = self.networks.sizes.index(frame.context, motion_sizes, former, size)
            return flags.flag_bits(torch.from_numpy(index).float())

        return best_sizes(cost, flag_bits, motion_sizes.shape)


class PredictedFrame:
    """The prediction of a frame, and what its residual is coded by.

    Args:
        steps: of the blocks if they differ. All transforms must be 8x8 then.

    Attributes:
        planes: of whole blocks.
        context: if all transforms are 8x8.
    """

    def __init__(self, reference: Reference, planes: Planes, field: Field, quality: int, threads: int,
                 steps: BlockSteps | None = None) -> None:
        self.planes, self.quality, self.step, self._threads = planes, quality, quantizer_step(quality), threads
        self._coefficients = forward_dct(planes, threads=threads)
        prediction = (magnitude_context(self._coefficients, self.step, threads) if steps is None
                      else steps.magnitude_context(self._coefficients, threads))
        former = (np.zeros_like(prediction) if reference.context is None
                  else _nets.displaced(reference.context, field))
        aux = _aux(reference, planes, field, quality)
        if steps is not None:
            aux[:, :, 0] = steps.qualities
        aux[:, :, -SIZE_AUX:] = _size_aux(np.full(field.shape[1:], 8, np.uint8))
        self.context = FrameContext(prediction, former, aux, quality)

    def context_of(self, sizes: Sizes) -> FrameContext:
        """The context where transforms have these sizes (h, w)."""
        if (sizes == 8).all():
            return self.context
        coefficients = self._transform(sizes, self.planes, None, self._coefficients.copy())
        aux = self.context.aux.copy()
        aux[:, :, -SIZE_AUX:] = _size_aux(sizes)
        return replace(self.context, prediction=magnitude_context(coefficients, self.step, self._threads), aux=aux)

    def residual(self, current: Planes, sizes: Sizes) -> npt.NDArray[np.float32]:
        """Coefficients (h, w, 96) of current - prediction in units of their steps."""
        return in_steps(self._transform(sizes, current, self.planes, None), self.step, self._threads)

    def _transform(self, sizes: Sizes, planes: Planes, minus: Planes | None,
                   out: Coefficients | None) -> Coefficients:
        """By transforms of these sizes; those of 8x8 are in `out` already, if that is given."""
        for size in SIZES[out is not None :]:
            blocks = squares(sizes, size)
            if out is None or len(blocks):
                out = forward_dct(planes, minus, size, blocks=blocks, out=out, threads=self._threads)
        assert out is not None
        return out


def first_guess(coefficients: npt.NDArray[np.float32]) -> Symbols:
    """As lvc.codecs.swiftquant.first_guess, of any shape."""
    return _nets.first_guess(coefficients, ROUNDING)


def _weighted_error(planes: Planes, wanted: Planes) -> float:
    """As lvc.codecs.swiftquant.weighted_error."""
    return sum(weight * _nets.squared_error(a, b)
               for weight, a, b in zip((1.0, CHROMA_WEIGHT, CHROMA_WEIGHT), planes, wanted))


def _mixed(filled: npt.NDArray[np.bool_], there: Planes, elsewhere: Planes) -> Planes:
    """Samples of ``there`` in filled blocks (h, w), of ``elsewhere`` in the others."""
    y, u, v = (_nets.where_filled(filled, a, b) for a, b in zip(there, elsewhere))
    return y, u, v


@torch.no_grad()
def _bits(distribution: TableDistribution) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(distribution.bits_table().numpy())


def _size_aux(sizes: Sizes) -> npt.NDArray[np.uint8]:
    return size_aux(sizes).transpose(1, 2, 0)


def _aux(reference: Reference, planes: Planes, vectors: Field, quality: int) -> npt.NDArray[np.uint8]:
    """As lvc.codecs.swiftframe._aux, channels last."""
    _, h, w = vectors.shape
    aux = np.zeros((h, w, AUX), np.uint8)
    aux[:, :, 0] = quality
    aux[:, :, 1] = CONTEXT_MAX if reference.context is None else 0
    d = vectors.astype(np.int32)
    change = np.zeros_like(d)
    for axis in (1, 2):
        step = np.abs(np.diff(d, axis=axis))
        for part in (np.s_[:-1], np.s_[1:]):
            place = (slice(None), part) if axis == 1 else (slice(None), slice(None), part)
            np.maximum(change[place], step, out=change[place])
    sums = _nets.differences(planes[0], reference.planes[0]) >> 4
    for channel, value in zip(range(2, 7), (*np.abs(d), *change, sums)):
        aux[:, :, channel] = _LOG[np.minimum(value, len(_LOG) - 1)]
    return aux
