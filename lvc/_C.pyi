"""Types of the C++ extension, for type checkers. Use lvc.coding, not this."""

from typing import Any

import numpy as np
import numpy.typing as npt

MIN_PRECISION: int
MAX_PRECISION: int
OK: int
BAD_INDEX: int
EXHAUSTED: int
BAD_ESCAPE: int
LEFT_OVER: int
BAD_LAYOUT: int

class Tables:
    def __init__(
        self,
        cdf: npt.NDArray[np.uint32],
        lengths: npt.NDArray[np.uint32],
        offsets: npt.NDArray[np.int32],
        precision: int,
    ) -> None: ...

class Encoder:
    def __init__(self) -> None: ...
    def push(self, tables: Tables, symbols: npt.NDArray[Any], index: npt.NDArray[Any]) -> int: ...
    def push_channels(self, tables: Tables, symbols: npt.NDArray[Any]) -> int: ...
    def finish(self) -> bytes: ...

class Decoder:
    def __init__(self, data: bytes) -> None: ...
    def pull(self, tables: Tables, index: npt.NDArray[Any], out: npt.NDArray[np.int32]) -> int: ...
    def pull_channels(self, tables: Tables, out: npt.NDArray[np.int32]) -> int: ...
    def close(self) -> int: ...
    @property
    def position(self) -> int: ...
