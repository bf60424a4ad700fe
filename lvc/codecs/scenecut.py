"""Where groups of pictures begin: every so many frames, and where another scene does.

That is where motion predicts a frame worse than the means of its own blocks do.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lvc.ops.blockmotion import BLOCK, search
from lvc.types import Plane

_REDUCTION = 4
"""Of width and height, before motion is searched for."""

_LAGRANGIAN = 4.0
"""SATD a bit of motion is worth, see lvc.ops.blockmotion.search."""

_FLOOR = 16
"""SATD of a block that is added to what its mean leaves: noise in flat pictures makes no cuts."""

_THRESHOLD = 0.8
"""Part of what the means leave. On 17 validation clips, motion leaves at most 0.52 of it; from a frame of one of them
to one of another, which is a cut, at least 1.09."""

_SMALLEST = 2 * BLOCK


class SceneCuts:
    """Tells of frames, in their order, whether they begin another scene.

    Args:
        threads: at least 1; the result does not depend on it.
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._former: Plane | None = None

    def __call__(self, luma: Plane) -> bool:
        """Take a frame's luma, uint8 (H, W), always of one size. The first one begins no other scene; of small ones it
        is not known.
        """
        former, self._former = self._former, _reduced(luma)
        if former is None or min(former.shape) < _SMALLEST:
            return False
        found = search(self._former, former, _LAGRANGIAN, effort=0, threads=self._threads)
        return bool(found.satd.mean() > _THRESHOLD * (_deviation(self._former).mean() + _FLOOR))


class Places:
    """Places of frames in their groups of pictures, from 0, the I frame.

    Args:
        period: an I frame every so many frames; 0 or less: the first one only.
        cuts: says where another scene begins, which is another group; None: nowhere.
    """

    def __init__(self, period: int, cuts: SceneCuts | None = None) -> None:
        self._period, self._cuts = period, cuts
        self._next = 0

    def __call__(self, luma: Plane) -> int:
        """Take the next frame's luma. Returns its place."""
        cut = self._cuts is not None and self._cuts(luma)
        place = 0 if cut or self._next == self._period else self._next
        self._next = place + 1
        return place


def _reduced(luma: Plane) -> Plane:
    """Means over squares, rounded, of the whole blocks that these make."""
    h, w = (n // (_REDUCTION * BLOCK) * BLOCK for n in luma.shape)
    inner = luma[: h * _REDUCTION, : w * _REDUCTION].reshape(h, _REDUCTION, w, _REDUCTION)
    sums = inner.sum((1, 3), dtype=np.uint32)
    return np.asarray((sums + _REDUCTION**2 // 2) // _REDUCTION**2, np.uint8)


def _deviation(plane: Plane) -> npt.NDArray[np.float64]:
    """SATD of each 8x8 block less its mean, as lvc.ops.blockmotion scales it: (H / 8, W / 8)."""
    h, w = (n // BLOCK for n in plane.shape)
    blocks = plane.reshape(h, BLOCK, w, BLOCK).swapaxes(1, 2).astype(np.float64)
    transformed = np.abs(_HADAMARD @ blocks @ _HADAMARD)
    return np.asarray((transformed.sum((2, 3)) - transformed[:, :, 0, 0]) / 4)


_TWO = np.array([[1.0, 1.0], [1.0, -1.0]])
_HADAMARD = np.kron(_TWO, np.kron(_TWO, _TWO))
