"""SSIM, VMAF and XPSNR: the figures of ffmpeg's own filters on the same files, and refusals."""

from __future__ import annotations

import json
import re
import subprocess
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from lvc.errors import LvcError, UsageError
from lvc.metrics import (
    PERCEPTUAL_MIN_SIDE,
    PSNR_CAP,
    PerceptualMeter,
    PerceptualQuality,
    mean_perceptual_quality,
    perceptual,
    plane_psnr,
)
from lvc.types import Frame


def moving(width: int, height: int, index: int, seed: int = 0) -> Frame:
    """A texture that moves two samples a frame, smooth enough that VMAF finds something to see in it."""
    rng = np.random.default_rng(seed)

    def plane(w: int, h: int, step: int) -> np.ndarray:
        coarse = rng.integers(30, 220, (h // 4 + 16, w // 4 + 16))
        texture = np.kron(coarse, np.ones((4, 4), np.int64))
        texture = (texture + np.roll(texture, 2, 0) + np.roll(texture, 2, 1) + np.roll(texture, 3, 1)) // 4
        return texture[:h, step : step + w].astype(np.uint8)

    cw, ch = (width + 1) // 2, (height + 1) // 2
    return Frame(plane(width, height, 2 * index), plane(cw, ch, index), plane(cw, ch, index))


def damaged(frame: Frame, amount: int, seed: int) -> Frame:
    """Blurred over ``amount`` samples, with noise of as many levels."""
    rng = np.random.default_rng(seed)

    def plane(samples: np.ndarray) -> np.ndarray:
        blurred = sum(np.roll(samples.astype(float), i - amount // 2, 1) for i in range(amount)) / amount
        return np.clip(np.round(blurred + rng.normal(0, amount, samples.shape)), 0, 255).astype(np.uint8)

    return Frame(*map(plane, frame.planes))


def measure(pairs, rate: Fraction = Fraction(25)) -> list[PerceptualQuality]:
    with PerceptualMeter(pairs[0][0].width, pairs[0][0].height, rate) as meter:
        for source, decoded in pairs:
            meter.push(source, decoded)
        return meter.finish()


@pytest.fixture(scope="module")
def pairs():
    sources = [moving(176, 144, i) for i in range(6)]
    return [(frame, damaged(frame, 1 + i, i)) for i, frame in enumerate(sources)]


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(60000, 1001)])
def test_figures_are_those_of_ffmpegs_filters(tmp_path: Path, pairs, rate: Fraction):
    """On the same pictures in two files, compared by ffmpeg in runs of their own; PSNR beside them."""
    raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "176x144", "-r", str(rate)]
    for index, name in enumerate(("source.yuv", "decoded.yuv")):
        (tmp_path / name).write_bytes(b"".join(p.tobytes() for pair in pairs for p in pair[index].planes))

    def ffmpeg(first: str, second: str, graph: str) -> str:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "info", *raw, "-i", first, *raw, "-i", second,
                   "-lavfi", graph, "-f", "null", "-"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stderr

    found = measure(pairs, rate)
    log = ffmpeg("decoded.yuv", "source.yuv", "ssim=stats_file=ssim.log")
    lines = (tmp_path / "ssim.log").read_text().splitlines()
    values = [[float(v) for v in re.findall(r"(?:Y|All):(\S+)", line)] for line in lines]
    assert [[q.ssim_y, q.ssim] for q in found] == pytest.approx(np.array(values), abs=1e-6)
    mean = mean_perceptual_quality(found)
    assert mean.ssim == pytest.approx(float(re.search(r"All:(\S+)", log)[1]), abs=2e-6)

    ffmpeg("decoded.yuv", "source.yuv", "libvmaf=log_path=vmaf.json:log_fmt=json")
    vmaf = json.loads((tmp_path / "vmaf.json").read_text())
    assert [q.vmaf for q in found] == pytest.approx([f["metrics"]["vmaf"] for f in vmaf["frames"]], abs=1e-6)
    assert mean.vmaf == pytest.approx(vmaf["pooled_metrics"]["vmaf"]["mean"], abs=1e-5)
    assert found[1].vmaf > found[-1].vmaf + 5

    log = ffmpeg("source.yuv", "decoded.yuv", "xpsnr=stats_file=xpsnr.log")
    lines = (tmp_path / "xpsnr.log").read_text().splitlines()[:6]
    values = [[float(v) for v in re.findall(r"XPSNR \w: *(\S+)", line)] for line in lines]
    assert [[q.xpsnr_y, q.xpsnr_u, q.xpsnr_v] for q in found] == pytest.approx(np.array(values), abs=1e-4)
    average = [float(v) for v in re.search(r"XPSNR +y: (\S+) +u: (\S+) +v: (\S+)", log).groups()]
    assert [mean.xpsnr_y, mean.xpsnr_u, mean.xpsnr_v] == pytest.approx(average, abs=1e-3)
    assert mean.xpsnr == pytest.approx((6 * average[0] + average[1] + average[2]) / 8, abs=1e-3)

    ffmpeg("decoded.yuv", "source.yuv", "psnr=stats_file=psnr.log")
    lines = (tmp_path / "psnr.log").read_text().splitlines()
    values = [[float(v) for v in re.findall(r"psnr_[yuv]:(\S+)", line)] for line in lines]
    assert [plane_psnr(*pair) for pair in pairs] == pytest.approx(np.array(values), abs=0.01)


def test_identical_pictures(pairs):
    found = measure([(source, source) for source, _ in pairs[:3]])
    for quality in (*found, mean_perceptual_quality(found)):
        assert (quality.ssim_y, quality.ssim) == (1.0, 1.0)
        assert (quality.xpsnr_y, quality.xpsnr_u, quality.xpsnr_v, quality.xpsnr) == (PSNR_CAP,) * 4
        assert quality.vmaf > 90


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (PERCEPTUAL_MIN_SIDE, 200)])
def test_any_size(size):
    source = moving(*size, 0)
    (quality,) = measure([(source, damaged(source, 3, 1))])
    assert 0 < quality.ssim < 1
    assert 0 <= quality.vmaf <= 100
    assert 20 < quality.xpsnr_y < 60


