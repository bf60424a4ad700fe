"""Builds the extensions lvc._C, lvc._filters, lvc._hevc, lvc._motion and lvc._nets out of csrc/.

Metadata is in pyproject.toml.

lvc._cuda is built if the environment variable LVC_CUDA is 1 and nvcc is found (in CUDA_HOME, or on PATH). What keeps it
from being built is printed, and lvc works without it. LVC_NVCC_FLAGS is passed to nvcc, such as -arch=sm_90.
"""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

ROOT = Path(__file__).parent


class BuildExt(build_ext):
    """Adds the flags of the compiler at hand. Never -march=native: wheels must run on other machines."""

    def build_extensions(self) -> None:
        msvc = self.compiler.compiler_type == "msvc"
        flags = ["/O2", "/W3"] if msvc else ["-O3", "-Wall", "-Wextra"]
        for extension in self.extensions:
            extension.extra_compile_args += flags
        super().build_extensions()

    def build_extension(self, extension: Pybind11Extension) -> None:
        if extension.name == "lvc._cuda":
            self.build_kernels(extension)
        super().build_extension(extension)

    def build_kernels(self, extension: Pybind11Extension) -> None:
        """Compile csrc/cuda with nvcc; the rest is a matter of the C++ compiler."""
        folder = Path(self.build_temp) / "cuda"
        folder.mkdir(parents=True, exist_ok=True)
        for source in files("cuda/*.cu"):
            target = folder / (Path(source).stem + ".o")
            flags = ["-std=c++17", "-O3", "-Xcompiler=-fPIC", *shlex.split(os.environ.get("LVC_NVCC_FLAGS", ""))]
            command = [NVCC or "nvcc", *flags, "-c", source, "-o", str(target)]
            print(shlex.join(command))
            try:
                subprocess.run(command, check=True)
            except (OSError, subprocess.CalledProcessError) as error:
                raise CompileError(f"nvcc failed: {error}") from error  # which an optional extension may raise
            extension.extra_objects.append(str(target))


def find_nvcc() -> str | None:
    if os.environ.get("LVC_CUDA") != "1" or os.name == "nt":
        return None
    home = os.environ.get("CUDA_HOME")
    return shutil.which("nvcc", path=str(Path(home) / "bin")) if home else shutil.which("nvcc")


def cuda_folder(nvcc: str) -> Path:
    """The toolkit that nvcc belongs to; it may be a script elsewhere, so it is asked."""
    listing = subprocess.run([nvcc, "--dryrun", "-c", "x.cu"], capture_output=True, text=True, check=False).stderr
    tops = [line.partition("TOP=")[2].strip() for line in listing.splitlines() if "TOP=" in line]
    return Path(tops[0]).resolve() if tops else Path(nvcc).resolve().parents[1]


def cuda_extension(nvcc: str) -> Pybind11Extension:
    top = cuda_folder(nvcc)
    return Pybind11Extension(
        "lvc._cuda",
        ["csrc/cuda_bindings.cpp", *files("cpu/*.cpp")],
        depends=[*files("*.h"), *files("cpu/*.h"), *files("cuda/*")],
        cxx_std=17,
        library_dirs=[str(path) for path in (top / "lib64", top / "lib") if path.is_dir()],
        libraries=["cudart_static", "dl", "rt", "pthread"],
        optional=True,
    )


def files(pattern: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "csrc").glob(pattern))


NVCC = find_nvcc()

setup(
    ext_modules=[
        Pybind11Extension(
            "lvc._C",
            ["csrc/bindings.cpp", *files("cpu/*.cpp")],
            depends=[*files("*.h"), *files("cpu/*.h")],
            cxx_std=17,
        ),
        Pybind11Extension(
            "lvc._filters",
            ["csrc/filters_bindings.cpp", *files("filters/*.cpp")],
            depends=files("filters/*.h"),
            cxx_std=17,
            extra_link_args=[] if os.name == "nt" else ["-pthread"],
        ),
        Pybind11Extension(
            "lvc._hevc",
            ["csrc/hevc_bindings.cpp", *files("hevc/*.cpp")],
            depends=files("hevc/*.h"),
            cxx_std=17,
        ),
        Pybind11Extension(
            "lvc._motion",
            ["csrc/motion_bindings.cpp", *files("motion/*.cpp")],
            depends=files("motion/*.h"),
            cxx_std=17,
            extra_link_args=[] if os.name == "nt" else ["-pthread"],
        ),
        Pybind11Extension(
            "lvc._nets",
            [*files("nets_bindings/*.cpp"), *files("nets/*.cpp")],
            include_dirs=["csrc"],
            depends=[*files("nets_bindings/*.h"), *files("nets/*.h")],
            cxx_std=17,
            extra_link_args=[] if os.name == "nt" else ["-pthread"],
        ),
        *([cuda_extension(NVCC)] if NVCC else []),
    ],
    cmdclass={"build_ext": BuildExt},
)
