"""What run.py is asked for: codecs with rate points, sequences."""

from __future__ import annotations

from fractions import Fraction

import pytest
from benchlib.specs import BenchmarkError, RatePoint, expand, load_sequences, parse_codec_spec


def test_parameter_of_the_encoder_goes_into_the_codec_string():
    points = parse_codec_spec("x265:preset=veryfast,tune=zerolatency@crf=19,23.5")
    assert points == [
        RatePoint("x265:preset=veryfast,tune=zerolatency", "crf", "19"),
        RatePoint("x265:preset=veryfast,tune=zerolatency", "crf", "23.5"),
    ]
    assert points[1].codec_string == "x265:preset=veryfast,tune=zerolatency,crf=23.5"
    assert points[1].quality is None
    assert parse_codec_spec("x264@crf=30")[0].codec_string == "x264:crf=30"


def test_quality_is_an_option_of_lvc():
    (point,) = parse_codec_spec("dvc-lite@quality=40")
    assert (point.codec_string, point.quality) == ("dvc-lite", 40)
    assert [p.quality for p in parse_codec_spec("svt-av1:preset=8")] == [8, 20, 32, 44, 56]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "not of the form"),
        ("x265:preset", "not of the form"),
        ("x265@", "not of the form"),
        ("x265@crf", "not of the form"),
        ("x265@crf=19,,23", "not of the form"),
        ("x265@crf=19,low", "not of the form"),
        ("x265@crf=1.2.3", "not of the form"),
        ("x265@crf=19,19", "twice"),
        ("dvc-lite@quality=64", "0 to 63"),
        ("dvc-lite@quality=3.5", "0 to 63"),
        ("x265:crf=20@crf=19,23", "already"),
    ],
)
def test_bad_specs_are_refused(spec, message):
    with pytest.raises(BenchmarkError, match=message):
        parse_codec_spec(spec)


def test_a_point_given_twice_is_refused():
    with pytest.raises(BenchmarkError, match="twice"):
        expand(["x264@crf=20,30", "x264@crf=30"])
    with pytest.raises(BenchmarkError, match="no codecs"):
        expand([])


def test_sequences_of_files_folders_and_lists(tmp_path):
    for name in ("b.mkv", "a.mp4", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    raw = tmp_path / "raw" / "c_416x240.yuv"
    raw.parent.mkdir()
    raw.write_bytes(b"x")
    toml = tmp_path / "list.toml"
    toml.write_text('[[sequence]]\npath = "raw/c_416x240.yuv"\nname = "C"\nframes = 96\nsize = "416x240"\n'
                    'frame_rate = "30000/1001"\n[[sequence]]\npath = "b.mkv"\nname = "second b"\n')
    found = load_sequences([tmp_path, toml])
    assert [s.name for s in found] == ["a", "b", "C", "second b"]
    assert (found[2].path, found[2].frames, found[2].size) == (raw, 96, (416, 240))
    assert found[2].frame_rate == Fraction(30000, 1001)
    assert (found[3].frames, found[3].size, found[3].frame_rate) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[sequence", "list.toml"),
        ("[other]\n", r"no \[\[sequence\]\]"),
        ("sequence = 3", "list of tables"),
        ("[[sequence]]\nname = 'x'", "no path"),
        ("[[sequence]]\npath = 'missing.mkv'", "does not exist"),
        ("[[sequence]]\npath = 'list.toml'\nframe = 3", "unknown key 'frame'"),
        ("[[sequence]]\npath = 'list.toml'\nframes = 0", "above zero"),
        ("[[sequence]]\npath = 'list.toml'\nsize = '416'", "WIDTHxHEIGHT"),
        ("[[sequence]]\npath = 'list.toml'\nframe_rate = 'fast'", "not a number"),
    ],
)
def test_bad_lists_are_refused(tmp_path, text, message):
    path = tmp_path / "list.toml"
    path.write_text(text)
    with pytest.raises(BenchmarkError, match=message):
        load_sequences([path])


def test_missing_and_ambiguous_sequences_are_refused(tmp_path):
    with pytest.raises(BenchmarkError, match="no such file"):
        load_sequences([tmp_path / "missing.mkv"])
    with pytest.raises(BenchmarkError, match="no video files"):
        load_sequences([tmp_path])
    with pytest.raises(BenchmarkError, match="no sequences"):
        load_sequences([])
    (tmp_path / "a.mkv").write_bytes(b"x")
    with pytest.raises(BenchmarkError, match="two sequences are called a"):
        load_sequences([tmp_path, tmp_path / "a.mkv"])
