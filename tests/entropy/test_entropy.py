"""Entropy models through the three coders: estimates are the bytes, reading gives what was written."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from lvc.entropy import Estimate, FactorizedModel, Hyperprior, Read, Write
from lvc.entropy.coders import SYMBOL_MAX
from lvc.entropy.models import Z_LIMIT
from lvc.entropy.scales import N_SCALES, logistic_bits, scale_table, scale_tables
from lvc.errors import CorruptStreamError
from lvc.ops.integer import IntConv2d

Model = FactorizedModel | Hyperprior
KINDS = ("factorized", "hyperprior", "means")
QUALITY = torch.tensor([32])


def build(kind: str, channels: int = 12) -> Model:
    """A model with random weights that matter: hyper-latents other than zero, scales that follow them."""
    torch.manual_seed(0)
    if kind == "factorized":
        return FactorizedModel(channels)
    model = Hyperprior(channels, 8, 2, 16, means=kind == "means")
    with torch.no_grad():
        last = [m for m in model.encoder if isinstance(m, torch.nn.Conv2d)][-1]
        last.weight.mul_(8.0)
        for layer in model.decoder:
            if isinstance(layer, IntConv2d):
                layer.weight.mul_(2.5)
        model.base_index.knots.add_(20.0)
    return model


def latents(channels: int, height: int = 64, width: int = 64) -> Tensor:
    """Logistic values whose scale follows the place: what hyperpriors are for."""
    rng = np.random.default_rng(3)
    scale = np.exp(np.sin(np.arange(height)[:, None] / 9) + np.cos(np.arange(width) / 7))
    return torch.from_numpy(rng.logistic(size=(1, channels, height, width)) * scale).float()


def learn(model: Model, y: Tensor, steps: int) -> list[float]:
    """Train the entropy model alone; returns the bits of each step."""
    optimizer, history = torch.optim.Adam(model.parameters(), 1e-2), []
    for _ in range(steps):
        coder = Estimate()
        model(coder, y, QUALITY, y.shape[-2:])
        bits = coder.take().sum()
        optimizer.zero_grad()
        bits.backward()
        optimizer.step()
        history.append(float(bits.detach()))
    return history


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> Model:
    """Trained a little, so that few values are beyond their tables: escapes cost less than estimated."""
    model = build(request.param)
    learn(model, latents(12), 60)
    model.freeze()
    return model.eval().requires_grad_(False)


def write(model: Model, y: Tensor) -> tuple[bytes, Tensor]:
    coder = Write()
    with torch.inference_mode():
        y_hat = model(coder, y, QUALITY, y.shape[-2:])
    return coder.finish(), y_hat


def read(model: Model, data: bytes, size: tuple[int, int]) -> Tensor:
    coder = Read(data)
    with torch.inference_mode():
        y_hat = model(coder, None, QUALITY, size)
    coder.close()
    return y_hat


def test_reading_gives_what_was_written(model: Model) -> None:
    for size in ((64, 64), (4, 8)):
        y = latents(12, *size)
        data, y_hat = write(model, y)
        got = read(model, data, size)
        assert got.dtype == torch.float32
        assert torch.equal(got, y_hat)
        assert (y_hat - y).abs().max() <= 0.5 + 1e-5
        assert torch.equal(y_hat, y_hat.round())


def test_estimated_bits_are_the_bytes_written(model: Model) -> None:
    y = latents(12)
    data, y_hat = write(model, y)
    coder = Estimate(noise=False)
    estimated = model(coder, y, QUALITY, y.shape[-2:])
    assert len(data) > 5000
    assert float(coder.take()) / 8 == pytest.approx(len(data), rel=0.01)
    assert torch.equal(estimated.detach(), y_hat)
    assert float(coder.take()) == 0.0


def test_bits_are_counted_by_sample(model: Model) -> None:
    y = latents(12, 16, 16)
    both = torch.cat((y, 3 * y))
    coder = Estimate(noise=False)
    model(coder, both, torch.tensor([32, 32]), (16, 16))
    bits = coder.take()
    single = []
    for part in both.split(1):
        model(coder, part, QUALITY, (16, 16))
        single.append(coder.take())
    torch.testing.assert_close(bits, torch.cat(single), rtol=1e-4, atol=0.1)
    assert bits[1] > bits[0]


def test_damage_is_an_error_or_other_values(model: Model) -> None:
    y = latents(12, 16, 16)
    data, y_hat = write(model, y)
    rng = np.random.default_rng(0)
    cases = [data[:n] for n in range(0, len(data), max(1, len(data) // 40))] + [
        data + b"\0",
        b"",
        b"\xff" * 99,
    ]
    for place in rng.integers(0, len(data), 80):
        changed = bytearray(data)
        changed[place] ^= int(rng.integers(1, 256))
        cases.append(bytes(changed))
    errors = 0
    for case in cases:
        try:
            got = read(model, case, (16, 16))
        except CorruptStreamError:
            errors += 1
        else:
            assert not torch.equal(got, y_hat)
            assert got.abs().max() <= SYMBOL_MAX + 1023
    assert errors > 0.9 * len(cases)


def test_symbols_beyond_the_limits_are_refused(model: Model) -> None:
    """Whatever a coder of another make may have written, the extremes of int32 included."""
    factorized = model if isinstance(model, FactorizedModel) else model.factorized
    tables = factorized.tables()["density"]
    shape = (1, factorized.channels, 1, 2)
    for value in (factorized.limit + 1, -factorized.limit - 1, 2**31 - 1, -(2**31)):
        coder = Write()
        coder._encoder.push_channels(np.full(shape[1:], value, np.int32), tables)
        with pytest.raises(CorruptStreamError, match="beyond"):
            Read(coder.finish()).factorized(None, shape, factorized.limit, factorized.density, tables)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("noise", [True, False])
def test_gradients_are_finite_at_any_value(kind: str, noise: bool) -> None:
    model = build(kind)
    for scale in (0.0, 1.0, 1e3, 1e6):
        y = (latents(12, 16, 16) * scale).requires_grad_()
        coder = Estimate(noise)
        y_hat = model(coder, y, QUALITY, (16, 16))
        bits = coder.take()
        assert bits.isfinite().all()
        (bits.sum() + y_hat.sum()).backward()
        assert y.grad is not None
        assert y.grad.isfinite().all()
        for name, p in model.named_parameters():
            if "quantiles" not in name:
                assert p.grad is not None, name
                assert p.grad.isfinite().all(), name


@pytest.mark.parametrize("kind", ["hyperprior", "means"])
def test_training_the_bits_brings_them_down(kind: str) -> None:
    """Of outliers, too: where values are far beyond what the scales expect there is still a gradient."""
    model = build(kind)
    y = latents(12, 32, 32) * 20
    history = learn(model, y, 60)
    assert np.mean(history[-5:]) < 0.7 * history[0]


def test_logistic_bits_are_those_of_the_distribution() -> None:
    """Against the difference of the distribution function in float64; and far out, where that underflows."""
    index = torch.arange(0, N_SCALES, 7.0)[:, None]
    value = torch.arange(-30.0, 31.0)[None]
    s = scale_table()[::7, None]
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    p = sigmoid((0.5 - value.abs().numpy()) / s) - sigmoid((-0.5 - value.abs().numpy()) / s)
    good = p > 1e-12
    np.testing.assert_allclose(
        logistic_bits(value, index).numpy()[good], -np.log2(p)[good], rtol=1e-4, atol=1e-5
    )
    far = logistic_bits(torch.tensor([1e4]), torch.tensor([63.0]))
    assert far.item() == pytest.approx(1e4 / scale_table()[63] / math.log(2), rel=0.01)
    assert len(scale_tables().cdf) == N_SCALES


# -- what the entropy decoder depends on ---------------------------------------------------------------


def hyper_digest(kind: str, autocast: bool = False) -> str:
    """A digest of the symbols' scale indices and means, for random hyper-latents of all magnitudes."""
    model = build(kind, 40)
    model.freeze()
    generator = torch.Generator().manual_seed(5)
    z = torch.randint(-Z_LIMIT, Z_LIMIT + 1, (1, 8, 31, 47), generator=generator).float()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        index, mean = model.parameters_of(z, QUALITY)
    assert len(index.unique()) > 20
    values = index if mean is None else torch.cat((index, mean))
    assert torch.equal(values, values.round())
    assert mean is None or len(mean.unique()) > 20
    return hashlib.sha256(values.float().numpy().tobytes()).hexdigest()


