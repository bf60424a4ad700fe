"""Entropy models of a latent tensor: factorized, or a hyperprior whose decoder is exact integer arithmetic.

Both code y (N, C, H, W) through a coder and return y_hat. Quality (0..63) may differ from sample to sample.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lvc.coding import CdfTables, factorized_tables
from lvc.entropy.coders import Coder, density_likelihood
from lvc.entropy.scales import N_SCALES, scale_tables
from lvc.ops.compressai_adapter import EntropyBottleneck
from lvc.ops.gains import QualityTable
from lvc.ops.integer import EXACT_LIMIT, IntConv2d
from lvc.ops.rounding import clamp_ste

Z_LIMIT = 15
"""Hyper-latents are integers of at most this magnitude."""

FACTORIZED_LIMIT = 255
"""The same for latents that a factorized model codes directly."""


class LatentModel(Protocol):
    """What a model needs of an entropy model."""

    downscale: int

    def __call__(self, coder: Coder, y: Tensor | None, quality: Tensor, size: tuple[int, int]) -> Tensor:
        """Code y (None when reading), of ``size`` (H, W); H and W are multiples of ``downscale``."""
        ...

    def freeze(self) -> None:
        """Make the integer tables out of the trained densities."""
        ...

    def tables(self) -> dict[str, CdfTables]: ...

    def set_tables(self, tables: dict[str, CdfTables]) -> None: ...


class FactorizedModel(nn.Module):
    """One learned density a channel, the same everywhere (Balle et al. 2018, appendix 6.1; OpenDVC)."""

    downscale = 1

    def __init__(self, channels: int, limit: int = FACTORIZED_LIMIT) -> None:
        super().__init__()
        self.channels, self.limit = channels, limit
        self.density = EntropyBottleneck(channels, init_scale=4)
        self._tables: CdfTables | None = None

    def forward(self, coder: Coder, y: Tensor | None, quality: Tensor, size: tuple[int, int]) -> Tensor:
        shape = (len(quality), self.channels, *size)
        return coder.factorized(y, shape, self.limit, self.density, self._tables)

    @torch.no_grad()
    def freeze(self) -> None:
        values = torch.arange(-self.limit, self.limit + 1, dtype=torch.float32)
        pmf = density_likelihood(self.density, values.expand(self.channels, 1, -1))[:, 0]
        self._tables = factorized_tables(pmf.double().numpy(), np.full(self.channels, -self.limit))

    def tables(self) -> dict[str, CdfTables]:
        return {} if self._tables is None else {"density": self._tables}

    def set_tables(self, tables: dict[str, CdfTables]) -> None:
        self._tables = tables["density"]


class Hyperprior(nn.Module):
    """Scale (and mean) hyperprior on log-magnitudes; Minnen et al. (2018) with an integer decoder.

    The hyper-decoder maps integers z to scale-table indices 0..63 (and integer means) with integer weights
    and activations only, so that they are the same on every machine.

    Args:
        channels: of y.
        z_channels: of z.
        levels: z has 1 / 2**levels of y's resolution.
        width: channels inside the encoder and decoder.
        means: whether integer means are predicted, too.
    """

    def __init__(self, channels: int, z_channels: int, levels: int, width: int = 48,
                 means: bool = False) -> None:
        super().__init__()
        self.channels, self.z_channels, self.means = channels, z_channels, means
        self.downscale = 2**levels
        inputs = 2 * channels if means else channels
        encoder: list[nn.Module] = [nn.Conv2d(inputs, width, 1), nn.LeakyReLU(0.1)]
        for level in range(levels):
            encoder.append(nn.Conv2d(width, z_channels if level == levels - 1 else width, 5, 2, 2))
            if level < levels - 1:
                encoder.append(nn.LeakyReLU(0.1))
        self.encoder = nn.Sequential(*encoder)
        self.factorized = FactorizedModel(z_channels, Z_LIMIT)
        decoder: list[nn.Module] = []
        previous, x_max = z_channels, 8 * Z_LIMIT
        for _ in range(levels):
            # A 3x3 layer over at most 56 rectified inputs stays within 2**24 (56 * 9 * 127 * 255).
            kernel = 3 if previous <= 56 else 1
            decoder.append(IntConv2d(previous, 4 * width, kernel, x_max=x_max, low=0, high=255))
            decoder.append(nn.PixelShuffle(2))
            previous, x_max = width, 255
        decoder.append(IntConv2d(previous, inputs, 1, x_max=x_max, low=-1023, high=1023, gain=0.1))
        self.decoder = nn.Sequential(*decoder)
        self.base_index = QualityTable(channels, start=8.0)
        self._scale_tables: CdfTables | None = None

    def forward(self, coder: Coder, y: Tensor | None, quality: Tensor, size: tuple[int, int]) -> Tensor:
        z = None
        if y is not None:
            # Detached: the way through z and the integer decoder is long and its gradient rough. What is
            # coded learns from the rate under given distributions.
            side = y.detach()
            a = torch.log2(1.0 + side.abs())
            z = self.encoder(torch.cat((a, a * side.sign()), 1) if self.means else a)
        z_hat = self.factorized(coder, z, quality, (size[0] // self.downscale, size[1] // self.downscale))
        index, mean = self.parameters_of(z_hat, quality)
        return coder.conditional(y, index, mean, self._scale_tables)

    def parameters_of(self, z_hat: Tensor, quality: Tensor) -> tuple[Tensor, Tensor | None]:
        """Integers z (N, z_channels, h, w) -> scale indices 0..63 and integer means (or None)."""
        with torch.autocast(z_hat.device.type, enabled=False):
            out = self.decoder(z_hat.float() * 8.0)
            index, mean = out.split(self.channels, 1) if self.means else (out, None)
            index = clamp_ste(index + self.base_index.integers(quality), 0, N_SCALES - 1)
        return index, mean

    def freeze(self) -> None:
        for module in self.decoder:
            if isinstance(module, IntConv2d) and (bound := module.largest_sum()) >= EXACT_LIMIT:
                raise ValueError(f"partial sums of up to {bound:.0f} are not exact in float32")
        self.base_index.freeze()
        self.factorized.freeze()
        self._scale_tables = scale_tables()

    def tables(self) -> dict[str, CdfTables]:
        inner = self.factorized.tables()
        return {**inner, "scales": self._scale_tables} if self._scale_tables else inner

    def set_tables(self, tables: dict[str, CdfTables]) -> None:
        self._scale_tables = tables["scales"]
        self.factorized.set_tables(tables)

