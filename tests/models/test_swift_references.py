"""Flags of squares predicted by two references: what is written is read, and costs what training counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from lvc.entropy.symbols import EstimateSymbols, ReadSymbols, WriteSymbols
from lvc.models.swift import CONTEXT_MAX
from lvc.models.swiftmodel import SwiftModel
from lvc.models.swiftmotion import CompoundContext, SwiftMotion, compound_features
from lvc.weights import freeze
from tests.models.inventions import Draw, tree_field

MakeSwift = Callable[..., SwiftModel]
SHAPES = [(1, 1), (1, 9), (5, 3), (37, 29)]


def compound_context(shape: tuple[int, int], seed: int = 0, with_former: bool = True,
                     **changes: Any) -> CompoundContext:
    rng = np.random.default_rng(seed)
    field, sizes = tree_field(shape, seed)
    values: dict[str, Any] = {
        "field": field, "sizes": sizes, "second": tree_field(shape, seed + 1)[0],
        "difference": rng.integers(0, 60000, shape), "former": rng.random(shape) < 0.4 if with_former else None,
        "age": int(rng.integers(2, 9)), "quality": int(rng.integers(0, 64))}
    return CompoundContext(**{**values, **changes})


def flags_for(sizes: npt.NDArray[np.uint8], seed: int, share: float = 0.4) -> npt.NDArray[np.bool_]:
    """Flags that are the same in all blocks of a square."""
    n = sizes.astype(int) // 8
    i, j = np.indices(sizes.shape)
    drawn = np.random.default_rng(seed).random(sizes.shape) < share
    return np.asarray(drawn[i // n * n, j // n * n])


def compound_round_trip(model: SwiftMotion, flags: npt.NDArray[np.bool_], context: CompoundContext) -> bytes:
    writer = WriteSymbols()
    with torch.inference_mode():
        written = model.code_compound(writer, flags, context)
        data = writer.finish()
        reader = ReadSymbols(data)
        got = model.code_compound(reader, None, context)
        reader.close()
    for result in (written, got):
        np.testing.assert_array_equal(result, flags)
        assert result.dtype == np.bool_
    return data


@pytest.fixture(scope="module")
def two_references(make_swift: MakeSwift) -> SwiftMotion:
    model = make_swift(references=2)
    freeze(model)
    return model.eval().motion


@pytest.mark.parametrize("former", [False, True])
@pytest.mark.parametrize("shape", [*SHAPES, (4, 4), (2, 33)], ids=str)
def test_compound_flags_are_read_as_written(
    two_references: SwiftMotion, shape: tuple[int, int], former: bool
) -> None:
    for seed in (0, 1):
        context = compound_context(shape, seed, former)
        for share in (0.0, 0.4, 1.0):
            compound_round_trip(two_references, flags_for(context.sizes, seed, share), context)


def test_all_that_is_known_of_compound_flags_matters(two_references: SwiftMotion) -> None:
    context, other = compound_context((21, 30)), compound_context((21, 30), 5)
    flags = flags_for(context.sizes, 0)
    streams = {compound_round_trip(two_references, flags, context)}
    changes = {"former": other.former, "second": other.second, "difference": other.difference, "quality": 63,
               "age": 2 if context.age > 4 else 7}
    for name, value in changes.items():
        streams.add(compound_round_trip(two_references, flags, compound_context((21, 30), **{name: value})))
    assert len(streams) == 1 + len(changes)


def test_features_of_compound_flags_fit_the_network() -> None:
    """Integers of magnitude 63 at most, whatever the field; neighbours count where they are known and inside."""
    rng = np.random.default_rng(0)
    shape = (9, 10)
    extreme = rng.choice(np.array([-32768, 32767], np.int16), (2, 2, *shape))
    context = compound_context(shape, field=extreme[0], second=extreme[1],
                               difference=np.full(shape, 64 * 255 * 64 // 48), age=60, quality=63)
    ys, xs = (a.ravel().astype(np.int32) for a in np.indices(shape))
    flags, known = rng.random((2, *shape)) < 0.5
    for side in (4, 2, 1):
        features = compound_features(context, flags, known, ys, xs, side)
        assert np.abs(features).max() == CONTEXT_MAX
        for n, (i, j) in enumerate(zip(ys, xs, strict=True)):
            for k, (a, b) in enumerate(((-1, 0), (0, -1), (side, 0), (0, side))):
                y, x = i + a, j + b
                inside = 0 <= y < shape[0] and 0 <= x < shape[1]
                assert features[n, k] == ((63 if flags[y, x] else -63) if inside and known[y, x] else 0)


def test_parameters_of_compound_flags_learn(make_swift: MakeSwift) -> None:
    model = make_swift(references=2).motion
    context = compound_context((12, 12))
    coder = EstimateSymbols(torch.ones(1))
    model.code_compound(coder, flags_for(context.sizes, 0), context)
    assert isinstance(coder.loss, Tensor)
    coder.loss.backward()
    for name, parameter in model.compound.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_estimated_bits_of_compound_flags_are_the_bytes(two_references: SwiftMotion) -> None:
    context = compound_context((121, 133))
    with torch.inference_mode():
        flags = two_references.code_compound(Draw(), None, context)
        coder = EstimateSymbols(torch.ones(1))
        two_references.code_compound(coder, flags, context)
    bits = float(torch.stack(coder.bits).sum())
    data = compound_round_trip(two_references, flags, context)
    assert len(data) > 60
    assert 8 * len(data) == pytest.approx(bits, rel=0.02, abs=64)
