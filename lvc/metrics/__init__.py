"""Picture quality and rate-distortion measures: thin wrappers on well-kept libraries.

PSNR is numpy; RGB conversion is swscale (through PyAV); MS-SSIM is pytorch-msssim; SSIM, VMAF and XPSNR
are filters of ffmpeg; BD-rate is the package bjontegaard. Nothing here knows of codecs or of the bitstream.
"""

from lvc.metrics.bdrate import BDQuality, BDRate, bd_quality, bd_rate
from lvc.metrics.compare import FrameQuality, compare_frames, mean_quality
from lvc.metrics.msssim import MS_SSIM_MIN_SIDE, ms_ssim
from lvc.metrics.perceptual import (
    PERCEPTUAL_MIN_SIDE,
    PerceptualMeter,
    PerceptualQuality,
    mean_perceptual_quality,
)
from lvc.metrics.psnr import PSNR_CAP, plane_psnr, psnr, psnr_yuv611, rgb_psnr
from lvc.metrics.rgb import frame_to_rgb

__all__ = [
    "MS_SSIM_MIN_SIDE",
    "PERCEPTUAL_MIN_SIDE",
    "PSNR_CAP",
    "BDQuality",
    "BDRate",
    "FrameQuality",
    "PerceptualMeter",
    "PerceptualQuality",
    "bd_quality",
    "bd_rate",
    "compare_frames",
    "frame_to_rgb",
    "mean_perceptual_quality",
    "mean_quality",
    "ms_ssim",
    "plane_psnr",
    "psnr",
    "psnr_yuv611",
    "rgb_psnr",
]
