"""P frames in C++ are P frames as swiftframe and swiftquant have them: contexts, choices, bytes, samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lvc.codecs import swiftcoding, swiftframe, swiftquant
from lvc.codecs.swiftcoding import InterCoder
from lvc.codecs.swiftframe import WINDOW, pad_to_blocks, predict_frame, size_map
from lvc.codecs.swiftquant import choose_sizes, choose_symbols, weighted_error
from lvc.entropy.symbols import ReadSymbols, WriteSymbols
from lvc.models.swiftmodel import SwiftModel
from lvc.ops import blockdct, blocktransform
from lvc.ops.blockmotion import Second, search
from lvc.weights import freeze

MakeSwift = Callable[..., SwiftModel]
SIZES = [(16, 8), (72, 136)]  # of which squares of 32 stick out


@pytest.fixture(scope="module", params=[0, 1], ids=["no filter", "filter"])
def model(make_swift: MakeSwift, request: pytest.FixtureRequest) -> SwiftModel:
    made = make_swift(7, filter_layers=request.param)
    freeze(made)
    return made.eval().requires_grad_(False)


def pictures(height: int, width: int, n: int) -> list[Any]:
    """A moving texture with noise; some of it saturated."""
    rng = np.random.default_rng(height)
    y, x = np.mgrid[:height, :width]
    made = []
    for k in range(n):
        luma = 128 + 140 * np.sin((x + 3 * k) / 5) * np.cos((y - k) / 9) + rng.normal(0, 6, (height, width))
        chroma = [128 + 60 * np.sin((x[::2, ::2] + s * k) / 11) + rng.normal(0, 3, (height // 2, width // 2))
                  for s in (2, -3)]
        made.append(pad_to_blocks(tuple(np.clip(np.rint(p), 0, 255).astype(np.uint8) for p in (luma, *chroma))))
    return made


@pytest.mark.parametrize("size", SIZES, ids=str)
@torch.inference_mode()
def test_frames_are_those_of_the_reference(model: SwiftModel, size: tuple[int, int]) -> None:
    """Three P frames in a row: bytes and planes."""
    frames = pictures(*size, 4)
    ours = read = swiftcoding.Reference(frames[0])
    theirs = swiftframe.Reference(frames[0])
    field = squares = None
    shape = size[0] // 8, size[1] // 8
    used = set()
    motions: list[Any] = [(None, None)]
    rng = np.random.default_rng(6)
    for k, quality in ((1, 30), (2, 63), (3, 12)):
        motion = search(frames[k][0], theirs.planes[0], 2.0, previous=field, window=WINDOW)
        coder, torch_coder = WriteSymbols(), WriteSymbols()
        field, squares = model.motion(torch_coder, motion.vectors, motion.sizes, shape, quality, field, squares)
        second = Second(frames[0], 2 * field, rng.random(shape) < 0.3) if k > 1 else None
        prediction = predict_frame(theirs, field, quality, second)
        former = None if theirs.sizes is None else size_map(theirs.sizes)
        chosen = prediction.sizes
        if k > 1:
            chosen = choose_sizes(model, prediction, frames[k], squares, theirs.sizes)
        used |= set(chosen.flat)
        model.sizes(torch_coder, size_map(chosen), prediction.context, size_map(squares), former)
        prediction = prediction.with_sizes(chosen)
        symbols, _ = choose_symbols(model.entropy, prediction.residual(frames[k]), prediction.context)
        model.entropy(torch_coder, symbols[None], prediction.context)
        planes = decoded = prediction.decoded(symbols)
        if model.filter is not None:
            every = prediction.filtered(decoded, model.filter)
            areas = [decoded, prediction.where_coded(symbols, every, decoded), every]
            best = min(range(3), key=lambda area: weighted_error(areas[area], frames[k]))
            model.filter.code_area(torch_coder, best)
            planes = areas[best]
        theirs = swiftframe.Reference(planes, symbols, chosen)
        assert symbols.any()

        inter = InterCoder(model, threads=k)
        former_motion = motions[-1]
        arguments = shape, quality, *former_motion
        motions.append(inter.networks.motion.code(coder, motion.vectors, motion.sizes, *arguments))
        given = {"current": frames[k], "try_sizes": k > 1}
        ours = inter.code(coder, ours, *motions[-1], quality, second=second, **given).reference
        np.testing.assert_array_equal(ours.sizes, chosen)
        data = coder.finish()
        assert data == torch_coder.finish()
        reader = ReadSymbols(data)
        inter = InterCoder(model)
        motion = inter.networks.motion.code(reader, None, None, *arguments)
        read = inter.code(reader, read, *motion, quality, second=second).reference
        reader.close()
        for expected, a, b in zip(theirs.planes, ours.planes, read.planes, strict=True):
            np.testing.assert_array_equal(a, expected)
            np.testing.assert_array_equal(b, expected)
    assert used == {8, 16, 32} or min(shape) < 4


def extreme(height: int, width: int) -> Any:
    rng = np.random.default_rng(2)
    half = (height // 2, width // 2)
    return tuple(rng.integers(0, 2, s).astype(np.uint8) * 255 for s in ((height, width), half, half))


@pytest.mark.parametrize("simd", ["scalar", "avx2", "avx512", "amx"])
@pytest.mark.parametrize("size", blockdct.SIZES)
def test_transforms_are_exact(simd: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Largest inputs, pictures of which squares stick out, several steps."""
    monkeypatch.setenv("LVC_SIMD", simd)  # what the machine does not have falls back on the best it has
    a = extreme(40, 72)
    b = tuple(255 - p for p in a)
    tensors = [torch.from_numpy(p.astype(np.int32)) for p in a]
    coefficients = blockdct.forward_dct(*tensors, size)
    ours = blocktransform.forward_dct(a, None, size, threads=2)
    np.testing.assert_array_equal(ours, coefficients.permute(1, 2, 0).numpy())
    difference = blockdct.forward_dct(*(t - torch.from_numpy(p.astype(np.int32)) for t, p in zip(tensors, b)), size)
    np.testing.assert_array_equal(blocktransform.forward_dct(a, b, size), difference.permute(1, 2, 0).numpy())
    rng = np.random.default_rng(3)
    for quality in (0, 31, 62, 63):
        step = blockdct.quantizer_step(quality)
        for name in ("magnitude_context", "in_steps"):
            expected = getattr(blockdct, name)(coefficients, step).permute(1, 2, 0).numpy()
            np.testing.assert_array_equal(getattr(blocktransform, name)(ours, step), expected.astype(
                np.float32 if name == "in_steps" else expected.dtype))
        symbols = np.round(rng.laplace(size=ours.shape) * rng.choice([0.1, 3, 30], (*ours.shape[:2], 1)))
        symbols[:2, :2] = 0
        symbols[2, 2, 5], symbols[0, 5, :9] = 32767, -32767
        sizes = np.full(ours.shape[:2], size, np.uint8)
        got = blocktransform.reconstruct(b, symbols.astype(np.int16), step, sizes, threads=2)
        residual = blockdct.inverse_dct(torch.from_numpy(symbols).permute(2, 0, 1), step, size)
        for plane, r, p in zip(got, residual, b, strict=True):
            np.testing.assert_array_equal(plane, np.clip(p + r.numpy(), 0, 255))


