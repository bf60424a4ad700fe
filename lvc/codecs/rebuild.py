"""From the base stream's pictures to those of the video, with and without a network: what stsr's two ends share.

Networks see clips: pictures in a row, within a group of pictures, some more on both sides than they are asked for. So
memory is bounded, and damage stays within groups.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lvc.codecs.layered import Seen
from lvc.enhance.linear import between, enlarged
from lvc.types import Frame

BOTH, PREVIOUS, FOLLOWING = 0, 1, 2
"""Ways to a picture that is not in the base stream: from both of its neighbours, or one of them as it is."""

WAYS = (BOTH, PREVIOUS, FOLLOWING)


class ClipEnhancer(Protocol):
    """Makes rebuilt pictures better.

    Attributes:
        core: pictures of the base stream that it is asked for at once.
        margin: how many more it sees on either side, at most; at least 1.
    """

    core: int
    margin: int

    def __call__(self, seen: Sequence[Seen], middles: Sequence[Frame | None],
                 core: range) -> tuple[Sequence[Frame | None], Sequence[Frame | None]]:
        """Pictures enhanced.

        Args:
            seen: of the base stream, enlarged, in a row, in presentation order.
            middles: for each, the picture behind it, halfway to the next one, if the video has one; made of these.
                None after the last.
            core: which pictures are asked for.

        Returns:
            The frames of ``seen``, and ``middles``, enhanced, with the pts they have; None out of ``core``.
        """
        ...


class Rebuilt:
    """A picture of the base stream, and what is made of it.

    Args:
        frame: as decoded. intra: whether it begins a group of pictures.
        size: (width, height) of the video. halves: twice the scale that leads to it.
        threads: of motion search; 0: one for each core.
    """

    def __init__(self, frame: Frame, intra: bool, size: tuple[int, int], halves: int, threads: int = 0) -> None:
        self.plain = enlarged(frame, *size, halves)  # of the video's size
        self.pts, self.intra = frame.pts, intra
        self.level = 0.0
        self.gap: int | None = None  # pts of the picture behind it that is not in the base stream
        self.clip: Clip | None = None
        self._threads = threads or os.cpu_count() or 1
        self._middle: Frame | None = None

    def middle(self, following: Rebuilt) -> Frame:
        """The picture halfway to the next one, by motion."""
        assert self.gap is not None
        if self._middle is None:
            level = (self.level + following.level) / 2
            self._middle = Frame(*between(self.plain.planes, following.plain.planes, level, self._threads), self.gap)
        return self._middle

    def by_way(self, following: Rebuilt, way: int) -> Frame:
        """The picture behind this one, in one of the WAYS."""
        assert self.gap is not None
        if way == BOTH:
            return self.middle(following)
        side = (self if way == PREVIOUS else following).plain
        return Frame(side.y, side.u, side.v, self.gap)


@dataclass(slots=True, eq=False)
class Clip:
    """Pictures that a network sees together; it is run when one is asked for."""

    frames: list[Rebuilt]
    enhancer: ClipEnhancer
    core: range
    results: tuple[Sequence[Frame | None], Sequence[Frame | None]] | None = None

    def enhanced(self, of: Rebuilt, gap: bool = False) -> Frame | None:
        """The picture, or the one behind it, enhanced; None if that one is out of the clip's reach."""
        if self.results is None:
            middles: list[Frame | None] = [None] * len(self.frames)
            for i in self.core:
                if self.frames[i].gap is not None and i + 1 < len(self.frames):
                    middles[i] = self.frames[i].middle(self.frames[i + 1])
            self.results = self.enhancer([Seen(f.plain, f.level, f.intra) for f in self.frames], middles, self.core)
        return self.results[gap][self.frames.index(of)]


class Clips:
    """Puts pictures in presentation order into clips; gives them back, as late as these need.

    Args:
        enhancer: None needs no clips.
    """

    def __init__(self, enhancer: ClipEnhancer | None) -> None:
        self._enhancer = enhancer
        self._done: list[Rebuilt] = []
        self._waiting: list[Rebuilt] = []

    def push(self, picture: Rebuilt) -> list[Rebuilt]:
        """Take the next picture; return those that are ready."""
        if self._enhancer is None:
            return [picture]
        ready = self.flush() if picture.intra else []
        self._waiting.append(picture)
        if len(self._waiting) >= self._enhancer.core + self._enhancer.margin:
            ready += self._emit(self._enhancer)
        return ready

    def flush(self) -> list[Rebuilt]:
        """No picture follows in this group; return the rest."""
        ready: list[Rebuilt] = []
        while self._waiting and self._enhancer is not None:
            ready += self._emit(self._enhancer)
        self._done = []
        return ready

    def _emit(self, enhancer: ClipEnhancer) -> list[Rebuilt]:
        ready, rest = self._waiting[:enhancer.core], self._waiting[enhancer.core:]
        before = len(self._done)
        clip = Clip([*self._done, *ready, *rest[:enhancer.margin]], enhancer, range(before, before + len(ready)))
        for picture in ready:
            picture.clip = clip
        self._done = [*self._done, *ready][-enhancer.margin:]
        self._waiting = rest
        return ready
