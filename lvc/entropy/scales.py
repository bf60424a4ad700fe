"""The conditional distribution of a latent: a discretized logistic, its scale one of a table of 64.

Tails matter twice. DCT-like coefficients under a coarse hyperprior have heavier ones than a Gaussian; and the
logarithm of a Gaussian tail underflows, which leaves outliers without a gradient: in early training, scales
that were too small stayed so. The log-probability of the logistic is nearly linear there, and exact.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from lvc.coding import CdfTables, factorized_tables

N_SCALES = 64
SCALE_MIN = 0.04
SCALE_MAX = 16.0
LOG_RATIO = math.log(SCALE_MAX / SCALE_MIN) / (N_SCALES - 1)
_TAIL = 1e-6


def scale_table() -> npt.NDArray[np.float64]:
    """Logistic scales of index 0..63, in geometric progression (standard deviation: 1.81 times that)."""
    return SCALE_MIN * np.exp(LOG_RATIO * np.arange(N_SCALES))


def logistic_bits(value: Tensor, index: Tensor) -> Tensor:
    """-log2 P(value - 1/2 < X < value + 1/2) for a logistic X of mean 0 and the scale of ``index`` (real).

    With a = (1/2 - |v|) / s and b = a - 1/s, P = sigmoid(a) - sigmoid(b), and
    log P = a + log(1 - exp(-1/s)) - softplus(a) - softplus(b): no term under- or overflows.
    """
    inverse = torch.exp(index * -LOG_RATIO) * (1.0 / SCALE_MIN)
    a = (0.5 - value.abs()) * inverse
    log_p = a + torch.log(-torch.expm1(-inverse)) - F.softplus(a) - F.softplus(a - inverse)
    return log_p * (-1.0 / math.log(2.0))


def scale_tables() -> CdfTables:
    """Integer tables of the 64 distributions; what has a probability below 1e-6 is left to the escape."""
    rows, offsets = [], []
    for scale in scale_table():
        reach = max(1, math.ceil(scale * math.log(2.0 / _TAIL)))
        edges = (np.arange(-reach, reach + 2) - 0.5) / scale
        rows.append(np.diff(1.0 / (1.0 + np.exp(-np.clip(edges, -700.0, 700.0)))))
        offsets.append(-reach)
    return factorized_tables(rows, np.array(offsets))
