"""Writing: lossless where it says so, with times, colours and shape kept, complete files only."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from video_samples import assert_same, make_video, smooth, texture

from lvc.errors import UsageError, VideoError
from lvc.types import ColorInfo, Frame, VideoInfo
from lvc.video import VideoSink, VideoWarning, open_sink, open_video

STAMPS = [9000, 12000, 20000, 21500, 35000]


def write(path: Path | str, info: VideoInfo, frames: list[Frame], **options: object) -> None:
    with open_sink(path, info, **options) as sink:
        for frame in frames:
            sink.write(frame)


@pytest.mark.usefixtures("no_warning")
@pytest.mark.parametrize("suffix", [".mkv", ".y4m", ".yuv"])
@pytest.mark.parametrize("size", [(64, 48), (17, 33), (1, 1), (2, 3)])
@pytest.mark.parametrize("full", [False, True])
def test_lossless_round_trip(tmp_path: Path, suffix: str, size: tuple[int, int], full: bool) -> None:
    frames = [texture(*size, i) for i in range(3)]
    info = VideoInfo(*size, Fraction(30000, 1001), Fraction(1001, 30000), ColorInfo(full_range=full),
                     sample_aspect_ratio=Fraction(16, 11))
    path = tmp_path / ("a" + suffix)
    write(path, info, frames)
    with open_video(path, size=size if suffix == ".yuv" else None) as source:
        assert_same(list(source), frames)
    if suffix != ".yuv":
        assert source.info.sample_aspect_ratio == Fraction(16, 11)
        assert source.info.color.full_range == full
        assert abs(source.info.frame_rate - info.frame_rate) < Fraction(1, 100)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.usefixtures("no_warning")
@pytest.mark.parametrize("suffix", [".mp4", ".m4v", ".mov"])
@pytest.mark.parametrize("full", [False, True])
def test_h264_keeps_what_is_known_of_the_video(tmp_path: Path, suffix: str, full: bool) -> None:
    color = ColorInfo(9, 16, 9, full)
    info = VideoInfo(64, 48, Fraction(25), Fraction(1, 90000), color, 270, Fraction(4, 3))
    frames = [Frame(*texture(64, 48, i).planes, pts) for i, pts in enumerate(STAMPS)]
    path = tmp_path / ("a" + suffix)
    write(path, info, frames, crf=0)
    with open_video(path) as source:
        got = list(source)
        assert source.info.color == color
        assert source.info.rotation == 270
        assert source.info.sample_aspect_ratio == Fraction(4, 3)
        assert source.info.n_frames == 5
        assert [f.pts * source.info.time_base for f in got] == [Fraction(pts, 90000) for pts in STAMPS]
    assert_same(got, frames)


@pytest.mark.usefixtures("no_warning")
def test_matroska_keeps_what_is_known_of_the_video(tmp_path: Path) -> None:
    color = ColorInfo(1, 13, 1, True)
    info = VideoInfo(64, 48, Fraction(25), Fraction(1, 90000), color, 90)
    frames = [Frame(*texture(64, 48, i).planes, pts) for i, pts in enumerate(STAMPS)]
    write(tmp_path / "a.mkv", info, frames)
    with open_video(tmp_path / "a.mkv") as source:
        got = list(source)
        assert source.info.color == color
        assert source.info.rotation == 90
        times = [f.pts * source.info.time_base for f in got]
    assert max(abs(a - Fraction(b, 90000)) for a, b in zip(times, STAMPS, strict=True)) <= Fraction(1, 2000)
    assert_same(got, frames)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_negative_time_is_moved_not_cut(tmp_path: Path, suffix: str) -> None:
    frames = [texture(64, 48, i) for i in range(6)]
    info = VideoInfo(64, 48, Fraction(25), Fraction(1, 25))
    moved = [Frame(*frame.planes, frame.pts - 4) for frame in frames]
    path = tmp_path / ("a" + suffix)
    write(path, info, moved, crf=0)
    with open_video(path) as source:
        got = list(source)
        assert [f.pts * source.info.time_base for f in got] == [Fraction(i, 25) for i in range(6)]
    assert_same(got, frames)


def test_quality_of_h264(tmp_path: Path) -> None:
    frames = [smooth(64, 48, i) for i in range(5)]
    info = VideoInfo(64, 48, Fraction(25), Fraction(1, 25))
    sizes = []
    for crf in (5, 40):
        write(tmp_path / "a.mp4", info, frames, crf=crf)
        sizes.append((tmp_path / "a.mp4").stat().st_size)
    assert sizes[0] > sizes[1]
    write(tmp_path / "a.mp4", info, frames)
    with open_video(tmp_path / "a.mp4") as source:
        for one, other in zip(source, frames, strict=True):
            assert np.abs(one.y.astype(int) - other.y).max() <= 4
    with pytest.raises(UsageError, match="crf must be from 0 to 51"):
        open_sink(tmp_path / "a.mp4", info, crf=52)


def test_h264_of_odd_size_is_444(tmp_path: Path) -> None:
    frames = [smooth(17, 33, i) for i in range(3)]
    info = VideoInfo(17, 33, Fraction(25), Fraction(1, 25))
    with pytest.warns(VideoWarning, match=r"17x33 4:2:0 video .odd size.: it is written as 4:4:4"):
        write(tmp_path / "a.mp4", info, frames, crf=0)
    with av.open(str(tmp_path / "a.mp4")) as result:
        picture = next(result.decode(video=0))
        assert (picture.width, picture.height, picture.format.name) == (17, 33, "yuv444p")
        np.testing.assert_array_equal(picture.to_ndarray()[1][::2, ::2], frames[0].u)
    with open_video(tmp_path / "a.mp4", on_warning=lambda text: None) as source:
        assert_same([Frame(f.y, frames[0].u, frames[0].v) for f in source],
                    [Frame(f.y, frames[0].u, frames[0].v) for f in frames])


@pytest.mark.parametrize(("matrix", "full", "kr", "kb"), [
    (1, False, 0.2126, 0.0722), (6, True, 0.299, 0.114), (9, False, 0.2627, 0.0593),
    (2, False, 0.299, 0.114)])
def test_png_by_matrix_and_range(tmp_path: Path, matrix: int, full: bool, kr: float, kb: float) -> None:
    frame = smooth(34, 17)
    info = VideoInfo(34, 17, color=ColorInfo(2, 2, matrix, full))
    u, v = np.full_like(frame.u, 118), np.full_like(frame.v, 140)
    write(str(tmp_path / "out") + "/", info, [Frame(frame.y, u, v, i) for i in range(2)])
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["frame_000001.png", "frame_000002.png"]
    with av.open(str(tmp_path / "out" / "frame_000001.png")) as result:
        got = next(result.decode(video=0)).to_ndarray(format="rgb24")
    y = (frame.y.astype(float) - (0 if full else 16)) / (255 if full else 219)
    b = y + 2 * (1 - kb) * (118 - 128) / (255 if full else 224)
    r = y + 2 * (1 - kr) * (140 - 128) / (255 if full else 224)
    g = (y - kr * r - kb * b) / (1 - kr - kb)
    assert np.abs(got - np.clip(np.stack([r, g, b], -1) * 255, 0, 255)).max() <= 1.01


def test_png_there_and_back(tmp_path: Path) -> None:
    frames = [smooth(64, 48, 5 * i) for i in range(3)]
    folder = tmp_path / "pictures"
    write(folder, VideoInfo(64, 48), frames)
    with open_video(folder, on_warning=lambda text: None) as source:
        for one, other in zip(source, frames, strict=True):
            assert np.abs(one.y.astype(int) - other.y).max() <= 1
            assert np.abs(one.u.astype(int) - other.u).max() <= 1
    # Former pictures go, other files stay.
    (folder / "notes.txt").write_text("mine")
    write(folder, VideoInfo(64, 48), frames[:1])
    assert sorted(p.name for p in folder.iterdir()) == ["frame_000001.png", "notes.txt"]
    with pytest.raises(VideoError, match="exists already"):
        open_sink(folder, VideoInfo(64, 48), overwrite=False)
    with pytest.raises(VideoError, match=r"colour matrix 8 .* cannot be converted"):
        open_sink(tmp_path / "other", VideoInfo(64, 48, color=ColorInfo(matrix=8)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pictures"]


def test_formats_without_times_or_rotation_say_so(tmp_path: Path) -> None:
    frames = [Frame(*texture(32, 32, i).planes, pts) for i, pts in enumerate(STAMPS)]
    messages: list[str] = []
    info = VideoInfo(32, 32, Fraction(25), rotation=90)
    write(tmp_path / "a.y4m", info, frames, on_warning=messages.append)
    assert len(messages) == 2
    assert "90 degrees are lost" in messages[0]
    assert "variable frame rate is lost" in messages[1]
    with open_video(tmp_path / "a.y4m") as source:
        assert_same(list(source), frames)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.y4m", "a.yuv", "pictures"])
def test_nothing_appears_before_close(tmp_path: Path, name: str) -> None:
    info = VideoInfo(64, 48, Fraction(25), Fraction(1, 25))
    sink = open_sink(tmp_path / name, info)
    sink.write(texture(64, 48))
    assert not (tmp_path / name).exists()
    sink.abort()
    sink.abort()
    assert list(tmp_path.iterdir()) == []

    def fail(sink: VideoSink) -> None:
        with sink:
            sink.write(texture(64, 48))
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail(open_sink(tmp_path / name, info))
    with pytest.raises(VideoError, match="there is no frame"):
        open_sink(tmp_path / name, info).close()
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / name, info, [texture(64, 48)])
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_frames_that_do_not_fit(tmp_path: Path) -> None:
    info = VideoInfo(64, 48, Fraction(25), Fraction(1, 25))
    sink = open_sink(tmp_path / "a.mkv", info)
    with pytest.raises(VideoError, match="a frame of 32x32 in a video of 64x48"):
        sink.write(texture(32, 32))
    sink.write(texture(64, 48, 5))
    with pytest.raises(VideoError, match="pts 5 does not follow 5"):
        sink.write(texture(64, 48, 5))
    sink.close()
    with pytest.raises(VideoError, match="closed already"):
        sink.write(texture(64, 48, 6))


def test_targets_that_cannot_be(tmp_path: Path) -> None:
    info = VideoInfo(64, 48)
    with pytest.raises(VideoError, match=r"unknown suffix \.gif"):
        open_sink(tmp_path / "a.gif", info)
    with pytest.raises(VideoError, match="does not exist"):
        open_sink(tmp_path / "no" / "a.mkv", info)
    (tmp_path / "plain").write_text("a file")
    with pytest.raises(VideoError, match="a folder is needed"):
        open_sink(tmp_path / "plain", info)
    make_video(tmp_path / "a.mkv", [texture(64, 48)])
    before = (tmp_path / "a.mkv").read_bytes()
    with pytest.raises(VideoError, match="exists already"):
        open_sink(tmp_path / "a.mkv", info, overwrite=False)
    sink = open_sink(tmp_path / "a.mkv", info)
    sink.write(texture(64, 48))
    sink.abort()
    assert (tmp_path / "a.mkv").read_bytes() == before
    for name in ("a.mkv", "a.mp4", "a.y4m", "pictures"):  # /proc takes no files, whoever asks
        with pytest.raises(VideoError, match="cannot write /proc/"):
            open_sink("/proc/" + name, info)


def test_file_names_that_look_like_protocols(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    info = VideoInfo(32, 32, Fraction(25), Fraction(1, 25))
    for name in ("http:x.mkv", "a b%d.mp4", "pipe:1.mkv"):
        write(name, info, [texture(32, 32)])
        with open_video(name) as source:
            assert sum(1 for _ in source) == 1


def test_no_torch() -> None:
    code = "import sys, lvc.video; sys.exit(any(name.split('.')[0] == 'torch' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
