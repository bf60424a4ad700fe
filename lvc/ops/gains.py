"""Per-channel parameters that follow the quality: learned at a few knots, interpolated between them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lvc.ops.rounding import round_ste
from lvc.types import MAX_QUALITY

N_KNOTS = 8
BASE_STEP = 3.0
STEP_DECAY = 13.0

LAMBDA_SCALE = 7.5
"""Bits a squared error is worth, times the squared quantization step: HEVC's 0.85 * 2**((QP - 12) / 3)."""


def quantization_step(quality: Tensor) -> Tensor:
    """Quantization step on the 8-bit scale: 3 at quality 63, twice as much every 13 below (86 at 0)."""
    return BASE_STEP * torch.exp2((MAX_QUALITY - quality.float()) / STEP_DECAY)


class QualityTable(nn.Module):
    """Values (channels,) as a piecewise linear function of the quality, through learned knots.

    ``integers`` is for what the entropy decoder needs: after ``freeze`` it looks up a table of integers,
    one row a quality, and no longer depends on floating point.

    Args:
        channels: number of values.
        start: initial value everywhere.
    """

    frozen: Tensor

    def __init__(self, channels: int, start: float = 0.0) -> None:
        super().__init__()
        self.knots = nn.Parameter(torch.full((N_KNOTS, channels), start))
        self.register_buffer("frozen", torch.zeros(0, channels, dtype=torch.int16))

    def forward(self, quality: Tensor) -> Tensor:
        """Quality (N,) -> (N, channels, 1, 1)."""
        position = quality.float() * ((N_KNOTS - 1) / MAX_QUALITY)
        left = position.floor().clamp(0, N_KNOTS - 2).long()
        weight = (position - left)[:, None]
        value = (1 - weight) * self.knots[left] + weight * self.knots[left + 1]
        return value[:, :, None, None]

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        # A buffer of another length (frozen or not) takes the place of the present one.
        if (frozen := state_dict.get(prefix + "frozen")) is not None:
            self.frozen = torch.empty_like(frozen, device=self.frozen.device)
        super()._load_from_state_dict(state_dict, prefix, *args)  # type: ignore[arg-type]

    def integers(self, quality: Tensor) -> Tensor:
        """The same, rounded. Quality must be whole once the table is frozen."""
        if len(self.frozen):
            return self.frozen[quality.long()].float()[:, :, None, None]
        return round_ste(self(quality))

    @torch.no_grad()
    def freeze(self) -> None:
        """Fix the integers of all qualities, as they are now."""
        every = torch.arange(MAX_QUALITY + 1, device=self.knots.device)
        self.frozen = torch.round(self(every)[:, :, 0, 0]).to(torch.int16)
