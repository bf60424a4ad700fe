"""What streams cost beyond the ideal code length: of the intervals, and of the model itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from lvc.coding import Encoder, code_length, factorized_tables, gaussian_tables

SCALES = np.geomspace(0.11, 64, 64)


def gaussian_symbols(rng, n, low, high):
    index = rng.integers(low, high, n).astype(np.uint8)
    return np.rint(rng.standard_normal(n) * SCALES[index]).astype(np.int16), index


@pytest.mark.parametrize(("low", "high"), [(0, 25), (25, 50), (0, 64)])
def test_overhead_is_a_few_bytes(low, high):
    """Over the intervals: at most 3.7 bytes in one lane, 0.3 % with more; and 0.05 % at 300 KB."""
    tables = gaussian_tables(SCALES)
    rng = np.random.default_rng(2)
    for n in (1, 10, 500, 5_000, 40_000, 600_000):
        symbols, index = gaussian_symbols(rng, n, low, high)
        encoder = Encoder(tables)
        encoder.push(symbols, index)
        size, ideal = len(encoder.finish()), code_length(symbols, index, tables) / 8
        assert ideal <= size + 1e-6
        assert size <= ideal * (1.0005 if ideal > 300_000 else 1.003) + 3.7


def gaussian_bits(symbols, index):
    """The ideal code length under the Gaussians themselves, in bits."""
    magnitude = np.abs(symbols.astype(float))
    scale = SCALES[index]
    return float(-np.log2(ndtr((0.5 - magnitude) / scale) - ndtr((-0.5 - magnitude) / scale)).sum())


@pytest.mark.parametrize(("low", "high", "n"), [(0, 28, 2_500_000), (16, 44, 900_000)])
def test_overhead_over_the_model(low, high, n):
    """What the issue asks: 0.1 % over the ideal code length of the model at 300 KB, tables of 14 bits
    included."""
    symbols, index = gaussian_symbols(np.random.default_rng(3), n, low, high)
    ideal = gaussian_bits(symbols, index) / 8
    assert ideal > 250_000
    encoder = Encoder(gaussian_tables(SCALES))
    encoder.push(symbols, index)
    assert len(encoder.finish()) <= ideal * 1.001


def test_overhead_over_factorized_models():
    """The same for Laplacians of several widths and centres, tables of factorized models: 0.1 % at 300 KB."""
    rng = np.random.default_rng(6)
    values, width = np.arange(-60, 61), np.geomspace(0.15, 4, 128)[:, None]
    pmf = np.exp(-np.abs(values - rng.uniform(-2, 2, (128, 1))) / width)
    pmf /= pmf.sum(axis=1, keepdims=True)
    symbols = np.stack([rng.choice(values, 9_000, p=row) for row in pmf]).astype(np.int16)
    ideal = -np.log2(np.take_along_axis(pmf, symbols.astype(int) + 60, axis=1)).sum() / 8
    assert ideal > 250_000
    encoder = Encoder(factorized_tables(pmf, np.full(128, -60)))
    encoder.push_channels(symbols)
    assert len(encoder.finish()) <= ideal * 1.0006


def test_overhead_over_the_model_on_small_streams():
    """At most 4 bytes on streams of 500 symbols, in the mean and (but for the rare escape) each."""
    tables = gaussian_tables(SCALES)
    rng = np.random.default_rng(4)
    over = []
    for _ in range(200):
        symbols, index = gaussian_symbols(rng, 500, 0, 64)
        encoder = Encoder(tables)
        encoder.push(symbols, index)
        over.append(len(encoder.finish()) - gaussian_bits(symbols, index) / 8)
    assert np.mean(over) <= 4
    assert np.percentile(over, 95) <= 4.5
