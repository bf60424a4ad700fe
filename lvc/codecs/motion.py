"""Classical motion for the dvc family: block motion as a flow field at a quarter of the resolution.

The decoder only sees coded motion, so an encoder may estimate it by any means. Fields that are constant over
squares on the grid of the motion autoencoder's own transform cost it few bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lvc.ops.blockmotion import BLOCK, Field, search

FLOW_SCALE = 4
"""Flows are kept at 1 / FLOW_SCALE of the luma resolution; their values stay in luma samples."""

LAGRANGIAN = 0.7
"""SATD a bit of motion is worth, relative to the quantization step (see lvc.ops.blockmotion.search)."""

Array = npt.NDArray[Any]


def block_flow(current: Array, reference: Array, step: float, former: Field | None = None) -> tuple[Array, Field]:
    """Flow (dx, dy) with ``current(x) ~ reference(x + d)`` by block search.

    Args:
        current, reference: luma, uint8 [H, W].
        step: the quantization step that the frame will be coded with.
        former: the field of the picture before, if there is one.

    Returns:
        float32 [2, ceil(H / 4), ceil(W / 4)] in luma samples, and the field itself.
    """
    field = search(current, reference, LAGRANGIAN * step, previous=former, window="cosine").vectors
    repeat = BLOCK // FLOW_SCALE
    flow = np.repeat(np.repeat(field.astype(np.float32) * 0.25, repeat, 1), repeat, 2)
    h, w = (-(-n // FLOW_SCALE) for n in current.shape)
    return np.ascontiguousarray(flow[:, :h, :w]), field
