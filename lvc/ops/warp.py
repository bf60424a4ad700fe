"""Backward warping and resampling of flow fields. Always float32: bfloat16 holds no pixel positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def backward_warp(image: Tensor, flow: Tensor, mode: str = "bicubic") -> Tensor:
    """Sample ``image`` at x + flow(x); positions outside take the nearest border sample.

    Args:
        image: (N, C, H, W).
        flow: (N, 2, H, W), displacements (dx, dy) in samples of ``image``.
        mode: "bilinear" or "bicubic".

    Returns:
        (N, C, H, W), float32.
    """
    with torch.autocast(image.device.type, enabled=False):
        flow = flow.float()
        h, w = flow.shape[-2:]
        ys = torch.arange(h, device=flow.device, dtype=torch.float32)
        xs = torch.arange(w, device=flow.device, dtype=torch.float32)
        x = (flow[:, 0] + xs) * (2.0 / max(w - 1, 1)) - 1.0
        y = (flow[:, 1] + ys[:, None]) * (2.0 / max(h - 1, 1)) - 1.0
        grid = torch.stack((x, y), dim=3)
        return F.grid_sample(image.float(), grid, mode=mode, padding_mode="border", align_corners=True)


def resize_flow(flow: Tensor, size: tuple[int, int], scale: float) -> Tensor:
    """Bilinear resampling of a flow field (N, 2, h, w) to ``size``, displacements multiplied by ``scale``."""
    with torch.autocast(flow.device.type, enabled=False):
        flow = flow.float()
        if flow.shape[-2:] != size:
            flow = F.interpolate(flow, size=size, mode="bilinear", align_corners=False)
        return flow * scale if scale != 1.0 else flow
