"""Transform sizes of swift: what is written is read, in exact integers, and costs what training counts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from lvc.entropy.distributions import TableDistribution
from lvc.entropy.scales import N_SCALES
from lvc.entropy.symbols import EstimateSymbols, ReadSymbols, RecordSymbols, WriteSymbols
from lvc.errors import CorruptStreamError
from lvc.models.swift import AUX, CONTEXT_MAX, SwiftContext
from lvc.models.swiftmodel import SwiftModel
from lvc.models.swiftsizes import LEVELS, SwiftSizes
from lvc.ops.blockdct import COEFFICIENTS
from lvc.weights import SwiftWeights, freeze

MakeSwift = Callable[..., SwiftModel]
SHAPES = [(1, 1), (2, 1), (3, 9), (4, 4), (5, 6), (17, 22)]


def size_tree(shape: tuple[int, int], seed: int, join: tuple[float, float] = (0.5, 0.5)) -> Tensor:
    """A random quad-tree (1, 1, h, w) of squares within the picture; ``join``: how many of 32 and of 16 are one."""
    rng = np.random.default_rng(seed)
    sizes = np.full(shape, 8.0, np.float32)
    for size, share in zip((16, 32), join[::-1], strict=True):
        f = size // 8
        for y in range(0, shape[0] - f + 1, f):
            for x in range(0, shape[1] - f + 1, f):
                if rng.random() < share:
                    sizes[y : y + f, x : x + f] = size
    return torch.from_numpy(sizes)[None, None]


def context_of(shape: tuple[int, int], quality: int = 30, seed: int = 0, n: int = 1, high: int = CONTEXT_MAX,
               ) -> SwiftContext:
    generator = torch.Generator().manual_seed(seed)
    parts = (torch.randint(0, high + 1, (n, c, *shape), generator=generator).float()
             for c in (COEFFICIENTS, COEFFICIENTS, AUX))
    return SwiftContext(*parts, torch.full((n,), quality))


Given = tuple[SwiftContext, Tensor, Tensor | None]


def given_of(shape: tuple[int, int], seed: int = 0, quality: int = 30, former: bool = True) -> Given:
    """Context, squares of the motion, transforms of the former frame."""
    return (context_of(shape, quality, seed, high=20), size_tree(shape, seed + 100),
            size_tree(shape, seed + 200) if former else None)


def write(model: SwiftSizes, sizes: Tensor, given: Given) -> bytes:
    coder = WriteSymbols()
    with torch.inference_mode():
        assert torch.equal(model(coder, sizes, *given), sizes)
    return coder.finish()


def read(model: SwiftSizes, data: bytes, given: Given) -> Tensor:
    coder = ReadSymbols(data)
    with torch.inference_mode():
        sizes: Tensor = model(coder, None, *given)
    coder.close()
    return sizes


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("former", [False, True])
def test_sizes_are_read_as_written(swift_weights: SwiftWeights, shape: tuple[int, int], former: bool) -> None:
    model = swift_weights.model.sizes
    for seed, join in enumerate(((0.5, 0.5), (0.1, 0.8), (0.0, 0.0), (1.0, 0.0), (0.0, 1.0))):
        sizes, given = size_tree(shape, seed, join), given_of(shape, seed, (0, 30, 63)[seed % 3], former)
        got = read(model, write(model, sizes, given), given)
        assert torch.equal(got, sizes)
        assert got.dtype == torch.float32


def test_all_trees(swift_weights: SwiftWeights) -> None:
    """All 17 of a 32x32 square, side by side."""
    sizes = np.full((4, 4 * 17), 8, np.float32)
    for pattern in range(16):
        for k in range(4):
            if pattern >> k & 1:
                y, x = k // 2 * 2, 4 * pattern + k % 2 * 2
                sizes[y : y + 2, x : x + 2] = 16
    sizes[:, -4:] = 32
    tree, given = torch.from_numpy(sizes)[None, None], given_of((4, 68))
    assert torch.equal(read(swift_weights.model.sizes, write(swift_weights.model.sizes, tree, given), given), tree)


def test_squares_that_stick_out_cost_nothing(swift_weights: SwiftWeights) -> None:
    """In a picture of less than 16 samples a side there is nothing to say."""
    for shape in ((1, 1), (1, 40), (9, 1)):
        coder, given = RecordSymbols(), given_of(shape)
        swift_weights.model.sizes(coder, torch.full((1, 1, *shape), 8.0), *given)
        assert coder.calls == []


def test_each_square_is_asked_about_once(swift_weights: SwiftWeights) -> None:
    """32x32 first; of the rest 16x16, also at the borders, where no larger square fits. A checkerboard each time."""
    shape = (7, 13)
    sizes, coder = size_tree(shape, 4), RecordSymbols()
    swift_weights.model.sizes(coder, sizes, *given_of(shape))
    masks = [mask[0, 0] for _, mask in coder.calls]
    assert [tuple(m.shape) for m in masks] == [(1, 3), (1, 3), (3, 6), (3, 6)]
    for first, second in (masks[:2], masks[2:]):
        i, j = np.indices(first.shape)
        assert not (first & torch.from_numpy((i + j) % 2 == 1)).any()
        assert not (second & torch.from_numpy((i + j) % 2 == 0)).any()
    assert (masks[0] | masks[1]).all()
    joined = sizes[0, 0, :6:2, :12:2] == 32
    assert 0 < joined.sum() < joined.numel()
    assert torch.equal(masks[2] | masks[3], ~joined)


def test_everything_that_is_known_matters(swift_weights: SwiftWeights) -> None:
    """Another context gives other bytes, and reading with it does not give what was written."""
    model, shape = swift_weights.model.sizes, (40, 44)
    sizes, right, other = size_tree(shape, 0), given_of(shape), given_of(shape, 1)
    data = write(model, sizes, right)
    context = right[0]
    changed: list[Given] = [(right[0], other[1], right[2]), (right[0], right[1], other[2]), (right[0], right[1], None)]
    for name, value in (("prediction", other[0].prediction), ("former", other[0].former), ("aux", other[0].aux),
                        ("quality", torch.tensor([60]))):
        changed.append((SwiftContext(**{**vars(context), name: value}), *right[1:]))
    for given in changed:
        assert write(model, sizes, given) != data
        with contextlib.suppress(CorruptStreamError):
            assert not torch.equal(read(model, data, given), sizes)


class Draw:
    """A coder that invents symbols as their distributions have it, so that they cost what they should."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def symbols(self, value: Tensor | None, index: Tensor, mask: Tensor, distribution: TableDistribution) -> Tensor:
        share = torch.softmax(distribution.logits.detach(), 1)[index.long()][..., 1]
        return (torch.from_numpy(self._rng.random(tuple(share.shape))) < share).float() * mask


