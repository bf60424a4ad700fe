"""What tests of several parts share: synthetic video, and a tiny model with seeded weights.

Torch is imported where it is needed, so that tests of the parts below it run without it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest

from lvc.types import Frame, VideoInfo

if TYPE_CHECKING:
    from lvc.models import InterModel, IntraModel, ModelConfig
    from lvc.models.swiftmodel import SwiftModel
    from lvc.weights import SwiftWeights, Weights

FrameMaker = Callable[..., list[Frame]]


def peak_memory(script: str, *arguments: str | Path | int) -> int:
    """Most KiB that a process of its own had in memory while it ran a script with these arguments.

    Not ru_maxrss, which counts what the process that it was forked from had.
    """
    script += '\nprint(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))'
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


@pytest.fixture(scope="session")
def make_frames() -> FrameMaker:
    """Makes ``n`` frames of a noisy texture that pans two samples a frame; pts as given, or 0, 1, 2, ..."""

    def make(n: int, width: int, height: int, pts: list[int] | None = None, noise: int = 6) -> list[Frame]:
        rng = np.random.default_rng(width * 1000 + height)
        rows, cols = np.mgrid[0:height + 1, 0:width + 2 * n + 1]
        texture = 128 + 60 * np.sin(cols / 7) + 50 * np.cos(rows / 5) + rng.integers(0, noise, rows.shape)
        texture = np.clip(texture, 0, 255).astype(np.uint8)
        shape = ((height + 1) // 2, (width + 1) // 2)
        frames = []
        for i in range(n):
            y = np.ascontiguousarray(texture[:height, 2 * i:2 * i + width])
            v = np.ascontiguousarray(texture[:height + 1, 2 * i:2 * i + width + 1][::2, ::2])
            v = v[:shape[0], :shape[1]]
            frames.append(Frame(y, np.full(shape, 100 + i % 50, np.uint8), v // 2 + 60, pts[i] if pts else i))
        return frames

    return make


@pytest.fixture(scope="session")
def write_raw() -> Callable[[Path, list[Frame]], Path]:
    """Writes frames as raw I420."""

    def write(path: Path, frames: list[Frame]) -> Path:
        with open(path, "wb") as file:
            for frame in frames:
                for plane in frame.planes:
                    file.write(plane.tobytes())
        return path

    return write


@pytest.fixture(scope="session")
def write_video() -> Callable[..., Path]:
    """Writes frames losslessly by their pts; ``audio`` adds a tone, ``title`` a tag. The suffix says how."""

    def write(path: Path, frames: list[Frame], *, time_base: Fraction = Fraction(1, 25),
              rate: Fraction = Fraction(25), audio: bool = False, title: str = "") -> Path:
        with av.open(path, "w") as output:
            codec = "ffv1" if path.suffix == ".mkv" else "libx264"
            video = output.add_stream(codec, rate=rate)
            video.width, video.height, video.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
            video.codec_context.time_base = time_base
            if codec == "libx264":
                video.options = {"qp": "0", "preset": "ultrafast"}
            sound = output.add_stream("aac", rate=16000, layout="mono") if audio else None
            if title:
                output.metadata["title"] = title
            for frame in frames:
                picture = av.VideoFrame(frame.width, frame.height, "yuv420p")
                for plane, source in zip(picture.planes, frame.planes):
                    target = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
                    target[:source.shape[0], :source.shape[1]] = source
                picture.pts, picture.time_base = frame.pts, time_base
                output.mux(video.encode(picture))
            output.mux(video.encode(None))
            if sound is not None:
                length = float((frames[-1].pts + 1) * time_base)
                tone = 0.3 * np.sin(np.arange(int(16000 * length)) * 0.2).astype(np.float32)
                for start in range(0, len(tone), 1024):
                    piece = av.AudioFrame.from_ndarray(tone[None, start:start + 1024], "fltp", "mono")
                    piece.sample_rate, piece.pts, piece.time_base = 16000, start, Fraction(1, 16000)
                    output.mux(sound.encode(piece))
                output.mux(sound.encode(None))
        return path

    return write


@pytest.fixture(scope="session")
def psnr() -> Callable[[np.ndarray, np.ndarray], float]:
    """PSNR of two 8-bit planes in dB."""

    def measure(a: np.ndarray, b: np.ndarray) -> float:
        mse = np.mean((a.astype(np.float64) - b) ** 2)
        return float(10 * np.log10(255**2 / max(mse, 1e-9)))

    return measure


@pytest.fixture(scope="session")
def info_of() -> Callable[[list[Frame]], VideoInfo]:
    """VideoInfo for frames at 25 fps with one tick a frame."""

    def make(frames: list[Frame]) -> VideoInfo:
        return VideoInfo(frames[0].width, frames[0].height, Fraction(25), Fraction(1, 25))

    return make


def _texture(rng: np.random.Generator, height: int, width: int, sigma: float, contrast: float) -> Any:
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.standard_normal((height, width)), sigma, mode="wrap")
    return np.clip(128 + noise * (contrast / noise.std()), 0, 255).round().astype(np.uint8)


def moving_frames(count: int, width: int, height: int, *, seed: int = 0,
                  motion: tuple[int, int] = (4, 2)) -> list[Frame]:
    """Textured frames whose content travels by ``motion`` (even dx, dy) luma samples a frame; pts 0, 1, 2."""
    rng = np.random.default_rng(seed)
    dx, dy = motion
    big_w, big_h = width + abs(dx) * count + 2, height + abs(dy) * count + 2
    y = _texture(rng, big_h, big_w, 2.0, 40.0)
    u, v = (_texture(rng, (big_h + 1) // 2, (big_w + 1) // 2, 2.0, 20.0) for _ in range(2))
    frames = []
    for t in range(count):
        # The window moves against the content, from the side that keeps its offset at zero or above.
        left, top = (d * (count - t) if d > 0 else -d * t for d in (dx, dy))
        half = np.s_[top // 2 : top // 2 + (height + 1) // 2, left // 2 : left // 2 + (width + 1) // 2]
        luma = y[top : top + height, left : left + width].copy()
        frames.append(Frame(luma, u[half].copy(), v[half].copy(), t))
    return frames


@pytest.fixture(scope="session")
def textured_frames() -> FrameMaker:
    """The function :func:`moving_frames`."""
    return moving_frames


def small_config() -> ModelConfig:
    """A model of the dvc family that codes a frame in milliseconds, named as one so that it has a codec."""
    from lvc.models.config import EntropyConfig, FlowConfig, ModelConfig
    from lvc.ops.transforms import Layer

    layers = (Layer(2, 5, 24), Layer(2, 5, 96))
    entropy = EntropyConfig(z_channels=8, levels=1, width=8)
    return ModelConfig(
        name="dvc-lite", picture="yuv420", flow=FlowConfig(levels=2, kernel=3, widths=(8, 8), unshuffle=4),
        motion=(Layer(2, 3, 8), Layer(2, 3, 32)),
        motion_entropy=EntropyConfig(z_channels=4, levels=1, width=8, means=True),
        residual=layers, residual_entropy=entropy, refine=(8, 8, 8), fold=2, loop_filter=True, dct_start=True,
        intra=layers, intra_entropy=entropy)


@pytest.fixture(scope="session")
def tiny_config() -> ModelConfig:
    """The configuration :func:`small_config`."""
    return small_config()


def seeded_models(config: ModelConfig, seed: int = 0) -> tuple[InterModel, IntraModel]:
    """Models whose layers all do something: what starts at zero is set to small random numbers instead."""
    import torch

    from lvc.entropy import Hyperprior
    from lvc.models import InterModel, IntraModel

    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        models = InterModel(config), IntraModel(config)
        for model in models:
            for name, parameter in model.named_parameters():
                if not parameter.any() and "gain" not in name:
                    parameter.normal_(0.0, 0.01)
            for module in model.modules():
                if isinstance(module, Hyperprior):
                    last = [m for m in module.encoder if isinstance(m, torch.nn.Conv2d)][-1]
                    last.weight.mul_(8.0)  # hyper-latents other than zero
                    for layer in module.decoder:
                        if hasattr(layer, "weight"):
                            layer.weight.mul_(4.0)
    return models


@pytest.fixture(scope="session")
def make_models() -> Callable[..., tuple[InterModel, IntraModel]]:
    """The function :func:`seeded_models`."""
    return seeded_models


@pytest.fixture(scope="session")
def tiny_path(tiny_config: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the tiny model in a file."""
    from lvc.weights import save_weights

    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, *seeded_models(tiny_config), {"note": "for tests"})
    return path


