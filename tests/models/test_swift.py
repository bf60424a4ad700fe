"""The networks of swift: what is written is read, in exact integers, and costs what training counts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lvc.entropy.scales import N_SCALES
from lvc.entropy.symbols import EstimateSymbols, ReadSymbols, RecordSymbols, WriteSymbols
from lvc.errors import CorruptStreamError
from lvc.models.complexity import swift_decode_kmac_per_pixel
from lvc.models.swift import (
    AUX,
    CONTEXT_MAX,
    GROUPS,
    LUMA_GROUPS,
    N_FLAGS,
    SwiftContext,
    SwiftEntropy,
    _phases,
    flags_of,
    symbol_context,
)
from lvc.models.swiftmodel import SwiftConfig, SwiftModel
from lvc.models.swiftmotion import _LOG, VECTOR_MAX, CompoundContext, SwiftMotion
from lvc.ops.blockdct import COEFFICIENTS
from lvc.ops.integer import EXACT_LIMIT, IntConv2d
from lvc.weights import SwiftWeights, freeze
from tests.models.inventions import Draw, Field, tree_field

MakeSwift = Callable[..., SwiftModel]
SHAPES = [(1, 1), (1, 9), (5, 3), (37, 29)]


def symbols_of(shape: tuple[int, int], seed: int = 0, n: int = 1) -> Tensor:
    """(N, 96, h, w): blocks from empty to full, larger at low frequencies."""
    rng = np.random.default_rng(seed)
    scale = 1.5 * rng.choice([0.0, 0.2, 1.0], (n, 1, *shape)) / (1 + np.arange(COEFFICIENTS) % 64)[:, None, None]
    return torch.from_numpy(np.round(rng.laplace(size=(n, COEFFICIENTS, *shape)) * 4 * scale)).float()


def context_of(shape: tuple[int, int], quality: int = 30, seed: int = 0, n: int = 1) -> SwiftContext:
    generator = torch.Generator().manual_seed(seed)
    parts = (torch.randint(0, CONTEXT_MAX + 1, (n, c, *shape), generator=generator).float()
             for c in (COEFFICIENTS, COEFFICIENTS, AUX))
    return SwiftContext(*parts, torch.full((n,), quality))


def write(model: SwiftEntropy, symbols: Tensor, context: SwiftContext) -> bytes:
    coder = WriteSymbols()
    with torch.inference_mode():
        assert torch.equal(model(coder, symbols, context), symbols)
    return coder.finish()


def read(model: SwiftEntropy, data: bytes, context: SwiftContext) -> Tensor:
    coder = ReadSymbols(data)
    with torch.inference_mode():
        symbols = model(coder, None, context)
    coder.close()
    return symbols


# -- residual ------------------------------------------------------------------------------------------


def test_symbol_context_is_that_of_old_streams() -> None:
    """Log-magnitudes, 8 to an octave of 1 + magnitude, up to 63."""
    got = symbol_context(torch.arange(-20.0, 21.0))
    right = [0, 8, 13, 16, 19, 21, 22, 24, 25, 27, 28, 29, 30, 30, 31, 32, 33, 33, 34, 35, 35]
    assert got.tolist() == right[:0:-1] + right
    assert symbol_context(torch.tensor([233.0, 254.0, 255.0, 32767.0])).tolist() == [63, 63, 63, 63]
    assert symbol_context(torch.tensor([100.0])).tolist() == [53]
    exact = 8 * np.log2(1 + np.arange(256))  # nothing hangs on the last bit of a logarithm
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 1e-3


def test_flags_tell_how_far_the_groups_reach() -> None:
    symbols = symbols_of((9, 7), n=2)
    flags = flags_of(symbols)
    n_luma = len(LUMA_GROUPS)
    for sample, k, i, j in np.ndindex(2, N_FLAGS, 9, 7):
        last = GROUPS[n_luma - 1 if k < n_luma else -1][1]
        assert flags[sample, k, i, j] == bool(symbols[sample, GROUPS[k][0] : last, i, j].any())
    assert 0.1 < flags.mean() < 0.9
    assert not flags_of(torch.zeros(1, COEFFICIENTS, 2, 2)).any()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_position_has_one_phase(shape: tuple[int, int]) -> None:
    phases = _phases(*shape)
    assert torch.equal(phases.sum(0), torch.ones(shape, dtype=torch.int64))
    for first in phases[:2]:  # of the first two passes none touches another position of its own
        padded = torch.nn.functional.pad(first, (1, 1, 1, 1))
        around = sum(padded[1 + a : 1 + a + shape[0], 1 + b : 1 + b + shape[1]].int()
                     for a in (-1, 0, 1) for b in (-1, 0, 1))
        assert (torch.as_tensor(around)[first] == 1).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_symbols_are_read_as_written(swift_weights: SwiftWeights, shape: tuple[int, int]) -> None:
    model = swift_weights.model.entropy
    for quality, symbols in ((0, symbols_of(shape)), (33, torch.zeros(1, COEFFICIENTS, *shape)),
                             (63, symbols_of(shape, 1) * 97)):
        context = context_of(shape, quality)
        got = read(model, write(model, symbols, context), context)
        assert torch.equal(got, symbols)
        assert got.dtype == torch.float32


def test_every_context_matters(swift_weights: SwiftWeights) -> None:
    """Other contexts give other bytes, and reading with them does not give what was written."""
    model, shape = swift_weights.model.entropy, (7, 9)
    symbols, right, other = symbols_of(shape), context_of(shape), context_of(shape, seed=1)
    data = write(model, symbols, right)
    for name, value in (("prediction", other.prediction), ("former", other.former), ("aux", other.aux),
                        ("quality", torch.tensor([50]))):
        wrong = SwiftContext(**{**vars(right), name: value})
        assert write(model, symbols, wrong) != data
        with contextlib.suppress(CorruptStreamError):
            assert not torch.equal(read(model, data, wrong), symbols)


@pytest.fixture(scope="module")
def even_swift(make_swift: MakeSwift) -> SwiftModel:
    """With tables in which nothing is next to certain or impossible: invented symbols are not always consistent."""
    model = make_swift()
    with torch.no_grad():
        for part in (model.entropy, model.motion):
            part.flag_distribution.logits[:, :2] *= 0.3
            part.distribution.logits *= 0.3
    freeze(model)
    return model.eval().requires_grad_(False)


def test_estimated_bits_are_the_bytes(even_swift: SwiftModel) -> None:
    model, shape = even_swift.entropy, (37, 29)
    context = context_of(shape)
    with torch.inference_mode():
        symbols = model(Draw(), None, context)
        coder = EstimateSymbols(torch.ones(1))
        assert torch.equal(model(coder, symbols, context), symbols)
    bits = float(torch.stack(coder.bits).sum())
    data = write(model, symbols, context)
    assert len(data) > 2000
    assert 8 * len(data) == pytest.approx(bits, rel=0.01, abs=32)


def test_indices_are_exact_integers(swift_weights: SwiftWeights, make_swift: MakeSwift) -> None:
    """Float32 gives what float64 gives, at contexts of all magnitudes; and they vary."""
    shape = (13, 11)
    exact = make_swift()
    exact.load_state_dict(swift_weights.model.state_dict())
    exact.eval().double()
    for context in (context_of(shape), SwiftContext(*(torch.full((1, c, *shape), 63.0) for c in (96, 96, AUX)),
                                                    torch.tensor([63]))):
        record, reference = RecordSymbols(), RecordSymbols()
        with torch.inference_mode():
            swift_weights.model.entropy(record, symbols_of(shape), context)
            torch.set_default_dtype(torch.float64)
            try:
                wide = SwiftContext(context.prediction.double(), context.former.double(), context.aux.double(),
                                    context.quality)
                exact.entropy(reference, symbols_of(shape).double(), wide)
            finally:
                torch.set_default_dtype(torch.float32)
        assert len(record.calls) == 3 * N_FLAGS + len(GROUPS)
        for (index, mask), (want, same) in zip(record.calls, reference.calls, strict=True):
            assert torch.equal(index.double(), want)
            assert torch.equal(mask, same)
            assert torch.equal(index, index.round().clamp(0, N_SCALES - 1))
    assert len(torch.cat([index.flatten() for index, _ in record.calls]).unique()) > 20


def test_training_mode_sees_the_same_probabilities(swift_weights: SwiftWeights) -> None:
    """Its 3x3 convolutions need not be exact, but as good as that."""
    model, shape = swift_weights.model.entropy, (21, 18)
    calls = []
    try:
        for training in (False, True):
            model.train(training)
            record = RecordSymbols()
            with torch.inference_mode():
                model(record, symbols_of(shape), context_of(shape))
            calls.append(torch.cat([index.flatten() for index, _ in record.calls]))
    finally:
        model.eval()
    assert (calls[0] == calls[1]).float().mean() > 0.99


def test_samples_are_counted_apart(swift_weights: SwiftWeights) -> None:
    model, shape = swift_weights.model.entropy, (6, 5)
    symbols, context = symbols_of(shape, n=2), context_of(shape, n=2)
    both = EstimateSymbols(torch.ones(2))
    model(both, symbols, context)
    for k in range(2):
        single = EstimateSymbols(torch.ones(1))
        part = slice(k, k + 1)
        model(single, symbols[part], SwiftContext(context.prediction[part], context.former[part],
                                                  context.aux[part], context.quality[part]))
        torch.testing.assert_close(torch.stack(both.bits)[:, part], torch.stack(single.bits))


def test_all_parameters_learn(make_swift: MakeSwift) -> None:
    model = make_swift(entropy_width=8, references=1)
    coder = EstimateSymbols(torch.ones(1))
    shape = (12, 12)
    model.entropy(coder, symbols_of(shape), context_of(shape))
    field, sizes = tree_field((9, 10), 0)
    model.motion(coder, field, sizes, (9, 10), 30, *tree_field((9, 10), 1))
    loss = coder.loss
    assert isinstance(loss, Tensor)
    loss.backward()
    for name, parameter in (*model.entropy.named_parameters(), *model.motion.named_parameters()):
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any() or name.startswith("flag_nets.0"), name


def test_damage_is_an_error_or_other_symbols(swift_weights: SwiftWeights) -> None:
    model, shape = swift_weights.model.entropy, (5, 6)
    symbols, context = symbols_of(shape), context_of(shape)
    data = write(model, symbols, context)
    rng = np.random.default_rng(0)
    cases = [data[:n] for n in range(0, len(data), 1 + len(data) // 12)] + [data + b"\0", b"\xff" * 40]
    for place in rng.integers(0, len(data), 16):
        changed = bytearray(data)
        changed[place] ^= int(rng.integers(1, 256))
        cases.append(bytes(changed))
    errors = 0
    for case in cases:
        try:
            assert not torch.equal(read(model, case, context), symbols)
        except CorruptStreamError:
            errors += 1
    assert errors > 0.8 * len(cases)


# -- motion --------------------------------------------------------------------------------------------


def motion_round_trip(model: SwiftMotion, coded: Field, former: Field | None, quality: int = 30) -> bytes:
    shape = coded[1].shape
    given = (None, None) if former is None else former
    writer = WriteSymbols()
    with torch.inference_mode():
        written = model(writer, *coded, shape, quality, *given)
        data = writer.finish()
        reader = ReadSymbols(data)
        got = model(reader, None, None, shape, quality, *given)
        reader.close()
    for result in (written, got):
        for array, want in zip(result, coded, strict=True):
            np.testing.assert_array_equal(array, want)
            assert array.dtype == want.dtype
    return data


@pytest.mark.parametrize("with_former", [False, True])
@pytest.mark.parametrize("shape", [*SHAPES, (4, 4), (2, 33)], ids=str)
def test_fields_are_read_as_written(
    swift_weights: SwiftWeights, shape: tuple[int, int], with_former: bool
) -> None:
    former = tree_field(shape, 7) if with_former else None
    for seed, quality in ((0, 0), (1, 63)):
        motion_round_trip(swift_weights.model.motion, tree_field(shape, seed), former, quality)


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
@pytest.mark.parametrize("across", [False, True])
def test_all_trees_cut_at_all_borders(swift_weights: SwiftWeights, cut: int, across: bool) -> None:
    """All 17 trees of a 32x32 square side by side, of which the picture holds 8, 16, 24 or 32 samples."""
    for last in {cut, 5 - cut}:
        shape = (cut, 4 * 16 + last)
        coded = tree_field(shape[::-1] if across else shape, 3, patterns=list(range(17)))
        motion_round_trip(swift_weights.model.motion, coded, None)


def test_vectors_of_any_length(swift_weights: SwiftWeights) -> None:
    """Also those that no candidate is near: up to the largest that a picture of 4096 samples can hold."""
    for reach in (500, VECTOR_MAX - 1):
        motion_round_trip(swift_weights.model.motion, tree_field((6, 7), 5, reach), tree_field((6, 7), 6, reach))


def test_estimated_motion_bits_are_the_bytes(even_swift: SwiftModel) -> None:
    """Of a field that is worth enough bytes for the coder's few of overhead not to count."""
    model, shape = even_swift.motion, (61, 67)
    former = tree_field(shape, 1, reach=6)
    with torch.inference_mode():
        coded = model(Draw(), None, None, shape, 30, *former)
        coder = EstimateSymbols(torch.ones(1))
        model(coder, *coded, shape, 30, *former)
    bits = float(torch.stack(coder.bits).sum())
    data = motion_round_trip(model, coded, former)
    assert len(data) > 400
    assert 8 * len(data) == pytest.approx(bits, rel=0.01, abs=64)


