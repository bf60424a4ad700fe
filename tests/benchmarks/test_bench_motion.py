"""benchmarks/motion.py: one small run, and refusals."""

from __future__ import annotations

import json

import motion
import pytest


def test_a_real_run(clip, tmp_path, capsys):
    """On a texture that pans by (2, 1) samples a frame, blocks find the motion to the noise that was added."""
    out = tmp_path / "rows.json"
    arguments = ["--sequences", str(clip), "--frames", "3", "--lagrangian", "4", "--windows", "none", "--steps", "1",
                 "--preset", "fast", "--out", str(out)]
    assert motion.main(arguments) == 0
    rows = {row["method"]: row for row in json.loads(out.read_text())}
    blocks, dis = rows["blocks, effort 1, none"], rows["dis fast"]
    assert blocks["psnr"] > 30
    assert blocks["psnr"] > dis["psnr"] - 3
    for row in (blocks, dis):
        assert row["sequence"] == "texture"
        assert 0 < row["bpp"] < 0.2
        assert row["bits"] == pytest.approx(row["bpp"] * 176 * 164)
        assert row["seconds"] > 0
    assert "blocks, effort 1, none" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "message"), [
    (["--sequences", "nowhere.mkv"], "nowhere.mkv"), (["--sequences", "CLIP", "--frames", "1"], "two frames or more")])
def test_wrong_arguments(clip, capsys, arguments, message):
    assert motion.main([str(clip) if a == "CLIP" else a for a in arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("motion.py: error: ")
    assert message in error
