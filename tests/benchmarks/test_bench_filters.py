"""Measures of the benchmark on the very files that ffmpeg's own filters and pytorch-msssim are given."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
import pytorch_msssim
import torch
from benchlib.evaluate import Job, _compare
from benchlib.pictures import describe, frames_of
from benchlib.specs import RatePoint, SequenceSpec

import lvc
from lvc.metrics import frame_to_rgb, ms_ssim


@pytest.fixture(scope="module")
def files(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A source, and what came back of it through a coarse encoder."""
    folder = tmp_path_factory.mktemp("filters")
    lvc.encode(clip, folder / "c.lvc", codec="x264:preset=ultrafast,crf=34", intra_period=4, threads=1)
    lvc.decode(folder / "c.lvc", folder / "d.y4m")
    return clip, folder / "d.y4m"


@pytest.fixture(scope="module")
def measured(files: tuple[Path, Path]) -> Any:
    source, decoded = files
    job = Job(SequenceSpec("texture", source), RatePoint("x264:preset=ultrafast", "crf", "34"))
    return _compare(job, decoded, describe(job.sequence), None)


def ffmpeg(folder: Path, first: Path, second: Path, graph: str) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-i", str(first), "-i", str(second),
               "-lavfi", f"[0:v]settb=1/25,setpts=N[a];[1:v]settb=1/25,setpts=N[b];[a][b]{graph}", "-f", "null", "-"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)


def columns(path: Path, pattern: str) -> np.ndarray:
    return np.array([[float(value) for value in row] for row in re.findall(pattern, path.read_text())]).T


def test_psnr_to_a_hundredth_of_a_db(files, measured, tmp_path):
    ffmpeg(tmp_path, files[1], files[0], "psnr=stats_file=psnr.log")
    theirs = columns(tmp_path / "psnr.log", r"psnr_y:(\S+) psnr_u:(\S+) psnr_v:(\S+)")
    assert theirs.shape == (3, 10)
    for plane, values in zip("yuv", theirs, strict=True):
        assert measured.per_frame[f"psnr_{plane}"] == pytest.approx(values, abs=0.0051)
        assert measured.mean[f"psnr_{plane}"] == pytest.approx(values.mean(), abs=0.0051)
    weighted = (6 * theirs[0] + theirs[1] + theirs[2]) / 8
    assert measured.mean["psnr_yuv"] == pytest.approx(weighted.mean(), abs=0.0051)
    assert 20 < measured.mean["psnr_yuv"] < 45


def test_ssim_vmaf_and_xpsnr(files, measured, tmp_path):
    source, decoded = files
    ffmpeg(tmp_path, decoded, source, "ssim=stats_file=ssim.log")
    ssim = columns(tmp_path / "ssim.log", r"Y:(\S+) U:\S+ V:\S+ All:(\S+)")
    assert measured.per_frame["ssim_y"] == pytest.approx(ssim[0], abs=1e-6)
    assert measured.per_frame["ssim"] == pytest.approx(ssim[1], abs=1e-6)
    ffmpeg(tmp_path, decoded, source, "libvmaf=log_path=vmaf.json:log_fmt=json")
    frames = json.loads((tmp_path / "vmaf.json").read_text())["frames"]
    assert measured.per_frame["vmaf"] == pytest.approx([f["metrics"]["vmaf"] for f in frames], abs=1e-6)
    ffmpeg(tmp_path, source, decoded, "xpsnr=stats_file=xpsnr.log")
    xpsnr = columns(tmp_path / "xpsnr.log", r"XPSNR y: *(\S+) +XPSNR u: *(\S+) +XPSNR v: *(\S+)")
    for plane, values in zip("yuv", xpsnr, strict=True):
        assert measured.per_frame[f"xpsnr_{plane}"] == pytest.approx(values, abs=0.0051)


def test_ms_ssim_is_that_of_pytorch_msssim(files, measured):
    def tensor(picture: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(picture.transpose(2, 0, 1).copy())[None].float()

    theirs = []
    for a, b in zip(*map(frames_of, files), strict=True):
        a, b = frame_to_rgb(a), frame_to_rgb(b)
        theirs.append(float(pytorch_msssim.ms_ssim(tensor(a), tensor(b), data_range=255)))
        assert ms_ssim(a, b) == pytest.approx(theirs[-1], abs=2e-6)
    assert measured.per_frame["ms_ssim"] == pytest.approx(theirs, abs=2e-6)
    assert max(theirs) < 0.999
