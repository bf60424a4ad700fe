"""What a result depends on besides its inputs: versions, machine, and the code of lvc itself."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import lvc

ROOT = Path(__file__).resolve().parents[2]

# Parts of lvc that can change what a classical codec's file or its frames look like, or how they are
# measured, and those that only a learned codec runs through.
_CLASSICAL = ("*.py", "bitstream/*.py", "video/*.py", "codecs/*.py", "cli/main.py", "cli/encode.py",
              "cli/decode.py", "metrics/*.py", "_hevc.*", "weights/x265-packed.safetensors")
_LEARNED = ("*.so", "*.pyd", "coding/*.py", "ops/*.py", "entropy/*.py", "models/*.py", "enhance/*.py",
            "weights/*.py")
_NOT_CLASSICAL = ("neural", "layered", "restore", "extract", "hevc_intra", "motion", "swift", "stsr", "reduction",
                  "rebuild")
_NOT_MEASURING = ("rdcurves", "rdplot", "bdrate")


@functools.cache
def code_digest(learned: bool) -> str:
    """SHA-256 over the source files of lvc that a codec's results depend on (first 16 hex digits)."""
    root = Path(lvc.__file__).parent
    digest = hashlib.sha256()
    for pattern in _CLASSICAL + (_LEARNED if learned else ()):
        for path in sorted(root.glob(pattern)):
            if path.stem in _NOT_MEASURING or (not learned and path.stem.startswith(_NOT_CLASSICAL)):
                continue
            digest.update(f"{path.relative_to(root)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python, of the packages that code or measure, and of the two builds of FFmpeg in them.

    PyAV brings libx264, libx265 and libsvtav1 with it; imageio-ffmpeg brings an executable with libvvenc,
    libaom and libvmaf.
    """
    import av
    import imageio_ffmpeg

    found = {"python": platform.python_version(), "lvc": lvc.__version__}
    for package in ("torch", "numpy", "av", "imageio-ffmpeg", "pytorch-msssim"):
        found[package] = importlib.metadata.version(package)
    found["ffmpeg (av)"] = str(getattr(av, "ffmpeg_version_info", "unknown"))
    found["ffmpeg (imageio-ffmpeg)"] = imageio_ffmpeg.get_ffmpeg_version()
    return found


_TINY = """
import av, os, sys
from fractions import Fraction
name, params = sys.argv[1:]
os.environ["SVT_LOG"] = "3"
encoder = av.CodecContext.create(name, "w")
encoder.width = encoder.height = 64
encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", Fraction(1, 25), Fraction(25)
encoder.options = {"x265-params": params} if params else {}
frame = av.VideoFrame(64, 64, "yuv420p")
frame.pts = 0
sys.stdout.buffer.write(b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)]))
"""
_AV_VERSIONS = {
    "x264": ("libx264", "", rb"x264 - (core \d+[^-]*?) - "),
    "x265": ("libx265", "log-level=-1", rb"x265 \(build \d+\) - ([^:]*):"),
    "svt-av1": ("libsvtav1", "", rb"SVT-AV1 Encoder Lib (\S+)"),
}
_AV_VERSIONS["x265-packed"] = _AV_VERSIONS["x265"]
_CLI_VERSIONS = {"vvenc": ("libvvenc", rb"libvvenc version: (\S+)"),
                 "libaom": ("libaom-av1", rb"libaom-av1 @ [^]]*\] (v\S+)")}


@functools.cache
def encoder_version(codec: str) -> str:
    """What an external encoder says of itself when it codes one small picture; empty if it says nothing.

    Args:
        codec: its name, without options.
    """
    if codec in _AV_VERSIONS:
        library, params, pattern = _AV_VERSIONS[codec]
        command = [sys.executable, "-c", _TINY, library, params]
    elif codec in _CLI_VERSIONS:
        import imageio_ffmpeg

        library, pattern = _CLI_VERSIONS[codec]
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-loglevel", "verbose",
                   "-f", "lavfi", "-i", "color=size=64x64:rate=25:duration=0.04", "-c:v", library,
                   "-f", "null", "-"]
    else:
        return ""
    try:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
                                check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(pattern, result.stdout + result.stderr)
    return match[1].decode(errors="replace").strip() if match else ""


@functools.cache
def commit() -> str:
    """Commit of the working tree of this script, ``-dirty`` if tracked files differ; empty if it is none."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--match=", "--dirty"]
    try:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                                check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


@functools.cache
def machine() -> dict[str, str | int]:
    """Processor, number of cores this process may use, system."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"cpu": model, "cores": cores, "system": f"{platform.system()} {platform.machine()}"}


@functools.cache
def kmac(codec_string: str) -> dict[str, dict[str, float | None] | None] | None:
    """Thousands of multiply-adds a luma pixel, of intra and inter frames; None for codecs without networks.

    Of swift's encoder, which tries as much as it is told to, there is no figure.
    """
    configured = lvc.open_codec(codec_string)
    weights: Any = getattr(configured.codec, "weights", None)
    if hasattr(weights, "net"):  # a layered codec: the same network after every frame, which its encoder tries, too
        net = weights.net
        if hasattr(net, "kmac_per_pixel"):  # stsr's, of which frames in between take less
            cost = round(net.kmac_per_pixel(2 if configured.params.get("kt") == "2" else 1), 3)
        else:
            from lvc.enhance.adaptive import KMAC_PER_PIXEL

            enhance = configured.params.get("enhance", "on")
            if enhance == "off":
                return None
            cost = round(KMAC_PER_PIXEL + (net.config.kmac_per_pixel if enhance == "on" else 0.0), 3)
        return {kind: {"encode": cost, "decode": cost} for kind in ("intra", "inter")}
    if hasattr(weights, "model"):
        from lvc.models.complexity import swift_decode_kmac_per_pixel

        cost = round(swift_decode_kmac_per_pixel(weights.model), 3)
        return {"intra": None, "inter": {"encode": None, "decode": cost}}
    if not hasattr(weights, "inter"):
        return None
    from lvc.models import ContextInterModel
    from lvc.models.complexity import context_decode_kmac_per_pixel, kmac_per_pixel

    params = configured.params
    models = {"intra": weights.intra if params.get("intra") == "learned" else None, "inter": weights.inter}
    found: dict[str, dict[str, float | None] | None] = {}
    for name, model in models.items():
        if model is None:
            found[name] = None
            continue
        if isinstance(model, ContextInterModel):
            found[name] = {"encode": None, "decode": round(context_decode_kmac_per_pixel(model), 3)}
            continue
        count = kmac_per_pixel(model, motion_estimation=params.get("motion") == "network")
        found[name] = {"encode": round(count.encode, 3), "decode": round(count.decode, 3)}
    return found
