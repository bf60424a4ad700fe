"""Bitrates and sizes from file to file: Python and command line."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import lvc
from lvc.cli.main import main
from lvc.errors import UsageError
from lvc.types import Frame

FrameMaker = Callable[..., list[Frame]]
FAST = "x264:preset=ultrafast"


@pytest.fixture(scope="module")
def swift(swift_path: Path) -> str:
    return f"swift:effort=0,weights={swift_path}"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory, textured_frames: FrameMaker,
        write_raw: Callable[[Path, list[Frame]], Path]) -> Path:
    """24 frames of 64x48."""
    return write_raw(tmp_path_factory.mktemp("raw") / "clip.yuv", textured_frames(24, 64, 48))


def write_file(path: Path, frames: list[Frame], container: str, *, sound: bool) -> Path:
    """An MPEG-4 video, which Matroska does not count the frames of, and 16 kHz sound if asked for."""
    with av.open(str(path), "w", format=container) as output:
        video = output.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
        audio = output.add_stream("pcm_s16le", rate=16_000, layout="mono") if sound else None
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(
                np.concatenate([p.reshape(-1) for p in frame.planes]).reshape(-1, frame.width), format="yuv420p")
            picture.pts, picture.time_base = frame.pts, Fraction(1, 25)
            output.mux(video.encode(picture))
        output.mux(video.encode(None))
        if audio is not None:
            samples = np.random.default_rng(0).integers(-9000, 9000, (1, 16_000 * len(frames) // 25), np.int16)
            chunk = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            chunk.sample_rate, chunk.pts = 16_000, 0
            output.mux(audio.encode(chunk))
            output.mux(audio.encode(None))
    return path


def test_bitrate_counts_the_container(raw: Path, tmp_path: Path, swift: str) -> None:
    quality = lvc.encode(raw, tmp_path / "q.lvc", codec=swift, quality=36, intra_period=8, size=(64, 48))
    warnings: list[str] = []
    report = lvc.encode(raw, tmp_path / "b.lvc", codec=swift, bitrate=f"{quality.kbps:.1f}k", intra_period=8,
                        size=(64, 48), on_warning=warnings.append)
    assert report.kbps == pytest.approx(quality.kbps, rel=0.15)
    assert (warnings == []) == (abs(report.kbps / quality.kbps - 1) <= 0.05)


def test_size_counts_all_that_is_carried(tmp_path: Path, textured_frames: FrameMaker, swift: str) -> None:
    """Matroska names a duration, but no number of frames; the sound takes 30720 bytes."""
    source = write_file(tmp_path / "clip.mkv", textured_frames(24, 64, 48), "matroska", sound=True)
    plain = lvc.encode(source, tmp_path / "q.lvc", codec=swift, quality=36, intra_period=8)
    assert plain.side_bytes > 30_000
    warnings: list[str] = []
    report = lvc.encode(source, tmp_path / "s.lvc", codec=swift, target_size=plain.bytes, intra_period=8,
                        on_warning=warnings.append)
    assert report.bytes == (tmp_path / "s.lvc").stat().st_size
    assert 0.95 * plain.bytes < report.bytes <= plain.bytes
    assert warnings == []
    assert report.side_bytes == plain.side_bytes
    with pytest.raises(UsageError, match="leaves nothing for the video"):
        lvc.encode(source, tmp_path / "t.lvc", codec=swift, target_size="30k")


def test_unknown_length(tmp_path: Path, textured_frames: FrameMaker) -> None:
    source = write_file(tmp_path / "clip.m4v", textured_frames(4, 64, 48), "m4v", sound=False)
    with pytest.raises(UsageError, match="how long it is"):
        lvc.encode(source, tmp_path / "a.lvc", codec=FAST, target_size="10k")
    assert not (tmp_path / "a.lvc").exists()


def test_out_of_reach(raw: Path, tmp_path: Path, swift: str) -> None:
    """The warning names what can be reached."""
    for target, bound in (({"bitrate": "9k"}, "quality 0, the lowest"), ({"bitrate": "80M"}, "quality 63, the best"),
                          ({"target_size": "2k"}, "quality 0, the lowest")):
        warnings: list[str] = []
        report = lvc.encode(raw, tmp_path / "a.lvc", codec=swift, intra_period=8, size=(64, 48),
                            on_warning=warnings.append, **target)
        assert len(warnings) == 1
        assert bound in warnings[0]
        reached = f"{report.bytes} bytes" if "target_size" in target else f"{report.kbps:.1f} kbit/s"
        assert reached in warnings[0]


@pytest.mark.parametrize(("codec", "arguments"), [
    (FAST, {"bitrate": "100k", "target_size": "1M"}), (FAST, {"bitrate": "100k", "quality": 30}),
    (FAST, {"target_size": "1M", "quality": 30}), (FAST, {"bitrate": 0}), (FAST, {"target_size": "0"}),
    (FAST, {"bitrate": "much"}), (f"{FAST},bitrate=100k", {"quality": 30}),
    (f"{FAST},bitrate=100k", {"bitrate": "200k"}), (f"{FAST},bitrate=100k", {"target_size": "1M"}),
    (f"{FAST},quality=20", {"target_size": "1M"}), (f"{FAST},crf=20", {"target_size": "1M"}),
    (f"{FAST},crf=20", {"bitrate": "100k"}), (FAST, {"target_size": "100"})])
def test_one_target(raw: Path, tmp_path: Path, codec: str, arguments: dict[str, str | int]) -> None:
    with pytest.raises(UsageError):
        lvc.encode(raw, tmp_path / "a.lvc", codec=codec, size=(64, 48), **arguments)
    assert not (tmp_path / "a.lvc").exists()


def test_command_line(raw: Path, tmp_path: Path, swift: str, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["encode", str(raw), str(tmp_path / "a.lvc"), "--codec", swift, "--size", "64x48", "--intra-period", "8"]
    assert main([*common, "--target-size", "20k"]) == 0
    assert (tmp_path / "a.lvc").stat().st_size <= 20_000
    assert main([*common, "--bitrate", "9k"]) == 0
    said = capsys.readouterr()
    assert "the bitrate of 9 kbit/s cannot be met: quality 0" in said.err
    assert main([*common, "--bitrate", "100k", "--quality", "30"]) == 2
    assert main([*common, "--bitrate", "fast"]) == 2
    assert "is not of the form 500k" in capsys.readouterr().err
