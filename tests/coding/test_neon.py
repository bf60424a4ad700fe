"""The kernels of 64-bit ARM, compiled and emulated where the tools for that are (Debian: g++-aarch64-linux-gnu and
qemu-user-static). On such a processor itself, every test of the coder runs them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"
COMPILER = shutil.which("aarch64-linux-gnu-g++")
EMULATOR = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")

if COMPILER is not None and EMULATOR is not None:

    @pytest.mark.slow
    def test_kernels_of_arm_agree_with_the_portable_ones(tmp_path: Path) -> None:
        """Bytes of sound streams, and what comes out of damaged ones."""
        source, program = tmp_path / "fuzz.cpp", tmp_path / "fuzz"
        # As text, so that a program without the kernels cannot pass.
        check = 'int main(int argc, char** argv) {\n  REQUIRE(std::strcmp(lvc::kernels().name, "neon") == 0);'
        text = (CSRC / "tests" / "fuzz_rans.cpp").read_text()
        assert text.count("int main(int argc, char** argv) {") == 1
        source.write_text(text.replace("int main(int argc, char** argv) {", check).replace('"../', f'"{CSRC}/'))
        sources = [source, *sorted((CSRC / "cpu").glob("*.cpp"))]
        flags = ["-std=c++17", "-O2", "-Wall", "-Wextra", "-static"]
        subprocess.run([str(COMPILER), *flags, *map(str, sources), "-o", str(program)], check=True)
        for seed in ("1", "2"):
            result = subprocess.run([str(EMULATOR), str(program), seed, "300", "20"], capture_output=True, text=True,
                                    timeout=300)
            assert result.returncode == 0, result.stderr
            assert json.loads(result.stdout)["rounds"] == 300
