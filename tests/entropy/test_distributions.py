"""Learned tables of distributions: what training counts is what the range coder writes, gradients lead down."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lvc.coding import code_length
from lvc.entropy.coders import SYMBOL_MAX
from lvc.entropy.distributions import TableDistribution
from lvc.entropy.scales import N_SCALES, logistic_bits
from lvc.entropy.symbols import EstimateSymbols, ReadSymbols, RecordSymbols, WriteSymbols
from lvc.errors import CorruptStreamError

SHAPES = [(1, False), (6, True), (18, True), (5, False)]


def build(reach: int, signed: bool, seed: int = 0) -> TableDistribution:
    """With tables that are not those it starts with."""
    torch.manual_seed(seed)
    distribution = TableDistribution(reach, signed)
    with torch.no_grad():
        distribution.logits.add_(torch.randn_like(distribution.logits) * 0.3)
    return distribution


def draw(distribution: TableDistribution, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Values (1, 1, 1, n) out of the distributions of random indices; escapes hold one more than the reach."""
    rng = np.random.default_rng(seed)
    index = rng.integers(0, N_SCALES, n)
    cumulated = torch.softmax(distribution.logits.detach().double(), 1).cumsum(1).numpy()[index]
    value = np.minimum((rng.random(n)[:, None] > cumulated).sum(1), distribution.reach + 1)
    if distribution.signed:
        value = value * rng.choice([-1, 1], n)
    return tuple(torch.from_numpy(a).float().reshape(1, 1, 1, n) for a in (value, index))  # type: ignore[return-value]


def everywhere(value: Tensor) -> Tensor:
    return torch.ones_like(value, dtype=torch.bool)


@pytest.mark.parametrize(("reach", "signed"), SHAPES)
def test_bits_are_those_of_the_table(reach: int, signed: bool) -> None:
    """-log2 of softmax by numpy; one bit of sign; a bit and two per doubling of what an escape is beyond."""
    distribution = build(reach, signed)
    logits = distribution.logits.detach().double().numpy()
    table = -np.log2(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
    np.testing.assert_allclose(distribution.bits_table().detach().numpy(), table, rtol=1e-5, atol=1e-5)
    for row, magnitude, sign in itertools.product((0, 31, 63), range(reach + 9), (-1, 1)):
        beyond = magnitude - reach
        expected = table[row, min(magnitude, reach + 1)] + (signed and magnitude > 0)
        if beyond > 0:
            expected += 2 * (beyond.bit_length() - 1) + 1
        got = distribution.bits(torch.tensor([float(sign * magnitude)]), torch.tensor([float(row)]))
        assert got.item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("reach", "signed"), SHAPES)
def test_training_bits_are_bits(reach: int, signed: bool) -> None:
    """By sample, under the mask, and weighted in the loss."""
    distribution = build(reach, signed)
    generator = torch.Generator().manual_seed(0)
    value = torch.randint(-reach - 4, reach + 5, (3, 4, 5, 6), generator=generator).float()
    value = value if signed else value.abs()
    index = torch.randint(0, N_SCALES, value.shape, generator=generator).float()
    mask = torch.rand(value.shape, generator=generator) < 0.6
    mask[1] = False
    weight = torch.tensor([0.5, 7.0, 2.0])
    loss, bits = distribution.training_bits(value, index, mask, weight)
    expected = (distribution.bits(value, index) * mask).sum((1, 2, 3))
    torch.testing.assert_close(bits, expected, rtol=1e-5, atol=1e-3)
    assert bits[1] == 0
    # An escape's surplus over its table entry has no gradient, so the loss does not hold it.
    extra = (distribution._extra(value.abs()) * mask).sum((1, 2, 3))
    assert loss.item() == pytest.approx(float((weight * (expected - extra)).sum()), rel=1e-5)
    assert not bits.requires_grad


def test_gradient_of_the_table_by_finite_differences() -> None:
    distribution = build(4, True).double()
    value, index = draw(distribution, 300)
    mask, weight = torch.rand(value.shape, generator=torch.Generator().manual_seed(1)) < 0.8, torch.tensor([1.7])
    index = torch.remainder(index, 5)  # many values a row

    def loss() -> Tensor:
        total, _ = distribution.training_bits(value.double(), index.double(), mask, weight.double())
        return total

    loss().backward()
    gradient = distribution.logits.grad
    assert gradient is not None
    assert (gradient[5:] == 0).all()
    delta = 1e-5
    for row, column in itertools.product(range(5), range(distribution.reach + 2)):
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                distribution.logits[row, column] += sign * delta
                ends.append(loss().item())
                distribution.logits[row, column] -= sign * delta
        assert (ends[0] - ends[1]) / (2 * delta) == pytest.approx(gradient[row, column].item(), rel=1e-4, abs=1e-4)


