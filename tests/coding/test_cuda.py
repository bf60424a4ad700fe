"""The CUDA kernels against the CPU: their source emulated everywhere, compiled where nvcc is, run where a GPU is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

CSRC = Path(__file__).parents[2] / "csrc"
NVCC = shutil.which("nvcc")
FLAGS = ["-std=c++17", "-O2", "-Werror", "all-warnings"]
CHECKS = "42 checks\n"


def emulated(source: Path) -> str:
    """A source of kernels for emulated_cuda: launches and shared memory are what no C++ compiler understands."""
    text, launches = re.subn(r"(\w+)<<<(.*?),\s*static_cast<cudaStream_t>\(stream\)>>>\((.*?)\);",
                             r"emulated::launch(\2, [&] { \1(\3); });", source.read_text(), flags=re.S)
    text, shared = re.subn(r"extern __shared__ __align__\(16\) uint8_t memory\[\];",
                           "uint8_t* const memory = emulated::shared.get();", text)
    assert (launches, shared) == (2, 1)
    return re.sub(r'#include "(\.\./)?(\w+\.h)"',
                  lambda found: f'#include "{(source.parent / ((found[1] or "") + found[2])).resolve()}"', text)


@pytest.mark.slow
def test_emulated_kernels_give_the_bytes_of_the_cpu(tmp_path: Path) -> None:
    """Not only the coder of a warp, which test_coder.py runs, but all that the kernels do around it."""
    source, program = tmp_path / "rans.cpp", tmp_path / "cuda_rans"
    source.write_text(emulated(CSRC / "cuda" / "rans.cu"))
    kernels = sorted((CSRC / "cpu").glob("*.cpp"))
    sources = [source, CSRC / "cuda" / "arrays.cu", CSRC / "tests" / "cuda_rans.cu", *kernels]
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Wno-unused-parameter", "-fsanitize=address,undefined",
             "-fno-sanitize-recover=all", f"-I{CSRC / 'tests' / 'emulated_cuda'}", "-x", "c++"]
    subprocess.run([os.environ.get("CXX", "c++"), *flags, *map(str, sources), "-o", str(program)], check=True)
    result = subprocess.run([str(program), "1", "2000"], capture_output=True, text=True, timeout=600,
                            env={**os.environ, "ASAN_OPTIONS": "detect_stack_use_after_return=0"})
    assert result.returncode == 0, result.stderr
    assert result.stdout == CHECKS


if NVCC is not None:  # on a machine without nvcc there is nothing to compile

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["cuda/rans", "cuda/arrays", "tests/cuda_rans"])
    def test_kernels_compile(tmp_path: Path, name: str) -> None:
        source = CSRC / f"{name}.cu"
        subprocess.run([str(NVCC), *FLAGS, "-c", str(source), "-o", str(tmp_path / "kernels.o")], check=True)


if NVCC is not None and torch.cuda.is_available():

    @pytest.mark.cuda
    @pytest.mark.slow
    def test_gpu_and_cpu_agree(tmp_path: Path) -> None:
        program = tmp_path / "cuda_rans"
        kernels = sorted((CSRC / "cpu").glob("*.cpp"))
        sources = [CSRC / "tests" / "cuda_rans.cu", *sorted((CSRC / "cuda").glob("*.cu")), *kernels]
        subprocess.run([str(NVCC), *FLAGS, *map(str, sources), "-o", str(program)], check=True)
        for seed in ("1", "2"):
            result = subprocess.run([str(program), seed], capture_output=True, text=True, timeout=300)
            assert result.returncode == 0, result.stderr
            assert result.stdout == CHECKS