def test_former_motion_matters(swift_weights: SwiftWeights) -> None:
    model, shape = swift_weights.model.motion, (9, 9)
    coded = tree_field(shape, 0, reach=30)
    streams = {motion_round_trip(model, coded, former) for former in (None, coded, tree_field(shape, 1))}
    assert len(streams) == 3


def test_motion_logarithms_are_those_of_old_streams() -> None:
    assert _LOG[:18].tolist() == [0, 8, 13, 16, 19, 21, 22, 24, 25, 27, 28, 29, 30, 30, 31, 32, 33, 33]
    assert (_LOG.max(), int(np.argmax(_LOG == 63)), len(_LOG)) == (63, 224, 512)


# -- the whole -------------------------------------------------------------------------------------------


def test_configuration_survives_json() -> None:
    config = SwiftConfig("swift", 8, 9, 10, 11, 0)
    assert SwiftConfig.from_json(config.to_json()) == config
    assert SwiftModel(config).filter is None
    for text in ("{", "[]", '{"depth": 3}', "1"):
        with pytest.raises((ValueError, TypeError)):
            SwiftConfig.from_json(text)


def test_complexity_of_the_default() -> None:
    """What is promised, less than 15,000 multiplications a luma sample to decode; and what of it is the filter's."""
    got = swift_decode_kmac_per_pixel(SwiftModel(SwiftConfig()))
    assert got < 15
    weights = 54 * 48 + 3 * 48 * 48 * 9 + 54 * 24 * 9 + 48 * 24
    without = swift_decode_kmac_per_pixel(SwiftModel(SwiftConfig(filter_layers=0)))
    assert got - without == pytest.approx(weights / 16 / 1000)


