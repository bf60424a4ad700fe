"""What a source distribution holds: everything that the extensions are built of, the CUDA kernels included."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_sdist_holds_all_sources(tmp_path):
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path), "sdist", "--formats", "gztar",
               "--dist-dir", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        held = {name.partition("/")[2] for name in tar.getnames()}
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "csrc").rglob("*.*")}
    assert {"csrc/cuda/rans.cu", "csrc/cuda/rans.h", "csrc/bindings.cpp"} <= sources
    assert sources | {"setup.py", "pyproject.toml", "lvc/_C.pyi", "lvc/_filters.pyi", "lvc/py.typed"} <= held
