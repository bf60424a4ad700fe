"""Learned distributions of integers, chosen by a scale index: rows of a table, one for each of 64 indices.

A one-parameter family that is given by a formula (logistic, Gaussian) does not fit quantized coefficients:
rate-distortion optimized quantization empties the neighbourhood of the threshold. Here the rows themselves are
learned. They start as a discretized logistic of rising scale, or as probabilities of rising odds.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvc.coding import CdfTables, factorized_tables
from lvc.entropy.scales import N_SCALES, logistic_bits

ESCAPE_BITS = 2.0
"""Bits a doubling of the excess beyond the table costs (Exp-Golomb)."""


class TableDistribution(nn.Module):
    """Symmetric distributions of integers (or of magnitudes): (index, value) -> bits.

    Args:
        reach: magnitudes 0..reach have probabilities of their own, what is beyond is escaped.
        signed: whether values have a sign, which costs a bit where they are not zero.

    Attributes:
        logits: (64, reach + 2) of magnitudes 0..reach and of the escape.
    """

    def __init__(self, reach: int, signed: bool) -> None:
        super().__init__()
        self.reach, self.signed = reach, signed
        index = torch.arange(N_SCALES, dtype=torch.float32)[:, None]
        if reach == 1 and not signed:
            odds = (index - 40.0) * (9.0 / 40.0)
            start = torch.cat((torch.zeros_like(odds), odds, torch.full_like(odds, -20.0)), 1)
        else:
            magnitudes = torch.arange(reach + 1, dtype=torch.float32)[None]
            bits = logistic_bits(magnitudes, index) - (magnitudes > 0).float()
            start = torch.cat((bits * -math.log(2.0), bits[:, -1:] * -math.log(2.0)), 1).clamp_min(-20.0)
        self.logits = nn.Parameter(start)
        self._tables: CdfTables | None = None

    def bits_table(self) -> Tensor:
        """(64, reach + 2) bits of each magnitude and of the escape alone, signs not counted."""
        return F.log_softmax(self.logits, 1) * (-1.0 / math.log(2.0))

    def _extra(self, magnitude: Tensor) -> Tensor:
        """Bits of signs and of what an escape tells."""
        extra = (magnitude > 0).float() if self.signed else torch.zeros_like(magnitude)
        beyond = (magnitude - self.reach).clamp_min(1.0)
        return extra + (magnitude > self.reach) * (ESCAPE_BITS * torch.log2(beyond).floor() + 1.0)

    def bits(self, value: Tensor, index: Tensor) -> Tensor:
        """Bits of integers under the distributions of the indices 0..63, same shape; for the encoder's choices."""
        magnitude = value.abs()
        column = magnitude.clamp(max=self.reach + 1)
        row = self.bits_table().detach().flatten()
        place = (index * (self.reach + 2) + column).long()
        return row[place] + self._extra(magnitude)

    def flag_bits(self, index: Tensor) -> Tensor:
        """Bits of 0 and of 1 under the distributions of the indices: (2, ...), for an index of shape (...)."""
        zeros = torch.zeros_like(index)
        return torch.stack([self.bits(zeros + value, index) for value in (0, 1)])

    def training_bits(self, value: Tensor, index: Tensor, mask: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Bits of the values under the mask, to be learned from.

        Args:
            value, index, mask: (N, C, H, W); index holds integers with gradients (straight-through).
            weight: (N,) of the samples in the loss.

        Returns:
            The loss (a scalar: bits times weights), and bits (N,) without gradients. The loss has gradients
            for the table (by counts) and for the indices (by central differences along the table).
        """
        table = self.bits_table()
        sample = torch.arange(len(value))[:, None, None, None].expand(mask.shape)[mask]
        magnitude, index, weights = value[mask].abs(), index[mask], weight[sample]
        held = index.detach()
        place = (held * (self.reach + 2) + magnitude.clamp(max=self.reach + 1)).long()
        bits = table.detach().flatten()[place] + self._extra(magnitude)
        padded = torch.cat((table.detach()[:1], table.detach(), table.detach()[-1:]))
        slope = (0.5 * (padded[2:] - padded[:-2])).flatten()
        counts = torch.bincount(place, weights, table.numel())
        loss = (counts.to(table.dtype) * table.flatten()).sum()
        loss = loss + ((index - held) * (slope[place] * weights)).sum()
        return loss, torch.bincount(sample, bits, len(value))

    @property
    def cdf(self) -> CdfTables:
        """The frozen integer tables. Raises RuntimeError before ``freeze`` or if they were never set."""
        if self._tables is None:
            raise RuntimeError("the distribution has no integer tables yet")
        return self._tables

    def set_cdf(self, tables: CdfTables) -> None:
        self._tables = tables

    @torch.no_grad()
    def freeze(self) -> None:
        """Make the integer tables out of the distributions as they are now."""
        p = torch.softmax(self.logits.double(), 1).numpy()[:, :-1]
        if not self.signed:
            self._tables = factorized_tables(list(p), np.zeros(N_SCALES, np.int64))
            return
        rows = [np.concatenate((0.5 * row[:0:-1], row[:1], 0.5 * row[1:])) for row in p]
        self._tables = factorized_tables(rows, np.full(N_SCALES, -self.reach, np.int64))


class TableModule(nn.Module):
    """A module that codes with distributions of its own: ``flag_distribution``, and ``distribution`` if it has values.

    Their integer tables go by the names "flags" and "values" in files of weights (lvc.weights).
    """

    def _distributions(self) -> dict[str, TableDistribution]:
        named = {"flags": "flag_distribution", "values": "distribution"}
        return {name: getattr(self, place) for name, place in named.items() if hasattr(self, place)}

    def freeze(self) -> None:
        """Fix everything that a decoder needs as integers."""
        for distribution in self._distributions().values():
            distribution.freeze()

    def tables(self) -> dict[str, CdfTables]:
        """The frozen integer tables by name."""
        return {name: distribution.cdf for name, distribution in self._distributions().items()}

    def set_tables(self, tables: dict[str, CdfTables]) -> None:
        """Take the tables of a file. Raises KeyError if one is missing."""
        for name, distribution in self._distributions().items():
            distribution.set_cdf(tables[name])
