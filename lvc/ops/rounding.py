"""Rounding with straight-through gradients."""

from __future__ import annotations

import torch
from torch import Tensor


def round_ste(x: Tensor) -> Tensor:
    """Round to the nearest integer (ties to even); the gradient is that of the identity."""
    return x + (torch.round(x) - x).detach()


def floor_ste(x: Tensor) -> Tensor:
    """Floor; the gradient is that of the identity."""
    return x + (torch.floor(x) - x).detach()


def clamp_ste(x: Tensor, low: float, high: float) -> Tensor:
    """Clamp; the gradient passes outside [low, high] too, where it leads back into the interval."""
    return x + (x.clamp(low, high) - x).detach()
