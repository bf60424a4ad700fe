"""PSNR, RGB conversion and MS-SSIM against independent computations."""

from __future__ import annotations

import math
import re
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from lvc.errors import UsageError
from lvc.metrics import (
    MS_SSIM_MIN_SIDE,
    PSNR_CAP,
    compare_frames,
    frame_to_rgb,
    mean_quality,
    ms_ssim,
    plane_psnr,
    psnr,
    psnr_yuv611,
    rgb_psnr,
)
from lvc.types import ColorInfo, Frame


def smooth_frame(width: int, height: int, seed: int = 0, low: int = 40, high: int = 210) -> Frame:
    """Smooth random texture, so that interpolation matters but nothing clips."""
    rng = np.random.default_rng(seed)

    def plane(h: int, w: int) -> np.ndarray:
        ys, xs = np.mgrid[0:h, 0:w]
        picture = np.full((h, w), 0.5)
        for _ in range(4):
            fx, fy = rng.uniform(0.02, 0.4, 2)
            picture += np.sin(xs * fx + ys * fy + rng.uniform(0, 6)) / 8
        return np.round(low + (high - low) * picture).astype(np.uint8)

    chroma = ((height + 1) // 2, (width + 1) // 2)
    return Frame(plane(height, width), plane(*chroma), plane(*chroma))


def noisy(frame: Frame, sigma: float, seed: int = 1) -> Frame:
    rng = np.random.default_rng(seed)
    changed = [np.round(plane + rng.normal(0, sigma, plane.shape)) for plane in frame.planes]
    planes = [np.clip(plane, 0, 255).astype(np.uint8) for plane in changed]
    return Frame(*planes, pts=frame.pts)


def test_psnr_of_known_error():
    a = np.full((10, 20), 100, np.uint8)
    assert psnr(a, a + np.uint8(1)) == pytest.approx(20 * math.log10(255), abs=1e-12)
    b = a.copy()
    b[3, 4] = 90  # one sample of 200 is wrong by 10: MSE 0.5
    assert psnr(a, b) == pytest.approx(10 * math.log10(255**2 / 0.5), abs=1e-12)
    assert psnr(np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8)) == pytest.approx(0.0)


def test_identical_pictures_get_the_cap():
    frame = smooth_frame(32, 24)
    assert plane_psnr(frame, frame) == (PSNR_CAP,) * 3
    # A single error of 1 in a picture of 100,000 samples stays below the cap, too.
    a = np.zeros((100, 1000), np.uint8)
    b = a.copy()
    b[0, 0] = 1
    assert psnr(a, b) == pytest.approx(98.13, abs=0.01)


def test_planes_are_measured_by_themselves_and_weighted_611():
    frame = smooth_frame(32, 24)
    other = Frame(frame.y + np.uint8(1), frame.u + np.uint8(2), frame.v + np.uint8(4))
    y, u, v = plane_psnr(frame, other)
    assert (y - u, u - v) == (pytest.approx(20 * math.log10(2)), pytest.approx(20 * math.log10(2)))
    assert psnr_yuv611(y, u, v) == pytest.approx(0.75 * y + 0.125 * u + 0.125 * v)


@pytest.mark.parametrize("bad", [np.zeros((4, 4), np.float32), np.zeros((4, 5), np.uint8)])
def test_psnr_refuses_other_dtypes_and_shapes(bad):
    with pytest.raises(UsageError):
        psnr(np.zeros((4, 4), np.uint8), bad)
    with pytest.raises(UsageError):
        ms_ssim(np.zeros((4, 4), np.uint8), bad)


def test_psnr_refuses_empty_pictures():
    with pytest.raises(UsageError, match="without samples"):
        psnr(np.zeros((0, 4), np.uint8), np.zeros((0, 4), np.uint8))


