"""What a result depends on besides its inputs: versions, machine, and the code of lvc itself."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
from pathlib import Path

import lvc

# Parts of lvc that can change what a classical codec's file or its frames look like, and those that only a
# learned codec runs through. Anchors stay cached while networks are worked on.
_CLASSICAL = ("*.py", "bitstream/*.py", "video/*.py", "codecs/*.py", "cli/*.py", "metrics/*.py")
_LEARNED = ("*.so", "*.pyd", "coding/*.py", "ops/*.py", "entropy/*.py", "models/*.py", "enhance/*.py",
            "weights/*.py")
_NOT_CLASSICAL = ("neural", "layered", "hevc_intra", "motion")


@functools.cache
def code_digest(learned: bool) -> str:
    """SHA-256 over the source files of lvc that a codec's results depend on (first 16 hex digits)."""
    root = Path(lvc.__file__).parent
    digest = hashlib.sha256()
    for pattern in _CLASSICAL + (_LEARNED if learned else ()):
        for path in sorted(root.glob(pattern)):
            if learned or not path.stem.startswith(_NOT_CLASSICAL):
                digest.update(f"{path.relative_to(root)}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that code or measure. PyAV brings libx264, libx265 and
    libsvtav1 with it, imageio-ffmpeg libvvenc."""
    found = {"python": platform.python_version(), "lvc": lvc.__version__}
    for package in ("torch", "numpy", "av", "imageio-ffmpeg", "pytorch-msssim"):
        found[package] = importlib.metadata.version(package)
    return found


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