def test_estimated_bits_are_the_bytes(make_swift: MakeSwift) -> None:
    whole = make_swift()
    with torch.no_grad():
        whole.sizes.flag_distribution.logits[:, :2] *= 0.3
    freeze(whole)
    model, shape = whole.sizes.eval(), (90, 110)
    given = given_of(shape)
    with torch.inference_mode():
        sizes = model(Draw(), None, *given)
        coder = EstimateSymbols(torch.ones(1))
        assert torch.equal(model(coder, sizes, *given), sizes)
    bits = float(torch.stack(coder.bits).sum())
    data = write(model, sizes, given)
    assert len(sizes.unique()) == 3
    assert len(data) > 100
    assert 8 * len(data) == pytest.approx(bits, rel=0.02, abs=48)


def test_indices_are_exact_integers(swift_weights: SwiftWeights, make_swift: MakeSwift) -> None:
    """Float32 gives what float64 gives, up to the largest inputs; with one thread and with two; and they vary."""
    model, exact, shape = swift_weights.model.sizes, make_swift(), (13, 18)
    exact.load_state_dict(swift_weights.model.state_dict())
    exact.eval().double()
    sizes, before, seen = size_tree(shape, 3), torch.get_num_threads(), []
    for high in (5, 20, CONTEXT_MAX):
        context, motion = context_of(shape, 63, 1, high=high), size_tree(shape, 5)
        wide = SwiftContext(context.prediction.double(), context.former.double(), context.aux.double(), context.quality)
        reference = RecordSymbols()
        with torch.inference_mode():
            torch.set_default_dtype(torch.float64)
            try:
                exact.sizes(reference, sizes.double(), wide, motion.double(), motion.double())
            finally:
                torch.set_default_dtype(torch.float32)
            try:
                for threads in (1, 2):
                    torch.set_num_threads(threads)
                    record = RecordSymbols()
                    model(record, sizes, context, motion, motion)
                    for (index, mask), (want, same) in zip(record.calls, reference.calls, strict=True):
                        assert torch.equal(index.double(), want)
                        assert torch.equal(mask, same)
                        assert torch.equal(index, index.round().clamp(0, N_SCALES - 1))
                        seen.append(index.flatten())
            finally:
                torch.set_num_threads(before)
    assert len(torch.cat(seen).unique()) > 5


def features_of(given: Given, f: int, level: int, i: int, j: int) -> list[int]:
    """Inputs of the network for a square, but for the neighbours: from their definition, one number at a time."""
    context, motion, former = given

    def mean(channel: Tensor) -> int:
        return int(channel[f * i : f * i + f, f * j : f * j + f].sum()) // f**2

    out = []
    for source in (context.prediction[0], context.former[0]):
        for (a, b), shift in zip(((0, 3), (3, 10), (10, 28), (28, 64)), (2, 3, 5, 6), strict=True):
            out.append(mean(source[a:b].sum(0)) >> shift)
    out += [mean(context.aux[0, k]) for k in (1, 4, 5, 6)]
    before = torch.zeros_like(motion) if former is None else former
    out += [mean(motion[0, 0]), mean(before[0, 0])]
    out += [63 * (mean(before[0, 0]) >= size) for size in LEVELS]
    out += [63 * level, int(context.quality)]
    return [min(v, 63) for v in out]


