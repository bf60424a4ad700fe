"""How many bits a frame costs, as a function of its quality, learned while frames are coded."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

MIN_SLOPE, MAX_SLOPE = 0.04, 0.20
"""log2(bits) a unit of quality. Pictures at rest cost the same at any quality, which must not be taken for what a scene
that begins to move will cost."""


@dataclass(slots=True)
class BitModel:
    """log2(bits) of a kind of frame as a line over quality, learned by a Kalman filter: the level drifts with the
    pictures, the slope hardly does.

    Attributes:
        level: log2(bits) at quality 0.
        slope: its rise a unit of quality.
        drift: standard deviation of the level's change from one frame to the next.
        noise: standard deviation of what single frames are off by.
        robust: whether a single frame that is far off is believed only as far as such go (a scene change
            within P frames); the second one in a row is.
    """

    level: float
    slope: float
    drift: float = 0.08
    noise: float = 0.2
    robust: bool = True
    _variance: list[float] = field(default_factory=lambda: [4.0, 0.0, 4e-4])
    _far: float = 0.0

    def predict(self, quality: float) -> float:
        """log2(bits) expected at a quality."""
        return self.level + self.slope * quality

    def shift(self, change: float) -> None:
        """Something else says that frames are larger by so much, in log2(bits)."""
        self.level += change

    def update(self, quality: float, value: float, again: bool = False) -> None:
        """Learn log2(bits) of a frame; ``again`` means one of a picture that was learned from already."""
        a, b, c = self._variance
        if not again:
            a += self.drift**2
            c += 1e-7
        # covariance times (1, quality), and the variance of what is seen
        ga, gb = a + b * quality, b + c * quality
        total = ga + gb * quality + self.noise**2
        error = value - self.predict(quality)
        limit = 3.0 * math.sqrt(total)
        far = math.copysign(1.0, error) if abs(error) > limit else 0.0
        if self.robust and far and far != self._far:
            error = far * limit
        elif far:
            # another scene: what was known of the level is worth nothing
            a += error**2
            ga, total = ga + error**2, total + error**2
        self._far = far
        ka, kb = ga / total, gb / total
        slope = min(MAX_SLOPE, max(MIN_SLOPE, self.slope + kb * error))
        # Whatever bound the slope ran into, the line goes where the filter wants it at this quality.
        self.level = self.predict(quality) + (ka + kb * quality) * error - slope * quality
        self.slope = slope
        self._variance = [a - ka * ga, b - ka * gb, max(1e-8, c - kb * gb)]
