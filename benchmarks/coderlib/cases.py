"""What is coded: symbols drawn from known distributions, so that the ideal length of their code is known."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

SCALES = np.geomspace(0.11, 64, 64)
"""Standard deviations of the tables of a hyperprior."""
GAUSSIAN_RANGES = {"lo": (0, 18), "hi": (14, 35)}
"""First and last table that symbols use, evenly: 0.6 and 2.5 bits a symbol."""
CHANNELS = 128
_REACH = 60


@dataclass(frozen=True)
class Case:
    """Symbols and what they are coded with.

    Attributes:
        name: lo, hi or factorized.
        symbols: int16, shape (n,); of factorized (CHANNELS, n / CHANNELS).
        index: uint8, shape as symbols: the table of each.
        pmf: of the tables of factorized, shape (CHANNELS, 2 * 60 + 1), for -60 to 60; None for Gaussians.
        ideal_bits: -log2 of the probability of the symbols under the model itself.
    """

    name: str
    symbols: npt.NDArray[np.int16]
    index: npt.NDArray[np.uint8]
    pmf: npt.NDArray[np.float64] | None
    ideal_bits: float


def make_case(name: str, n: int, seed: int = 1) -> Case:
    """Draw ``n`` symbols; of factorized, ``n`` rounded up to a multiple of CHANNELS."""
    rng = np.random.default_rng(seed)
    return _factorized(rng, n) if name == "factorized" else _gaussian(rng, name, n)


def _gaussian(rng: np.random.Generator, name: str, n: int) -> Case:
    first, last = GAUSSIAN_RANGES[name]
    index = rng.integers(first, last + 1, n).astype(np.uint8)
    scale = SCALES[index]
    symbols = np.rint(rng.standard_normal(n) * scale).astype(np.int16)
    magnitude = np.abs(symbols.astype(np.float64))
    probability = ndtr((0.5 - magnitude) / scale) - ndtr((-0.5 - magnitude) / scale)
    return Case(name, symbols, index, None, float(-np.log2(probability).sum()))


def _factorized(rng: np.random.Generator, n: int) -> Case:
    """Laplacians of several widths and centres, as the channels of a hyper-latent have them."""
    size = -(-n // CHANNELS)
    values = np.arange(-_REACH, _REACH + 1)
    width = rng.permutation(np.geomspace(0.15, 4, CHANNELS))[:, None]
    pmf = np.exp(-np.abs(values - rng.uniform(-2, 2, (CHANNELS, 1))) / width)
    pmf /= pmf.sum(axis=1, keepdims=True)
    symbols = np.empty((CHANNELS, size), np.int16)
    for channel, row in enumerate(pmf):
        symbols[channel] = rng.choice(values, size, p=row)
    index = np.repeat(np.arange(CHANNELS, dtype=np.uint8), size).reshape(CHANNELS, size)
    bits = float(-np.log2(np.take_along_axis(pmf, symbols.astype(np.int64) + _REACH, axis=1)).sum())
    return Case("factorized", symbols, index, pmf, bits)


def peer_cdfs(case: Case) -> dict[str, Any]:
    """CDFs of 16 bits by CompressAI's own functions, for all peers that take such: ``cdf``, ``length`` and
    ``offset``, int32 tensors in CompressAI's layout."""
    if case.pmf is None:
        return _gaussian_cdfs()
    import torch
    from compressai._CXX import pmf_to_quantized_cdf

    rows = [pmf_to_quantized_cdf([*row, 1e-9], 16) for row in case.pmf.tolist()]
    return {"cdf": torch.tensor(rows, dtype=torch.int32),
            "length": torch.full((len(rows),), len(rows[0]), dtype=torch.int32),
            "offset": torch.full((len(rows),), -_REACH, dtype=torch.int32)}


@functools.cache
def _gaussian_cdfs() -> dict[str, Any]:
    from compressai.entropy_models import GaussianConditional

    gaussian = GaussianConditional(SCALES.tolist())
    gaussian.update()
    return {"cdf": gaussian.quantized_cdf, "length": gaussian.cdf_length, "offset": gaussian.offset}
