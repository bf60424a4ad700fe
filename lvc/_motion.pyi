"""Types of the C++ extension of block motion, for type checkers. Use lvc.ops.blockmotion, not this."""

import numpy as np
import numpy.typing as npt

BLOCK: int
MAX_EFFORT: int
MAX_LAGRANGIAN: float

def predict_plane(
    plane: npt.NDArray[np.uint8],
    vectors: npt.NDArray[np.int16],
    second: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int16], npt.NDArray[np.uint8]] | None,
    chroma: bool,
    window: int,
    simd: str,
) -> npt.NDArray[np.uint8]: ...
def search(
    current: npt.NDArray[np.uint8],
    reference: npt.NDArray[np.uint8],
    previous: npt.NDArray[np.int16] | None,
    second: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int16]] | None,
    window: int,
    lagrangian: float,
    effort: int,
    threads: int,
    simd: str,
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8], npt.NDArray[np.int32], npt.NDArray[np.uint8]]: ...
def has_simd(name: str) -> bool: ...
