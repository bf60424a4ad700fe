"""Curves out of files, their means, and figures of them."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from lvc.errors import LvcError, UsageError
from lvc.metrics.rdcurves import load_curves, mean_curves, ms_ssim_db, pick_curves, short_name
from lvc.metrics.rdplot import COLORS, WIDTHS, draw_curves, figure_bytes, rd_figure, save_figure, styles_of


def record(codec: str, crf: int, bpp: float, quality: float, sequence: str = "a", period: int = 10,
           frames: int = 8) -> dict[str, Any]:
    return {"codec": codec, "point": {"crf": str(crf)}, "intra_period": period,
            "sequence": {"name": sequence, "frames": frames}, "bpp": bpp, "kbps": 1000 * bpp,
            "mean": {"psnr_yuv": quality, "ms_ssim": 1 - 10 ** (-quality / 20)}}


def curve(codec: str, sequence: str, factor: float, points: int = 4, **more: Any) -> list[dict[str, Any]]:
    return [record(codec, 40 - i, factor * 2.0**i, 30.0 + 3 * i, sequence, **more) for i in range(points)]


def results(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps({"results": 1, "points": records}))
    return path


def test_results_become_sorted_curves(tmp_path):
    path = results(tmp_path / "r.json", [*reversed(curve("x264", "a", 0.1)), *curve("dvc-lite", "a", 0.2)])
    x264, ours = load_curves([path])
    assert (x264.codec, x264.sequence, x264.intra_period, x264.frames) == ("x264", "a", 10, 8)
    assert x264.bpp == pytest.approx((0.1, 0.2, 0.4, 0.8))
    assert x264.kbps == pytest.approx((100, 200, 400, 800))
    assert x264.values("yuv") == (30.0, 33.0, 36.0, 39.0)
    assert x264.points == ("crf=40", "crf=39", "crf=38", "crf=37")
    assert ours.values("ms-ssim-db") == pytest.approx((15.0, 16.5, 18.0, 19.5))
    assert all(map(math.isnan, ours.values("vmaf")))
    assert ours.has("yuv")
    assert not ours.has("vmaf")


def test_ms_ssim_in_db_is_bounded():
    assert ms_ssim_db(0.99) == pytest.approx(20)
    assert ms_ssim_db(1.0) == pytest.approx(100)
    assert math.isnan(ms_ssim_db(math.nan))


@pytest.mark.parametrize(("text", "message"), [
    ("{", "not JSON"), ("[]", "neither"), ('{"points": [], "results": 2}', "version 2"),
    ('{"a": 1}', "neither"),
    ('{"results": {"bitrate": [], "psnr-y": []}}', "empty"), ('{"results": {"bitrate": 3.0}}', "none of"),
    ('{"results": {"bitrate": [1, 2], "psnr-y": [3]}}', "different lengths"),
    ('{"results": {"bitrate": [0, 2], "psnr-y": [3, 4]}}', "above zero"),
    ('{"results": {"bitrate": null, "psnr-y": 3}}', "missing"),
    ('{"results": 1, "points": [{"codec": "x"}]}', "incomplete"),
    ('{"results": 1, "points": [3]}', "incomplete"),
    ('{"published": 1, "curves": [{"codec": "x", "bpp": [1], "psnr_rgb": [1, 2]}]}', "differ in length"),
    ('{"published": 1, "curves": [{"bpp": [1]}]}', "lacks 'codec'")])
def test_other_files_are_refused(tmp_path, text, message):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_curves([path])


def test_missing_file(tmp_path):
    with pytest.raises(LvcError, match="nowhere"):
        load_curves([tmp_path / "nowhere.json"])


def test_records_that_contradict_each_other_are_refused(tmp_path):
    path = results(tmp_path / "r.json", [record("x", 1, 0.1, 30), record("x", 1, 0.1, 31)])
    with pytest.raises(UsageError, match="two different records"):
        load_curves([path])
    same = results(tmp_path / "s.json", [record("x", 1, 0.1, 30)] * 2)
    assert load_curves([same, same])[0].bpp == (0.1,)


def test_means_are_over_the_sequences_that_all_codecs_share(tmp_path):
    records = [*curve("x264", "a", 0.1), *curve("x264", "b", 0.3), *curve("x264", "c", 9.0),
               *curve("dvc-lite", "a", 0.2), *curve("dvc-lite", "b", 0.2),
               *curve("dvc-lite", "c", 1, points=1)]
    means, left_out = mean_curves(load_curves([results(tmp_path / "r.json", records)]))
    assert left_out == ["c"]
    assert [(c.codec, c.sequence, c.n_sequences) for c in means] == [("x264", "", 2), ("dvc-lite", "", 2)]
    assert means[0].bpp == pytest.approx((0.2, 0.4, 0.8, 1.6))
    assert means[0].values("yuv") == (30.0, 33.0, 36.0, 39.0)


def test_means_need_something_in_common(tmp_path):
    apart = load_curves([results(tmp_path / "r.json", [*curve("x264", "a", 1), *curve("x265", "b", 1)])])
    with pytest.raises(UsageError, match="no sequence"):
        mean_curves(apart)
    other_points = [record("x264", 10, 0.1, 30, "a"), record("x264", 20, 0.1, 30, "b")]
    with pytest.raises(UsageError, match="no rate point"):
        mean_curves(load_curves([results(tmp_path / "s.json", other_points)]))


def published(path: Path, title: str) -> Path:
    path.write_text(json.dumps({"published": 1, "title": title, "curves": [
        {"codec": "DVC", "bpp": [0.4, 0.1], "psnr_rgb": [34.0, 30.0], "intra_period": 10},
        {"codec": "VTM", "sequence": "a", "bpp": [0.1, 0.4], "psnr_rgb": [31.0, 35.0], "frames": 8}]}))
    return path


def test_published_curves_are_marked_and_pass_through_means(tmp_path):
    first = published(tmp_path / "p.json", "Class P")
    dvc, vtm = load_curves([first])
    assert (dvc.codec, dvc.dataset, dvc.origin) == ("DVC (published)", "Class P", "published")
    assert (dvc.bpp, dvc.values("rgb"), dvc.kbps) == ((0.1, 0.4), (30.0, 34.0), None)
    assert vtm.sequence == "a"
    means, _ = mean_curves(load_curves([results(tmp_path / "r.json", curve("x264", "a", 1)), first]))
    assert [c.codec for c in means] == ["x264", "DVC (published)"]
    with pytest.raises(UsageError, match="Class P, Class Q"):
        mean_curves(load_curves([first, published(tmp_path / "q.json", "Class Q")]))
    with pytest.raises(UsageError, match="no rates in kbps"):
        dvc.rates("kbps")


def test_codecs_are_picked_by_parts_of_names(tmp_path):
    records = [*curve("x265:preset=veryfast", "a", 1), *curve("x265:preset=medium", "a", 1)]
    curves = load_curves([results(tmp_path / "r.json", records)])
    assert [c.codec for c in pick_curves(curves, ["medium", "x265 veryfast"])] == [
        "x265:preset=medium", "x265:preset=veryfast"]
    with pytest.raises(UsageError, match="several codecs fit 'x265'"):
        pick_curves(curves, ["x265"])
    # a name as tables have it is no part of another one
    longer = curve("x265:preset=medium,tune=zerolatency", "a", 1)
    curves = load_curves([results(tmp_path / "r.json", [*longer, *records])])
    assert [c.codec for c in pick_curves(curves, ["x265 medium"])] == ["x265:preset=medium"]
    with pytest.raises(UsageError, match="no codec fits 'x266'"):
        pick_curves(curves, ["x266"])


def test_short_names():
    assert short_name("x265:preset=veryfast,tune=zerolatency") == "x265 veryfast zerolatency"
    assert short_name("svt-av1:preset=8,crf=30") == "svt-av1 preset 8 crf 30"
    assert short_name("x265: odd (published)") == "x265: odd (published)"


def test_styles_tell_codecs_apart(tmp_path):
    names = [f"c{n}" for n in range(9)] + ["c1:preset=slow", "c1:preset=fast"]
    curves = load_curves([results(tmp_path / "r.json", [record(name, 1, 0.1, 30) for name in names]),
                          published(tmp_path / "p.json", "P")])
    styles = styles_of(curves)
    assert len({(s.color, s.marker, s.dashes, s.hollow) for s in styles.values()}) == len(styles) == 13
    many = styles_of(load_curves([results(tmp_path / "m.json", [
        record(f"c{n}{variant}", 1, 0.1, 30) for n in range(15) for variant in ("", ":a=1", ":a=2")])]))
    assert len(set(many.values())) == len(many) == 45
    assert styles["c1"].color == styles["c1:preset=slow"].color == COLORS[1]
    assert styles["DVC (published)"].hollow


@pytest.mark.parametrize("suffix", ["pdf", "svg", "png"])
def test_figures_are_written_and_the_same_each_time(tmp_path, suffix):
    curves = load_curves([results(tmp_path / "r.json", [*curve("x264", "a", 1), *curve("dvc-lite", "a", 2)])])
    out = tmp_path / "new" / f"f.{suffix}"
    save_figure(rd_figure({"": curves}, "yuv"), out)
    data = out.read_bytes()
    assert data.startswith({"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG"}[suffix])
    save_figure(rd_figure({"": curves}, "yuv"), out)
    assert out.read_bytes() == data
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_a_figure_shows_what_it_is_given(tmp_path):
    curves = load_curves([results(tmp_path / "r.json", [*curve("x264", "a", 1), *curve("dvc-lite", "a", 2)])])
    figure = rd_figure({"": curves}, "ms-ssim-db", rate="kbps", log_rate=True, labels={"x264": "AVC"},
                       x_limits=(500.0, 20000.0), y_limits=(14.0, 20.0))
    (axis,) = figure.axes
    assert [list(line.get_xdata()) for line in axis.lines] == [list(c.kbps) for c in curves]
    assert [list(line.get_ydata()) for line in axis.lines] == [list(c.values("ms-ssim-db")) for c in curves]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["AVC", "dvc-lite"]
    assert (axis.get_xlim(), axis.get_ylim(), axis.get_xscale()) == ((500, 20000), (14, 20), "log")
    assert figure.get_size_inches()[0] == pytest.approx(WIDTHS["column"])
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("Bit rate (kbit/s)", "MS-SSIM (dB)")


def test_figures_for_papers_are_serif_and_embed_their_font(tmp_path):
    curves = load_curves([results(tmp_path / "r.json", curve("x264", "a", 1))])
    pdf = figure_bytes(rd_figure({"": curves}, "yuv"), "pdf")
    assert b"/FontFile2" in pdf  # TrueType, as publishers want it
    assert b"DejaVuSans" not in pdf
    svg = ElementTree.fromstring(figure_bytes(rd_figure({"": curves}, "yuv"), "svg"))
    assert not list(svg.iter("{http://www.w3.org/2000/svg}text"))  # outlines: looks alike everywhere


def test_panels_share_one_legend_below(tmp_path):
    names = [f"x{n}" for n in range(5)]
    curves = load_curves([results(tmp_path / "r.json", [r for n in names for r in curve(n, "a", 1)])])
    figure = rd_figure({"one": curves, "two": curves[:1]}, "yuv", width=WIDTHS["page"])
    assert [axis.get_title() for axis in figure.axes] == ["one", "two"]
    assert [len(legend.get_texts()) for legend in figure.legends] == [5]
    assert rd_figure({"": curves}, "yuv").legends  # too many for the inside of one panel


def test_wrong_figures(tmp_path):
    curves = load_curves([results(tmp_path / "r.json", curve("x264", "a", 1))])
    with pytest.raises(UsageError, match="nothing to plot"):
        rd_figure({}, "yuv")
    with pytest.raises(UsageError, match="no curve has VMAF"):
        rd_figure({"": curves}, "vmaf")
    with pytest.raises(UsageError, match="must rise"):
        rd_figure({"": curves}, "yuv", y_limits=(3.0, 2.0))
    with pytest.raises(UsageError, match="starts above zero"):
        rd_figure({"": curves}, "yuv", x_limits=(0.0, 2.0), log_rate=True)
    with pytest.raises(UsageError, match=r"\.pdf, \.svg, \.png"):
        save_figure(rd_figure({"": curves}, "yuv"), tmp_path / "f.docx")
    (tmp_path / "file").write_text("")
    with pytest.raises(LvcError, match="cannot be written"):
        save_figure(rd_figure({"": curves}, "yuv"), tmp_path / "file" / "f.png")


def test_points_without_a_value_are_left_out(tmp_path):
    records = curve("x264", "a", 1)
    records[1]["mean"]["psnr_yuv"] = None
    (only,) = load_curves([results(tmp_path / "r.json", records)])
    from matplotlib.figure import Figure

    axis = Figure().add_subplot()
    draw_curves(axis, [only], "yuv")
    assert list(axis.lines[0].get_ydata()) == [30.0, 36.0, 39.0]
