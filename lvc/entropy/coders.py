"""One interface for estimating, writing and reading latents.

A model is written once and takes a coder: ``y_hat = coder.conditional(y, index, mean, tables)``. Estimate
counts bits for training, Write turns integers into range-coder symbols, Read takes them back (there ``y`` is
None). What comes back is the same in all three (straight-through gradients aside), so encoder and decoder
share every line of the reconstruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lvc.coding import CdfTables, Decoder, Encoder
from lvc.coding.v1 import DecoderV1
from lvc.entropy.scales import logistic_bits
from lvc.errors import CorruptStreamError
from lvc.ops.compressai_adapter import EntropyBottleneck
from lvc.ops.rounding import round_ste

SYMBOL_MAX = 2**15 - 1
"""Largest magnitude of a coded symbol; the encoder clamps, the decoder rejects."""

LIKELIHOOD_MIN = 1e-9

CODER_VERSION = 2
"""Of the entropy coder that Write uses; streams tell theirs."""

SMOOTH_INDEX = 21
"""Smallest scale index (a scale of 0.3) that latents see in training."""


class Coder(Protocol):
    """Codes quantized latents under a conditional (hyperprior) or a factorized model."""

    def conditional(self, y: Tensor | None, index: Tensor, mean: Tensor | None,
                    tables: CdfTables | None) -> Tensor:
        """Code y (N, C, H, W) given scale indices 0..63 and integer means of the same shape."""
        ...

    def factorized(self, z: Tensor | None, shape: tuple[int, int, int, int], limit: int,
                   density: EntropyBottleneck, tables: CdfTables | None) -> Tensor:
        """Code z (N, C, H, W), integers of magnitude ``limit`` at most, by one density a channel."""
        ...


class Estimate:
    """Counts bits; differentiable.

    Args:
        noise: True in training: gradients of the rate are those of values plus uniform noise. False: the rate
            of the rounded values, as it would be written.

    Attributes:
        bits: (N,) tensor of bits a sample, summed over all calls since the last ``take``.
    """

    def __init__(self, noise: bool = True, generators: Sequence[torch.Generator] | None = None) -> None:
        self.noise, self._generators = noise, generators
        self.bits: Tensor | float = 0.0

    def take(self) -> Tensor:
        """The bits counted so far (N,); starts again from zero."""
        bits, self.bits = self.bits, 0.0
        return torch.as_tensor(bits)

    def conditional(self, y: Tensor | None, index: Tensor, mean: Tensor | None,
                    tables: CdfTables | None = None) -> Tensor:
        assert y is not None
        with torch.autocast(y.device.type, enabled=False):
            y = y.float()
            y_hat = round_ste(y)
            centre = 0.0 if mean is None else mean
            bits = logistic_bits(y_hat.detach() - centre if self.noise else y_hat - centre, index)
            if self.noise:
                # The distributions learn from the symbols as they are coded, the latents from a smooth
                # version of the rate: values plus noise, under scales that are not so small that a value
                # just beyond 1/2 would outweigh all others.
                noisy = y + self._uniform(y) - (centre if mean is None else mean.detach())
                smooth = logistic_bits(noisy, index.detach().clamp_min(SMOOTH_INDEX))
                bits = bits + (smooth - smooth.detach())
            self._count(bits)
        return y_hat

    def factorized(self, z: Tensor | None, shape: tuple[int, int, int, int], limit: int,
                   density: EntropyBottleneck, tables: CdfTables | None = None) -> Tensor:
        assert z is not None
        with torch.autocast(z.device.type, enabled=False):
            z = z.float()
            z_hat = round_ste(z).clamp(-limit, limit)
            value = z + self._uniform(z) if self.noise else z_hat
            columns = value.transpose(0, 1).reshape(shape[1], 1, -1)
            likelihood = density_likelihood(density, columns)
            likelihood = likelihood.reshape(shape[1], shape[0], *shape[2:]).transpose(0, 1)
            self._count(-torch.log2(likelihood.clamp_min(LIKELIHOOD_MIN)))
        return z_hat

    def _uniform(self, like: Tensor) -> Tensor:
        """Noise within +-1/2 of the shape of ``like``."""
        if self._generators is None:
            return torch.rand_like(like) - 0.5
        return torch.stack([torch.rand(like.shape[1:], generator=g, device=like.device)
                            for g in self._generators]) - 0.5

    def _count(self, bits: Tensor) -> None:
        self.bits = self.bits + bits.flatten(1).sum(1)


def density_likelihood(density: EntropyBottleneck, values: Tensor) -> Tensor:
    """P(value - 1/2 < Z < value + 1/2) for values (C, 1, n) under the density of each channel."""
    likelihood = density._likelihood(values)
    return likelihood[0] if isinstance(likelihood, tuple) else likelihood


class Write:
    """Writes symbols into a range coder; ``finish`` gives the bytes. One sample (N = 1) at a time.

    Args:
        dead_zone: 0 rounds to the nearest integer. Above 0, magnitudes of conditional latents are rounded
            up from a fraction of 1/2 + dead_zone on only: plain rate-distortion optimized quantization.
    """

    def __init__(self, dead_zone: float = 0.0) -> None:
        self._encoder = Encoder()
        self._dead_zone = dead_zone

    def conditional(self, y: Tensor | None, index: Tensor, mean: Tensor | None,
                    tables: CdfTables | None) -> Tensor:
        assert y is not None
        assert tables is not None
        offset = 0 if mean is None else mean
        value = y.float() - offset
        shrunk = value.sign() * (value.abs() - self._dead_zone).clamp_min(0.0)
        symbols = torch.round(shrunk).clamp(-SYMBOL_MAX, SYMBOL_MAX)
        self._encoder.push(_numpy(symbols, torch.int16), _numpy(index, torch.uint8), tables)
        return symbols + offset

    def factorized(self, z: Tensor | None, shape: tuple[int, int, int, int], limit: int,
                   density: EntropyBottleneck, tables: CdfTables | None) -> Tensor:
        assert z is not None
        assert tables is not None
        symbols = torch.round(z.float()).clamp(-limit, limit)
        self._encoder.push_channels(_numpy(symbols[0], torch.int16), tables)
        return symbols

    def finish(self) -> bytes:
        return self._encoder.finish()


class Read:
    """Reads the symbols that Write wrote. Raises CorruptStreamError on data that cannot be right.

    Args:
        data: the bytes of one frame.
        device: where tensors are wanted.
        version: of the entropy coder, 2, or 1 for old streams.
    """

    def __init__(self, data: bytes, device: torch.device | str = "cpu", version: int = CODER_VERSION) -> None:
        self._decoder = Decoder(data) if version == CODER_VERSION else DecoderV1(data)
        self._device = torch.device(device)

    def conditional(self, y: Tensor | None, index: Tensor, mean: Tensor | None,
                    tables: CdfTables | None) -> Tensor:
        assert tables is not None
        symbols = self._decoder.pull(_numpy(index, torch.uint8), tables)
        value = self._tensor(symbols, SYMBOL_MAX)
        return value if mean is None else value + mean

    def factorized(self, z: Tensor | None, shape: tuple[int, int, int, int], limit: int,
                   density: EntropyBottleneck, tables: CdfTables | None) -> Tensor:
        assert tables is not None
        return self._tensor(self._decoder.pull_channels(shape[1:], tables), limit)[None]

    def close(self) -> None:
        """Verify that all was read and that the coder is back in its initial state."""
        self._decoder.close()

    def _tensor(self, symbols: np.ndarray, limit: int) -> Tensor:
        # (not by the magnitude: that of the least int32 is negative)
        if symbols.size and not -limit <= int(symbols.min()) <= int(symbols.max()) <= limit:
            raise CorruptStreamError(f"a symbol is beyond {limit}")
        return torch.from_numpy(symbols).to(self._device, torch.float32)


def _numpy(x: Tensor, dtype: torch.dtype) -> np.ndarray:
    return x.detach().to("cpu", dtype).contiguous().numpy()
