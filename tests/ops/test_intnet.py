"""Integer layers in C++ give what those of torch give, for every instruction set and number of threads."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lvc import _nets
from lvc.ops.integer import IntConv2d
from lvc.ops.intnet import IntLayer, Part, default_simd, simd_levels

SIZES = [(1, 1), (1, 7), (13, 2), (5, 23), (24, 16), (15, 101)]


def random_conv(inputs: int, outputs: int, kernel: int, x_max: int, low: int, high: int, seed: int = 0) -> IntConv2d:
    torch.manual_seed(seed)
    conv = IntConv2d(inputs, outputs, kernel, x_max=x_max, low=low, high=high).eval()
    conv.shift.fill_(4 + (inputs + seed) % 5)
    with torch.no_grad():
        largest = 2.1 * 2.0 ** (6 - int(conv.shift))
        conv.weight.uniform_(-largest, largest)  # beyond the clamp, too
        conv.bias.uniform_(-300, 300)
    return conv


def random_bytes(rng: np.random.Generator, shape: tuple[int, ...], x_max: int, signed: bool) -> Any:
    x = rng.integers(-x_max if signed else 0, x_max + 1, shape)
    x[: (shape[0] + 1) // 2] = np.where(rng.random((shape[0] + 1) // 2) < 0.5, x_max, -x_max * signed).reshape(
        -1, *(1 for _ in shape[1:]))  # long sums of one sign
    return x.astype(np.int8 if signed else np.uint8)


def to_torch(x: Any) -> Tensor:
    return torch.from_numpy(x.astype(np.float32)).permute(2, 0, 1)[None]


@torch.no_grad()
def reference(conv: IntConv2d, *sources: Any) -> Any:
    return conv(torch.cat([to_torch(x) for x in sources], 1))[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("simd", simd_levels())
@pytest.mark.parametrize(("inputs", "outputs", "kernel", "x_max", "signed", "low", "high"), [
    (200, 64, 1, 63, False, 0, 127), (64, 64, 3, 127, False, 0, 127), (7, 33, 3, 63, False, -2047, 2047),
    (200, 96, 1, 127, True, -1023, 1023), (5, 16, 3, 127, True, 0, 255), (48, 9, 1, 255, False, -1023, 1023),
    (3, 1, 3, 255, False, 0, 255), (25, 128, 3, 127, False, -2047, 2047), (1, 100, 1, 127, True, -300, 300),
])
def test_layer_is_the_convolution(simd: str, inputs: int, outputs: int, kernel: int, x_max: int, signed: bool,
                                  low: int, high: int) -> None:
    conv = random_conv(inputs, outputs, kernel, x_max, low, high)
    layer = IntLayer.of(conv, signed=signed, simd=simd)
    rng = np.random.default_rng(1)
    for h, w in SIZES:
        x = random_bytes(rng, (h, w, inputs), x_max, signed)
        expected = reference(conv, x)
        for threads in (1, 3):
            result = layer((x, 0), threads=threads)
            assert result.dtype == (np.uint8 if low == 0 else np.int16)
            np.testing.assert_array_equal(result, expected)
        np.testing.assert_array_equal(layer((x, 0), planar=True), expected.transpose(2, 0, 1))
        positions = rng.permutation(h * w)[: (h * w + 1) // 2].astype(np.int32)
        some = expected.reshape(h * w, -1)[positions]
        np.testing.assert_array_equal(layer((x, 0), positions=positions, threads=2), some)
        np.testing.assert_array_equal(layer((x, 0), positions=positions, planar=True), some.T)
    if kernel == 1:
        rows = random_bytes(rng, (50, inputs), x_max, signed)
        np.testing.assert_array_equal(layer((rows, 0)), reference(conv, rows[None])[0])
    assert layer((x[:0], 0)).shape == (0, w, outputs)


@pytest.mark.parametrize("simd", simd_levels())
def test_sums_of_parts_sources_offset_and_residual(simd: str) -> None:
    """Each part is requantized by itself; sources are slices of arrays."""
    rng = np.random.default_rng(2)
    first = random_conv(64, 40, 1, 127, -2047, 2047, 3)
    second = random_conv(11, 40, 3, 63, -2047, 2047, 4)
    third = random_conv(6, 40, 1, 127, -1023, 1023, 5)
    layer = IntLayer([Part(first), Part(second, (4, 7)), Part(third, signed=True, multiplier=8)], 0, 127, simd)
    h, w = 9, 14
    hidden = random_bytes(rng, (h, w, 64), 127, False)
    wide, narrow = random_bytes(rng, (h, w, 96), 63, False), random_bytes(rng, (h, w, 8), 63, False)
    signed = random_bytes(rng, (h, w, 6), 127, True)
    offset = rng.integers(-500, 500, 40).astype(np.int32)
    residual = rng.integers(0, 128, (h, w, 40)).astype(np.uint8)
    total = (reference(first, hidden) + reference(second, wide[:, :, 13:17], narrow[:, :, 1:])
             + 8 * reference(third, signed))
    sources = ((hidden, 0), (wide, 13), (narrow, 1), (signed, 0))
    np.testing.assert_array_equal(layer(*sources, threads=2), total.clip(0, 127))
    np.testing.assert_array_equal(layer(*sources, offset=offset), (total + offset).clip(0, 127))
    result = layer(*sources, offset=offset, residual=residual)
    np.testing.assert_array_equal(result, (total + offset + residual).clip(0, 127))
    assert len(np.unique(result)) > 20


@pytest.mark.parametrize("simd", simd_levels())
@pytest.mark.parametrize("kernel", [1, 3])
def test_results_where_they_are_wanted(simd: str, kernel: int) -> None:
    """The same as everywhere there, zero elsewhere."""
    rng = np.random.default_rng(3)
    layers = [IntLayer.of(random_conv(20, 30, kernel, 127, low, 255), simd=simd) for low in (0, -255)]
    for h, w in [*SIZES, (29, 130)]:
        x = random_bytes(rng, (h, w, 20), 127, False)
        for share in (0.0, 0.02, 0.6, 1.0):
            wanted = rng.random((h, w)) < share
            for layer in layers:
                expected = layer((x, 0)) * wanted[:, :, None]
                np.testing.assert_array_equal(layer((x, 0), wanted=wanted, threads=2), expected)
                planar = layer((x, 0), wanted=wanted, planar=True)
                np.testing.assert_array_equal(planar, expected.transpose(2, 0, 1))


@pytest.mark.parametrize("simd", simd_levels())
def test_products_that_would_saturate_in_int16(simd: str) -> None:
    """Pairs of 255 * 127 leave int16, where AVX2 would saturate; so would offset signed inputs."""
    for x_max, signed in ((255, False), (127, True)):
        conv = random_conv(32, 16, 1, x_max, -32768, 32767)
        with torch.no_grad():
            conv.weight[:8], conv.weight[8:] = 8.0, -8.0  # all at the clamp
        x = np.full((4, 32), x_max, np.int8 if signed else np.uint8)
        np.testing.assert_array_equal(IntLayer.of(conv, signed=signed, simd=simd)((x, 0)),
                                      reference(conv, x[None])[0])


def test_bad_arguments_are_refused() -> None:
    layer = IntLayer.of(random_conv(8, 4, 3, 127, 0, 127))
    x = np.zeros((5, 6, 8), np.uint8)
    for sources, options in [
        (((x, 1),), {}), (((x, -1),), {}), (((x, 0), (x, 0)), {}), (((x.astype(np.int8), 0),), {}),
        (((x.astype(np.int16), 0),), {}), (((x[:, :, ::2], 0),), {}), (((x, 0),), {"threads": 0}),
        (((x, 0),), {"positions": np.array([30], np.int32)}), (((x, 0),), {"positions": np.array([-1], np.int32)}),
        (((x, 0),), {"wanted": np.ones((6, 5), bool)}),
        (((x, 0),), {"wanted": np.ones((5, 6), bool), "positions": np.array([0], np.int32)}),
        (((x, 0),), {"offset": np.zeros(3, np.int32)}), (((x, 0),), {"residual": np.zeros((5, 6, 3), np.uint8)}),
    ]:
        with pytest.raises(ValueError):
            layer(*sources, **options)
    with pytest.raises(ValueError):
        IntLayer.of(random_conv(8, 4, 3, 127, 0, 127), simd="none")
    real = random_conv(8, 4, 3, 127, 0, 127)
    real.rounding = False
    with pytest.raises(ValueError, match="real numbers"):
        IntLayer.of(real)
    with pytest.raises(ValueError):
        IntLayer([Part(random_conv(8, 4, 1, 127, 0, 127), (4, 5))], 0, 127)


def test_kernels_are_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, expected in itertools.chain(((n, n) for n in simd_levels()), (("none", "auto"), ("", "auto"))):
        monkeypatch.setenv("LVC_SIMD", name)
        assert default_simd() == expected
    assert simd_levels()[-1] == "scalar"
    assert not _nets.has_simd("none")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_threads_after_a_fork() -> None:
    """A child process gets threads of its own."""
    code = """
import os, warnings
import numpy as np
from lvc import _nets
warnings.simplefilter("ignore")
layer = _nets.Layer(4, [(1, False, 127, [8], np.ones((4, 8), np.int8), np.zeros(4, np.int32), 0, 0, 255, 1)],
                    0, 255, False)
x = np.ones((50, 50, 8), np.uint8)
run = lambda: (layer.run([(x, 0)], None, None, None, None, False, 4, "auto") == 8).all()
assert run()
child = os.fork()
if not child:
    os._exit(0 if run() else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 and run()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
