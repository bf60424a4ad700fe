"""README.md says what is so: its examples run, its options exist, its table is that of the results."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOT_RUN = "<!-- not run -->"
_FENCE = re.compile(rf"(?P<mark>{NOT_RUN}\n)?^```(?P<language>bash|python)\n(?P<code>.*?)^```$", re.M | re.S)
BLOCKS = [(m["language"], m["code"], bool(m["mark"])) for m in _FENCE.finditer(README)]
RUN = [(language, code) for language, code, not_run in BLOCKS if not not_run]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder with a small in.mp4, where the examples run one after the other."""
    path = tmp_path_factory.mktemp("readme")
    canvas = np.random.default_rng(0).integers(16, 235, (34, 44), dtype=np.uint8)
    canvas = np.kron(canvas, np.ones((4, 4), np.uint8))
    with av.open(str(path / "in.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for index in range(5):
            gray = np.ascontiguousarray(canvas[index : index + 96, 2 * index : 2 * index + 128])
            picture = av.VideoFrame.from_ndarray(gray, format="gray").reformat(format="yuv420p")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """PATH with an ``lvc`` command that is the package under test, whether or not it is installed."""
    bin_folder = tmp_path_factory.mktemp("bin")
    command = bin_folder / "lvc"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lvc.cli "$@"\n')
    command.chmod(0o755)
    return os.environ | {
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    }


def test_there_is_something_to_run():
    assert {language for language, _ in RUN} == {"bash", "python"}
    assert README.count("```bash") + README.count("```python") == len(BLOCKS)


@pytest.mark.slow
@pytest.mark.parametrize(("language", "code"), RUN, ids=[code.strip().splitlines()[0] for _, code in RUN])
def test_example_runs(folder, environment, language, code):
    program = [sys.executable, "-c", code] if language == "python" else ["bash", "-euc", code]
    result = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
                            check=False)
    assert result.returncode == 0, result.stderr
    outputs = re.findall(r"\bout\.(?:lvc|mp4)|\bx265\.(?:lvc|y4m)|\bav1\.lvc", code)
    assert outputs or "lvc codecs" in code
    for output in outputs:
        assert (folder / output).stat().st_size > 0


@pytest.mark.slow
def test_options_in_the_command_table_exist(environment):
    rows = re.findall(r"^\| `lvc ([\w-]+)([^|]*)\|([^|]*)\|", README, re.M)
    assert {name for name, _, _ in rows} == {"encode", "decode", "extract-base", "info", "codecs", "plot", "data",
                                             "train"}
    for name, usage, description in rows:
        result = subprocess.run(["lvc", name, "--help"], env=environment, capture_output=True, text=True,
                                timeout=120, check=False)
        assert result.returncode == 0
        for option in re.findall(r"--[a-z-]+", usage + description):
            assert option in result.stdout, f"lvc {name} has no {option}"


def test_blocks_that_are_not_run_name_things_that_exist():
    text = "\n".join(code for _, code, not_run in BLOCKS if not_run)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", text, re.M) + re.findall(r"`make (\w+)`", README):
        assert re.search(rf"^{target}:", makefile, re.M), target
    for path in re.findall(r"\b(?:benchmarks|lvc)/[\w/.-]+\.(?:py|toml)\b", text):
        assert (ROOT / path).is_file(), path
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path


@pytest.mark.slow
def test_results_table_is_that_of_the_results():
    result = subprocess.run([sys.executable, str(ROOT / "benchmarks" / "readme_table.py"), "--check"],
                            env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
                            timeout=120, check=False)
    assert result.returncode == 0, result.stderr
