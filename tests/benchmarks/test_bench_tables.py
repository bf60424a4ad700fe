"""Results files, and the tables and figures made of them."""

from __future__ import annotations

import json
from pathlib import Path

import bdrate
import plot
import pytest
import readme_table
from benchlib.results import Cache, curves_of, load_results, pick_codec, save_results, short_name
from benchlib.specs import BenchmarkError

ANCHOR = readme_table.ANCHOR
RATES = (0.1, 0.2, 0.4, 0.8)
QUALITIES = (30.0, 33.0, 36.0, 39.0)


@pytest.fixture
def records(make_record):
    """dvc-lite needs twice the anchor's bits on one sequence and half of them on another."""
    found = []
    for sequence, factor in (("first", 2.0), ("second", 0.5)):
        for i, (rate, quality) in enumerate(zip(RATES, QUALITIES, strict=True)):
            found.append(make_record(ANCHOR, ("crf", str(35 - 4 * i)), rate, quality, sequence=sequence))
            found.append(make_record("dvc-lite", ("quality", str(10 * i)), rate * factor, quality,
                                     sequence=sequence, weights="ab12", seconds=10.0))
    return found


@pytest.fixture
def results(tmp_path, records):
    path = tmp_path / "results.json"
    save_results(path, records)
    return path


def test_results_files_come_back_as_written(results, records):
    assert load_results([results]) == records
    assert len(results.read_text().splitlines()) == len(records) + 2


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "JSON"), ("[]", "not a results file"), ('{"results": 99, "points": []}', "version 99"),
     ('{"points": 3}', "not a results file")],
)
def test_other_files_are_refused(tmp_path, text, message):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(BenchmarkError, match=message):
        load_results([path])


def test_records_that_contradict_each_other_are_refused(records):
    same = json.loads(json.dumps(records[0]))
    assert len(curves_of([*records, same])) == 4
    with pytest.raises(BenchmarkError, match="two different records"):
        curves_of([*records, same | {"file_bytes": 1}])
    with pytest.raises(BenchmarkError, match="lacks 'bpp'"):
        curves_of([{k: v for k, v in same.items() if k != "bpp"}])


def test_curves_are_grouped_by_condition_and_sorted_by_rate(records, make_record):
    other = make_record(ANCHOR, ("crf", "35"), 0.3, 31.0, sequence="first", intra_period=-1)
    curves = curves_of([*reversed(records), other])
    assert len(curves) == 5
    first = next(c for c in curves if c.condition.sequence == "first" and c.condition.intra_period == 10
                 and c.codec == ANCHOR)
    assert first.rates == sorted(first.rates)
    assert first.qualities("yuv") == [q + 0.9 for q in QUALITIES]


def test_codecs_are_picked_by_a_part_of_their_name(records):
    curves = curves_of(records)
    assert pick_codec(curves, "x265") == ANCHOR
    assert pick_codec(curves, "dvc-lite") == "dvc-lite"
    with pytest.raises(BenchmarkError, match="no codec matches"):
        pick_codec(curves, "vvenc")
    with pytest.raises(BenchmarkError, match="several"):
        pick_codec(curves, "t")
    assert short_name(ANCHOR) == "x265 veryfast zerolatency"
    assert short_name("svt-av1:preset=8,crf=30") == "svt-av1 preset 8 crf 30"