@pytest.mark.parametrize("former", [False, True])
def test_features(swift_weights: SwiftWeights, former: bool) -> None:
    given = given_of((9, 14), 3, 50, former)
    asked: list[npt.NDArray[np.float32]] = []
    model = swift_weights.model.sizes
    handle = model.joins.register_forward_pre_hook(lambda _, inputs: asked.append(inputs[0][0].numpy().copy()))
    sizes = size_tree((9, 14), 1)
    try:
        with torch.inference_mode():
            model(RecordSymbols(), sizes, *given)
    finally:
        handle.remove()
    assert len(asked) == 4
    for number, inputs in enumerate(asked):
        level, phase = divmod(number, 2)
        f = 4 >> level
        rows, columns = 9 // f, 14 // f
        assert inputs.shape[1:] == (rows, columns)
        joined = sizes[0, 0, ::f, ::f].numpy() == 8 * f
        for i, j in np.ndindex(rows, columns):
            near = []
            for y, x in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                known = phase == 1 and 0 <= y < rows and 0 <= x < columns and (y + x) % 2 == 0
                near.append(0 if not known else 63 if joined[y, x] else -63)
            if (i + j) % 2 == phase:
                assert inputs[:, i, j].tolist() == [*features_of(given, f, level, i, j), 63 * phase, *near]


@pytest.mark.parametrize("size", LEVELS)
def test_flag_bits_are_those_of_the_first_pass(swift_weights: SwiftWeights, size: int) -> None:
    """Where no neighbour is known, what the encoder counts with is what it will pay."""
    model, shape = swift_weights.model.sizes, (16, 20)
    given = given_of(shape, 2)
    with torch.inference_mode():
        bits = model.flag_bits(size, *given)
        assert bits.shape == (1, 2, shape[0] * 8 // size, shape[1] * 8 // size)
        torch.testing.assert_close(torch.exp2(-bits).sum(1), torch.ones(1, *bits.shape[2:]), rtol=1e-3, atol=1e-3)
        for join in (0, 1):
            for former in (given[2], None):
                sizes = torch.full((1, 1, *shape), float(size) if join else 8.0)
                record = RecordSymbols()
                model(record, sizes, given[0], given[1], former)
                index, mask = record.calls[0 if size == 32 else 2]
                expected = model.flag_distribution.bits(torch.full_like(index, join), index)
                got = model.flag_bits(size, given[0], given[1], former)[:, join : join + 1]
                assert mask.any()
                assert torch.equal(got[mask], expected[mask])


def test_samples_are_counted_apart(swift_weights: SwiftWeights) -> None:
    model, shape = swift_weights.model.sizes, (9, 12)
    context = context_of(shape, n=2, high=20)
    sizes, motion, former = (torch.cat([size_tree(shape, seed + k) for k in (0, 1)]) for seed in (0, 10, 20))
    both = EstimateSymbols(torch.ones(2))
    assert torch.equal(model(both, sizes, context, motion, former), sizes)
    for k in range(2):
        single, part = EstimateSymbols(torch.ones(1)), slice(k, k + 1)
        model(single, sizes[part], SwiftContext(context.prediction[part], context.former[part], context.aux[part],
                                                context.quality[part]), motion[part], former[part])
        torch.testing.assert_close(torch.stack(both.bits)[:, part], torch.stack(single.bits))


def test_all_parameters_learn(make_swift: MakeSwift) -> None:
    model, shape = make_swift().sizes, (16, 20)
    coder = EstimateSymbols(torch.ones(1))
    model(coder, size_tree(shape, 0), *given_of(shape))
    loss = coder.loss
    assert isinstance(loss, Tensor)
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_damage_is_an_error_or_other_sizes(swift_weights: SwiftWeights) -> None:
    """Whatever is read is a quad-tree within the picture."""
    model, shape = swift_weights.model.sizes, (30, 34)
    sizes, given = size_tree(shape, 0), given_of(shape)
    data = write(model, sizes, given)
    rng = np.random.default_rng(0)
    cases = [data[:n] for n in range(len(data))][::2] + [data + b"\0", b"\xff" * 40, bytes(40)]
    for place in rng.integers(0, len(data), 16):
        changed = bytearray(data)
        changed[place] ^= int(rng.integers(1, 256))
        cases.append(bytes(changed))
    errors = 0
    for case in cases:
        coder = ReadSymbols(case)
        try:
            with torch.inference_mode():
                got = model(coder, None, *given)
        except CorruptStreamError:
            errors += 1
            continue
        for size in (16, 32):
            f = size // 8
            squares = (got[0, 0] == size).numpy()
            whole = squares[: shape[0] // f * f, : shape[1] // f * f]
            assert squares.sum() == whole.sum()
            counts = whole.reshape(shape[0] // f, f, -1, f).sum((1, 3))
            assert set(counts.ravel().tolist()) <= {0, f * f}
        assert set(got.unique().tolist()) <= {8.0, 16.0, 32.0}
        try:
            coder.close()
            assert not torch.equal(got, sizes)
        except CorruptStreamError:
            errors += 1
    assert errors > 0.5 * len(cases)
