"""The data types that all parts of lvc share. Imports numpy only."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from lvc.errors import UsageError

Plane = npt.NDArray[np.uint8]

MAX_DIMENSION = 16384
"""Largest width or height, in pixels, that lvc reads, codes or decodes."""

MAX_QUALITY = 63
"""Qualities run from 0 (smallest file) to this (best picture), for every codec."""


@dataclass(frozen=True, slots=True)
class ColorInfo:
    """How the samples are to be seen: code points of ITU-T H.273 (2 = unspecified) and the range."""

    primaries: int = 2
    transfer: int = 2
    matrix: int = 2
    full_range: bool = False


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What is known of a video before its first frame. Samples are 8-bit YUV 4:2:0 throughout lvc.

    Attributes:
        width, height: in luma samples, any value from 1 to MAX_DIMENSION, odd ones included.
        frame_rate: nominal frames a second (for a variable frame rate, the average).
        time_base: seconds of one tick of ``Frame.pts``.
        color: colour description.
        rotation: clockwise degrees (0, 90, 180 or 270) that a player must turn the picture by.
        sample_aspect_ratio: width : height of one sample; 0 if unknown.
        n_frames: number of frames if known beforehand, else None (a hint, never trusted).
    """

    width: int
    height: int
    frame_rate: Fraction = Fraction(30)
    time_base: Fraction = Fraction(1, 90000)
    color: ColorInfo = field(default_factory=ColorInfo)
    rotation: int = 0
    sample_aspect_ratio: Fraction = Fraction(0)
    n_frames: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("width", self.width), ("height", self.height)):
            if not 1 <= value <= MAX_DIMENSION:
                raise UsageError(f"{name} must be from 1 to {MAX_DIMENSION}, not {value}")
        if self.frame_rate <= 0 or self.time_base <= 0:
            raise UsageError("frame rate and time base must be above zero")
        if self.rotation not in (0, 90, 180, 270):
            raise UsageError(f"rotation must be 0, 90, 180 or 270, not {self.rotation}")

    @property
    def chroma_size(self) -> tuple[int, int]:
        """(width, height) of the U and V planes: halves, rounded up."""
        return (self.width + 1) // 2, (self.height + 1) // 2


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture: 8-bit YUV 4:2:0 planes.

    Attributes:
        y: uint8, shape (height, width).
        u, v: uint8, shape ((height + 1) // 2, (width + 1) // 2).
        pts: presentation time in ticks of ``VideoInfo.time_base``.
    """

    y: Plane
    u: Plane
    v: Plane
    pts: int = 0

    def __post_init__(self) -> None:
        for name in ("y", "u", "v"):
            plane = getattr(self, name)
            if plane.dtype != np.uint8 or plane.ndim != 2:
                raise UsageError(f"plane {name} must be a 2-D uint8 array, not {plane.ndim}-D {plane.dtype}")
        h, w = self.y.shape
        chroma = ((h + 1) // 2, (w + 1) // 2)
        if self.u.shape != chroma or self.v.shape != chroma:
            raise UsageError(f"chroma planes of a {w}x{h} frame must have shape {chroma}, "
                             f"not {self.u.shape} and {self.v.shape}")

    @property
    def width(self) -> int:
        return int(self.y.shape[1])

    @property
    def height(self) -> int:
        return int(self.y.shape[0])

    @property
    def planes(self) -> tuple[Plane, Plane, Plane]:
        return self.y, self.u, self.v


class PacketKind(enum.IntEnum):
    """What a packet of a codec holds. Numbers are those of the bitstream."""

    INTRA = 1
    """A frame that decoding can start at (a closed random access point)."""
    INTER = 2
    """A frame that needs former packets."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One coded frame, as a codec's encoder makes it and its decoder takes it (decoding order).

    Attributes:
        kind: intra (random access point) or inter.
        payload: the coded bytes, opaque to the container.
        pts: presentation time, in ticks of ``VideoInfo.time_base``.
        quality: 0..63, what the frame was coded with; external codecs write the asked quality.
    """

    kind: PacketKind
    payload: bytes
    pts: int
    quality: int = 0


@dataclass(frozen=True, slots=True)
class EncodeOptions:
    """What a user may ask of any encoder.

    Attributes:
        quality: 0 (smallest) .. 63 (best). Means nothing if a bitrate is given.
        intra_period: an intra frame every so many frames; -1 means the first frame only.
        threads: 0 lets the codec choose.
        bitrate: bits a second of the payloads, for which the encoder chooses the quality of each frame; None for the
            same quality throughout.
        target_frames: with a bitrate: what counts is the sum over so many frames, all there are (a size is to be
            met), not every few seconds.
        params: further options out of the codec string, ``x265:preset=veryfast,crf=27`` gives
            ``{"preset": "veryfast", "crf": "27"}``. A codec raises UsageError on names it does not know.
    """

    quality: int = 32
    intra_period: int = 32
    threads: int = 0
    params: Mapping[str, str] = field(default_factory=dict)
    bitrate: int | None = None
    target_frames: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.quality <= MAX_QUALITY:
            raise UsageError(f"quality must be from 0 to {MAX_QUALITY}, not {self.quality}")
        if self.intra_period != -1 and self.intra_period < 1:
            raise UsageError(f"intra period must be -1 or at least 1, not {self.intra_period}")
        if self.threads < 0:
            raise UsageError(f"threads must be at least 0, not {self.threads}")
        if self.bitrate is not None and self.bitrate < 1:
            raise UsageError(f"bitrate must be above zero, not {self.bitrate}")
        if self.target_frames is not None and self.target_frames < 1:
            raise UsageError(f"target_frames must be at least 1, not {self.target_frames}")
