"""Published curves: their BD-rates are the published ones, and they never meet measured ones."""

from __future__ import annotations

import json

import bdrate
import pytest
from benchlib.published import PUBLISHED, load_curves, load_published, published_names
from benchlib.results import save_results
from benchlib.specs import BenchmarkError

from lvc.metrics import rdcurves
from lvc.metrics.rdplot import rd_figure

# x265 against x264, and DVC against x265 (both at their default presets), RGB PSNR
PAIRS = {"hevc-b": (-22.0, 4.7), "hevc-c": (-14.5, 27.4), "hevc-d": (-12.4, 17.0), "hevc-e": (-30.8, 3.1),
         "uvg": (-26.1, 8.5)}

# Of the table in Benchmark/README.md of ZhihaoHu/PyTorchVideoCompression, against x264. (Left out: DVC on
# classes C to E, where it has 1.60, -1.57 and -26.91 %; PCHIP on its own points gives 7.1, 0.8 and -28.7 %.)
TABLE = {
    "hevc-b": {"x265": -21.95, "DVC": -18.18, "DVC Pro": -35.75, "FVC": -39.72, "DCVC": -51.97},
    "hevc-c": {"x265": -14.48, "DVC Pro": -14.62, "FVC": -26.40, "DCVC": -28.98},
    "hevc-d": {"x265": -12.40, "DVC Pro": -18.69, "FVC": -28.31, "DCVC": -36.49},
    "hevc-e": {"x265": -30.81, "DVC Pro": -42.24, "FVC": -42.16, "DCVC": -42.25},
    "uvg": {"x265": -26.07, "DVC": -19.39, "SSF": -32.40, "FVC": -46.28, "ELF-VC": -57.05, "DCVC": -48.21},
    "mcl-jcv": {"x265": -23.86, "DVC": -14.51, "FVC": -40.52, "ELF-VC": -47.77, "DCVC": -43.22},
}


def percent(capsys, name: str, anchor: str, test: str) -> float:
    path = str(PUBLISHED / f"{name}.json")
    assert bdrate.main([path, "--anchor", anchor, "--test", test, "--metric", "rgb", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    return row["percent"]


@pytest.mark.parametrize("name", PAIRS)
def test_published_pairs(capsys, name):
    assert percent(capsys, name, "x264", "x265") == pytest.approx(PAIRS[name][0], abs=0.1)
    assert percent(capsys, name, "x265", "DVC") == pytest.approx(PAIRS[name][1], abs=0.1)


@pytest.mark.parametrize("name", TABLE)
def test_published_table(capsys, name):
    found = {codec: percent(capsys, name, "x264", codec) for codec in TABLE[name]}
    assert found == pytest.approx(TABLE[name], abs=0.2)


def test_every_curve_states_its_source_and_settings():
    assert published_names() == ["hevc-b", "hevc-c", "hevc-d", "hevc-e", "mcl-jcv", "uvg"]
    for name in published_names():
        curves = load_published(name)
        assert len(curves) > 10
        for curve in curves:
            assert curve.published
            assert "@" in curve.source
            assert curve.codec.endswith(" (published)")
            assert curve.rates == sorted(curve.rates)
            for metric, low, high in (("rgb", 25, 45), ("yuv", 24, 50), ("ms-ssim", 0.9, 1)):
                if curve.has(metric):
                    assert all(low < value < high for value in curve.qualities(metric))


def test_published_and_measured_curves_are_not_compared(tmp_path, make_record, capsys):
    path = tmp_path / "r.json"
    records = [make_record("dvc-lite", ("quality", str(i)), 0.1 * 2**i, 30.0 + 2 * i) for i in range(4)]
    save_results(path, records)
    published = tmp_path / "uvg.json"
    published.write_text(json.dumps({"published": 1, "dataset": "uvg", "title": "UVG", "curves": [
        {"codec": "DVC", "source": "a", "settings": "b", "bpp": [0.1, 0.2, 0.3, 0.4],
         "psnr_yuv": [30, 31, 32, 33]}]}))
    files = [str(path), str(published)]
    for anchor, test in (("dvc-lite", "DVC"), ("DVC", "dvc-lite")):
        assert bdrate.main([*files, "--anchor", anchor, "--test", test]) == 1
        assert "a published curve cannot be compared with a measured one" in capsys.readouterr().err
    assert {c.codec for c in load_curves([path, published])} == {"dvc-lite", "DVC (published)"}


def test_overlay_is_drawn_and_marked():
    curves = rdcurves.load_curves([PUBLISHED / "hevc-d.json"])
    by_name = {curve.codec: curve for curve in curves if not curve.sequence}
    dvc, x265, vtm = (by_name[f"{name} (published)"] for name in ("DVC", "x265", "VTM-17.0 low-delay B"))
    assert dvc.bpp == pytest.approx((0.141631, 0.206291, 0.28923, 0.43703), abs=1e-5)
    single = [c for c in curves if c.codec == vtm.codec and c.sequence]
    assert len(single) == 4
    for index, mean in enumerate(vtm.values("yuv")):
        assert mean == pytest.approx(sum(c.values("yuv")[index] for c in single) / 4, abs=1e-5)
    figure = rd_figure({"": [dvc, x265]}, "rgb")
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["DVC (published)", "x265 (published)"]


@pytest.mark.parametrize(("change", "message"), [
    ({"bpp": [0.1]}, "different lengths"), ({"psnr_rgb": [30.0, float("nan")]}, "not finite"),
    ({"psnr_rgb": [30.0, "high"]}, "not finite"), ({"settings": None}, None), ({"bpp": None}, "lacks")])
def test_malformed_files_are_refused(tmp_path, change, message):
    curve = {"codec": "A", "source": "s", "settings": "t", "bpp": [0.1, 0.2], "psnr_rgb": [30.0, 31.0]}
    curve |= change
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"published": 1, "title": "T", "curves": [curve]}))
    if message is None:
        assert len(load_published(path)) == 1
        return
    with pytest.raises(BenchmarkError, match=message):
        load_published(path)


def test_missing_files_are_refused(tmp_path):
    with pytest.raises(BenchmarkError, match="no published curves for 'kodak', only for: hevc-b"):
        load_published("kodak")
    path = tmp_path / "r.json"
    path.write_text('{"results": 1, "points": []}')
    with pytest.raises(BenchmarkError, match="not a file of published curves"):
        load_published(path)
    with pytest.raises(BenchmarkError, match="cannot be read as JSON"):
        load_curves([tmp_path / "missing.json"])
