"""The scripts in benchmarks/ run with their folder on the path; so do their tests."""

from __future__ import annotations

import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten lossless frames of a moving texture, 176x164 (large enough for MS-SSIM)."""
    return _write_clip(tmp_path_factory.mktemp("clips") / "texture.mkv", 176, 164, 10)


@pytest.fixture(scope="session")
def write_clip() -> Callable[..., Path]:
    """write_clip(path, width, height, frames, pix_fmt="yuv420p")"""
    return _write_clip


def _write_clip(path: Path, width: int, height: int, frames: int, pix_fmt: str = "yuv420p") -> Path:
    rng = np.random.default_rng(3)
    canvas = rng.integers(60, 200, (height // 4 + 16, width // 4 + 16))
    canvas = np.kron(canvas, np.ones((4, 4), np.int64))
    canvas = (canvas + np.roll(canvas, 2, 0) + np.roll(canvas, 2, 1) + np.roll(canvas, (1, 3), (0, 1))) // 4
    canvas = np.clip(canvas + rng.integers(-4, 5, canvas.shape), 16, 235).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        for index in range(frames):
            y = canvas[index : index + height, 2 * index : 2 * index + width]
            rgb = np.ascontiguousarray(np.stack([y, np.roll(y, 5, 1), 255 - y], -1))
            picture = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pix_fmt)
            picture.pts = index
            picture.time_base = Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


@pytest.fixture
def make_record() -> Callable[..., dict[str, Any]]:
    """Records as run.py writes them, with figures given."""

    def make(codec: str, point: tuple[str, str], bpp: float, quality: float, *, sequence: str = "seq",
             intra_period: int = 10, weights: str = "", seconds: float | None = 2.0) -> dict[str, Any]:
        times = {"command": "lvc"} if seconds is None else {"command": "lvc", "seconds": seconds, "fps": 5.0}
        mean = {"psnr_y": quality, "psnr_u": quality + 3, "psnr_v": quality + 4, "psnr_yuv": quality + 0.9,
                "psnr_rgb": quality - 1, "ms_ssim": 1 - 10 ** (-quality / 20)}
        joint = "," if ":" in codec else ":"
        string = codec if point[0] == "quality" else f"{codec}{joint}{point[0]}={point[1]}"
        return {
            "record": 1, "codec": codec, "point": dict([point]), "codec_string": string,
            "sequence": {"name": sequence, "sha256": f"sha of {sequence}", "width": 1000, "height": 500,
                         "frames": 10, "frame_rate": "25"},
            "intra_period": intra_period, "threads": 0, "file_bytes": int(bpp * 1000 * 500 * 10 / 8),
            "bpp": bpp, "kbps": 1.0, "mean": mean, "per_frame": {}, "decoded_md5": f"{codec}{point}{bpp}",
            "encode": times, "decode": times, "weights_digest": weights, "versions": {},
            "machine": {"cpu": "Test CPU", "cores": 2},
        }

    return make