def reference_rgb(frame: Frame, kr: float, kb: float, full_range: bool) -> np.ndarray:
    """The definition: repeated chroma, H.273 matrix, rounded."""

    def upsample(plane: np.ndarray) -> np.ndarray:
        return np.kron(plane.astype(np.float64), np.ones((2, 2)))[: frame.height, : frame.width]

    y = frame.y.astype(np.float64)
    u, v = upsample(frame.u) - 128, upsample(frame.v) - 128
    if not full_range:
        y, u, v = (y - 16) * 255 / 219, u * 255 / 224, v * 255 / 224
    r, b = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    g = (y - kr * r - kb * b) / (1 - kr - kb)
    return np.clip(np.round(np.stack([r, g, b], -1)), 0, 255)


@pytest.mark.parametrize("size", [(64, 48), (33, 17), (18, 35), (1, 1)])
@pytest.mark.parametrize(
    ("color", "kr", "kb"),
    [
        (None, 0.299, 0.114),
        (ColorInfo(), 0.299, 0.114),
        (ColorInfo(matrix=6, full_range=True), 0.299, 0.114),
        (ColorInfo(matrix=1), 0.2126, 0.0722),
        (ColorInfo(matrix=9), 0.2627, 0.0593),
    ],
)
def test_rgb_follows_matrix_and_range_with_repeated_chroma(size, color, kr, kb):
    frame = smooth_frame(*size, seed=size[0])
    expected = reference_rgb(frame, kr, kb, bool(color and color.full_range))
    difference = np.abs(frame_to_rgb(frame, color) - expected)
    assert difference.max() <= 1  # swscale works in fixed point
    assert difference.mean() < 0.12


def test_rgb_frames_do_not_leak_into_each_other():
    first, second = smooth_frame(40, 30, seed=1), smooth_frame(40, 30, seed=2)
    a = frame_to_rgb(first)
    kept = a.copy()
    frame_to_rgb(second)
    assert np.array_equal(a, kept)
    assert np.array_equal(frame_to_rgb(first), kept)


def test_rgb_refuses_matrices_that_do_not_go_with_420():
    with pytest.raises(UsageError, match="colour matrix 0"):
        frame_to_rgb(smooth_frame(16, 16), ColorInfo(matrix=0))


def test_rgb_psnr_is_joint_over_the_channels():
    frame = smooth_frame(48, 32)
    other = noisy(frame, 3)
    expected = np.mean((frame_to_rgb(frame).astype(float) - frame_to_rgb(other)) ** 2)
    assert rgb_psnr(frame, other) == pytest.approx(10 * math.log10(255**2 / expected), abs=1e-9)


