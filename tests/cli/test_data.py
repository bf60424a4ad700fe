"""``lvc data``: from videos and picture sequences to a cache, and what it says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lvc.cli.main import OK, USAGE, main
from lvc.train.cache import FrameStore, load_manifest


@pytest.fixture(scope="module")
def vimeo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three septuplets in the layout of Vimeo-90k; its training list names two of them."""
    root = tmp_path_factory.mktemp("data") / "vimeo_septuplet"
    for i, name in enumerate(("00001/0001", "00001/0002", "00002/0001")):
        folder = root / "sequences" / name
        folder.mkdir(parents=True)
        for t in range(1, 8):
            cv2.imwrite(str(folder / f"im{t}.png"), np.full((48, 64, 3), 60 * i + 5 * t, np.uint8))
    (root / "sep_trainlist.txt").write_text("00001/0001\n00002/0001\n\n")
    return root


def test_listed_septuplets(vimeo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "cache"
    command = ["data", "prepare", str(vimeo), "--list", str(vimeo / "sep_trainlist.txt"), "--out", str(out)]
    assert main([*command, "--workers", "3"]) == OK
    said = capsys.readouterr()
    assert said.out == f"{out}: 2 clips, 14 frames, 0.1 MB\n"
    assert said.err == ""
    manifest = load_manifest(out)
    assert [c.name for c in manifest.clips] == ["vimeo_septuplet/sequences/00001/0001",
                                                "vimeo_septuplet/sequences/00002/0001"]
    y = FrameStore(out).planes(1)[0]
    grey = 16 + (120 + 5 * np.arange(1, 8)) * 219 / 255
    np.testing.assert_allclose(y.mean((1, 2)), grey, atol=1)  # in the order of time, whatever the threads
    before = (out / "frames.bin").stat().st_mtime_ns
    assert main(command) == OK
    assert (out / "frames.bin").stat().st_mtime_ns == before  # nothing is done twice
    assert main(["data", "prepare", str(vimeo), "--out", str(out), "--max-frames", "3", "-q"]) == OK
    assert [c.n_frames for c in load_manifest(out).clips] == [3, 3, 3]


def test_info_and_skipped_sources(vimeo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    assert main(["data", "prepare", str(vimeo), str(tmp_path / "bad.mp4"), "--out", str(tmp_path / "cache")]) == OK
    said = capsys.readouterr()
    assert said.out.endswith("3 clips, 21 frames, 0.1 MB, 1 sources skipped\n")
    assert said.err.startswith("lvc: warning: skipped bad.mp4: ")
    assert said.err.count("\n") == 1
    assert main(["data", "info", str(tmp_path / "cache"), "--clips"]) == OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "vimeo_septuplet/sequences/00001/0001  64x48  7 frames"
    assert lines[3].startswith("bad.mp4  skipped: ")
    assert len(lines) == 5


def test_speed(vimeo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "cache")
    assert main(["data", "prepare", str(vimeo), "--out", out, "--flows", "-q"]) == OK
    recipe = tmp_path / "r.toml"
    stage = '[[stage]]\nname = "{}"\nsteps = 1\ncrop = [32, 48]\nbatch = 2\nmotion = "{}"\n'
    stages = stage.format("a", "classical") + stage.format("b", "network")
    recipe.write_text('name = "r"\nmodel = "dvc-lite"\n' + stages)
    assert main(["data", "speed", out, "--crop", "48x32", "--batch", "2", "--seconds", "0.05", "--recipe",
                 str(recipe)]) == OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("crops 48x32, 2 frames: ")
    rate = float(lines[0].split(": ")[1].split()[0])
    milliseconds = float(lines[0].split("MB/s), ")[1].split()[0])
    assert rate * milliseconds == pytest.approx(2000, rel=0.2)  # both are rounded
    assert [line.split(":")[0] for line in lines[1:]] == ["stage a", "stage b"]
    assert main(["data", "speed", out, "--seconds", "0"]) == USAGE


@pytest.mark.parametrize(("arguments", "part"), [
    (["prepare", "nowhere", "--out", "c"], "nowhere"),
    (["prepare", "{vimeo}", "--out", "c", "--list", "nowhere.txt"], "nowhere.txt"),
    (["prepare", "{vimeo}", "--out", "c", "--list", "more.txt"], "only 1"),
    (["prepare", "{vimeo}", "--out", "c", "--list", "up.txt"], "outside"),
    (["prepare", "{vimeo}", "--out", "c", "--list", "empty.txt"], "names no clip"),
    (["prepare", "{vimeo}", "--out", "c", "--workers", "0"], "workers"),
    (["speed", "{cache}", "--recipe", "swift"], "dvc family")])
def test_mistakes(arguments: list[str], part: str, vimeo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                  capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("more.txt").write_text("00001/0001\n00009/0001\n")
    Path("up.txt").write_text("../../etc\n")
    Path("empty.txt").write_text("\n")
    if "{cache}" in arguments:
        main(["data", "prepare", str(vimeo), "--out", str(tmp_path / "cache"), "-q"])
        arguments = [*arguments, "--crop", "32x32", "--seconds", "0.01"]
    places: dict[str, Any] = {"vimeo": vimeo, "cache": tmp_path / "cache"}
    assert main(["data", *(a.format(**places) for a in arguments)]) == USAGE
    said = capsys.readouterr()
    assert part in said.err
    assert said.err.count("\n") == 1
    assert not Path("c").exists()


def test_an_action_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data"]) == USAGE
    assert "ACTION" in capsys.readouterr().err
