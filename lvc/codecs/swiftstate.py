"""What a P frame of swift refers to, and the steps of coding one: the same for encoder, decoder and recordings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lvc.codecs.picture import shown
from lvc.codecs.schedule import CASCADE
from lvc.codecs.swiftcoding import CodedResidual, InterCoder, Reference
from lvc.codecs.swiftframe import WINDOW, Planes, Sizes, pad_to_blocks
from lvc.entropy.symbols import DirectCoder
from lvc.models.swiftmotion import VECTOR_MAX, Bools, CompoundContext
from lvc.ops.blockdct import quantizer_step
from lvc.ops.blockmotion import BLOCK, BlockMotion, Field, Second, chain, disagreement, mirror, search
from lvc.types import Frame, VideoInfo

SEARCH_LAGRANGIAN = 0.55
"""SATD a bit of motion is worth, relative to the quantization step (see lvc.ops.blockmotion.search)."""

ANCHORS = len(CASCADE)
"""Second references are the I frame and every so many frames from it on: those of the best quality."""

_MIRRORED_AGE = 2
"""Of the second reference of B frames, for the networks: the youngest that P frames have."""


def quantizer_passes(effort: int) -> int:
    """Passes of lvc.codecs.swiftcoding.InterCoder at an effort of 0..3."""
    return max(1, effort)


def intra_preset(effort: int) -> str:
    """x265 preset of I frames at an effort of 0..3: "fast" takes half the time of "slower", and 3 % more bits."""
    return "fast" if effort == 0 else "slower"


@dataclass(frozen=True)
class _Anchor:
    """A second reference: planes of whole blocks, its displacement from the former frame's blocks, its age."""

    planes: Planes
    field: Field
    age: int


@dataclass(frozen=True)
class _SecondReference:
    """A second reference: its planes, what derives the vectors into it from those into the first one, its age."""

    planes: Planes
    lead: Callable[[Field], Field]
    age: int


@dataclass(frozen=True)
class InterFrame:
    """A P frame as it was coded.

    Attributes:
        residual: what there is but motion.
        compound: which blocks take the second reference as well (h, w), and what that was coded by; None where there
            is no second reference.
    """

    residual: CodedResidual
    compound: tuple[Bools, CompoundContext] | None


@dataclass(frozen=True)
class Picture:
    """A decoded frame that others are predicted from.

    Attributes:
        reference: its samples and symbols.
        field, sizes, compound: its motion (see InterFrame); None for an I frame, ``compound`` also where there was no
            second reference.
    """

    reference: Reference
    field: Field | None
    sizes: Sizes | None
    compound: Bools | None