@pytest.mark.parametrize("kind", ["hyperprior", "means"])
def test_hyper_decoder_does_not_depend_on_threads_or_autocast(kind: str) -> None:
    before = torch.get_num_threads()
    digests = set()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            digests |= {hyper_digest(kind), hyper_digest(kind, autocast=True)}
    finally:
        torch.set_num_threads(before)
    assert len(digests) == 1


AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
SSE = {
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "ATEN_CPU_CAPABILITY": "default",
    "OMP_NUM_THREADS": "2",
}


@pytest.mark.parametrize(
    "environment", [AVX2, pytest.param(SSE, marks=pytest.mark.slow)], ids=["avx2", "sse"]
)
def test_hyper_decoder_does_not_depend_on_the_instruction_set(environment: dict[str, str]) -> None:
    """oneDNN, MKL and ATen take their limits from these variables when they are loaded."""
    script = (
        "import importlib.util, sys, torch\n"
        f"spec = importlib.util.spec_from_file_location('t', {__file__!r})\n"
        "t = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(t)\n"
        "print(torch.backends.cpu.get_cpu_capability())\n"
        "print(t.hyper_digest('hyperprior'), t.hyper_digest('means'))\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    capability, digests = result.stdout.splitlines()
    if capability != "NO AVX":  # what processors of other makes say
        assert capability.lower() == environment["ATEN_CPU_CAPABILITY"]
    assert digests == f"{hyper_digest('hyperprior')} {hyper_digest('means')}"


def test_export_refuses_sums_that_are_not_exact() -> None:
    model = build("hyperprior")
    assert isinstance(model, Hyperprior)
    with torch.no_grad():
        layer = next(m for m in model.decoder if isinstance(m, IntConv2d))
        layer.bias.fill_(2.0**20)
    with pytest.raises(ValueError, match="not exact"):
        model.freeze()


def test_tables_survive_being_set_again(model: Model) -> None:
    other = build(
        "factorized" if isinstance(model, FactorizedModel) else "means" if model.means else "hyperprior"
    )
    other.load_state_dict(model.state_dict())
    assert other.tables() == {}
    other.set_tables(model.tables())
    y = latents(12, 16, 16)
    assert write(other, y)[0] == write(model, y)[0]
