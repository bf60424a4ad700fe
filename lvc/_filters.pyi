"""Types of the C++ extension of adaptive filters, for type checkers. Use lvc.enhance.adaptive, not this."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

RADIUS: int
WAYS: int
VALUE_BITS: int
COEFFICIENT_BITS: int
MAX_COEFFICIENT: int
MAX_VALUE: int

_Planes = list[npt.NDArray[Any]]
_Terms = Sequence[tuple[int, int, int, Sequence[tuple[int, int, int]]]]

def apply(
    samples: npt.NDArray[np.uint8],
    planes: _Planes,
    terms: _Terms,
    classes: npt.NDArray[np.uint8],
    side: int,
    coefficients: npt.NDArray[np.int16],
    threads: int,
    plain: bool = False,
) -> npt.NDArray[np.uint8]: ...
def features(
    planes: _Planes, terms: _Terms, blocks: npt.NDArray[np.int32], side: int
) -> npt.NDArray[np.float32]: ...
def classify(
    frame: npt.NDArray[np.uint8],
    before: npt.NDArray[np.uint8],
    after: npt.NDArray[np.uint8],
    activity: Sequence[int],
    change: Sequence[int],
) -> npt.NDArray[np.uint8]: ...
def refine(
    current: npt.NDArray[np.uint8],
    reference: npt.NDArray[np.uint8],
    fields: list[npt.NDArray[np.int16]],
    reach: int,
    steps: Sequence[int],
    threads: int,
) -> npt.NDArray[np.int16]: ...
def orient(samples: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]: ...
def halve(samples: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]: ...
