"""All measures of a decoded frame at once, and their means over a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from lvc.errors import UsageError
from lvc.metrics.msssim import MS_SSIM_MIN_SIDE, ms_ssim
from lvc.metrics.psnr import plane_psnr, psnr, psnr_yuv611
from lvc.metrics.rgb import frame_to_rgb
from lvc.types import ColorInfo, Frame


@dataclass(frozen=True, slots=True)
class FrameQuality:
    """Quality of one decoded frame, or the mean over frames.

    Attributes:
        psnr_y, psnr_u, psnr_v: PSNR of each plane, dB.
        psnr_yuv: (6 Y + U + V) / 8 of these, dB.
        psnr_rgb: PSNR of 8-bit RGB, dB.
        ms_ssim: MS-SSIM of RGB, 0 to 1; None where it is undefined (a side under MS_SSIM_MIN_SIDE).
    """

    psnr_y: float
    psnr_u: float
    psnr_v: float
    psnr_yuv: float
    psnr_rgb: float
    ms_ssim: float | None

    def as_dict(self) -> dict[str, float | None]:
        """Names and values, ready for JSON."""
        return asdict(self)


def compare_frames(reference: Frame, decoded: Frame, color: ColorInfo | None = None) -> FrameQuality:
    """Measure a decoded frame against its source.

    Args:
        reference, decoded: frames of equal size.
        color: how both are converted to RGB; see :func:`lvc.metrics.frame_to_rgb`.

    Raises:
        UsageError: frames of different sizes, or a colour matrix that cannot be converted by.
    """
    if (reference.width, reference.height) != (decoded.width, decoded.height):
        raise UsageError(f"frames differ in size: {reference.width}x{reference.height} "
                         f"and {decoded.width}x{decoded.height}")
    y, u, v = plane_psnr(reference, decoded)
    rgb, rgb_decoded = frame_to_rgb(reference, color), frame_to_rgb(decoded, color)
    large_enough = min(reference.width, reference.height) >= MS_SSIM_MIN_SIDE
    return FrameQuality(y, u, v, psnr_yuv611(y, u, v), psnr(rgb, rgb_decoded),
                        ms_ssim(rgb, rgb_decoded) if large_enough else None)


def mean_quality(frames: Sequence[FrameQuality]) -> FrameQuality:
    """The arithmetic mean of each measure over frames (dB values are averaged as they are).

    Raises:
        UsageError: no frames.
    """
    if not frames:
        raise UsageError("the mean quality of no frames is undefined")
    means: dict[str, float | None] = {}
    for field in fields(FrameQuality):
        values = [value for frame in frames if (value := getattr(frame, field.name)) is not None]
        means[field.name] = sum(values) / len(values) if len(values) == len(frames) else None
    return FrameQuality(**means)  # type: ignore[arg-type]
