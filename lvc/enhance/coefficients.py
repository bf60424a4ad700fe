"""Coefficients of the filters of a group of frames, as they stand in a stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lvc.coding import Decoder, Encoder
from lvc.enhance.adaptive import MAX_COEFFICIENT, PARTITIONS, Views
from lvc.enhance.prior import QUANTA, FilterPrior, table_index
from lvc.errors import CorruptStreamError
from lvc.types import Frame, Plane

Array = npt.NDArray[Any]

_OFF = 3
_PLANES = 3
_LARGEST = 2 * MAX_COEFFICIENT
"""Of symbols, in steps of whatever quantum."""


@dataclass(frozen=True, eq=False)
class Quantized:
    """Coefficients of one plane.

    Attributes:
        partition: number of a way to share coefficients (lvc.enhance.adaptive.PARTITIONS).
        step: number of a quantum (lvc.enhance.prior.QUANTA).
        symbols: int16 [classes of the partition, n]: how many quanta coefficients are above their mean.
    """

    partition: int
    step: int
    symbols: Array

    def values(self, prior: FilterPrior, where: int, plane: int) -> Array:
        """The coefficients, int16 [classes, n], in 1 / lvc.enhance.adaptive.COEFFICIENT."""
        mean, _ = prior.of(where, plane, self.partition)
        values = mean.astype(np.int64) + QUANTA[self.step] * self.symbols.astype(np.int64)
        return np.clip(values, -MAX_COEFFICIENT, MAX_COEFFICIENT).astype(np.int16)


@dataclass(frozen=True)
class Coefficients:
    """Of the filters of a group of frames: Y, U and V; None where a plane is not filtered.

    U and V are filtered or not, and have partition and step, alike.
    """

    planes: tuple[Quantized | None, Quantized | None, Quantized | None]

    def to_bytes(self, prior: FilterPrior, where: int) -> bytes:
        """A byte that says how, then what is entropy-coded: see bitstream/FORMAT.md."""
        head = 0
        encoder = Encoder(prior.tables()["coefficients"])
        for plane, own in enumerate(self.planes):
            if plane < 2:
                head |= (_OFF if own is None else own.partition + 4 * own.step) << (4 * plane)
            if own is not None:
                spread = prior.of(where, plane, own.partition)[1]
                encoder.push(own.symbols, table_index(spread, own.step))
        return bytes([head]) + encoder.finish()

    @classmethod
    def from_bytes(cls, data: bytes, prior: FilterPrior, where: int) -> Coefficients:
        """The inverse of to_bytes. Raises CorruptStreamError."""
        if not data:
            raise CorruptStreamError("coefficients of filters are missing")
        planes: list[Quantized | None] = []
        decoder = Decoder(data[1:], prior.tables()["coefficients"])
        for plane in range(_PLANES):
            how = data[0] >> (4 * min(plane, 1)) & 15
            partition, step = how & 3, how >> 2
            if partition == _OFF:
                if step:
                    raise CorruptStreamError("coefficients of filters name a step for a plane that is not filtered")
                planes.append(None)
                continue
            spread = prior.of(where, plane, partition)[1]
            symbols = decoder.pull(table_index(spread, step))
            if not -_LARGEST <= symbols.min() <= symbols.max() <= _LARGEST:
                raise CorruptStreamError("a coefficient of a filter is out of range")
            planes.append(Quantized(partition, step, symbols.astype(np.int16)))
        decoder.close()
        return cls((planes[0], planes[1], planes[2]))

    def apply(self, views: Views, pts: int, prior: FilterPrior, where: int, threads: int = 1) -> Frame:
        """The frame filtered."""
        classes = views.classes if any(self.planes) else None
        planes: list[Plane] = []
        for plane, own in enumerate(self.planes):
            if own is None or classes is None:
                planes.append(views.frame[plane])
            else:
                values = own.values(prior, where, plane)
                planes.append(views.filtered(plane, PARTITIONS[own.partition][classes], values, threads))
        return Frame(planes[0], planes[1], planes[2], pts)
