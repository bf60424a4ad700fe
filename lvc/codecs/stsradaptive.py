"""Which frames of stsr go through the base codec: tried, for every so many frames.

A segment is coded three times on its own, with the real enhancer: with all of its frames; the same at another quality,
which tells what a bit is worth there; and with every second frame. If the last one is above the line through the two
others, in 6:1:1 PSNR over the logarithm of bits, and no further below the first one than these two are apart, that is
how the segment is coded. So reduction is used where it pays, mostly at low rates; the choice needs no words in the
stream, for every frame has a packet anyway.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from lvc.errors import UsageError
from lvc.types import MAX_QUALITY, EncodeOptions, Frame, Packet

AUTO = "auto"
"""Value of kt in a codec string."""

SEGMENT = 16
"""Frames that are decided on together."""

_PACKET_BYTES = 8
"""What the container adds to a packet, about."""

MARGIN = 0.03
"""By how many dB reduction must be better: trials begin with intra frames, and are not exactly what will come."""

FILTERED_MARGIN = 0.2
"""The same where filters follow, which the trials do without: frames that are coded gain more by them. By validation
clips (0.03: 0.3 % more bits)."""

_STEP, _QUALITY_STEP = 4.0, 6
_LARGEST = 51.0
_DECIBEL = -10.0 / (8.0 * math.log(10.0))


class TrialEncoder(Protocol):
    """What is needed of StsrEncoder."""

    codec_data: bytes
    cost: float

    def take(self, frame: Frame, keep: bool) -> list[Packet]: ...

    def flush(self) -> list[Packet]: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a trial: bits, and the mean 6:1:1 PSNR of the frames, less that of errors of 1."""

    bits: float
    quality: float


def other_quality(options: EncodeOptions) -> EncodeOptions:
    """The options with another quality, for the worth of a bit. Raises UsageError if there is a bitrate."""
    if options.bitrate is not None or "bitrate" in options.params:
        raise UsageError("stsr: kt=auto needs a quality, not a bitrate")
    for key in ("crf", "qp"):
        if key in options.params:
            try:
                value = float(options.params[key])
            except ValueError:
                return options  # the base codec will say what is wrong with it
            value += _STEP if value + _STEP <= _LARGEST else -_STEP
            return replace(options, params={**options.params, key: f"{value:g}"})
    step = -_QUALITY_STEP if options.quality >= _QUALITY_STEP else _QUALITY_STEP
    return replace(options, quality=min(options.quality + step, MAX_QUALITY))


def better_reduced(full: Outcome, other: Outcome, reduced: Outcome, margin: float = MARGIN) -> bool:
    """Whether every second frame is enough, by more dB than ``margin``. ``other``: all frames at another quality."""
    if reduced.quality < full.quality - abs(full.quality - other.quality):
        return False  # far off, the line tells nothing; nor may every second frame break down
    run = math.log(full.bits / other.bits)
    if not run or (full.quality - other.quality) / run <= 0:
        return False  # nothing to compare with: bits that change nothing
    expected = full.quality + (full.quality - other.quality) / run * math.log(reduced.bits / full.bits)
    return reduced.quality > expected + margin


def outcome(encoder: TrialEncoder, frames: Sequence[Frame], kt: int) -> Outcome:
    """Code frames with a new encoder."""
    packets = [p for i, frame in enumerate(frames) for p in encoder.take(frame, i % kt == 0)] + encoder.flush()
    bits = 8.0 * sum(len(p.payload) + _PACKET_BYTES for p in packets)
    return Outcome(bits, _DECIBEL * encoder.cost / len(frames))


class AdaptiveEncoder:
    """An StsrEncoder that is told, for every SEGMENT frames, whether to take all of them or every second one.

    Args:
        encoder: takes the decisions. trial, other: make encoders of the same kind for trials, the second ones at
            another quality.

    Attributes:
        decisions: kt of each segment so far.
    """

    def __init__(self, encoder: TrialEncoder, trial: Callable[[], TrialEncoder],
                 other: Callable[[], TrialEncoder], margin: float = MARGIN) -> None:
        self.codec_data = encoder.codec_data
        self.decisions: list[int] = []
        self._encoder, self._trial, self._other, self._margin = encoder, trial, other, margin
        self._waiting: list[Frame] = []

    def push(self, frame: Frame) -> list[Packet]:
        """Take one frame; packets come when its segment, and one more frame, are there."""
        self._waiting.append(frame)
        return self._code(SEGMENT) if len(self._waiting) > SEGMENT else []

    def flush(self) -> list[Packet]:
        """Return all remaining packets."""
        return self._code(len(self._waiting)) + self._encoder.flush()

    def _code(self, count: int) -> list[Packet]:
        """Decide on so many frames; one behind them is their last neighbour."""
        if not count:
            return []
        frames, self._waiting = self._waiting, self._waiting[count:]
        kt = 1
        if len(frames) > 2:
            full, other = outcome(self._trial(), frames, 1), outcome(self._other(), frames, 1)
            kt = 2 if better_reduced(full, other, outcome(self._trial(), frames, 2), self._margin) else 1
        self.decisions.append(kt)
        return [p for i, frame in enumerate(frames[:count]) for p in self._encoder.take(frame, i % kt == 0)]
