"""What a stream of stsr says of its base stream: fewer frames, smaller pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from lvc.errors import CorruptStreamError, UsageError
from lvc.ops.resample import downscale, reduced_size
from lvc.types import Frame, VideoInfo

LINEAR, NETWORK, FILTERS, RESTORE = range(4)
"""Enhancers, as codec data name them: the classical one; the network of the stream's weights; the classical one and
behind it filters (lvc.codecs.filtered), without or with restore's network."""

FILTERING = (FILTERS, RESTORE)
_ENHANCERS = (LINEAR, NETWORK, FILTERS, RESTORE)
_TIMES = {"1": 1, "2": 2}
_SCALES = {"1": 2, "1.5": 3, "2": 4}


@dataclass(frozen=True, slots=True)
class Reduction:
    """How a base stream differs from the video.

    Attributes:
        kt: of so many frames one is in the base stream (1 or 2).
        halves: twice the scale of its pictures (2, 3 or 4).
        enhancer: LINEAR, NETWORK, FILTERS or RESTORE.
    """

    kt: int = 1
    halves: int = 2
    enhancer: int = LINEAR

    def __post_init__(self) -> None:
        if self.kt not in _TIMES.values() or self.halves not in _SCALES.values() or self.enhancer not in _ENHANCERS:
            raise UsageError(f"kt {self.kt}, ks {self.halves / 2:g} and enhancer {self.enhancer} are not known")

    @classmethod
    def from_text(cls, kt: str, ks: str, enhancer: int) -> Reduction:
        """Out of the parameters of a codec string. Raises UsageError."""
        for name, value, known, more in (("kt", kt, _TIMES, ", auto"), ("ks", ks, _SCALES, "")):
            if value not in known:
                raise UsageError(f"stsr: {name} must be one of {', '.join(known)}{more}, not {value!r}")
        return cls(_TIMES[kt], _SCALES[ks], enhancer)

    @classmethod
    def from_bytes(cls, data: bytes) -> Reduction:
        """The inverse of bytes(). Raises CorruptStreamError."""
        try:
            enhancer, kt, halves = data
            return cls(kt, halves, enhancer)
        except (UsageError, ValueError):
            raise CorruptStreamError(f"codec data {data.hex()!r} of a stream of stsr makes no sense") from None

    def __bytes__(self) -> bytes:
        return bytes((self.enhancer, self.kt, self.halves))

    def video(self, video: VideoInfo) -> VideoInfo:
        """The properties of the base stream, for those of the video."""
        return replace(video, width=reduced_size(video.width, self.halves),
                       height=reduced_size(video.height, self.halves),
                       frame_rate=Fraction(video.frame_rate, self.kt), n_frames=None)

    def intra_period(self, period: int) -> int:
        """That of the base stream, in its own frames."""
        return -1 if period == -1 else -(-period // self.kt)

    def picture(self, frame: Frame) -> Frame:
        """A frame of the base stream's size."""
        if self.halves == 2:
            return frame
        height, width = (reduced_size(n, self.halves) for n in frame.y.shape)
        half = (height + 1) // 2, (width + 1) // 2
        return Frame(downscale(frame.y, height, width, self.halves), downscale(frame.u, *half, self.halves),
                     downscale(frame.v, *half, self.halves), frame.pts)


REDUCTION_BYTES = 3
"""Length of bytes(Reduction)."""
