"""Results in CompressAI's form, held against what CompressAI itself writes and reads."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import compressai_json
import numpy as np
import pytest
from benchlib.results import save_results
from compressai.models.video.google import ScaleSpaceFlow
from compressai.utils.video.eval_model import __main__ as eval_model
from compressai.utils.video.plot import __main__ as compressai_plot

from lvc.metrics import plane_psnr
from lvc.metrics.rdcurves import load_curves
from lvc.types import Frame


def record(crf: int, bpp: float, sequence: str = "clip_176x164", **more: Any) -> dict[str, Any]:
    quality = 50.0 - crf / 2
    mean = {"psnr_y": quality, "psnr_u": quality + 3, "psnr_v": quality + 6, "psnr_yuv": quality + 1.125,
            "psnr_rgb": quality - 1, "ms_ssim": 0.98}
    return {"codec": "x265:preset=medium", "point": {"crf": str(crf)}, "codec_string": "x",
            "intra_period": 10,
            "sequence": {"name": sequence, "sha256": "0", "width": 176, "height": 164, "frames": 2,
                         "frame_rate": "30000/1001"},
            "bpp": bpp, "kbps": bpp * 176 * 164 * 29.97 / 1000, "mean": mean, "file_bytes": 1,
            "decoded_md5": f"{crf}", "per_frame": {"psnr_rgb": [quality - 3, quality + 1]}} | more


def test_measures_by_their_definitions():
    found = compressai_json.sequence_results(record(30, 0.1))
    assert list(found) == ["psnr-y", "psnr-u", "psnr-v", "psnr-yuv", "ms-ssim-rgb", "mse-rgb", "psnr-rgb",
                           "bitrate"]
    assert found["psnr-yuv"] == pytest.approx((4 * 35 + 38 + 41) / 6)
    assert found["mse-rgb"] == pytest.approx(255**2 * (10**-3.2 + 10**-3.6) / 2)
    small = record(30, 0.1)
    small["mean"]["ms_ssim"] = None
    assert "ms-ssim-rgb" not in compressai_json.sequence_results(small)


def test_sources_are_called_as_compressai_wants_them():
    assert compressai_json.source_name(record(30, 0.1)) == "clip_176x164_29.97fps"
    assert compressai_json.source_name(record(30, 0.1, "clip")) == "clip_176x164_29.97fps"
    assert compressai_json.source_name(record(30, 0.1, "a_176x164_30fps_8bit")) == "a_176x164_30fps_8bit"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    records = [record(crf, 0.4 - crf / 100, name) for crf in (20, 25, 30) for name in ("one", "two")]
    records[-1]["mean"] = {**records[-1]["mean"], "psnr_y": 37.0}
    save_results(tmp_path / "r.json", [*records, record(35, 0.05, "one")])
    assert compressai_json.main(["write", str(tmp_path / "r.json"), "--out", str(tmp_path / "out")]) == 0
    return tmp_path / "out"


def test_means_are_over_points_that_all_sequences_have(written):
    content = json.loads((written / "x265-preset-medium-ip10.json").read_text())
    assert content["results"]["q"] == [f"x265-preset-medium-ip10-crf{crf}" for crf in (20, 25, 30)]
    assert content["results"]["psnr-y"] == pytest.approx([40.0, 37.5, 36.0])
    assert len(list((written / "x265-preset-medium-ip10").iterdir())) == 7


def test_what_is_written_comes_back(written, capsys):
    (mean,) = load_curves([written / "x265-preset-medium-ip10.json"])
    assert (mean.codec, mean.sequence, mean.origin) == ("x265 medium, intra period 10", "", "compressai")
    assert mean.values("y") == pytest.approx((36.0, 37.5, 40.0))
    assert mean.bpp is None
    one, two = load_curves(sorted((written / "x265-preset-medium-ip10").iterdir()))
    assert one.bpp == pytest.approx((0.05, 0.1, 0.15, 0.2))
    assert two.values("yuv") == pytest.approx((36.125 + 0.75 * 2, 38.625, 41.125))
    assert one.points[1:] == two.points
    assert compressai_json.main(["show", str(written / "x265-preset-medium-ip10.json")]) == 0
    assert "psnr_y 36.0000" in capsys.readouterr().out


def test_compressai_plots_what_is_written(written, tmp_path):
    out = tmp_path / "rd.png"
    compressai_plot.main(["-f", str(written / "x265-preset-medium-ip10.json"), "-m", "ms-ssim-rgb", "-o",
                          str(out)])
    assert out.stat().st_size > 1000


def test_the_form_is_that_of_compressai(written, tmp_path, capsys):
    """CompressAI's own evaluation of an untrained model: equal keys and types; its files are read rightly."""
    rng = np.random.default_rng(0)
    planes = [[rng.integers(16, 236, (h, w), dtype=np.uint8) for h, w in ((164, 176), (82, 88), (82, 88))]
              for _ in range(2)]
    folder = tmp_path / "raw"
    folder.mkdir()
    raw = b"".join(plane.tobytes() for frame in planes for plane in frame)
    (folder / "noise_176x164_25fps_8bit_yuv420.yuv").write_bytes(raw)
    net = ScaleSpaceFlow(num_levels=2).eval()
    net.update(force=True)
    (tmp_path / "theirs").mkdir()
    results = eval_model.run_inference(
        sorted(folder.iterdir()), folder, net, tmp_path / "theirs", trained_net="ssf2020-mse-1-ans",
        description="ans", entropy_estimation=False, half=False, keep_binaries=True, architecture="ssf2020")
    (theirs,) = (tmp_path / "theirs").glob("*.json")
    content = json.loads(theirs.read_text())
    ours = json.loads(next((written / "x265-preset-medium-ip10").iterdir()).read_text())
    assert list(ours) == list(content)
    assert list(ours["results"]) == list(content["results"]) == list(results)
    assert {type(value) for value in content["results"].values()} == {float}
    assert all(isinstance(value, float) for value in ours["results"].values())

    (curve,) = load_curves([theirs])
    size = theirs.with_suffix(".bin").stat().st_size
    assert curve.points == ("ssf2020-mse-1-ans",)
    assert curve.bpp == pytest.approx((8 * size / (2 * 176 * 164),))
    assert curve.kbps == pytest.approx((8 * size * 25 / 2 / 1000,))
    assert curve.values("y") == pytest.approx((content["results"]["psnr-y"],))
    assert all(map(math.isfinite, curve.values("rgb")))