def test_mixed_sizes_are_those_of_each_square() -> None:
    a = extreme(64, 96)
    sizes = np.full((8, 12), 8, np.uint8)
    sizes[:4, 4:8] = 32
    sizes[4:6, 2:4] = sizes[2:4, 8:10] = 16
    assert [len(blocktransform.squares(sizes, size)) for size in (8, 16, 32)] == [96 - 16 - 8, 2, 1]
    mixed = blocktransform.forward_dct(a)
    for size in (16, 32):
        blocktransform.forward_dct(a, None, size, blocks=blocktransform.squares(sizes, size), out=mixed)
    for size in (8, 16, 32):
        whole = blocktransform.forward_dct(a, None, size)
        np.testing.assert_array_equal(mixed[sizes == size], whole[sizes == size])
    symbols = np.random.default_rng(0).integers(-20, 21, mixed.shape).astype(np.int16)
    got = blocktransform.reconstruct(a, symbols, 200, sizes)
    for size in (8, 16, 32):
        one = blocktransform.reconstruct(a, symbols, 200, np.full_like(sizes, size))
        place = np.repeat(np.repeat(sizes == size, 8, 0), 8, 1)
        np.testing.assert_array_equal(got[0][place], one[0][place])
        np.testing.assert_array_equal(got[1][place[::2, ::2]], one[1][place[::2, ::2]])


@torch.inference_mode()
def test_choices_are_those_of_the_reference(model: SwiftModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real coefficients of every size, ties of rounding among them."""
    rng = np.random.default_rng(4)
    frames = pictures(64, 96, 2)
    field = rng.integers(-9, 9, (2, 8, 12)).astype(np.int16)
    prediction = predict_frame(swiftframe.Reference(frames[0]), field, 40)
    coefficients = rng.laplace(size=(96, 8, 12)) * 3.0 ** rng.integers(-3, 7, (1, 8, 12))
    coefficients[:, 2:4] = np.round(coefficients[:, 2:4] * 2) / 2
    expected, cost = choose_symbols(model.entropy, torch.from_numpy(coefficients), prediction.context)
    parts = (x[0].permute(1, 2, 0).numpy().astype(np.uint8)
             for x in (prediction.context.prediction, prediction.context.former, prediction.context.aux))
    context = swiftcoding.FrameContext(*map(np.ascontiguousarray, parts), 40)
    channels_last = np.ascontiguousarray(coefficients.transpose(1, 2, 0), np.float32)
    for passes in (1, 2):
        ours, our_cost = InterCoder(model, 2, passes).choose(channels_last, context)
        np.testing.assert_array_equal(ours, expected.permute(1, 2, 0).numpy())
        np.testing.assert_array_equal(our_cost, cost.numpy())
        # What the second pass does: the same, but for what the distributions follow from.
        former = expected.clone()
        monkeypatch.setattr(swiftquant, "first_guess", lambda _, former=former: former)
        expected, cost = choose_symbols(model.entropy, torch.from_numpy(coefficients), prediction.context)
        assert (expected != former).any()
    assert 0.05 < (expected != 0).float().mean() < 0.95
