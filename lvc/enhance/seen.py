"""Decoded frames as filters meet them: one by one, with those around them."""

from __future__ import annotations

from dataclasses import dataclass

from lvc.types import Frame

REACH = 2
"""Frames before and behind a frame that its filters see."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A decoded frame, the index of its level (lvc.enhance.levels), and whether a group of pictures begins with it."""

    frame: Frame
    index: int
    intra: bool


Window = tuple[Seen | None, Seen | None, Seen, Seen | None, Seen | None]
"""Frames in a row; the outer ones are None beyond the group of pictures."""


class Windows:
    """Turns frames in presentation order into windows, REACH frames later."""

    def __init__(self) -> None:
        self._frames: list[Seen] = []
        self._done = 0

    def push(self, seen: Seen) -> list[Window]:
        """The windows that are complete with a further frame."""
        windows = self.flush() if seen.intra else []
        self._frames.append(seen)
        if len(self._frames) - self._done > REACH:
            windows.append(self._next())
        return windows

    def flush(self) -> list[Window]:
        """All remaining windows: nothing of the group follows."""
        windows = [self._next() for _ in range(len(self._frames) - self._done)]
        self._frames, self._done = [], 0
        return windows

    def _next(self) -> Window:
        at, self._done = self._done, self._done + 1
        around = [self._frames[i] if 0 <= i < len(self._frames) else None for i in range(at - REACH, at + REACH + 1)]
        window = around[0], around[1], self._frames[at], around[3], around[4]
        if at == REACH:
            del self._frames[0]
            self._done -= 1
        return window
