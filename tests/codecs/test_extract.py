"""The standard stream within an lvc file, as other players see it."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from lvc.api import decode, encode, open_stream
from lvc.cli.main import main
from lvc.codecs.extract import extract_base
from lvc.errors import BitstreamError, UsageError, VideoError
from lvc.types import Frame


@pytest.fixture(scope="module")
def video(tmp_path_factory, textured_frames, write_video):
    """Eight frames, the last ones late, at a time other than 0."""
    frames = [Frame(f.y, f.u, f.v, pts) for f, pts in
              zip(textured_frames(8, 80, 64), (5, 6, 7, 8, 9, 12, 13, 20), strict=True)]
    return write_video(tmp_path_factory.mktemp("video") / "in.mkv", frames)


def played(path):
    """(seconds, luma) of each frame that FFmpeg decodes."""
    with av.open(str(path)) as container:
        return [(Fraction(f.pts) * f.time_base, f.to_ndarray()[: f.height]) for f in container.decode(video=0)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("base", ["x264", "x265", "svt-av1"])
def test_players_show_the_base_pictures(base, suffix, restore_path, video, tmp_path):
    stream, out = tmp_path / "a.lvc", tmp_path / f"a{suffix}"
    encode(video, stream, codec=f"restore:base={base},weights={restore_path},crf=40", intra_period=4)
    report = extract_base(stream, out)
    assert (report.codec, report.frames, report.bytes) == (base, 8, out.stat().st_size)
    with open_stream(stream, enhance=False) as frames:
        expected = [(f.pts * frames.video.time_base, f.y) for f in frames]
    shown = played(out)
    assert len(shown) == len(expected) == 8
    for (at, luma), (due, y) in zip(shown, expected, strict=True):
        assert np.array_equal(luma, y)
        assert abs((at - shown[0][0]) - (due - expected[0][0])) <= Fraction(1, 1000)


def test_streams_of_external_codecs(video, tmp_path):
    encode(video, tmp_path / "a.lvc", codec="x264:crf=30")
    assert extract_base(tmp_path / "a.lvc", tmp_path / "a.mp4").codec == "x264"
    assert len(played(tmp_path / "a.mp4")) == 8


def test_command(restore_path, video, tmp_path, capsys):
    stream, out = str(tmp_path / "a.lvc"), str(tmp_path / "a.mp4")
    codec = f"restore:base=x264,weights={restore_path},crf=38"
    assert main(["encode", str(video), stream, "--codec", codec, "-q"]) == 0
    assert main(["extract-base", stream, out]) == 0
    assert "8 frames" in capsys.readouterr().out
    assert main(["decode", stream, str(tmp_path / "plain.y4m"), "--no-enhance", "-q"]) == 0
    assert main(["decode", stream, str(tmp_path / "full.y4m"), "--weights", str(restore_path), "-q"]) == 0
    assert main(["decode", stream, str(tmp_path / "other.y4m"), "-q"]) == 1  # other weights ship
    plain, full = ((tmp_path / name).read_bytes() for name in ("plain.y4m", "full.y4m"))
    assert len(plain) == len(full)
    assert plain != full
    assert main(["extract-base", stream]) == 2  # nowhere to write to


def test_what_cannot_be_extracted(video, tmp_path):
    good = tmp_path / "a.lvc"
    encode(video, good, codec="x264:crf=30")
    with pytest.raises(UsageError, match=r"\.mp4 or \.mkv"):
        extract_base(good, tmp_path / "a.avi")
    with pytest.raises(VideoError, match="cannot read"):
        extract_base(tmp_path / "none.lvc", tmp_path / "a.mp4")
    with pytest.raises(VideoError, match="cannot write"):
        extract_base(good, tmp_path / "no" / "folder" / "a.mp4")
    data = bytearray(good.read_bytes())
    data[len(data) // 2] ^= 255
    bad = tmp_path / "bad.lvc"
    bad.write_bytes(data)
    with pytest.raises(BitstreamError):
        extract_base(bad, tmp_path / "bad.mp4")
    learned = tmp_path / "b.lvc"
    encode(video, learned, codec="swift", frames=1)
    with pytest.raises(UsageError, match="learned"):
        extract_base(learned, tmp_path / "b.mp4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.lvc", "b.lvc", "bad.lvc"]


def test_decoding_without_enhancement_leaves_other_codecs_alone(video, tmp_path):
    encode(video, tmp_path / "a.lvc", codec="x264:crf=30")
    for name, enhance in (("one.y4m", True), ("two.y4m", False)):
        decode(tmp_path / "a.lvc", tmp_path / name, enhance=enhance)
    assert (tmp_path / "one.y4m").read_bytes() == (tmp_path / "two.y4m").read_bytes()
