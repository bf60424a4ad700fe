"""benchmarks/speed.py: the clock, one real run, and the tables."""

from __future__ import annotations

import json
import time
from typing import Any

import av
import pytest
import speed
from benchlib.specs import BenchmarkError
from speedlib.clock import STAGES, StageClock, timed
from speedlib.measure import make_source
from speedlib.tables import cost_table, ratio_text, speed_table, stage_table, text_table

import lvc
from lvc.bitstream import StreamWriter
from lvc.codecs import swiftstate
from lvc.entropy import Write
from lvc.entropy.symbols import WriteSymbols
from lvc.video.base import VideoSource


def test_nested_stages_add_up():
    clock = StageClock()
    inner = clock.wrap(lambda: time.sleep(0.02), "inner")

    def work() -> str:
        time.sleep(0.03)
        inner()
        inner()
        return "done"

    began = time.perf_counter()
    assert clock.wrap(work, "outer")() == "done"
    whole = time.perf_counter() - began
    assert clock.seconds["inner"] >= 0.04
    assert clock.seconds["outer"] >= 0.03
    assert sum(clock.seconds.values()) == pytest.approx(whole, abs=2e-3)
    assert clock.seconds["outer"] < whole - 0.039


def test_a_stage_ends_with_an_error():
    clock = StageClock()

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        clock.wrap(fail, "a")()
    clock.enter("b")
    clock.leave()
    assert set(clock.seconds) == {"a", "b"}


@pytest.mark.parametrize("name", ["dvc-lite", "swift"])
def test_all_stages_of_a_learned_codec_are_seen(clip, tmp_path, name):
    """If lvc is changed so that a seam is no more where it was, this fails, and speed.py must follow."""
    codec = lvc.open_codec(name)
    before = {name: vars(type(codec.codec))[name] for name in ("encoder", "decoder")}
    clock = StageClock()
    with timed(clock, codec):
        began = time.perf_counter()
        lvc.encode(clip, tmp_path / "a.lvc", codec=name, frames=2, threads=1)
        whole = time.perf_counter() - began
    assert set(clock.seconds) == set(STAGES)
    assert all(seconds > 0 for seconds in clock.seconds.values())
    assert 0.6 * whole < sum(clock.seconds.values()) <= whole
    again = StageClock()
    with timed(again, codec):
        lvc.decode(tmp_path / "a.lvc", tmp_path / "a.y4m")
    assert set(again.seconds) == set(STAGES) - {"motion"}
    # nothing stays wrapped
    assert {name: vars(type(codec.codec))[name] for name in before} == before
    for owner, method in ((StreamWriter, "write_packet"), (VideoSource, "__next__"), (Write, "conditional"),
                          (WriteSymbols, "code"), (swiftstate, "search")):
        assert not hasattr(getattr(owner, method), "__wrapped__")


def test_a_changed_lvc_is_noticed(monkeypatch):
    monkeypatch.delattr("lvc.bitstream.StreamWriter.write_side")
    with pytest.raises(BenchmarkError, match="StreamWriter write_side: lvc has changed"), \
            timed(StageClock(), lvc.open_codec("x265")):
        pass


def test_sources_are_scaled_and_played_to_and_fro(clip, tmp_path):
    out = tmp_path / "s.y4m"
    make_source(clip, (64, 48), 21, out)
    with av.open(str(out)) as container:
        pictures = [picture.to_ndarray() for picture in container.decode(video=0)]
    assert len(pictures) == 21
    assert pictures[0].shape == (72, 64)
    assert (pictures[11] == pictures[7]).all()
    assert (pictures[18] == pictures[0]).all()
    assert not (pictures[0] == pictures[1]).all()
    (tmp_path / "bad.mkv").write_bytes(b"no video")
    with pytest.raises(BenchmarkError, match="cannot be scaled"):
        make_source(tmp_path / "bad.mkv", (64, 48), 2, out)


