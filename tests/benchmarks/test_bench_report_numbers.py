"""What the report says, in numbers: headlines, what tables and legend hold, where speeds are from, versions."""

from __future__ import annotations

import re
from typing import Any

import pytest
from benchlib.published import PUBLISHED
from benchlib.specs import BenchmarkError
from reportlib.data import ReportData
from reportlib.page import render
from reportlib.stages import clip_speeds

from lvc.metrics.rdcurves import load_curves

VERYFAST = "x265:preset=veryfast,tune=zerolatency"
ULTRAFAST = "x265:preset=ultrafast"


@pytest.fixture
def records(make_record) -> list[dict[str, Any]]:
    """The learned codec needs twice the bits of veryfast, ultrafast 1.5 times; two sequences."""
    return [make_record(codec, ("quality" if weights else "crf", str(i)), 0.1 * factor * 2.0**i, 30.0 + 3 * i,
                        sequence=name, weights=weights, seconds=None)
            for name in ("texture", "other") for i in range(4)
            for codec, factor, weights in ((VERYFAST, 1.0, ""), ("learned", 2.0, "ab"), (ULTRAFAST, 1.5, ""))]


def test_headlines_are_against_the_base_or_a_codec_of_like_structure(make_record):
    """What a network adds to an encoder is not what that encoder has over another one."""
    medium, svt = "x265:preset=medium", "svt-av1:preset=8"
    names = {VERYFAST: "", medium: "", svt: "", "swift": "a", "swift:bframes=7": "a", "own": "a",
             "restore:base=x265,preset=medium": "a", "stsr:base=svt-av1,ks=2,kt=2,preset=8": "a",
             "restore:base=x264,preset=slow": "a"}
    records = [make_record(name, ("quality" if weights else "crf", str(i)), 0.1 * 2.0**i, 30 + 3 * i, weights=weights,
                           seconds=None)
               for name, weights in names.items() for i in range(4)]
    data = ReportData(records)
    assert {name: data.rival(name) for name in names if name not in data.anchors} == {
        "swift": VERYFAST, "swift:bframes=7": medium, "own": VERYFAST, "restore:base=x265,preset=medium": medium,
        "stsr:base=svt-av1,ks=2,kt=2,preset=8": svt, "restore:base=x264,preset=slow": VERYFAST}
    text = render(data, title="T")
    for codec, anchor in (("restore base x265 medium", "x265 medium"), ("swift bframes 7", "x265 medium"),
                          ("swift", "x265 veryfast zerolatency"), ("own", "x265 veryfast zerolatency")):
        assert f"file size of {codec} against {anchor} at equal YUV PSNR" in text


def test_headlines_and_tables_leave_out_what_was_not_measured(records):
    """A codec of intra period 10 alone has neither row nor column at 32; doubts are not dropped."""
    other = [{**r, "intra_period": 32} for r in records if r["codec"] != ULTRAFAST]
    high = [{**r, "mean": {**r["mean"], "psnr_yuv": r["mean"]["psnr_yuv"] + 6}} if r["codec"] == "learned" else r
            for r in other]
    data = ReportData([*records, *high])
    assert data.measured(32) == [VERYFAST, "learned"]
    assert data.measured(10, "texture") == [VERYFAST, "learned", ULTRAFAST]
    text = render(data, title="T")
    tables = re.findall(r'<div class="scroll" data-period="(\d+)".*?</div>', text, re.S)
    bodies = re.findall(r'<div class="scroll" data-period="\d+".*?</div>', text, re.S)
    assert set(tables) == {"10", "32"}
    for period, body in zip(tables, bodies, strict=True):
        assert ("x265 ultrafast" in body) == (period == "10")
    assert "mean over 2 sequences; on less than 50 % of the range</span>" in text
    assert "mean over 2 sequences</span>" in text


def test_speeds_of_speed_py_where_the_records_have_none(records):
    def row(codec: str, width: int, threads: int, frames: int, speed: float) -> dict[str, Any]:
        part = {"seconds": 1.0, "mpx_per_second": speed, "stages": {"other": 1.0}, "fps": 1.0, "peak_rss_mib": 9.0}
        return {"codec": codec, "learned": codec == "learned", "width": width, "height": width // 2, "frames": frames,
                "threads": threads, "bpp": 0.1, "psnr_yuv": 30.0, "encode": part,
                "decode": {**part, "mpx_per_second": 2 * speed}}

    content = {"speed": 1, "clip": "c.mkv", "intra_period": 32, "repeat": 1, "machine": {"cpu": "C", "cores": 1},
               "rows": [row("learned", 480, 1, 2, 9.0), row("learned", 480, 1, 8, 3.0), row("learned", 480, 2, 8, 5.0),
                        row("learned", 4000, 1, 8, 4.0), row(VERYFAST, 480, 1, 8, 7.0)]}
    found, source = clip_speeds([content], 500 * 400)
    assert found == {("learned", "encode"): 3.0, ("learned", "decode"): 6.0, (VERYFAST, "encode"): 7.0,
                     (VERYFAST, "decode"): 14.0}
    assert source == "one clip, c.mkv at 480x240, 1 thread, C"
    assert clip_speeds([], 1000) == ({}, "")
    with pytest.raises(BenchmarkError, match="lacks"):
        clip_speeds([{"rows": []}], 1000)
    untimed = ReportData(records)
    assert 'id="speed"' not in render(untimed, title="T")
    text = render(untimed, title="T", speed=[content])
    assert f"reading and writing of video included: {source}." in text
    assert text.count("Encode speed (million pixels a second)") == 9  # measures by choices of sequence
    times = {"command": "lvc", "seconds": 2.0}
    timed = render(ReportData([{**r, "encode": times, "decode": times} for r in records]), title="T", speed=[content])
    assert "reading and writing of video included: all rate points; threads: as the codec chooses." in timed


def test_published_curves_stand_beside_the_means_of_what_they_measure(records):
    """Marked, with what they are means over; in no table, and not where they have no such measure."""
    published = [curve for curve in load_curves([PUBLISHED / "hevc-d.json"]) if not curve.sequence]
    plain = render(ReportData(records), title="T")
    text = render(ReportData(records), title="T", published=published)
    assert "DVC (published)" not in plain
    assert "<span>DVC (published)</span></button>" in text
    assert "(published)" not in "".join(re.findall(r'<div class="scroll".*?</div>', text, re.S))
    assert re.findall(r'<div class="finding".*?</div>\n</div>', text, re.S) == re.findall(
        r'<div class="finding".*?</div>\n</div>', plain, re.S)
    for metric in ("yuv", "rgb", "ms-ssim"):
        view = re.search(rf'<figure class="mean" data-period="10" data-metric="{metric}".*?</figure>', text, re.S)
        drawn = set(re.findall(r'class="series s(\d+)"', view[0]))
        expected = [curve for curve in published if curve.has(metric) and curve.intra_period in (None, 10)]
        assert len(drawn) == 3 + len({curve.codec for curve in expected})
        assert ("Published curves are means over HEVC class D." in view[0]) == bool(expected)
    assert not any(curve.has("yuv") and curve.intra_period == 10 for curve in published)


def test_versions_of_an_encoder_stand_under_its_name(make_record):
    records = [{**make_record(codec, ("crf", str(i)), 0.1 * 2.0**i, 30 + 3 * i), "versions": {"encoder": version}}
               for codec, version in (("x265", "4.2"), ("restore:base=svt-av1,preset=8", "v4.1")) for i in range(4)]
    assert ReportData(records).versions() == {"x265": "4.2", "svt-av1": "v4.1"}