@pytest.fixture(scope="session")
def tiny_weights(tiny_path: Path) -> Weights:
    """The same, loaded."""
    from lvc.weights import load_weights

    return load_weights(tiny_path)


def seeded_swift(seed: int = 0, **config: Any) -> SwiftModel:
    """Swift with narrow random networks that all matter, in training mode and not frozen.

    Indices vary with every input, corrections of the filter are other than zero, no table is as it starts, and
    layers have weights in several units.
    """
    import torch

    from lvc.entropy.distributions import TableDistribution
    from lvc.models.swiftmodel import SwiftConfig, SwiftModel
    from lvc.ops.gains import QualityTable
    from lvc.ops.integer import IntConv2d

    sizes: dict[str, Any] = {"entropy_width": 12, "motion_width": 8, "sizes_width": 8, "filter_width": 8,
                             "filter_layers": 1}
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        model = SwiftModel(SwiftConfig(**{**sizes, **config}))
        for name, module in model.named_modules():
            if isinstance(module, IntConv2d):
                module.bias.normal_(0.0, 4.0)
                if module.high > 255:
                    module.weight.mul_(4.0)
                if name in ("filter.end", "filter.direct"):
                    module.weight.normal_(0.0, 0.03 if name == "filter.end" else 0.01)
                module.calibrate()
            elif isinstance(module, QualityTable):
                module.knots.add_(torch.randn_like(module.knots) * 3.0)
            elif isinstance(module, TableDistribution):
                module.logits.add_(torch.randn_like(module.logits) * 0.2)
    return model


