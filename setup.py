"""Builds the extensions lvc._C, lvc._motion and lvc._nets out of csrc/. Metadata is in pyproject.toml."""

import os
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent


class BuildExt(build_ext):
    """Adds the flags of the compiler at hand. Never -march=native: wheels must run on other machines."""

    def build_extensions(self) -> None:
        msvc = self.compiler.compiler_type == "msvc"
        flags = ["/O2", "/W3"] if msvc else ["-O3", "-Wall", "-Wextra"]
        for extension in self.extensions:
            extension.extra_compile_args += flags
        super().build_extensions()


def files(pattern: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "csrc").glob(pattern))


setup(
    ext_modules=[
        Pybind11Extension(
            "lvc._C",
            ["csrc/bindings.cpp", *files("cpu/*.cpp")],
            depends=[*files("*.h"), *files("cpu/*.h")],
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
            ["csrc/nets_bindings.cpp", *files("nets/*.cpp")],
            depends=files("nets/*.h"),
            cxx_std=17,
            extra_link_args=[] if os.name == "nt" else ["-pthread"],
        ),
    ],
    cmdclass={"build_ext": BuildExt},
)