class InterState:
    """What a P frame refers to; encoder and decoder hold the same.

    Attributes are replaced, never changed in place, so a shallow copy is a branch of its own.

    Args:
        coder: codes residuals.
        video: of which the size matters.

    Attributes:
        reference: the former frame; None before the first I frame.
        field, sizes: its motion, None after an I frame.
        place: of the reference, frames since the I frame.
    """

    def __init__(self, coder: InterCoder, video: VideoInfo) -> None:
        self.coder, self.video = coder, video
        self.reference: Reference | None = None
        self.field: Field | None = None
        self.sizes: Sizes | None = None
        self.place = 0
        self._anchor: _Anchor | None = None
        self._compound: Bools | None = None
        self._shape = -(-video.height // BLOCK), -(-video.width // BLOCK)

    def intra(self, frame: Frame) -> None:
        """An I frame was decoded."""
        self.reference = Reference(pad_to_blocks(frame.planes))
        self.field = self.sizes = self._anchor = self._compound = None
        self.place = 0

    def search(self, current: Planes, quality: int, effort: int, threads: int = 1) -> BlockMotion:
        """Motion for the next P frame, of whole blocks, by lvc.ops.blockmotion.search."""
        assert self.reference is not None
        second = None if self._anchor is None else (self._anchor.planes[0], self._anchor.field)
        return search(current[0], self.reference.planes[0], SEARCH_LAGRANGIAN * quantizer_step(quality) / 16,
                      previous=self.field, second=second, window=WINDOW, effort=effort, threads=threads)

    def inter(self, coder: DirectCoder, quality: int, current: Planes | None = None,
              motion: BlockMotion | None = None, try_sizes: bool = True) -> InterFrame:
        """Code a P frame: its whole blocks and the motion found for it, or None for both when reading.

        Without try_sizes, all transforms are 8x8.
        """
        former, anchor = self.picture, self._anchor
        second = None
        if anchor is not None:
            second = _SecondReference(anchor.planes, lambda field: chain(field, anchor.field), anchor.age)
        picture, frame = self._predicted(coder, quality, former.reference, former, second, current, motion, try_sizes)
        assert picture.field is not None
        self._age(former.reference, picture.field)
        self.reference, self.field = picture.reference, picture.field
        self.sizes, self._compound = picture.sizes, picture.compound
        return frame

    @property
    def picture(self) -> Picture:
        """The former frame."""
        assert self.reference is not None
        return Picture(self.reference, self.field, self.sizes, self._compound)

    def search_between(self, current: Planes, past: Picture, future: Picture, guide: Picture, quality: int, effort: int,
                       threads: int = 1) -> BlockMotion:
        """Motion for a B frame, see `between`."""
        return search(current[0], past.reference.planes[0], SEARCH_LAGRANGIAN * quantizer_step(quality) / 16,
                      previous=_half(guide.field), second=(future.reference.planes[0], None), window=WINDOW,
                      effort=effort, threads=threads)

    def between(self, coder: DirectCoder, quality: int, past: Picture, future: Picture, guide: Picture,
                current: Planes | None = None, motion: BlockMotion | None = None, try_sizes: bool = True) -> Picture:
        """Code a B frame, in the middle between two others in time. The state stays as it is.

        Args:
            coder, quality, current, motion, try_sizes: as of `inter`.
            past, future: what it is predicted from. Vectors into the second one are those into the first one, mirrored.
            guide: whichever of the two was coded later. Its motion spans twice the time.
        """
        second = _SecondReference(future.reference.planes, mirror, _MIRRORED_AGE)
        former = replace(guide, field=_half(guide.field))
        return self._predicted(coder, quality, past.reference, former, second, current, motion, try_sizes)[0]

    def _predicted(self, coder: DirectCoder, quality: int, reference: Reference, former: Picture,
                   second: _SecondReference | None, current: Planes | None, motion: BlockMotion | None,
                   try_sizes: bool) -> tuple[Picture, InterFrame]:
        """Code a frame by a reference, perhaps a second one, and the motion of a former picture."""
        vectors, sizes = (None, None) if motion is None else (
            np.clip(motion.vectors, -VECTOR_MAX, VECTOR_MAX), motion.sizes)
        networks = self.coder.networks
        field, sizes = networks.motion.code(coder, vectors, sizes, self._shape, quality, former.field, former.sizes)
        both = compound = coded = None
        if second is not None:
            led = second.lead(field)
            difference = disagreement(reference.planes[0], field, second.planes[0], led)
            context = CompoundContext(field, sizes, led, difference * 64 // quantizer_step(quality), former.compound,
                                      second.age, quality)
            compound = networks.motion.code_compound(coder, None if motion is None else motion.compound, context)
            both, coded = Second(second.planes, led, compound), (compound, context)
        residual = self.coder.code(coder, reference, field, sizes, quality, second=both, current=current,
                                   try_sizes=try_sizes)
        return Picture(residual.reference, field, sizes, compound), InterFrame(residual, coded)

    def _age(self, reference: Reference, field: Field) -> None:
        """A frame was decoded: its reference becomes the second one of those to come, or that moves further away."""
        if self.coder.model.config.references > 1:
            if self.place % ANCHORS == 0:
                self._anchor = _Anchor(reference.planes, field, 2)
            elif self._anchor is not None:
                self._anchor = _Anchor(self._anchor.planes, chain(field, self._anchor.field), self._anchor.age + 1)
        self.place += 1

    def frame(self, pts: int) -> Frame:
        """The decoded frame, at the video's size."""
        return self.shown(self.picture, pts)

    def shown(self, picture: Picture, pts: int) -> Frame:
        """A decoded picture, at the video's size."""
        return shown(picture.reference.planes, self.video, pts)


def _half(field: Field | None) -> Field | None:
    return None if field is None else field >> 1
