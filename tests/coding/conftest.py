"""Tables and coders that the tests of lvc.coding share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from lvc.coding import CdfTables, Decoder, Encoder, available_kernels, current_kernels, use_kernels
from lvc.coding.reference import ReferenceDecoder, ReferenceEncoder

CODERS = {"cpp": (Encoder, Decoder), "reference": (ReferenceEncoder, ReferenceDecoder)}


@pytest.fixture(params=sorted(CODERS))
def coder(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """(encoder class, decoder class): the C++ one and the reference in turn."""
    return CODERS[request.param]


@pytest.fixture(params=available_kernels())
def kernels(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each of the C++ kernels that this CPU runs in turn."""
    before = current_kernels()
    use_kernels(request.param)
    yield request.param
    use_kernels(before)


@pytest.fixture(scope="session")
def make_tables() -> Callable[..., CdfTables]:
    """Builds tables from rows of frequencies, the escape's last: ``make_tables([[1, 3]], [0], 2)``."""

    def make(frequencies: list[list[int]], offsets: list[int], precision: int) -> CdfTables:
        lengths = np.array([len(row) + 1 for row in frequencies])
        cdf = np.zeros((len(frequencies), lengths.max()), dtype=np.int32)
        for i, row in enumerate(frequencies):
            cdf[i, 1 : lengths[i]] = np.cumsum(row)
        return CdfTables(cdf, lengths, np.array(offsets), precision)

    return make


@pytest.fixture(scope="session")
def extreme_tables(make_tables: Callable[..., CdfTables]) -> CdfTables:
    """2, 255 and as many symbols as fit; frequencies of 1 and of all but 1; offsets at both ends of int32."""
    top = 2**14
    return make_tables(
        [
            [top - 1, 1],
            [1, top - 1],
            [top // 2, top // 2],
            [1] * 254 + [top - 254],
            [top - 254] + [1] * 254,
            [1] * top,
            [top - 2, 1, 1],
            [top - 2, 1, 1],
        ],
        [0, 0, 5, -127, -127, -(2**13), -(2**31), 2**31 - 2],
        14,
    )