def test_gradient_of_the_index_is_the_slope_of_the_table() -> None:
    """Half the difference between both neighbours: down for zeros, up for large values, none beyond the mask."""
    distribution = TableDistribution(6, True)
    value = torch.tensor([0.0, 6.0, -6.0, 0.0, 3.0]).reshape(1, 1, 1, -1)
    index = torch.tensor([30.0, 30.0, 30.0, 63.0, 20.0]).reshape(1, 1, 1, -1).requires_grad_()
    mask = torch.tensor([True, True, True, True, False]).reshape(1, 1, 1, -1)
    loss, _ = distribution.training_bits(value, index, mask, torch.tensor([3.0]))
    loss.backward()
    assert index.grad is not None
    got = index.grad.flatten().tolist()
    assert got[0] > 0 > got[1]  # zeros want a smaller scale, others a larger one
    assert got[1] == got[2]
    assert got[4] == 0
    bits = distribution.bits
    for place, row, low, high in ((0, 30.0, 29.0, 31.0), (1, 30.0, 29.0, 31.0), (3, 63.0, 62.0, 63.0)):
        v = value.flatten()[place : place + 1]
        ends = [bits(v, torch.tensor([r])).item() for r in (low, high)]
        assert got[place] == pytest.approx(3.0 * 0.5 * (ends[1] - ends[0]), rel=1e-3), row


