"""How long a run will take yet: points differ in cost by orders of magnitude, so their number says little."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class TimeLeft:
    """Estimates by codec: seconds a pixel of points that are done, times the pixels of those that are not.

    Codecs of which no point is done yet count as the mean of the others.

    Attributes:
        jobs: how many points are measured at once.
    """

    jobs: int = 1
    _seconds: dict[str, float] = field(default_factory=dict)
    _pixels: dict[str, float] = field(default_factory=dict)

    def done(self, codec: str, pixels: float, seconds: float) -> None:
        """A point was measured."""
        self._seconds[codec] = self._seconds.get(codec, 0.0) + seconds
        self._pixels[codec] = self._pixels.get(codec, 0.0) + pixels

    def left(self, remaining: Iterable[tuple[str, float]]) -> float | None:
        """Seconds for the (codec, pixels) that remain; None as long as nothing is known."""
        if not self._seconds:
            return None
        known = {codec: self._seconds[codec] / self._pixels[codec] for codec in self._seconds}
        other = sum(known.values()) / len(known)
        return sum(pixels * known.get(codec, other) for codec, pixels in remaining) / self.jobs


def duration(seconds: float | None) -> str:
    """``45 s``, ``12 min`` or ``3 h 05 min``; a question mark if unknown."""
    if seconds is None:
        return "?"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