@pytest.fixture(scope="session")
def make_swift() -> Callable[..., SwiftModel]:
    """The function :func:`seeded_swift`."""
    return seeded_swift


@pytest.fixture(scope="session")
def swift_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the narrow swift in a file."""
    from lvc.weights import save_swift_weights

    path = tmp_path_factory.mktemp("weights") / "swift.safetensors"
    save_swift_weights(path, seeded_swift(), {"note": "for tests"})
    return path


@pytest.fixture(scope="session")
def swift_weights(swift_path: Path) -> SwiftWeights:
    """The same, loaded."""
    from lvc.weights import load_swift_weights

    return load_swift_weights(swift_path)


@pytest.fixture(scope="session")
def restore_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small random network of restore that changes pictures a little."""
    import torch

    from lvc.enhance.restore import RestoreConfig, RestoreNet
    from lvc.weights import save_restore_weights

    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        net = RestoreNet(RestoreConfig(width=16, blocks=1))
        for parameter in net.end.parameters():
            parameter.normal_(0.0, 0.05)
        path = tmp_path_factory.mktemp("weights") / "restore.safetensors"
        save_restore_weights(path, net, {})
    return path


@pytest.fixture(scope="session")
def stsr_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small random network of stsr that changes pictures a little."""
    import torch

    from lvc.enhance.srfi import Srfi, SrfiConfig
    from lvc.weights import save_stsr_weights

    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        net = Srfi(SrfiConfig("stsr-tiny", width=8, blocks=1, tail=1, groups=2, flow_levels=2, flow_kernel=3,
                              flow_widths=(8,)))
        for parameter in net.end.parameters():
            parameter.normal_(0.0, 0.05)
        path = tmp_path_factory.mktemp("weights") / "stsr.safetensors"
        save_stsr_weights(path, net, {})
    return path