def test_plane_psnr_is_that_of_compressai():
    """The measures that are said to agree do: theirs from float planes, ours from the same 8-bit ones."""
    import torch

    rng = np.random.default_rng(1)
    source = [rng.integers(100, 140, (h, w), dtype=np.uint8) for h, w in ((192, 192), (96, 96), (96, 96))]
    rgb = torch.from_numpy(rng.uniform(0.3, 0.6, (1, 3, 192, 192)).astype(np.float32))
    theirs = eval_model.compute_metrics_for_frame(tuple(source), rgb)
    decoded = [(p[0, 0] * 255).clamp(0, 255).round().to(torch.uint8).numpy()
               for p in eval_model.convert_rgb_to_yuv420(rgb)]
    ours = plane_psnr(Frame(*source), Frame(*decoded))
    assert ours == pytest.approx([float(theirs[f"psnr-{plane}"]) for plane in "yuv"], abs=1e-4)


@pytest.mark.parametrize(("records", "message"), [
    ([{k: v for k, v in record(20, 0.1).items() if k != "per_frame"}], "lacks 'per_frame'"),
    ([record(20, 0.1, per_frame={"psnr_rgb": []})], "lacks"),
    ([record(20, 0.1, "one"), record(25, 0.1, "two")], "no rate point on all")])
def test_wrong_results(tmp_path, capsys, records, message):
    save_results(tmp_path / "r.json", records)
    assert compressai_json.main(["write", str(tmp_path / "r.json"), "--out", str(tmp_path / "o")]) == 1
    assert message in capsys.readouterr().err


def test_wrong_files(tmp_path, capsys):
    (tmp_path / "x.mkv").write_bytes(b"\x1aE\xdf\xa3")
    assert compressai_json.main(["show", str(tmp_path / "x.mkv")]) == 1
    assert "not JSON" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    save_results(tmp_path / "r.json", [record(20, 0.1)])
    assert compressai_json.main(["write", str(tmp_path / "r.json"), "--out", str(tmp_path / "file")]) == 1
    assert "error" in capsys.readouterr().err
