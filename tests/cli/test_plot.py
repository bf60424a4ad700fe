"""``lvc plot``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lvc.cli import plot
from lvc.cli.main import main
from lvc.metrics.rdcurves import PLOT_METRICS
from lvc.metrics.rdplot import WIDTHS


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two codecs on two sequences at two intra periods; a third codec on one sequence only."""
    points = []
    for codec, factor, names in (("x265:preset=medium", 1, "ab"), ("dvc-lite", 2, "ab"), ("x264", 3, "a")):
        for name in names:
            for period in (10, -1):
                for i in range(4):
                    mean = {"psnr_yuv": 30.0 + 3 * i, "psnr_rgb": 29.0 + 3 * i, "ms_ssim": 0.9 + 0.02 * i}
                    points.append({"codec": codec, "point": {"crf": str(i)}, "intra_period": period,
                                   "sequence": {"name": name, "frames": 8}, "bpp": factor * 0.1 * 2**i,
                                   "kbps": factor * 100 * 2**i, "mean": mean})
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"results": 1, "points": points}))
    return path


def test_choices_are_those_of_the_library():
    assert tuple(PLOT_METRICS) == plot.METRICS
    assert tuple(WIDTHS) == plot.WIDTHS


def test_a_figure(results, tmp_path, capsys):
    out = tmp_path / "f.pdf"
    assert main(["plot", str(results), "--out", str(out), "--intra-period", "10", "--codecs", "dvc", "x265",
                 "--label", "x265:preset=medium=HEVC", "--title", "T", "--log-rate", "--rate", "kbps",
                 "--xlim", "50", "4000", "--ylim", "28", "42"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out}\n"
    assert captured.err == ""
    assert out.read_bytes().startswith(b"%PDF")


def test_sequences_without_all_codecs_are_left_out_and_named(results, tmp_path, capsys):
    assert main(["plot", str(results), "--out", str(tmp_path / "f.svg"), "--intra-period", "-1"]) == 0
    assert "left out: b" in capsys.readouterr().err
    assert main(["plot", str(results), "--out", str(tmp_path / "g.svg"), "--intra-period", "-1", "--each",
                 "--width", "page", "--title", "both"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("arguments", "message"), [
    ((), "intra periods -1, 10"), (("--intra-period", "32"), "no results with intra period 32"),
    (("--intra-period", "10", "--codecs", "vp9"), "no codec fits"),
    (("--intra-period", "10", "--sequence", "c"), "there are: a, b"),
    (("--intra-period", "10", "--label", "x264"), "CODEC=TEXT"),
    (("--intra-period", "10", "--metric", "vmaf"), "no curve has VMAF"),
    (("--intra-period", "10", "--xlim", "2", "1"), "must rise")])
def test_wrong_usage(results, tmp_path, capsys, arguments, message):
    assert main(["plot", str(results), "--out", str(tmp_path / "f.png"), *arguments]) == 2
    *warnings, error = capsys.readouterr().err.splitlines()
    assert error.startswith("lvc: error: ")
    assert message in error
    assert all(line.startswith("lvc: warning: ") for line in warnings)
    assert not (tmp_path / "f.png").exists()


def test_unreadable_results(tmp_path, capsys):
    assert main(["plot", str(tmp_path / "none.json"), "--out", str(tmp_path / "f.png")]) == 1
    assert "none.json" in capsys.readouterr().err