@pytest.mark.parametrize("metric", ["yuv", "rgb", "y", "ms-ssim"])
def test_bdrate_script(results, capsys, metric):
    arguments = [str(results), "--anchor", "x265", "--test", "dvc-lite", "--metric", metric]
    assert bdrate.main([*arguments, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["sequence"]: row["percent"] for row in rows} == {
        "first": pytest.approx(100), "second": pytest.approx(-50)
    }
    assert bdrate.main(arguments) == 0
    out = capsys.readouterr().out
    assert "+100.0 %" in out
    assert "-50.0 %" in out
    assert out.splitlines()[-1].split()[:3] == ["mean", "+25.0", "%"]
    assert bdrate.main([*arguments, "--method", "akima", "--json"]) == 0
    assert {row["method"] for row in json.loads(capsys.readouterr().out)} == {"akima"}


def test_bdrate_script_says_why_there_is_no_figure(tmp_path, records, make_record, capsys):
    def points(codec: str, n: int, best: float) -> list[dict]:
        return [make_record(codec, ("quality", str(i)), 0.1 * (i + 1), best + i, sequence="first")
                for i in range(n)]

    far, few = points("far", 4, 50.0), points("few", 3, 30.0)
    path = tmp_path / "r.json"
    save_results(path, [*records, *far, *few])
    assert bdrate.main([str(path), "--anchor", "x265", "--test", "far", "few"]) == 1
    captured = capsys.readouterr()
    assert "no common range" in captured.out
    assert "the test curve has 3 points" in captured.out
    assert captured.out.count("n/a") == 8
    assert captured.err.startswith("bdrate.py: error: no BD-rate: first, far against x265")
    # with one figure among them it is but a note
    assert bdrate.main([str(path), "--anchor", "x265", "--test", "far", "dvc-lite"]) == 0
    assert bdrate.main([str(path), "--anchor", "x265", "--test", "vvenc"]) == 1
    assert "no codec matches 'vvenc'" in capsys.readouterr().err


def test_codecs_never_measured_together_are_refused(tmp_path, make_record, capsys):
    path = tmp_path / "r.json"
    save_results(path, [make_record("a", ("quality", "1"), 0.1, 30.0, intra_period=10),
                        make_record("b", ("quality", "1"), 0.1, 30.0, intra_period=32)])
    assert bdrate.main([str(path), "--anchor", "a", "--test", "b"]) == 1
    assert "never measured under the same condition" in capsys.readouterr().err


def curve_of(records, codec):
    return next(c for c in curves_of(records) if c.codec == codec and c.condition.sequence == "first")


def test_bd_quality_stands_beside_bd_rate(records):
    # half the rate at equal quality, on curves of 3 dB an octave
    found = bdrate.compare(curve_of(records, "dvc-lite"), curve_of(records, ANCHOR), "yuv")
    assert found.percent == pytest.approx(-50)
    assert found.difference == pytest.approx(3.0)
    assert found.note == ""


def test_curves_that_are_not_monotonic_give_a_warning(records, make_record, tmp_path, capsys):
    dip = make_record("dvc-lite", ("quality", "40"), 2.0, 35.0, sequence="first", weights="ab12")
    clean = bdrate.compare(curve_of(records, ANCHOR), curve_of(records, "dvc-lite"), "yuv")
    found = bdrate.compare(curve_of(records, ANCHOR), curve_of([*records, dip], "dvc-lite"), "yuv")
    assert found.percent == clean.percent
    assert found.note == "the test curve is not monotonic, 1 of its 5 points left out"
    path = tmp_path / "r.json"
    save_results(path, [*records, dip])
    assert bdrate.main([str(path), "--anchor", "x265", "--test", "dvc-lite", "--json"]) == 0
    assert "warning: first, dvc-lite against x265 veryfast zerolatency: the test" in capsys.readouterr().err


def test_small_overlap_gives_a_warning(records, make_record):
    far = [make_record("far", ("quality", str(i)), 0.5 * 2**i, 37.0 + 3 * i, sequence="first")
           for i in range(4)]
    found = bdrate.compare(curve_of(records, ANCHOR), curve_of([*records, *far], "far"), "yuv")
    assert found.percent is not None
    assert found.overlap == pytest.approx(2 / 16)
    assert found.note == "small overlap"


@pytest.mark.parametrize(("value", "message"), [
    (float("nan"), "not finite"), (float("inf"), "not finite"), (None, "not finite")])
def test_values_that_are_not_finite_are_refused(records, value, message):
    broken = json.loads(json.dumps(records))
    next(r for r in broken if r["codec"] == "dvc-lite")["mean"]["psnr_yuv"] = value
    found = bdrate.compare(curve_of(broken, ANCHOR), curve_of(broken, "dvc-lite"), "yuv")
    assert found.percent is None
    assert message in found.note


def test_measures_that_old_records_lack(results, capsys):
    assert bdrate.main([str(results), "--anchor", "x265", "--test", "dvc-lite", "--metric", "vmaf"]) == 1
    assert "the anchor curve has no VMAF" in capsys.readouterr().err


def test_one_rate_point_is_no_curve(records, tmp_path, capsys):
    path = tmp_path / "r.json"
    save_results(path, [r for r in records if r["codec"] == ANCHOR] + [records[1]])
    assert bdrate.main([str(path), "--anchor", "x265", "--test", "dvc-lite"]) == 1
    error = capsys.readouterr().err
    assert "the test curve has 1 point; BD-rate needs at least 4" in error
    assert len(error.splitlines()) == 1


def test_results_of_other_frame_counts_are_not_compared(records, tmp_path, capsys):
    shorter = json.loads(json.dumps([r for r in records if r["codec"] == "dvc-lite"]))
    for record in shorter:
        record["sequence"]["frames"] = 9
    path = tmp_path / "r.json"
    save_results(path, [r for r in records if r["codec"] == ANCHOR] + shorter)
    assert bdrate.main([str(path), "--anchor", "x265", "--test", "dvc-lite"]) == 1
    assert "never measured under the same condition" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_plot_script(results, tmp_path, suffix):
    out = tmp_path / "figures" / f"rd.{suffix}"
    assert plot.main([str(results), "--out", str(out), "--metric", "rgb"]) == 0
    start = out.read_bytes()[:8]
    assert start.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix])
    if suffix == "svg":
        text = out.read_text()
        assert "RGB PSNR (dB)" in text
        assert "x265 veryfast zerolatency" in text


