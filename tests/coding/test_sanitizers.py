"""The C++ coder alone, under AddressSanitizer and UBSan, against random and damaged input."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"


@pytest.mark.slow
def test_fuzzing_under_sanitizers(tmp_path):
    program = tmp_path / "fuzz_rans"
    sources = [CSRC / "tests" / "fuzz_rans.cpp", *sorted((CSRC / "cpu").glob("*.cpp"))]
    flags = ["-std=c++17", "-O1", "-g", "-Wall", "-Wextra", "-fno-sanitize-recover=all"]
    compiler = os.environ.get("CXX", "c++")
    subprocess.run([compiler, *flags, "-fsanitize=address,undefined", *sources, "-o", program], check=True)
    for seed in (1, 2):
        result = subprocess.run([program, str(seed), "1500"], capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stderr
        counts = re.fullmatch(r"1500 rounds, (\d+) damaged inputs, (\d+) accepted\n", result.stdout)
        assert counts is not None, result.stdout
        assert int(counts[1]) > 25_000
