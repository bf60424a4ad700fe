"""The C++ coder alone, under AddressSanitizer and UBSan, against random and damaged input."""

from __future__ import annotations

import json
import os
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
        command = [str(program), str(seed), "300", "100"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stderr
        counts = json.loads(result.stdout)
        assert counts["rounds"] == 300
        for setting, most in (("codec", 0.02), ("extreme", 0.5)):
            assert set(counts[setting]) == {"flips", "cuts", "random", "splices", "insertions"}
            inputs, accepted, with_crc = (sum(column) for column in zip(*counts[setting].values()))
            assert inputs > 10_000
            assert accepted < most * inputs
            assert with_crc == 0
