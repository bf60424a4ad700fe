"""The commands of benchmarks/README.md, of the scripts' own descriptions and of the Makefile are what scripts take."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import run

ROOT = Path(run.__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks"
README = (FOLDER / "README.md").read_text(encoding="utf-8")
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py"))


def commands(text: str) -> list[str]:
    """Command lines in a text, with what a backslash continues."""
    joined = re.sub(r"\\\n\s*", "", text)
    return [re.sub(r"\s+#.*", "", line).strip() for line in joined.splitlines()
            if line.strip().startswith("python benchmarks/")]


def described() -> list[str]:
    found = commands(README)
    for name in SCRIPTS:
        found += commands((FOLDER / name).read_text(encoding="utf-8").replace("\\\\", "\\"))
    return list(dict.fromkeys(found))


class _Parsed(Exception):
    """A command line was understood."""


@pytest.fixture
def parse_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts stop once they have understood their command line."""
    parse = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser, *arguments: object) -> None:
        raise _Parsed(parse(parser, *arguments))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)


@pytest.mark.parametrize("command", described())
def test_commands_are_understood(parse_only, command):
    program, script, *arguments = shlex.split(command)
    assert program == "python"
    assert (ROOT / script).is_file()
    main = importlib.import_module(Path(script).stem).main
    with pytest.raises(_Parsed):
        main(arguments)


def test_a_wrong_command_is_not_understood(parse_only, capsys):
    with pytest.raises(SystemExit):
        run.main(["--no-such-option"])
    assert "--no-such-option" in capsys.readouterr().err


def test_every_script_is_named():
    assert set(re.findall(r"`(\w+\.py)`", README)) >= set(SCRIPTS)


def make(*arguments: str) -> list[str]:
    """Commands of benchmarks that make would run."""
    result = subprocess.run(["make", "-n", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True,
                            timeout=60)
    lines = re.sub(r"\\\n\s*", " ", result.stdout).splitlines()
    return ["python " + line.partition("python ")[2] for line in lines if " benchmarks/" in f" {line}"]


@pytest.mark.parametrize("target", ["demo", "bench", "tables", "report", "speed"])
def test_commands_of_make_are_understood(parse_only, target):
    found = [line for line in make(target, "SEQUENCES=clips", "PERIODS=10 32", "FRAMES=8") if "benchmarks/" in line]
    assert found
    for line in found:
        _, script, *arguments = shlex.split(line)
        with pytest.raises(_Parsed):
            importlib.import_module(Path(script).stem).main(arguments)


def test_the_page_is_of_the_same_results_as_the_tables():
    (line,) = make("report", "SEQUENCES=clips")
    named = [word for word in shlex.split(line) if "results/test_clips" in word]
    assert named == ["benchmarks/results/test_clips.json"]


def test_one_command_measures_every_codec_of_the_tables(tmp_path, write_clip, capsys):
    """make tables: all codecs on all test clips at their intra periods, timeless, from the folder that is named."""
    from benchlib.datasets import load_dataset

    clips = load_dataset("test-clips").sequences
    for sequence in clips:
        write_clip(tmp_path / sequence.path.name, 16, 16, 1)
    line = next(line for line in make("tables", f"SEQUENCES={tmp_path}") if "run.py" in line)
    arguments = shlex.split(line)[2:]
    assert "--untimed" in arguments
    assert run.main([*arguments, "--dry-run"]) == 0
    out = capsys.readouterr().out
    both = ("swift", "dvc-lite", "x264:preset=veryfast", "x265:preset=veryfast,tune=zerolatency",
            "x265:preset=medium,tune=zerolatency", "x265:preset=medium,crf", "svt-av1:preset=8", "vvenc:preset=faster")
    long = ("swift:bframes=7", "x265-packed:preset=medium", "stsr:base=x265-packed", "restore:base=svt-av1")
    for codec in (*both, *long):
        for period in (10, 32)[codec in long :]:
            points = re.findall(rf"--codec {re.escape(codec)}\S* --intra-period {period} ", out)
            assert len(points) >= 4 * len(clips), codec
