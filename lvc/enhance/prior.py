"""What the coefficients of filters (lvc.enhance.adaptive) are likely to be: so they cost few bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lvc.coding import CdfTables, gaussian_tables
from lvc.enhance.adaptive import COEFFICIENT, N_CHROMA, N_LUMA, PARTITIONS

Array = npt.NDArray[Any]

ROWS = sum(int(partition.max()) + 1 for partition in PARTITIONS)
"""Of tables: those of one partition after those of the one before."""

SITUATIONS = 4
"""Tables differ by base codec, AV1 (1) or another (0), plus 2 if a network proposes."""

QUANTA = (2, 4, 8, 16)
"""Steps that coefficients may be coded in, in 1 / COEFFICIENT."""

PER_OCTAVE = 4
MAX_SPREAD = 40

_LEAST = 3
"""Octaves below 1 that the scales of the tables begin at, in symbols."""

_FIRST_SPREAD = 20


def situation(av1: bool, network: bool) -> int:
    """Number of the tables for a base codec, with or without a network."""
    return int(av1) + 2 * int(network)


class FilterPrior(nn.Module):
    """Means and spreads of coefficients, taken to be normally distributed, by situation, plane and class.

    Attributes:
        luma_mean, chroma_mean: int16 (SITUATIONS, 1 or 2, ROWS, n), for Y, and for U and V, in 1 / COEFFICIENT.
        luma_spread, chroma_spread: uint8, likewise: n stands for a standard deviation of 2^(n / 4) / COEFFICIENT.
    """

    luma_mean: Tensor
    luma_spread: Tensor
    chroma_mean: Tensor
    chroma_spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, planes, n in (("luma", 1, N_LUMA), ("chroma", 2, N_CHROMA)):
            shape = SITUATIONS, planes, ROWS, n
            self.register_buffer(f"{name}_mean", torch.zeros(shape, dtype=torch.int16))
            self.register_buffer(f"{name}_spread", torch.full(shape, _FIRST_SPREAD, dtype=torch.uint8))
        self._tables: CdfTables | None = None

    def of(self, where: int, plane: int, partition: int) -> tuple[Array, Array]:
        """(means, spreads), [classes of the partition, n], of a situation and a plane 0..2; views."""
        first = sum(int(PARTITIONS[i].max()) + 1 for i in range(partition))
        rows = slice(first, first + int(PARTITIONS[partition].max()) + 1)
        mean, spread = (self.chroma_mean, self.chroma_spread) if plane else (self.luma_mean, self.luma_spread)
        at = where, max(plane - 1, 0)
        return mean[at][rows].numpy(), spread[at][rows].numpy()

    def freeze(self) -> None:
        self._tables = gaussian_tables(2.0 ** (np.arange(MAX_SPREAD + 1) / PER_OCTAVE - _LEAST))

    def tables(self) -> dict[str, CdfTables]:
        if self._tables is None:
            self.freeze()
        assert self._tables is not None
        return {"coefficients": self._tables}

    def set_tables(self, tables: dict[str, CdfTables]) -> None:
        """Raises ValueError if a table is missing."""
        table = tables.get("coefficients")
        if table is None or table.n_tables != MAX_SPREAD + 1:
            raise ValueError("tables of filter coefficients are missing")
        self._tables = table


def table_index(spread: Array, step: int) -> Array:
    """Tables that symbols are coded with: of coefficients of these spreads, in steps of QUANTA[step]. uint8."""
    octaves = QUANTA[step].bit_length() - 1
    index = spread.astype(np.int64) + PER_OCTAVE * (_LEAST - octaves)
    return np.clip(index, 0, MAX_SPREAD).astype(np.uint8)


def spread_of(deviation: Array) -> Array:
    """The nearest spread to a standard deviation in 1 / COEFFICIENT; uint8."""
    octaves = np.log2(np.maximum(deviation, 1.0 / COEFFICIENT))
    return np.clip(np.round(PER_OCTAVE * octaves), 0, MAX_SPREAD).astype(np.uint8)
