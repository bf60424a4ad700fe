"""How fine each frame of a group of pictures is coded: I frames relative to P frames, and these among themselves.

All of it is the encoder's choice. Qualities are in the packets; what decodes knows nothing of this.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lvc.models.config import ModelConfig
from lvc.ops.gains import BASE_STEP, STEP_DECAY
from lvc.types import MAX_QUALITY

_QP_OFFSET = -5

CASCADE = (5, -1, 1, -1)
"""Qualities of the P frames relative to the one asked for, by the place in the group of pictures modulo 4: what
every fourth frame gets is worth more than it costs, since the following ones are predicted from it."""

_FINEST = 4
"""By how many QP an I frame is finer than hevc_qp says, at most."""


def hevc_qp(quality: int) -> int:
    """HEVC QP of I frames: that of the P frames' quantization step less 5, since all of a GOP rests on it."""
    step = BASE_STEP * 2.0 ** ((MAX_QUALITY - quality) / STEP_DECAY)
    return max(0, min(51, round(4 + 6 * math.log2(step)) + _QP_OFFSET))


@dataclass(frozen=True)
class Tuning:
    """What an encoder aims at. The default is 6:1:1 PSNR.

    Attributes:
        cascade: as CASCADE.
        intra_offset: added to the QP of I frames.
        chroma_qp_offset: of I frames, see HevcIntra.
        masking: of I frames, see HevcIntra.
        fidelity: what errors of P frames are worth to the choice of their symbols, relative to squared errors.
    """

    cascade: tuple[int, ...] = CASCADE
    intra_offset: int = 0
    chroma_qp_offset: int = -2
    masking: float = 0.0
    fidelity: float = 1.0


PSNR = Tuning()
MS_SSIM = Tuning(cascade=(7, -2, 2, -2), intra_offset=4, chroma_qp_offset=-6, masking=1.5, fidelity=1.6)
"""For weights with a rule of steps (lvc.ops.blocksteps): chosen with that, by MS-SSIM of validation clips."""


def tuning_of(config: ModelConfig) -> Tuning:
    """What the encoder of a model aims at: what that is for."""
    return PSNR if config.context is None or config.context.steps is None else MS_SSIM


def intra_qp(quality: int, period: int, tuning: Tuning = PSNR) -> int:
    """HEVC QP of the I frame of a group of pictures of so many frames (0 or less: endless).

    The longer the group, the more frames profit by a finer I frame: 2 finer than hevc_qp says for 10 frames, 4 for 32
    or more.
    """
    finer = _FINEST if period <= 0 else min(_FINEST, max(0, round(math.log2(period / 2.5))))
    return min(51, max(0, hevc_qp(quality) - finer + tuning.intra_offset))


def frame_quality(quality: int, place: int, tuning: Tuning = PSNR) -> int:
    """Quality of the P frame at a place 1, 2, ... in its group of pictures."""
    return min(MAX_QUALITY, max(0, quality + tuning.cascade[place % len(tuning.cascade)]))
