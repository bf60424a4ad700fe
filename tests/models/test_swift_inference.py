"""The networks of swift in C++ are those of torch: the same bytes, symbols, fields and corrections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lvc.entropy.symbols import ReadSymbols, RecordSymbols, WriteSymbols
from lvc.errors import CorruptStreamError
from lvc.models import swiftmotion
from lvc.models.swift import AUX, CONTEXT_MAX, GROUPS, LUMA_GROUPS, SwiftContext, symbol_context
from lvc.models.swiftfilter import AREAS, SIZE_AUX, corrected, filter_input, from_cells, to_cells
from lvc.models.swiftinference import (
    EntropyInference,
    FilterInference,
    FrameContext,
    MotionInference,
    SizesInference,
    SwiftInference,
)
from lvc.models.swiftmodel import SwiftModel
from lvc.ops.blockdct import COEFFICIENTS, quantizer_step
from lvc.weights import freeze

MakeSwift = Callable[..., SwiftModel]
SHAPES = [(1, 1), (1, 9), (5, 3), (19, 26)]


@pytest.fixture(scope="module", params=[{}, {"entropy_width": 40, "filter_width": 24, "filter_layers": 2}])
def model(make_swift: MakeSwift, request: pytest.FixtureRequest) -> SwiftModel:
    made = make_swift(3, **request.param)
    freeze(made)
    return made.eval().requires_grad_(False)


def bytes_of(x: Tensor) -> Any:
    """(1, C, h, w) -> uint8 (h, w, C)."""
    return np.ascontiguousarray(x[0].permute(1, 2, 0).numpy(), np.uint8)


def contexts(shape: tuple[int, int], quality: int) -> tuple[SwiftContext, FrameContext]:
    generator = torch.Generator().manual_seed(quality)
    parts = [torch.randint(0, CONTEXT_MAX + 1, (1, c, *shape), generator=generator).float()
             for c in (COEFFICIENTS, COEFFICIENTS, AUX)]
    return SwiftContext(*parts, torch.tensor([quality])), FrameContext(*map(bytes_of, parts), quality)


def symbols_of(shape: tuple[int, int], largest: float = 6.0) -> Any:
    rng = np.random.default_rng(0)
    scale = rng.choice([0.0, 0.2, 1.0], (*shape, 1)) / (1 + np.arange(COEFFICIENTS) % 64)
    symbols = np.round(rng.laplace(size=(*shape, COEFFICIENTS)) * largest * scale).astype(np.int16)
    symbols[0, 0, 0] = 300  # an escape, beyond the table of contexts
    return symbols


def tensor_of(symbols: Any) -> Tensor:
    return torch.from_numpy(symbols.astype(np.float32)).permute(2, 0, 1)[None]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@torch.inference_mode()
def test_entropy_writes_the_same_bytes_and_reads_them(model: SwiftModel, shape: tuple[int, int]) -> None:
    symbols = symbols_of(shape)
    for quality, threads in ((0, 1), (35, 2), (63, 1)):
        theirs, ours = contexts(shape, quality)
        torch_coder, coder = WriteSymbols(), WriteSymbols()
        model.entropy(torch_coder, tensor_of(symbols), theirs)
        network = EntropyInference(model.entropy, threads)
        written, known = network.code(coder, symbols, ours)
        data = coder.finish()
        assert data == torch_coder.finish()
        np.testing.assert_array_equal(written, symbols)
        np.testing.assert_array_equal(known, bytes_of(symbol_context(tensor_of(symbols))))
        reader = ReadSymbols(data)
        read, known_too = network.code(reader, None, ours)
        reader.close()
        np.testing.assert_array_equal(read, symbols)
        np.testing.assert_array_equal(known_too, known)


@torch.inference_mode()
def test_indices_are_those_of_the_encoder(model: SwiftModel) -> None:
    theirs, ours = contexts((13, 10), 20)
    symbols = symbols_of((13, 10))
    record = RecordSymbols()
    model.entropy(record, tensor_of(symbols), theirs)
    flags, groups = EntropyInference(model.entropy, 2).indices(symbols, ours)
    for k, group in enumerate(groups):
        np.testing.assert_array_equal(group, bytes_of(record.calls[-len(GROUPS) + k][0]))
    calls = record.calls[: -len(GROUPS)]
    for start in range(0, len(calls), len(GROUPS)):
        phase = calls[start][1][0, 0].numpy()
        for k in range(len(GROUPS)):
            np.testing.assert_array_equal(flags[:, :, k][phase], calls[start + k][0][0, 0].numpy()[phase])


def test_damaged_symbols_raise_only_what_they_should(model: SwiftModel) -> None:
    _, context = contexts((6, 7), 30)
    network = EntropyInference(model.entropy)
    coder = WriteSymbols()
    network.code(coder, symbols_of((6, 7)), context)
    data = coder.finish()
    rng = np.random.default_rng(5)
    damaged = 0
    for _ in range(100):
        other = bytearray(data[: rng.integers(1, len(data) + 1)])
        other[rng.integers(len(other))] ^= 1 << rng.integers(8)
        try:
            reader = ReadSymbols(bytes(other))
            network.code(reader, None, context)
            reader.close()
        except CorruptStreamError:
            damaged += 1
    assert damaged > 90
    with pytest.raises(ValueError, match="beyond"):
        network.code(WriteSymbols(), np.full((6, 7, COEFFICIENTS), -(2**15), np.int16), context)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@torch.inference_mode()
def test_filter_gives_the_same_samples(model: SwiftModel, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    assert model.filter is not None
    h, w = shape
    size_aux = rng.integers(0, CONTEXT_MAX + 1, (h, w, SIZE_AUX)).astype(np.uint8)

    def cells(planes: Any) -> Tensor:
        y, u, v = (torch.from_numpy(p.astype(np.float64))[None, None] for p in planes)
        return to_cells(y, u, v)

    changed = 0
    for quality, noise in ((0, 60), (40, 9), (63, 300)):
        step = quantizer_step(quality)
        predicted = tuple(rng.integers(0, 256, (h * n, w * n)).astype(np.uint8) for n in (8, 4, 4))
        decoded = tuple(np.clip(p + np.rint(rng.normal(0, noise, p.shape)), 0, 255).astype(np.uint8)
                        for p in predicted)
        steps = torch.tensor([step])
        x = filter_input(cells(decoded), cells(predicted), tensor_of(size_aux), torch.tensor([quality]), steps)
        expected = from_cells(corrected(cells(decoded), model.filter(x), steps))
        for threads in (1, 2):
            got = FilterInference(model.filter, threads)(decoded, predicted, size_aux, quality, step)
            for plane, right, before in zip(got, expected, decoded, strict=True):
                np.testing.assert_array_equal(plane, right[0, 0].numpy())
                changed += np.count_nonzero(plane != before)
        where = rng.random(shape) < 0.3
        some = FilterInference(model.filter, 2)(decoded, predicted, size_aux, quality, step, where)
        for plane, everywhere, before, side in zip(some, got, decoded, (8, 4, 4), strict=True):
            inside = where.repeat(side, 0).repeat(side, 1)
            np.testing.assert_array_equal(plane, np.where(inside, everywhere, before))
    assert changed


def test_areas_of_the_filter_are_coded_alike(model: SwiftModel) -> None:
    assert model.filter is not None
    for area in range(len(AREAS)):
        torch_coder, coder = WriteSymbols(), WriteSymbols()
        model.filter.code_area(torch_coder, area)
        network = FilterInference(model.filter)
        assert network.code_area(coder, area) == area
        data = coder.finish()
        assert data == torch_coder.finish()
        assert network.code_area(ReadSymbols(data), None) == area


def sizes_of(shape: tuple[int, int], seed: int) -> Any:
    """A quad-tree of squares within the picture."""
    rng = np.random.default_rng(seed)
    h, w = shape
    sizes = np.full(shape, 8, np.uint8)
    for size in (16, 32):
        f = size // 8
        for y in range(0, h // f * f, f):
            for x in range(0, w // f * f, f):
                if rng.random() < 0.4:
                    sizes[y : y + f, x : x + f] = size
    return sizes


@pytest.mark.parametrize("shape", [*SHAPES, (3, 40)], ids=str)
@torch.inference_mode()
def test_sizes_write_the_same_bytes_and_are_read(model: SwiftModel, shape: tuple[int, int]) -> None:
    def tensor(sizes: Any) -> Any:
        return None if sizes is None else torch.from_numpy(sizes.astype(np.float32))[None, None]

    sizes, motion = sizes_of(shape, 0), sizes_of(shape, 1)
    for quality, former in ((10, None), (50, sizes_of(shape, 2))):
        theirs, ours = contexts(shape, quality)
        torch_coder, coder = WriteSymbols(), WriteSymbols()
        model.sizes(torch_coder, tensor(sizes), theirs, tensor(motion), tensor(former))
        network = SizesInference(model.sizes, 2)
        np.testing.assert_array_equal(network.code(coder, sizes, ours, motion, former), sizes)
        data = coder.finish()
        assert data == torch_coder.finish()
        reader = ReadSymbols(data)
        np.testing.assert_array_equal(network.code(reader, None, ours, motion, former), sizes)
        reader.close()
        for size in (16, 32):
            if min(shape) >= size // 8:
                bits = model.sizes.flag_bits(size, theirs, tensor(motion), tensor(former))[0]
                index = torch.from_numpy(network.index(ours, motion, former, size)).float()
                flags = model.sizes.flag_distribution
                assert torch.equal(bits, torch.stack([flags.bits(torch.full_like(index, v), index) for v in (0, 1)]))


def field_of(shape: tuple[int, int], seed: int) -> tuple[Any, Any]:
    """A field with squares of all sizes; a few vectors are far and wide."""
    rng = np.random.default_rng(seed)
    h, w = shape
    sizes = np.zeros(shape, np.uint8)
    field = np.zeros((2, *shape), np.int16)
    for y in range(0, h, 4):
        for x in range(0, w, 4):
            whole = rng.random() < 0.5
            for i in range(2):
                for j in range(2):
                    half = whole or rng.random() < 0.5
                    for a, b in np.ndindex(2, 2):
                        at = np.s_[y + 2 * i + a, x + 2 * j + b]
                        if at[0] < h and at[1] < w:
                            sizes[at] = 32 if whole else 16 if half else 8
    names = np.arange(h)[:, None] // (sizes // 8) * 1000 + np.arange(w) // (sizes // 8)
    for name in np.unique(names):
        for size in (8, 16, 32):
            place = (names == name) & (sizes == size)
            vector = rng.choice([0, 0, 4, -9]) + rng.integers(-2, 3, 2)
            if rng.random() < 0.05:
                vector = rng.integers(-swiftmotion.VECTOR_MAX, swiftmotion.VECTOR_MAX + 1, 2)
            field[:, place] = vector[:, None]
    return field, sizes


@pytest.mark.parametrize("shape", [*SHAPES, (40, 35)], ids=str)
@torch.inference_mode()
def test_motion_writes_the_same_bytes_and_reads_them(model: SwiftModel, shape: tuple[int, int]) -> None:
    field, sizes = field_of(shape, 0)
    for former, former_sizes in ((None, None), field_of(shape, 1)):
        arguments = shape, 25, former, former_sizes
        torch_coder, coder = WriteSymbols(), WriteSymbols()
        model.motion(torch_coder, field, sizes, *arguments)
        network = MotionInference(model.motion)
        network.code(coder, field, sizes, *arguments)
        data = coder.finish()
        assert data == torch_coder.finish()
        reader = ReadSymbols(data)
        read, read_sizes = network.code(reader, None, None, *arguments)
        reader.close()
        np.testing.assert_array_equal(read, field)
        np.testing.assert_array_equal(read_sizes, sizes)


@torch.inference_mode()
def test_compound_writes_the_same_bytes_and_reads_them(make_swift: MakeSwift) -> None:
    model = make_swift(5, references=2)
    freeze(model)
    shape = (23, 18)
    field, sizes = field_of(shape, 0)
    rng = np.random.default_rng(3)
    wanted = np.zeros(shape, np.bool_)
    for y, x in np.ndindex(shape):
        n = sizes[y, x] // 8
        wanted[y, x] = wanted[y // n * n, x // n * n] if (y % n or x % n) else rng.random() < 0.5
    for former in (None, rng.random(shape) < 0.5):
        context = swiftmotion.CompoundContext(field, sizes, rng.integers(-99, 99, (2, *shape)).astype(np.int16),
                                              rng.integers(0, 3000, shape), former, 4, 33)
        torch_coder, coder = WriteSymbols(), WriteSymbols()
        model.motion.code_compound(torch_coder, wanted, context)
        network = MotionInference(model.motion)
        np.testing.assert_array_equal(network.code_compound(coder, wanted, context), wanted)
        data = coder.finish()
        assert data == torch_coder.finish()
        reader = ReadSymbols(data)
        np.testing.assert_array_equal(network.code_compound(reader, None, context), wanted)
        reader.close()


def test_flags_and_groups_are_told_apart_by_plane() -> None:
    """What C++ is told of the groups is what the model has."""
    assert [a for a, _ in GROUPS] == [0, *(b for _, b in GROUPS[:-1])]
    assert len(LUMA_GROUPS) < len(GROUPS)


def test_a_model_without_filter_has_none(make_swift: MakeSwift) -> None:
    model = make_swift(filter_layers=0)
    freeze(model)
    assert SwiftInference(model.eval()).filter is None
