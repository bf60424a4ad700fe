"""The in-loop filter of swift: exact integers, by brute force in plain numpy, and nothing at the start."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from lvc.entropy.symbols import EstimateSymbols, ReadSymbols, WriteSymbols
from lvc.models.swiftfilter import (
    AREAS,
    CELL,
    SIZE_AUX,
    SwiftFilter,
    corrected,
    filter_input,
    from_cells,
    to_cells,
)
from lvc.models.swiftmodel import SwiftModel
from lvc.ops.blockdct import quantizer_step
from lvc.ops.integer import IntConv2d
from lvc.weights import SwiftWeights

MakeSwift = Callable[..., SwiftModel]
Ints = npt.NDArray[np.int64]
Planes = tuple[Ints, Ints, Ints]

SHAPES = [(1, 1), (1, 5), (4, 3)]
"""In blocks of 8x8."""


def pictures(shape: tuple[int, int], seed: int, spread: int = 40) -> tuple[Planes, Planes]:
    """What was decoded, and what was predicted: planes of whole blocks, now and then far apart."""
    rng = np.random.default_rng(seed)
    decoded, predicted = [], []
    for n in (8, 4, 4):
        size = shape[0] * n, shape[1] * n
        plane = rng.integers(100 - spread, 100 + spread, size)
        plane[rng.random(size) < 0.1] = rng.choice([0, 255])
        decoded.append(plane.astype(np.int64))
        predicted.append(np.clip(plane + rng.integers(-spread, spread + 1, size), 0, 255).astype(np.int64))
    return tuple(decoded), tuple(predicted)  # type: ignore[return-value]


def sizes_of(shape: tuple[int, int], seed: int) -> Ints:
    return np.random.default_rng(seed).integers(0, 64, (SIZE_AUX, *shape))


def cells_of(planes: Planes) -> Tensor:
    return to_cells(*(torch.from_numpy(p).double()[None, None] for p in planes))


def input_of(decoded: Planes, predicted: Planes, sizes: Ints, quality: int) -> Tensor:
    return filter_input(cells_of(decoded), cells_of(predicted), torch.from_numpy(sizes)[None].float(),
                        torch.tensor([quality]), torch.tensor([quantizer_step(quality)]))


# -- the same in plain integers --------------------------------------------------------------------------


def parts(planes: Planes, i: int, j: int) -> list[Ints]:
    """Samples of a cell, plane by plane; beyond the border those of the nearest cell."""
    h, w = planes[0].shape[0] // 4, planes[0].shape[1] // 4
    i, j = min(max(i, 0), h - 1), min(max(j, 0), w - 1)
    return [p[n * i : n * i + n, n * j : n * j + n].ravel() for p, n in zip(planes, (4, 2, 2), strict=True)]


def reference_input(decoded: Planes, predicted: Planes, sizes: Ints, quality: int) -> Ints:
    step = quantizer_step(quality)
    h, w = decoded[0].shape[0] // 4, decoded[0].shape[1] // 4
    out = np.zeros((2 * CELL + SIZE_AUX + 3, h, w), np.int64)
    for i, j in np.ndindex(h, w):
        own = parts(decoded, i, j)
        near = [parts(decoded, i + a, j + b) for a, b in itertools.product((-1, 0, 1), repeat=2)]
        detail = []
        for k, samples in enumerate(own):
            around, n = sum(int(part[k].sum()) for part in near), 9 * len(samples)
            detail += [(int(v) * n - around) * 512 // (n * step) for v in samples]
        added = [(int(a) - int(b)) * 512 // step
                 for a, b in zip(np.concatenate(own), np.concatenate(parts(predicted, i, j)), strict=True)]
        out[: 2 * CELL, i, j] = np.clip([*detail, *added], -127, 127)
        out[2 * CELL :, i, j] = [*sizes[:, i // 2, j // 2], 64 * (i % 2), 64 * (j % 2), 2 * quality - 63]
    return out


def reference_layer(layer: IntConv2d, x: Ints) -> Ints:
    k, shift = layer.kernel_size, int(layer.shift)
    weight, bias = (v.detach().numpy().astype(np.int64) for v in layer.integers())
    padded = np.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    total = np.zeros((len(weight), *x.shape[1:]), np.int64) + bias[:, None, None]
    for (a, b), column in zip(itertools.product(range(k), repeat=2), np.arange(k * k), strict=True):
        total += np.einsum("oc,chw->ohw", weight[:, column :: k * k], padded[:, a : a + x.shape[1], b : b + x.shape[2]])
    return np.clip(total >> shift, layer.low, layer.high)


def reference_filter(model: SwiftFilter, x: Ints) -> Ints:
    hidden = reference_layer(model.start, x)
    for layer in model.middle:
        assert isinstance(layer, IntConv2d)
        hidden = np.minimum(hidden + reference_layer(layer, hidden), 127)
    return reference_layer(model.end, hidden) + reference_layer(model.direct, x)


def reference_corrected(planes: Planes, correction: Ints, step: int) -> Planes:
    out = [p.copy() for p in planes]
    for i, j in np.ndindex(*correction.shape[1:]):
        for plane, n, part in zip(out, (4, 2, 2), np.split(correction[:, i, j], (16, 20)), strict=True):
            change = (part * step + 2048) >> 12
            plane[n * i : n * i + n, n * j : n * j + n] += change.reshape(n, n)
    return tuple(p.clip(0, 255) for p in out)  # type: ignore[return-value]


# -- tests -----------------------------------------------------------------------------------------------


def filter_of(model: SwiftModel) -> SwiftFilter:
    assert model.filter is not None
    return model.filter


def test_cells_hold_a_picture() -> None:
    planes, _ = pictures((3, 2), 0)
    cells = cells_of(planes)
    assert cells.shape == (1, CELL, 6, 4)
    for i, j in np.ndindex(6, 4):
        assert cells[0, :, i, j].tolist() == np.concatenate(parts(planes, i, j)).tolist()
    for got, want in zip(from_cells(cells), planes, strict=True):
        np.testing.assert_array_equal(got[0, 0].numpy(), want)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("quality", [0, 30, 63])
def test_inputs_are_integer_arithmetic(shape: tuple[int, int], quality: int) -> None:
    decoded, predicted = pictures(shape, quality)
    sizes = sizes_of(shape, 1)
    got = input_of(decoded, predicted, sizes, quality)
    assert got.dtype == torch.float32
    np.testing.assert_array_equal(got[0].numpy(), reference_input(decoded, predicted, sizes, quality))
    assert got.abs().max() <= 127


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_filter_is_integer_arithmetic(swift_weights: SwiftWeights, shape: tuple[int, int]) -> None:
    """From planes to planes, with one thread and with two."""
    model = filter_of(swift_weights.model)
    before = torch.get_num_threads()
    for quality in (5, 60):
        decoded, predicted = pictures(shape, quality)
        sizes, step = sizes_of(shape, 2), quantizer_step(quality)
        expected = reference_filter(model, reference_input(decoded, predicted, sizes, quality))
        planes = reference_corrected(decoded, expected, step)
        try:
            for threads in (1, 2):
                torch.set_num_threads(threads)
                with torch.inference_mode():
                    got = model(input_of(decoded, predicted, sizes, quality))
                    result = from_cells(corrected(cells_of(decoded), got, torch.tensor([step])))
                np.testing.assert_array_equal(got[0].numpy(), expected)
                for plane, want in zip(result, planes, strict=True):
                    np.testing.assert_array_equal(plane[0, 0].numpy(), want)
        finally:
            torch.set_num_threads(before)
        assert expected.any()
        assert any((a != b).any() for a, b in zip(planes, decoded, strict=True))


@pytest.mark.parametrize("spread", [3, 127])
def test_float32_gives_what_float64_gives(swift_weights: SwiftWeights, make_swift: MakeSwift, spread: int) -> None:
    """Up to the largest inputs there are."""
    model, exact = filter_of(swift_weights.model), filter_of(make_swift())
    exact.load_state_dict(model.state_dict())
    exact.eval().double()
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.choice([-spread, spread], (2, 54, 11, 9))).float()
    with torch.inference_mode():
        got, want = model(x), exact(x.double())
    assert torch.equal(got.double(), want)
    assert torch.equal(got, got.round())
    assert got.shape == (2, CELL, 11, 9)
    assert got.abs().max() <= 2046
    assert len(got.unique()) > 20


@pytest.mark.parametrize("rounding", [True, False])
@pytest.mark.parametrize("calibrated", [True, False])
def test_it_starts_as_the_identity(rounding: bool, calibrated: bool) -> None:
    """In integers; and with real numbers but for the 1/256 of a step that rounding down would take."""
    torch.manual_seed(0)
    model = SwiftFilter(8, 2).eval()
    for layer in model.modules():
        if isinstance(layer, IntConv2d):
            layer.rounding = rounding
            if calibrated:
                layer.calibrate()
    decoded, predicted = pictures((4, 5), 3)
    correction = model(input_of(decoded, predicted, sizes_of((4, 5), 0), 40))
    if rounding:
        assert not correction.any()
    assert correction.abs().max() <= 1
    for quality in range(64):
        steps = torch.tensor([quantizer_step(quality)])
        assert rounding is False or torch.equal(corrected(cells_of(decoded), correction, steps), cells_of(decoded))


def test_real_numbers_are_near_the_integers(make_swift: MakeSwift) -> None:
    """Without rounding, a filter gives about what it gives with it: so it can be trained before it is rounded."""
    model = filter_of(make_swift(filter_width=16, filter_layers=3)).eval()
    decoded, predicted = pictures((6, 6), 5)
    x = input_of(decoded, predicted, sizes_of((6, 6), 0), 40)
    results = []
    for rounding in (True, False):
        for layer in model.modules():
            if isinstance(layer, IntConv2d):
                layer.rounding = rounding
        with torch.inference_mode():
            results.append(model(x))
    integer, real = results
    assert torch.equal(integer, integer.round())
    assert not torch.equal(real, real.round())
    assert (integer - real).square().mean() < 0.02 * integer.square().mean() + 2


def test_it_sees_no_absolute_brightness(swift_weights: SwiftWeights) -> None:
    """Samples count relative to their neighbours and their prediction, so a brighter picture changes nothing."""
    model = filter_of(swift_weights.model)
    rng = np.random.default_rng(0)
    decoded: Planes = tuple(rng.integers(60, 160, (4 * n, 4 * n)) for n in (8, 4, 4))  # type: ignore[assignment]
    predicted: Planes = tuple(p - rng.integers(-9, 10, p.shape) for p in decoded)  # type: ignore[assignment]
    sizes = sizes_of((4, 4), 0)

    def brighter(planes: Planes) -> Planes:
        return tuple(p + 37 for p in planes)  # type: ignore[return-value]

    with torch.inference_mode():
        got = model(input_of(decoded, predicted, sizes, 30))
        assert torch.equal(model(input_of(brighter(decoded), brighter(predicted), sizes, 30)), got)
        for change in (input_of(brighter(decoded), predicted, sizes, 30),
                       input_of(decoded, predicted, sizes // 2, 30), input_of(decoded, predicted, sizes, 31)):
            assert not torch.equal(model(change), got)


def test_areas_are_read_as_written(swift_weights: SwiftWeights) -> None:
    """At most two flags."""
    model = filter_of(swift_weights.model)
    for area in range(len(AREAS)):
        writer, counted = WriteSymbols(), EstimateSymbols(torch.ones(1))
        assert model.code_area(writer, area) == model.code_area(counted, area) == area
        assert len(counted.bits) == min(area + 1, 2)
        reader = ReadSymbols(writer.finish())
        assert model.code_area(reader, None) == area
        reader.close()


def test_samples_stay_samples(swift_weights: SwiftWeights) -> None:
    """Whatever the correction, from 0 to 255."""
    decoded, _ = pictures((2, 2), 0, spread=90)
    for sign in (-1, 1):
        out = corrected(cells_of(decoded), torch.full((1, CELL, 4, 4), 2046.0 * sign), torch.tensor([1381]))
        assert (out == (0 if sign < 0 else 255)).all()


def test_frames_of_a_batch_are_apart(swift_weights: SwiftWeights) -> None:
    """Each with its quality and step."""
    model, batch, single = filter_of(swift_weights.model), [], []
    for seed, quality in ((0, 10), (1, 55)):
        decoded, predicted = pictures((3, 4), seed)
        sizes = sizes_of((3, 4), seed)
        single.append(model(input_of(decoded, predicted, sizes, quality)))
        batch.append((cells_of(decoded), cells_of(predicted), torch.from_numpy(sizes)[None].float()))
    decoded_cells, predicted_cells, sizes_maps = (torch.cat(x) for x in zip(*batch, strict=True))
    quality = torch.tensor([10, 55])
    steps = torch.tensor([quantizer_step(10), quantizer_step(55)])
    both = model(filter_input(decoded_cells, predicted_cells, sizes_maps, quality, steps))
    assert torch.equal(both, torch.cat(single))
