"""Motion-compensated neighbours of decoded frames, by block search between the decoded pictures themselves.

One search serves both directions between two frames in a row: it leads from the earlier one to the later one, and its
vectors turned round lead back. Either way each block then takes what predicts it best, of what was found there and
around it and a little beside these (lvc._filters.refine). Vectors to frames two away are chained, and made finer alike.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lvc import _filters
from lvc.enhance.levels import level_of_index
from lvc.enhance.seen import Seen, Window
from lvc.ops.blockmotion import MAX_LAGRANGIAN, Field, chain, mirror, predict, search
from lvc.types import Plane

Planes = tuple[Plane, Plane, Plane]

_LAGRANGIAN = 2.2
"""SATD a bit of motion is worth, relative to the level of coding errors: nobody pays for the vectors, but smooth fields
are true ones."""

_REACH = 1
"""Blocks around a block whose vectors it tries."""

_STEPS = (2, 1)
"""Quarters of a sample that vectors are moved by, to see whether they get better."""

_KEPT = 24
"""Fields that are kept: more than a window needs."""


def aligned(planes: Planes, neighbour: Planes, level: float, threads: int = 1) -> Planes:
    """A prediction of ``planes`` out of ``neighbour``, by a search of its own.

    Args:
        planes, neighbour: Y uint8 [H, W], U and V uint8 [ceil(H / 2), ceil(W / 2)].
        level: root mean squared coding error of ``planes``.
        threads: of the search; the result does not depend on it.
    """
    return predict(neighbour, _finer(planes[0], neighbour[0], [_searched(planes[0], neighbour[0], level, threads)],
                                     threads))


class Neighbours:
    """Predictions of frames out of those around them. Fields are kept, for windows overlap."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int, int], tuple[Seen, Seen, Field]] = {}

    def __call__(self, window: Window, threads: int = 1) -> tuple[Planes, Planes, Planes, Planes]:
        """Of the frame in the middle, by the one before it, the one behind it, those two before and two behind.

        Where there is no such frame, the frame itself stands in. ``threads``: the result does not depend on it.
        """
        second, first, now, third, fourth = window
        jobs: list[tuple[Planes, Field] | None] = [None] * 4
        if first is not None:
            near = self._back(now, first, threads)
            jobs[0] = first.frame.planes, near
            if second is not None:
                far = chain(near, self._back(first, second, threads))
                jobs[2] = second.frame.planes, _finer(now.frame.y, second.frame.y, [far], threads)
        if third is not None:
            near = self._ahead(now, third, threads)
            jobs[1] = third.frame.planes, near
            if fourth is not None:
                far = chain(near, self._ahead(third, fourth, threads))
                jobs[3] = fourth.frame.planes, _finer(now.frame.y, fourth.frame.y, [far], threads)

        def predicted(job: tuple[Planes, Field] | None) -> Planes:
            return now.frame.planes if job is None else predict(*job)

        if threads == 1:
            before, after, early, late = map(predicted, jobs)
        else:
            with ThreadPoolExecutor(threads) as pool:
                before, after, early, late = pool.map(predicted, jobs)
        return before, after, early, late

    def _search(self, first: Seen, second: Seen, threads: int) -> Field:
        return self._keep("search", first, second, lambda: _searched(first.frame.y, second.frame.y,
                                                                     level_of_index(first.index), threads))

    def _ahead(self, now: Seen, following: Seen, threads: int) -> Field:
        return self._keep("ahead", now, following, lambda: _finer(
            now.frame.y, following.frame.y, [self._search(now, following, threads)], threads))

    def _back(self, now: Seen, previous: Seen, threads: int) -> Field:
        return self._keep("back", now, previous, lambda: _finer(
            now.frame.y, previous.frame.y, turned(self._search(previous, now, threads)), threads))

    def _keep(self, kind: str, one: Seen, two: Seen, find: Callable[[], Field]) -> Field:
        key = kind, id(one), id(two)  # objects are kept as well, so that no other ones get their numbers
        if key not in self._kept:
            found = find()
            while len(self._kept) >= _KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = one, two, found
        return self._kept[key][2]


def turned(field: Field) -> list[Field]:
    """Fields that lead back, of one that leads from a picture to another, best first: each block's vector is that,
    negated, of the block that the negated vector of its own place leads to; and that of its own place."""
    back = mirror(field)
    _, h, w = back.shape
    blocks = (back.astype(np.int32) + 16) >> 5  # from quarters of a sample
    rows = np.clip(np.arange(h)[:, None] + blocks[1], 0, h - 1)
    columns = np.clip(np.arange(w)[None] + blocks[0], 0, w - 1)
    return [np.ascontiguousarray(back[:, rows, columns]), back]


def _searched(plane: Plane, other: Plane, level: float, threads: int) -> Field:
    return search(plane, other, min(_LAGRANGIAN * level, MAX_LAGRANGIAN), effort=0, threads=threads).vectors


def _finer(plane: Plane, other: Plane, fields: list[Field], threads: int) -> Field:
    return _filters.refine(np.ascontiguousarray(plane), np.ascontiguousarray(other), fields, _REACH, _STEPS, threads)