@pytest.mark.parametrize(("reach", "signed"), SHAPES)
def test_descent_fits_the_table(reach: int, signed: bool) -> None:
    """Rows become the frequencies of what was coded with them."""
    target, learner = build(reach, signed, 1), TableDistribution(reach, signed)
    value, index = draw(target, 1500)
    index = torch.remainder(index, 3)
    optimizer = torch.optim.Adam(learner.parameters(), 0.2)
    for _ in range(150):
        loss, _ = learner.training_bits(value, index, everywhere(value), torch.ones(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for row in range(3):
        seen = value.abs()[index == row].long().clamp(max=reach + 1)
        frequency = torch.bincount(seen, minlength=reach + 2) / len(seen)
        torch.testing.assert_close(torch.softmax(learner.logits.detach(), 1)[row], frequency, rtol=0, atol=0.02)


def test_starts_as_a_logistic_of_rising_scale() -> None:
    distribution = TableDistribution(18, True)
    magnitudes = torch.arange(19.0).expand(N_SCALES, 19)
    index = torch.arange(float(N_SCALES))[:, None].expand(N_SCALES, 19)
    expected = logistic_bits(magnitudes, index)
    got = distribution.bits(magnitudes, index).detach()
    near = (expected < 20) & (index < 40)  # tables of large scales lose what lies beyond them
    assert near.sum() > 100
    assert (got - expected)[near].abs().max() < 0.1
    flags = TableDistribution(1, False).bits_table().detach()[:, :2].exp2().reciprocal()
    assert (flags[1:, 1] > flags[:-1, 1]).all()
    assert flags[40].tolist() == pytest.approx([0.5, 0.5], abs=1e-4)


@pytest.mark.parametrize(("reach", "signed"), SHAPES)
def test_bytes_are_the_bits(reach: int, signed: bool) -> None:
    """What the range coder writes with the frozen tables is within 1 % of what training counts."""
    distribution = build(reach, signed)
    distribution.freeze()
    value, index = draw(distribution, 30000)
    mask = everywhere(value)
    estimate, writer = EstimateSymbols(torch.ones(1)), WriteSymbols()
    assert torch.equal(estimate.symbols(value, index, mask, distribution), value)
    writer.symbols(value, index, mask, distribution)
    data = writer.finish()
    bits = float(estimate.bits[0])
    assert 8 * len(data) == pytest.approx(bits, rel=0.01)
    exact = code_length(value.to(torch.int32).numpy(), index.to(torch.uint8).numpy(), distribution.cdf)
    assert exact == pytest.approx(bits, rel=0.01)
    reader = ReadSymbols(data)
    assert torch.equal(reader.symbols(None, index, mask, distribution), value)
    reader.close()


def test_escapes_of_any_size() -> None:
    """Large values cost about twice their logarithm, and come back; so do the largest."""
    distribution = build(6, True)
    distribution.freeze()
    rng = np.random.default_rng(0)
    sizes = np.round(np.exp2(rng.uniform(3, 15, 2000))).clip(0, SYMBOL_MAX) * rng.choice([-1, 1], 2000)
    sizes[:2] = SYMBOL_MAX, -SYMBOL_MAX
    value = torch.from_numpy(sizes).float().reshape(1, 1, 1, -1)
    index = torch.full_like(value, 63.0)
    writer = WriteSymbols()
    writer.symbols(value, index, everywhere(value), distribution)
    data = writer.finish()
    bits = float(distribution.bits(value, index).sum())
    assert 0.99 * bits < 8 * len(data) < bits + len(sizes)  # estimates leave out up to a bit of each
    reader = ReadSymbols(data)
    assert torch.equal(reader.symbols(None, index, everywhere(value), distribution), value)
    reader.close()


@pytest.mark.parametrize("value", [SYMBOL_MAX + 1, -SYMBOL_MAX - 1, 2**31 - 1, -(2**31)])
def test_symbols_beyond_the_limit_are_refused(value: int) -> None:
    distribution = build(6, True)
    distribution.freeze()
    writer = WriteSymbols()
    writer._encoder.push(np.array([value], np.int32), np.array([9], np.uint8), distribution.cdf)
    index = torch.full((1, 1, 1, 1), 9.0)
    with pytest.raises(CorruptStreamError, match="beyond"):
        ReadSymbols(writer.finish()).symbols(None, index, everywhere(index), distribution)


def test_only_what_the_mask_shows_is_coded() -> None:
    """All coders give zero elsewhere; nothing under the mask is nothing written, and read from nothing."""
    distribution = build(6, True)
    distribution.freeze()
    generator = torch.Generator().manual_seed(3)
    shape = (1, 4, 7, 5)
    value = torch.randint(-9, 10, shape, generator=generator).float()
    index = torch.randint(0, N_SCALES, shape, generator=generator).float()
    for mask in (torch.rand(shape, generator=generator) < 0.5, torch.zeros(shape, dtype=torch.bool)):
        expected = torch.where(mask, value, torch.zeros(()))
        writer, record = WriteSymbols(), RecordSymbols()
        coders: list[Any] = [writer, record, EstimateSymbols(torch.ones(1))]
        for coder in coders:
            assert torch.equal(coder.symbols(value, index, mask, distribution), expected)
        assert torch.equal(record.calls[0][0], index)
        assert torch.equal(record.calls[0][1], mask)
        data = writer.finish()
        assert bool(data) == bool(mask.any())
        hidden = torch.where(mask, index, torch.zeros(()))  # indices beyond the mask do not matter
        reader = ReadSymbols(data)
        assert torch.equal(reader.symbols(None, hidden, mask, distribution), expected)
        reader.close()


def test_estimates_of_several_calls_add_up() -> None:
    distribution = build(6, True)
    coder = EstimateSymbols(torch.tensor([1.0, 2.0]))
    value = torch.tensor([3.0, -1.0]).reshape(2, 1, 1, 1)
    index = torch.full_like(value, 25.0)
    single, bits = distribution.training_bits(value, index, everywhere(value), coder.weight)
    for _ in range(3):
        coder.symbols(value, index, everywhere(value), distribution)
    assert torch.as_tensor(coder.loss).item() == pytest.approx(3 * single.item(), rel=1e-5)
    assert len(coder.bits) == 3
    assert all(torch.equal(b, bits) for b in coder.bits)


def test_tables_must_be_frozen_first() -> None:
    with pytest.raises(RuntimeError, match="no integer tables"):
        _ = TableDistribution(3, True).cdf


def test_frozen_tables_cover_the_reach() -> None:
    for reach, signed in SHAPES:
        distribution = build(reach, signed)
        distribution.freeze()
        tables = distribution.cdf
        assert tables.n_tables == N_SCALES
        assert (tables.lengths <= (2 * reach + 1 if signed else reach + 1) + 2).all()
        assert (tables.offsets >= (-reach if signed else 0)).all()