def test_plot_script_refuses_unknown_formats(results, tmp_path, capsys):
    assert plot.main([str(results), "--out", str(tmp_path / "rd.docx")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_readme_table(records):
    text = readme_table.render(curves_of(records))
    assert "**Intra period 10**, sequences (frames): first (10), second (10)" in text
    row = next(line for line in text.splitlines() if line.startswith("| dvc-lite | +"))
    # 0.5 Mpx a frame, 10 frames, 10 seconds a point.
    assert row == "| dvc-lite | +25.0 % | +25.0 % | +25.0 % | 0.50 | 0.50 |"
    assert "| x265 veryfast zerolatency | 0 (anchor) | 0 (anchor) | 0 (anchor) | 2.50 | 2.50 |" in text
    assert "| dvc-lite | quality 0 | 0.1250 | 30.90 | 29.00 | 0.9684 |" in text
    assert "Test CPU, 2 cores" in text


def test_readme_table_has_vmaf_where_it_was_measured(records):
    for record in records:
        record["mean"]["vmaf"] = 2 * record["mean"]["psnr_y"]
    text = readme_table.render(curves_of(records))
    row = next(line for line in text.splitlines() if line.startswith("| dvc-lite | +"))
    assert row == "| dvc-lite | +25.0 % | +25.0 % | +25.0 % | +25.0 % | 0.50 | 0.50 |"
    assert "| dvc-lite | quality 0 | 0.1250 | 30.90 | 29.00 | 0.9684 | 60.00 |" in text


def test_readme_table_states_what_is_missing(records, make_record):
    records = [r for r in records if r["sequence"]["name"] == "first" or r["codec"] == ANCHOR]
    untimed = [make_record("x264", ("crf", str(i)), RATES[i], QUALITIES[i] + 5, sequence="second",
                           seconds=None) for i in range(4)]
    text = readme_table.render(curves_of([*records, *untimed]))
    assert "| dvc-lite | +100.0 % (1 of 2) |" in text
    row = next(line for line in text.splitlines() if line.startswith("| x264 |"))
    assert "*" in row
    assert row.endswith("| – | – |")
    assert readme_table.render([]) == "No results have been recorded yet."


def test_readme_table_tells_structure_and_complexity(records):
    for record in records:
        record["preset"] = "readme"
        if record["weights_digest"]:
            record["kmac"] = {"intra": None, "inter": {"encode": 30.0, "decode": 25.21}}
    text = readme_table.render(curves_of(records))
    assert "| dvc-lite | low delay | +25.0 % | +25.0 % | +25.0 % | 25.2 | 0.50 | 0.50 |" in text
    assert "| x265 veryfast zerolatency | low delay | 0 (anchor) | 0 (anchor) | 0 (anchor) | – | 2.50 | 2.50 |" in text
    assert "Low delay: every frame refers to former ones only." in text


def test_readme_table_of_untimed_records_has_no_speed(records):
    for record in records:
        record["encode"] = record["decode"] = {"command": "lvc"}
    text = readme_table.render(curves_of(records))
    assert "| dvc-lite | +25.0 % | +25.0 % | +25.0 % |" in text
    assert "Mpx/s" not in text


def test_readme_has_the_table_of_speed_py(records):
    def row(codec: str, threads: int, fps: float, learned: bool) -> dict:
        return {"codec": codec, "learned": learned, "width": 416, "height": 240, "frames": 12, "threads": threads,
                "bpp": 0.1, "psnr_yuv": 35.0, "encode": {"fps": fps}, "decode": {"fps": 4 * fps}}

    content = {"speed": 1, "clip": "c.mkv", "intra_period": 32, "repeat": 3, "machine": {"cpu": "Test CPU", "cores": 2},
               "rows": [row("swift", 1, 5.0, True), row("x265:preset=veryfast", 1, 60.0, False),
                        row("swift", 2, 8.0, True)]}
    text = readme_table.render(curves_of(records), speed=content)
    assert "| codec | size | threads | bits a pixel | YUV 6:1:1 | encode fps | of x265 veryfast |" in text
    assert "| swift | 416x240 | 1 | 0.100 | 35.00 | 5 | 1/12 | 20 | 1/12 |" in text
    assert "| swift | 416x240 | 2 | 0.100 | 35.00 | 8 | – | 32 | – |" in text


def test_readme_script_rewrites_and_checks(tmp_path, records, capsys):
    readme, folder = tmp_path / "README.md", tmp_path / "results"
    folder.mkdir()
    readme.write_text(f"before\n{readme_table.BEGIN}\nold\n{readme_table.END}\nafter\n")
    save_results(folder / "r.json", records)
    arguments = ["--readme", str(readme), "--results", str(folder / "r.json")]
    assert readme_table.main([*arguments, "--check"]) == 1
    assert "old" in readme.read_text()
    assert readme_table.main(arguments) == 0
    text = readme.read_text()
    assert "| dvc-lite | +25.0 %" in text
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert readme_table.main([*arguments, "--check"]) == 0
    readme.write_text("no markers")
    assert readme_table.main(arguments) == 1
    assert "lacks the markers" in capsys.readouterr().err


def test_cache_ignores_damaged_records(tmp_path):
    cache = Cache(tmp_path / "cache")
    assert cache.load("key") is None
    cache.store("key", {"a": 1})
    assert cache.load("key") == {"a": 1}
    assert [p.name for p in Path(cache.folder).iterdir()] == ["key.json"]
    (cache.folder / "key.json").write_text('{"a": ')
    assert cache.load("key") is None
