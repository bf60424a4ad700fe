"""The CUDA kernels: compiled wherever nvcc is, run wherever a GPU is, against the CPU."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

CSRC = Path(__file__).parents[2] / "csrc"
NVCC = shutil.which("nvcc")
FLAGS = ["-std=c++17", "-O2", "-Werror", "all-warnings"]


if NVCC is not None:  # on a machine without nvcc there is nothing to compile

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["rans", "arrays"])
    def test_kernels_compile(tmp_path: Path, name: str) -> None:
        source = CSRC / "cuda" / f"{name}.cu"
        subprocess.run([str(NVCC), *FLAGS, "-c", str(source), "-o", str(tmp_path / "kernels.o")], check=True)


if NVCC is not None and torch.cuda.is_available():

    @pytest.mark.cuda
    @pytest.mark.slow
    def test_gpu_and_cpu_agree(tmp_path: Path) -> None:
        program = tmp_path / "cuda_rans"
        kernels = sorted((CSRC / "cpu").glob("*.cpp"))
        sources = [CSRC / "tests" / "cuda_rans.cu", CSRC / "cuda" / "rans.cu", *kernels]
        subprocess.run([str(NVCC), *FLAGS, *map(str, sources), "-o", str(program)], check=True)
        for seed in ("1", "2"):
            result = subprocess.run([str(program), seed], capture_output=True, text=True, timeout=300)
            assert result.returncode == 0, result.stderr
            assert re.fullmatch(r"36 checks\n", result.stdout)
