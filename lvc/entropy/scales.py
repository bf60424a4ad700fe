"""The scale table: 64 standard deviations in geometric progression, as in Balle et al. (2018)."""

from __future__ import annotations

import math

N_SCALES = 64
SCALE_MIN = 0.11
SCALE_MAX = 64.0
LOG_RATIO = math.log(SCALE_MAX / SCALE_MIN) / (N_SCALES - 1)


def scale_table() -> list[float]:
    """Standard deviations of index 0..63."""
    return [SCALE_MIN * math.exp(LOG_RATIO * i) for i in range(N_SCALES)]