def test_refusals(pairs):
    with pytest.raises(UsageError, match="at least 32 pixels on either side, not 176x31"):
        PerceptualMeter(176, 31)
    with pytest.raises(UsageError, match="above zero"):
        PerceptualMeter(64, 64, Fraction(0))
    with PerceptualMeter(176, 144) as meter, pytest.raises(UsageError, match=r"64x64 frame among .* 176x144"):
        meter.push(pairs[0][0], moving(64, 64, 0))
    with PerceptualMeter(176, 144) as meter, pytest.raises(UsageError, match="no frames"):
        meter.finish()
    with pytest.raises(UsageError, match="no frames"):
        mean_perceptual_quality([])


def test_failing_ffmpeg_is_an_error_in_one_line(monkeypatch, tmp_path, pairs):
    def with_ffmpeg(path: str) -> None:
        monkeypatch.setattr(perceptual, "find_ffmpeg", lambda: path)

    with_ffmpeg(str(tmp_path / "missing"))
    with pytest.raises(LvcError, match="not available: No such file"):
        PerceptualMeter(64, 64)
    script = tmp_path / "ffmpeg"
    for code, message in ((1, "filters failed: it is broken"), (0, "left no results")):
        script.write_text(f"#!/bin/sh\ncat >/dev/null\necho 'it is broken' >&2\nexit {code}\n")
        script.chmod(0o755)
        with_ffmpeg(str(script))
        with pytest.raises(LvcError, match=message):
            measure(pairs)


def test_nothing_is_left_behind(pairs):
    """An unfinished measurement takes its process and its folder with it."""
    with PerceptualMeter(176, 144) as meter:
        meter.push(*pairs[0])
        process, folder = meter._process, Path(meter._folder.name)
        assert process.poll() is None
        assert folder.is_dir()
    assert process.poll() is not None
    assert not folder.exists()
