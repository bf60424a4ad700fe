"""Motion-compensated neighbours of decoded frames, by block search between the decoded pictures themselves."""

from __future__ import annotations

from lvc.ops.blockmotion import MAX_LAGRANGIAN, predict, search
from lvc.types import Plane

Planes = tuple[Plane, Plane, Plane]

_LAGRANGIAN = 2.2
"""SATD a bit of motion is worth, relative to the level of coding errors: nobody pays for the vectors, but smooth fields
are true ones."""


def aligned(planes: Planes, neighbour: Planes, level: float, threads: int = 1) -> Planes:
    """A prediction of ``planes`` out of ``neighbour``.

    Args:
        planes, neighbour: Y uint8 [H, W], U and V uint8 [ceil(H / 2), ceil(W / 2)].
        level: root mean squared coding error of ``planes``.
        threads: of the search; the result does not depend on it.
    """
    motion = search(planes[0], neighbour[0], min(_LAGRANGIAN * level, MAX_LAGRANGIAN), effort=0, threads=threads)
    return predict(neighbour, motion.vectors)