def test_multiplications_are_those_that_are_done() -> None:
    """Counted while the model runs, on a picture whose blocks are all 8x8, as vectors and as transforms."""
    model, shape = SwiftModel(SwiftConfig()).eval(), (16, 24)
    count = 0

    def hook(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal count
        count += output.shape[2] * output.shape[3] * layer.weight.numel()

    for module in model.modules():
        if isinstance(module, IntConv2d):
            module.register_forward_hook(hook)
    context, eights = context_of(shape), np.full(shape, 8, np.uint8)
    square = torch.from_numpy(eights.astype(np.float32))[None, None]
    with torch.inference_mode():
        model.motion(RecordSymbols(), np.zeros((2, *shape), np.int16), eights, shape, 30, None, None)
        model.motion.code_compound(RecordSymbols(), eights > 8, CompoundContext(
            np.zeros((2, *shape), np.int16), eights, np.zeros((2, *shape), np.int16), eights * 0, None, 2, 30))
        model.sizes(RecordSymbols(), square, context, square, None)
        model.entropy(RecordSymbols(), symbols_of(shape), context)
        assert model.filter is not None
        model.filter(torch.zeros(1, 54, 2 * shape[0], 2 * shape[1]))
    assert count / (64 * shape[0] * shape[1] * 1000) == pytest.approx(
        swift_decode_kmac_per_pixel(model), rel=1e-6)


def test_no_sum_leaves_what_float32_holds() -> None:
    for layer in SwiftModel(SwiftConfig()).modules():
        if isinstance(layer, IntConv2d):
            assert layer.weight.shape[1] * 127 * layer.x_max + 64 * 1000 < EXACT_LIMIT


@pytest.mark.parametrize("part", ["entropy", "filter"])
def test_autocast_does_not_round_integers(swift_weights: SwiftWeights, part: str) -> None:
    symbols, context = symbols_of((9, 8)), context_of((9, 8))
    results: list[Any] = []
    for enabled in (False, True):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            if part == "filter":
                loop_filter = swift_weights.model.filter
                assert loop_filter is not None
                x = torch.randint(-127, 128, (1, 54, 8, 6), generator=torch.Generator().manual_seed(0)).float()
                results.append(loop_filter(x).numpy().tobytes())
            else:
                results.append(write(swift_weights.model.entropy, symbols, context))
    assert results[0] == results[1]
