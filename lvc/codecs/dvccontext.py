"""P frames of the second design of the dvc family (lvc.models.dvccontext): one path for encoder and decoder.

A reference is two pictures: the decoded one, made by networks in floating point, and its shadow, in integers, which
nothing but the entropy coder looks at. Parsing never depends on rounding, then, though contexts see a prediction.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lvc.codecs.schedule import tuning_of
from lvc.codecs.swiftcoding import PredictedFrame, Reference, SymbolChooser
from lvc.codecs.swiftframe import WINDOW, Planes, where_filled
from lvc.codecs.swiftquant import weighted_error
from lvc.entropy.symbols import ReadSymbols, WriteSymbols
from lvc.models.dvccontext import MULTIPLE, ContextInterModel, step_plane
from lvc.models.motionpyramid import VECTOR_MAX
from lvc.models.swiftfilter import AREAS
from lvc.models.swiftinference import EntropyInference
from lvc.ops.blockdct import quantizer_step
from lvc.ops.blockmotion import BLOCK, Field, predict, search
from lvc.ops.blocksteps import BlockSteps
from lvc.ops.blocktransform import reconstruct

SEARCH_LAGRANGIAN = 0.7
"""SATD a bit of motion is worth, relative to the quantization step (see lvc.ops.blockmotion.search)."""

_EVEN = 40
"""Index of choices of the encoder: about one bit each."""


@dataclass(frozen=True)
class ContextReference:
    """What a P frame refers to.

    Attributes:
        planes: the former decoded frame, padded (see padded).
        shadow: its integer shadow, with the context that its symbols are.
        field: its motion, None after an I frame.
    """

    planes: Planes
    shadow: Reference
    field: Field | None = None


def padded(planes: Planes) -> Planes:
    """Extend planes by replication so that luma has sides that are multiples of MULTIPLE."""
    h, w = (-(-n // MULTIPLE) * MULTIPLE for n in planes[0].shape)
    sizes = ((h, w), (h // 2, w // 2), (h // 2, w // 2))
    y, u, v = (np.pad(p, ((0, a - p.shape[0]), (0, b - p.shape[1])), "edge") for p, (a, b) in zip(planes, sizes))
    return y, u, v


def after_intra(planes: Planes, exact: bool) -> ContextReference:
    """The reference that an I frame is, its planes of any size.

    Args:
        planes: as decoded.
        exact: whether every machine decodes the same. Else the shadow starts out grey.
    """
    picture = padded(planes)
    y, u, v = picture if exact else (np.full_like(p, 128) for p in picture)
    return ContextReference(picture, Reference((y, u, v)))


class ContextCoder:
    """Codes P frames.

    Args:
        model: with frozen tables.
        threads: at least 1; what is coded does not depend on it.
        effort: 0..3, how hard the encoder looks for motion; from 1 on symbols are chosen twice, the second time by
            the distributions that the first choice led to; from 2 on the refined prediction is tried, with weights for
            MS-SSIM from 1 on (that network has been trained in these).
    """

    def __init__(self, model: ContextInterModel, threads: int = 1, effort: int = 1) -> None:
        self.model, self._threads, self._effort = model, threads, effort
        assert model.config.context is not None
        self._rule = model.config.context.steps
        self._refines = effort > (1 if self._rule is None else 0)
        self._entropy = EntropyInference(model.entropy, threads)
        self._chooser = SymbolChooser(self._entropy, 1 if effort == 0 else 2, tuning_of(model.config).fidelity)

    def search(self, current: Planes, reference: ContextReference, quality: int) -> Field:
        """Motion of a padded frame."""
        step = quantizer_step(quality) / 16
        found = search(current[0], reference.planes[0], SEARCH_LAGRANGIAN * step, previous=reference.field,
                       window=WINDOW, effort=self._effort, threads=self._threads)
        return np.clip(found.vectors, -VECTOR_MAX, VECTOR_MAX)

    def code(self, coder: WriteSymbols | ReadSymbols, reference: ContextReference, quality: int,
             current: Planes | None = None) -> ContextReference:
        """Code a P frame.

        Args:
            coder: writes or reads.
            reference: the former frame.
            quality: 0..63.
            current: the frame, padded; None when reading.

        Returns:
            What the next frame refers to.
        """
        qualities = torch.tensor([quality])
        field = self._motion(coder, reference, qualities, None if current is None
                             else self.search(current, reference, quality))
        # The shadow's side: integers only.
        shadowed = predict(reference.shadow.planes, field, window=WINDOW)
        steps = None if self._rule is None else BlockSteps(self._rule, shadowed[0], quality)
        context = PredictedFrame(reference.shadow, shadowed, field, quality, self._threads, steps).context
        # What is seen.
        blocks = None if steps is None else torch.from_numpy(steps.qualities.astype(np.float32))[None, None]
        warped = predict(reference.planes, field, window=WINDOW)
        source = None if current is None else self._picture(current)
        prediction = self._prediction(coder, reference, warped, field, qualities, blocks, source)
        symbols = None
        if source is not None:
            latent = self.model.latent(source, prediction, qualities, blocks)[0].permute(1, 2, 0)
            symbols, _ = self._chooser(np.ascontiguousarray(latent.numpy()), context)
        symbols, known = self._entropy.code(coder, symbols, context)
        sizes = np.full(symbols.shape[:2], BLOCK, np.uint8)
        shadow = (reconstruct(shadowed, symbols, quantizer_step(quality), sizes, self._threads) if steps is None
                  else steps.reconstruct(shadowed, symbols, self._threads))
        # Filtered only if it must be.
        latents = torch.from_numpy(symbols.astype(np.float32)).permute(2, 0, 1)[None]
        plain, residual = self.model.decoded(prediction, latents, qualities, blocks)

        @functools.cache
        def shown(area: int) -> Planes:
            if AREAS[area] == "none":
                return self._planes(plain)
            if AREAS[area] == "all":
                return self._planes(self.model.filtered(plain, prediction, residual, qualities, blocks))
            return where_filled(sizes, symbols.any(2), shown(AREAS.index("all")), shown(AREAS.index("none")))

        best = None
        if current is not None:
            best = min(range(len(AREAS)), key=lambda area: self._distortion(shown(area), current, steps))
        return ContextReference(shown(self._area(coder, best)), Reference(shadow, known, sizes), field)

    def _flag(self, coder: WriteSymbols | ReadSymbols, value: bool | None) -> bool:
        """Code a choice of the encoder (None when reading)."""
        wanted = None if value is None else np.array([value], np.int16)
        return bool(coder.code(wanted, np.array([_EVEN], np.uint8), self.model.entropy.flag_distribution)[0])

    def _area(self, coder: WriteSymbols | ReadSymbols, area: int | None) -> int:
        """Code which of AREAS is filtered."""
        return next((n for n in range(len(AREAS) - 1) if not self._flag(coder, None if area is None else area > n)),
                    len(AREAS) - 1)

    def _motion(self, coder: WriteSymbols | ReadSymbols, reference: ContextReference, quality: Tensor,
                field: Field | None) -> Field:
        def tensor(x: Field | None) -> Tensor | None:
            return None if x is None else torch.from_numpy(x.astype(np.float32))[None]

        h, w = (n // BLOCK for n in reference.planes[0].shape)
        coded = self.model.motion(coder, tensor(field), tensor(reference.field), quality, (h, w))
        return np.ascontiguousarray(coded[0].numpy().astype(np.int16))

    def _prediction(self, coder: WriteSymbols | ReadSymbols, reference: ContextReference, warped: Planes,
                    field: Field, quality: Tensor, blocks: Tensor | None, source: Tensor | None) -> Tensor:
        """The prediction, refined if the encoder says so."""
        plain, use = self._picture(warped), None
        if source is not None:
            unit = 1.0 if blocks is None else step_plane(quality, blocks)
            use = self._refines and _error(self._refined(plain, reference, field, quality, blocks), source, unit) < (
                _error(plain, source, unit))
        return self._refined(plain, reference, field, quality, blocks) if self._flag(coder, use) else plain

    def _refined(self, plain: Tensor, reference: ContextReference, field: Field, quality: Tensor,
                 blocks: Tensor | None) -> Tensor:
        vectors = torch.from_numpy(field.astype(np.float32))[None]
        return self.model.prediction(plain, self._picture(reference.planes), vectors, quality, blocks)

    @staticmethod
    def _distortion(planes: Planes, wanted: Planes, steps: BlockSteps | None) -> float:
        return weighted_error(planes, wanted) if steps is None else steps.error(planes, wanted)

    def _picture(self, planes: Planes) -> Tensor:
        y, u, v = (torch.from_numpy(p.astype(np.float32)) for p in planes)
        return self.model.space.pack(y[None, None], torch.stack((u, v))[None])

    def _planes(self, picture: Tensor) -> Planes:
        y, uv = self.model.space.unpack(picture)
        first, second, third = (p.round().clamp(0, 255).to(torch.uint8).contiguous().numpy() for p in (y[0, 0], *uv[0]))
        return first, second, third


def _error(picture: Tensor, source: Tensor, unit: Tensor | float) -> float:
    """Sum of squared errors in these units; packed chroma counts as luma does."""
    return float(((picture - source) / unit).square().sum())