def numpy_ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """MS-SSIM of one channel, written out from the paper."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets**2) / (2 * 1.5**2))
    window /= window.sum()

    def blur(p: np.ndarray) -> np.ndarray:
        p = np.apply_along_axis(np.convolve, 0, p, window, "valid")
        return np.apply_along_axis(np.convolve, 1, p, window, "valid")

    def halve(p: np.ndarray) -> np.ndarray:
        return (p[0::2, 0::2] + p[1::2, 0::2] + p[0::2, 1::2] + p[1::2, 1::2]) / 4

    a, b = a.astype(np.float64), b.astype(np.float64)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    result = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        mu_a, mu_b = blur(a), blur(b)
        var_a, var_b, cov = blur(a * a) - mu_a**2, blur(b * b) - mu_b**2, blur(a * b) - mu_a * mu_b
        term = (2 * cov + c2) / (var_a + var_b + c2)
        if scale == 4:
            term = term * (2 * mu_a * mu_b + c1) / (mu_a**2 + mu_b**2 + c1)
        result *= term.mean() ** weight
        if scale < 4:
            a, b = halve(a), halve(b)
    return result


def test_ms_ssim_matches_its_definition():
    frame = smooth_frame(192, 176)  # halves evenly four times
    other = noisy(frame, 12)
    expected = numpy_ms_ssim(frame.y, other.y)
    assert 0.5 < expected < 0.999
    assert ms_ssim(frame.y, other.y) == pytest.approx(expected, abs=2e-5)
    assert ms_ssim(frame.y, frame.y) == pytest.approx(1.0, abs=1e-6)
    both = np.stack([frame.y, frame.y], -1), np.stack([other.y, frame.y], -1)
    assert ms_ssim(*both) == pytest.approx((expected + 1) / 2, abs=2e-5)


def test_ms_ssim_of_small_pictures():
    side = MS_SSIM_MIN_SIDE
    assert ms_ssim(np.zeros((side, side), np.uint8), np.zeros((side, side), np.uint8)) == pytest.approx(1.0)
    with pytest.raises(UsageError, match="at least 161 pixels"):
        ms_ssim(np.zeros((side - 1, 400), np.uint8), np.zeros((side - 1, 400), np.uint8))
    small = smooth_frame(64, 48)
    quality = compare_frames(small, noisy(small, 2))
    assert quality.ms_ssim is None
    assert mean_quality([quality, quality]).ms_ssim is None


def test_compare_frames_agrees_with_the_single_measures():
    frame = smooth_frame(176, 162)
    other = noisy(frame, 4)
    color = ColorInfo(matrix=1)
    quality = compare_frames(frame, other, color)
    assert (quality.psnr_y, quality.psnr_u, quality.psnr_v) == plane_psnr(frame, other)
    assert quality.psnr_yuv == psnr_yuv611(*plane_psnr(frame, other))
    assert quality.psnr_rgb == rgb_psnr(frame, other, color)
    assert quality.ms_ssim == ms_ssim(frame_to_rgb(frame, color), frame_to_rgb(other, color))
    best = compare_frames(frame, frame, color)
    mean = mean_quality([quality, best])
    assert mean.psnr_y == pytest.approx((quality.psnr_y + PSNR_CAP) / 2)
    assert set(mean.as_dict()) == {"psnr_y", "psnr_u", "psnr_v", "psnr_yuv", "psnr_rgb", "ms_ssim"}


def test_frames_of_different_sizes_are_refused():
    with pytest.raises(UsageError, match="32x32 and 32x34"):
        compare_frames(smooth_frame(32, 32), smooth_frame(32, 34))
    with pytest.raises(UsageError, match="no frames"):
        mean_quality([])


def ffmpeg(*arguments: str) -> bytes:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *arguments, "-"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def test_figures_are_those_of_ffmpeg(tmp_path: Path):
    """Planes by ffmpeg's psnr filter, RGB by its default conversion."""
    source = [smooth_frame(96, 64, seed=i) for i in range(3)]
    decoded = [noisy(frame, 2 + i, seed=i) for i, frame in enumerate(source)]
    raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "96x64"]
    for name, frames in (("a.yuv", source), ("b.yuv", decoded)):
        (tmp_path / name).write_bytes(b"".join(p.tobytes() for frame in frames for p in frame.planes))
    a, b = str(tmp_path / "a.yuv"), str(tmp_path / "b.yuv")
    log = ffmpeg(*raw, "-i", b, *raw, "-i", a, "-lavfi", "[0][1]psnr=stats_file=-", "-f", "null").decode()
    lines = [re.findall(r"psnr_[yuv]:(\S+)", line) for line in log.splitlines()]
    assert len(lines) == 3
    to_rgb = ["-f", "rawvideo", "-pix_fmt", "rgb24"]
    rgb = [np.frombuffer(ffmpeg(*raw, "-i", path, *to_rgb), np.uint8).reshape(3, -1) for path in (a, b)]
    for i in range(3):
        assert plane_psnr(source[i], decoded[i]) == pytest.approx([float(v) for v in lines[i]], abs=0.01)
        # ffmpeg's default rounds coarsely, hence the difference.
        assert rgb_psnr(source[i], decoded[i]) == pytest.approx(psnr(rgb[0][i], rgb[1][i]), abs=0.1)
