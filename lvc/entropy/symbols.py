"""Coders of integers that are given (not rounded on the way): one interface to count, write and read them.

The counterpart of lvc.entropy.coders for models whose latents are integers from the start. Only the values under
a mask are coded; all others are zero.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lvc.coding import Decoder, Encoder
from lvc.entropy.coders import SYMBOL_MAX
from lvc.entropy.distributions import TableDistribution
from lvc.errors import CorruptStreamError


class SymbolCoder(Protocol):
    """Codes integers under distributions chosen by indices."""

    def symbols(self, value: Tensor | None, index: Tensor, mask: Tensor,
                distribution: TableDistribution) -> Tensor:
        """Code value (N, C, H, W) where mask (bool) is set; returns it, zero elsewhere.

        Args:
            value: integers in float32, or None when reading.
            index: integers 0..63 in float32, of the same shape.
        """
        ...


Integers = npt.NDArray[np.int16] | npt.NDArray[np.int32]


class DirectCoder(Protocol):
    """Writes or reads integers that are there without gaps, in numpy: what the networks in C++ code with."""

    def code(self, values: Integers | None, index: npt.NDArray[np.uint8], distribution: TableDistribution) -> Integers:
        """Code integers; returns them.

        Args:
            values: int16 or int32 of any shape, or None when reading (int32 are given back then).
            index: 0..63, of the same shape.
        """
        ...


def _within(values: Integers) -> bool:
    return not values.size or -SYMBOL_MAX <= int(values.min()) <= int(values.max()) <= SYMBOL_MAX


class EstimateSymbols:
    """Counts bits for training.

    Args:
        weight: (N,) weights of the samples in the loss.

    Attributes:
        loss: a scalar, the sum of weighted bits; differentiable.
        bits: (N,) bits of each call, in order.
    """

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        self.loss: Tensor | float = 0.0
        self.bits: list[Tensor] = []

    def symbols(self, value: Tensor | None, index: Tensor, mask: Tensor,
                distribution: TableDistribution) -> Tensor:
        assert value is not None
        value = value * mask
        loss, bits = distribution.training_bits(value, index, mask, self.weight)
        self.loss = self.loss + loss
        self.bits.append(bits)
        return value


class RecordSymbols:
    """Keeps what an encoder needs for its choices: indices and masks of each call, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[Tensor, Tensor]] = []

    def symbols(self, value: Tensor | None, index: Tensor, mask: Tensor,
                distribution: TableDistribution) -> Tensor:
        assert value is not None
        self.calls.append((index, mask))
        return value * mask


class WriteSymbols:
    """Writes integers into a range coder; ``finish`` gives the bytes. One sample (N = 1) at a time."""

    def __init__(self) -> None:
        self._encoder = Encoder()

    def symbols(self, value: Tensor | None, index: Tensor, mask: Tensor,
                distribution: TableDistribution) -> Tensor:
        assert value is not None
        if value.numel() and float(value.abs().max()) > SYMBOL_MAX:
            raise ValueError(f"a symbol is beyond {SYMBOL_MAX}")
        self._encoder.push(value[mask].to(torch.int16).numpy(), index[mask].to(torch.uint8).numpy(),
                           distribution.cdf)
        return value * mask

    def code(self, values: Integers | None, index: npt.NDArray[np.uint8], distribution: TableDistribution) -> Integers:
        """As of DirectCoder."""
        assert values is not None
        if not _within(values):
            raise ValueError(f"a symbol is beyond {SYMBOL_MAX}")
        self._encoder.push(values, index, distribution.cdf)
        return values

    def finish(self) -> bytes:
        return self._encoder.finish()


class ReadSymbols:
    """Reads what WriteSymbols wrote. Raises CorruptStreamError on data that cannot be right."""

    def __init__(self, data: bytes) -> None:
        self._decoder = Decoder(data)

    def symbols(self, value: Tensor | None, index: Tensor, mask: Tensor,
                distribution: TableDistribution) -> Tensor:
        values = self.code(None, index[mask].to(torch.uint8).numpy(), distribution)
        result = torch.zeros(mask.shape, dtype=torch.float32)
        result[mask] = torch.from_numpy(values).float()
        return result

    def code(self, values: Integers | None, index: npt.NDArray[np.uint8], distribution: TableDistribution) -> Integers:
        """As of DirectCoder."""
        result = self._decoder.pull(index, distribution.cdf)
        if not _within(result):
            raise CorruptStreamError(f"a symbol is beyond {SYMBOL_MAX}")
        return result

    def close(self) -> None:
        """Verify that all was read and that the coder is back in its initial state."""
        self._decoder.close()