def test_a_real_run(clip, tmp_path, capsys):
    out = tmp_path / "speed.json"
    arguments = ["--clip", str(clip), "--sizes", "64x48", "--threads", "1", "--frames", "3",
                 "--repeat", "2", "--out", str(out)]
    assert speed.main([*arguments, "--codecs", "x265:preset=ultrafast@crf=30"]) == 0
    content = json.loads(out.read_text())
    assert (content["speed"], content["repeat"], content["intra_period"]) == (1, 2, 32)
    assert [row["frames"] for row in content["rows"]] == [3]
    for row in content["rows"]:
        assert (row["width"], row["height"], row["threads"], row["learned"]) == (64, 48, 1, False)
        assert row["bpp"] == pytest.approx(8 * row["file_bytes"] / (64 * 48 * row["frames"]))
        assert 20 < row["psnr_yuv"] < 100
        for part in ("encode", "decode"):
            run = row[part]
            assert run["fps"] == pytest.approx(row["frames"] / run["seconds"])
            assert len(run["all_seconds"]) == 2
            assert min(run["all_seconds"]) == run["seconds"]
            assert sum(run["stages"].values()) == pytest.approx(run["seconds"], rel=1e-3)
            assert run["stages"]["codec"] > 0
            assert run["stages"]["IO"] > 0
    printed = capsys.readouterr().out
    assert "x265 ultrafast  64x48" in printed
    assert "Cost of a further frame" not in printed


def row(codec: str, size: tuple[int, int], frames: int, seconds: float, *,
        learned: bool = False) -> dict[str, Any]:
    part = {"seconds": seconds, "fps": frames / seconds, "peak_rss_mib": 50.0,
            "stages": {"motion": 0.25 * seconds if learned else 0.0, "IO": 0.0, "other": 0.75 * seconds}}
    return {"codec": codec, "learned": learned, "width": size[0], "height": size[1], "frames": frames,
            "threads": 1, "bpp": 0.1, "psnr_yuv": 35.0, "encode": part, "decode": part}


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """x265: 0.1 s and 1 us a pixel of each frame; ours: twenty times that, and 0.5 s."""
    found = []
    for size in ((100, 100), (200, 200)):
        for frames in (2, 10):
            cost = size[0] * size[1] * frames * 1e-6
            found += [row("ours", size, frames, 0.5 + 20 * cost, learned=True),
                      row("x265", size, frames, 0.1 + cost)]
    return found


def test_speeds_and_ratios(rows):
    heads, lines = speed_table(rows)
    assert heads == ["codec", "size", "threads", "bpp", "YUV dB", "encode fps", "of x265", "decode fps",
                     "of x265", "peak MiB"]
    assert [line[:2] for line in lines] == [["ours", "100x100"], ["x265", "100x100"], ["ours", "200x200"],
                                            ["x265", "200x200"]]
    assert lines[0][5:7] == ["4", "1/12"]
    assert lines[3][5:7] == ["20", "1"]
    assert [ratio_text(value) for value in (0.01, 0.5, 3.44)] == ["1/100", "1/2.0", "3.4"]
    text = text_table(heads, lines).splitlines()
    assert len({line.index(size) for line, size in zip(text[1:], ["100x100"] * 2 + ["200x200"] * 2)}) == 1


def test_stages_of_learned_codecs(rows):
    heads, lines = stage_table(rows, "encode")
    assert heads == ["codec", "size", "threads", "motion, ms", "other, ms", "encode, ms a frame"]
    assert lines[0] == ["ours", "100x100", "1", "62.5", "188", "250"]
    assert len(lines) == 2
    assert stage_table([r for r in rows if not r["learned"]], "encode")[1] == []


def test_cost_of_pixels_and_frames(rows):
    _, lines = cost_table(rows)
    assert lines[0] == ["ours", "1", "100x100", *["20000", "0.500", "1.00"] * 2]
    assert lines[3] == ["x265", "1", "200x200", *["1000", "0.100", "1.00"] * 2]
    _, single = cost_table([r for r in rows if r["frames"] == 2])
    assert single[0][3:] == ["–"] * 6


@pytest.mark.parametrize(("arguments", "message"), [
    (["--sizes", "64"], "WIDTHxHEIGHT"), (["--sizes", "63x48"], "must be even"),
    (["--threads", "0"], "threads"),
    (["--threads", "4096"], "4096 threads on"), (["--frames", "0"], "frames"), (["--repeat", "0"], "repeat"),
    (["--codecs", "x265@crf=20,30"], "several rate points"), (["--clip", "nowhere.mkv"], "nowhere.mkv"),
    (["--codecs", "x266@crf=20", "--sizes", "64x48", "--threads", "1", "--frames", "1"], "x266")])
def test_wrong_arguments(tmp_path, capsys, arguments, message):
    assert speed.main(["--out", str(tmp_path / "s.json"), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("speed.py: error: ")
    assert message in error
    assert not (tmp_path / "s.json").exists()
