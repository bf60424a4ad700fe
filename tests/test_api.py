"""Files to streams and back, damage, memory, what is left behind."""

from __future__ import annotations

import json
import sys
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import lvc
from lvc.api import Progress
from lvc.bitstream import StreamReader, StreamWriter
from lvc.errors import CorruptStreamError, LvcError, NotLvcError, TruncatedStreamError, VideoError
from lvc.types import Packet
from lvc.video import open_video
from tests.conftest import peak_memory

FAST = "x265:preset=ultrafast"


def planes_equal(a: lvc.Frame, b: lvc.Frame) -> bool:
    return all(np.array_equal(p, q) for p, q in zip(a.planes, b.planes))


@pytest.fixture
def clip(tmp_path, make_frames, write_raw):
    """48x32, 12 frames, raw."""
    return write_raw(tmp_path / "clip.yuv", make_frames(12, 48, 32))


@pytest.fixture(scope="module")
def small_stream(tmp_path_factory, make_frames, write_raw):
    """A stream of 9 frames of 32x32 in three GOPs, as bytes, and its frames by pts."""
    folder = tmp_path_factory.mktemp("small")
    raw = write_raw(folder / "clip.yuv", make_frames(9, 32, 32))
    lvc.encode(raw, folder / "clip.lvc", codec="x265", quality=10, intra_period=3, size=(32, 32))
    with lvc.open_stream(folder / "clip.lvc", strict=True) as stream:
        frames = {frame.pts: frame for frame in stream}
    assert len(frames) == 9
    return (folder / "clip.lvc").read_bytes(), frames


@pytest.mark.parametrize("codec", ["x264", "x265", "svt-av1", "vvenc"])
def test_round_trip(codec, clip, tmp_path, make_frames, psnr):
    stream, output = tmp_path / "clip.lvc", tmp_path / "out.y4m"
    report = lvc.encode(clip, stream, codec=codec, quality=45, intra_period=5, size=(48, 32))
    assert report.frames == 12
    assert report.bytes == stream.stat().st_size
    assert report.codec == codec
    assert report.bpp == pytest.approx(8 * report.bytes / (12 * 48 * 32))
    assert report.duration == pytest.approx(12 / 30)
    result = lvc.decode(stream, output)
    assert (result.frames, result.complete, result.codec) == (12, True, codec)
    with open_video(output) as source:
        decoded = list(source)
    for ours, theirs in zip(make_frames(12, 48, 32), decoded, strict=True):
        assert psnr(ours.y, theirs.y) > 35
    info = lvc.probe(stream)
    assert (info.codec, info.frames, info.intra_frames, info.packets) == (codec, 12, 3, 12)
    assert info.bytes == info.intra_bytes + info.inter_bytes + info.side_bytes + info.overhead_bytes
    assert 0 < info.overhead_bytes < 400
    assert info.quality == (45, 45)
    assert info.damage == ()
    assert info.bpp == report.bpp
    assert json.loads(json.dumps(info.to_dict()))["complete"] is True


@pytest.mark.parametrize(("n", "width", "height"), [(3, 17, 33), (1, 17, 33), (1, 2, 2)])
def test_odd_and_short(n, width, height, tmp_path, make_frames, write_raw):
    raw = write_raw(tmp_path / "a.yuv", make_frames(n, width, height))
    lvc.encode(raw, tmp_path / "a.lvc", codec=FAST, size=(width, height))
    result = lvc.decode(tmp_path / "a.lvc", tmp_path / "b.yuv")
    assert result.frames == n
    assert (tmp_path / "b.yuv").stat().st_size == raw.stat().st_size


def test_variable_frame_rate(tmp_path, make_frames, write_video):
    """Presentation times survive, B frames or not."""
    times = [0, 40, 80, 200, 240, 1000, 1033, 1066, 1500, 1501]
    source = write_video(tmp_path / "vfr.mkv", make_frames(10, 48, 32, times), time_base=Fraction(1, 1000))
    lvc.encode(source, tmp_path / "vfr.lvc", codec="x264", intra_period=4)
    with lvc.open_stream(tmp_path / "vfr.lvc") as stream:
        seconds = [float(frame.pts * stream.video.time_base) for frame in stream]
    assert np.diff(seconds) == pytest.approx(np.diff(times) / 1000)
    lvc.decode(tmp_path / "vfr.lvc", tmp_path / "out.mkv")
    with open_video(tmp_path / "out.mkv") as output:
        written = [float(frame.pts * output.info.time_base) for frame in output]
    assert np.diff(written) == pytest.approx(np.diff(times) / 1000)


def packets_of(path: Path, kind: str) -> list[bytes]:
    with av.open(path) as container:
        stream = next(s for s in container.streams if s.type == kind)
        return [bytes(p) for p in container.demux(stream) if p.size]


def test_audio_and_tags_are_carried(tmp_path, make_frames, write_video):
    source = write_video(tmp_path / "a.mp4", make_frames(25, 48, 32), audio=True, title="A tone")
    report = lvc.encode(source, tmp_path / "a.lvc", codec=FAST)
    assert report.side_bytes > 1000
    assert report.bpp < 8 * report.bytes / (25 * 48 * 32)
    assert lvc.probe(tmp_path / "a.lvc").side_bytes < report.side_bytes
    for name in ("b.mp4", "b.mkv"):
        assert lvc.decode(tmp_path / "a.lvc", tmp_path / name).complete
        assert packets_of(tmp_path / name, "audio") == packets_of(source, "audio")
        with av.open(tmp_path / name) as container:
            tags = {key.lower(): value for key, value in container.metadata.items()}
        assert tags["title"] == "A tone"


def test_audio_ends_with_a_shortened_video(tmp_path, make_frames, write_video):
    source = write_video(tmp_path / "a.mp4", make_frames(50, 48, 32), audio=True)
    lvc.encode(source, tmp_path / "a.lvc", codec=FAST, frames=10)
    lvc.decode(tmp_path / "a.lvc", tmp_path / "b.mkv")
    kept, all_of_it = packets_of(tmp_path / "b.mkv", "audio"), packets_of(source, "audio")
    assert kept == all_of_it[:len(kept)]
    assert 0.1 * len(all_of_it) < len(kept) < 0.4 * len(all_of_it)


def test_damaged_audio_costs_no_frame(tmp_path, make_frames, write_video):
    source = write_video(tmp_path / "a.mp4", make_frames(5, 48, 32), audio=True)
    lvc.encode(source, tmp_path / "a.lvc", codec=FAST)
    data = bytearray((tmp_path / "a.lvc").read_bytes())
    data[data.find(b"\x1a\x45\xdf\xa3") + 200] ^= 1
    (tmp_path / "a.lvc").write_bytes(data)
    result = lvc.decode(tmp_path / "a.lvc", tmp_path / "b.mkv")
    assert result.frames == 5
    assert not result.complete
    assert [lost.frames for lost in result.damage] == [0]


def survivors(path: Path, frames: dict[int, lvc.Frame]) -> tuple[set[int], list]:
    """Decode tolerantly; what comes must be right, and in order. Returns its times, and the damage told."""
    with lvc.open_stream(path) as stream:
        decoded = list(stream)
        damage = stream.damage
    times = [frame.pts for frame in decoded]
    assert times == sorted(set(times))
    for frame in decoded:
        assert planes_equal(frame, frames[frame.pts])
    return set(times), damage


def test_every_truncation(small_stream, tmp_path):
    """Each ends in an LvcError, or in fewer frames and a report of it; GOPs that are whole come back."""
    data, frames = small_stream
    path = tmp_path / "cut.lvc"
    partial = headless = 0
    for length in range(len(data)):
        path.write_bytes(data[:length])
        try:
            times, damage = survivors(path, frames)
        except LvcError:
            headless = length + 1
            continue
        assert damage
        assert isinstance(damage[-1].error, CorruptStreamError)
        partial += 0 < len(times) < 9
        with pytest.raises(LvcError), lvc.open_stream(path, strict=True) as stream:
            list(stream)
    assert partial > 200
    assert headless < 150  # then the header is whole, and there is no error any more
    path.write_bytes(data[:-1])
    with pytest.raises(TruncatedStreamError), lvc.open_stream(path, strict=True) as stream:
        list(stream)


def test_every_byte_damaged(small_stream, tmp_path):
    """No single byte can be changed unnoticed, and damage within one GOP costs no frame of another."""
    data, frames = small_stream
    path = tmp_path / "bad.lvc"
    partial = 0
    for index in range(len(data)):
        path.write_bytes(data[:index] + bytes((data[index] ^ (1 << index % 8),)) + data[index + 1:])
        try:
            times, damage = survivors(path, frames)
        except LvcError:
            continue
        assert damage, index
        known = [lost.frames for lost in damage if lost.frames is not None]
        if len(known) == len(damage):
            assert sum(known) == 9 - len(times), index
        whole = sum(set(gop) <= times for gop in ((0, 1, 2), (3, 4, 5), (6, 7, 8)))
        assert whole >= 2, index
        partial += len(times) < 9
    assert partial > 200


def test_decode_of_damaged_streams(small_stream, tmp_path):
    """The same through files: the output is there if, and only if, there was no error."""
    data, _ = small_stream
    path, output = tmp_path / "bad.lvc", tmp_path / "out.yuv"
    outcomes = set()
    warnings: list[str] = []
    for index in range(0, len(data), 7):
        path.write_bytes(data[:index] + bytes((data[index] ^ 0xFF,)) + data[index + 1:])
        try:
            report = lvc.decode(path, output, on_warning=warnings.append)
        except LvcError:
            outcomes.add("error")
            assert not output.exists()
        else:
            outcomes.add("partial")
            assert not report.complete
            assert output.stat().st_size == report.frames * 32 * 32 * 3 // 2
            output.unlink()
        with pytest.raises(LvcError):
            lvc.decode(path, output, strict=True)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.lvc"]
    assert outcomes == {"error", "partial"}


def test_payload_that_the_decoder_refuses(small_stream, tmp_path):
    """A packet that is whole, but makes no sense: told with number and offset; the next GOP is decoded."""
    data, frames = small_stream
    good, bad = tmp_path / "good.lvc", tmp_path / "bad.lvc"
    good.write_bytes(data)
    with open(good, "rb") as source, open(bad, "wb") as target:
        reader = StreamReader(source)
        with StreamWriter(target, reader.header) as writer:
            for packet in reader:
                assert isinstance(packet, Packet)
                if reader.number == 3:
                    packet = Packet(packet.kind, b"\xff" * 50, packet.pts, packet.quality)
                writer.write_packet(packet)
    times, damage = survivors(bad, frames)
    assert times == {0, 1, 2, 6, 7, 8}
    assert [lost.frames for lost in damage] == [3]
    assert damage[0].error.packet == 3
    assert "3 frames are lost" in str(damage[0])
    with pytest.raises(CorruptStreamError, match=r"packet 3, byte offset \d+"):
        lvc.decode(bad, tmp_path / "out.yuv", strict=True)


def test_not_a_stream(tmp_path, clip):
    with pytest.raises(NotLvcError):
        lvc.decode(clip, tmp_path / "out.yuv")
    with pytest.raises(VideoError, match="nowhere"):
        lvc.decode(tmp_path / "nowhere.lvc", tmp_path / "out.yuv")
    with pytest.raises(VideoError, match="nowhere"):
        lvc.probe(tmp_path / "nowhere.lvc")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.yuv"]


def test_input_is_never_overwritten(clip, tmp_path):
    before = clip.read_bytes()
    (tmp_path / "link.yuv").symlink_to(clip)
    for output in (clip, tmp_path / "link.yuv"):
        with pytest.raises(lvc.LvcError, match="input and output"):
            lvc.encode(clip, output, codec=FAST, size=(48, 32))
    assert clip.read_bytes() == before


@pytest.mark.parametrize("options", [
    {"codec": "x266"}, {"codec": "x265:preset=warp"}, {"codec": "x265:no-such=1"},
    {"codec": "vvenc:no-such=1"}, {"quality": 64}, {"intra_period": 0}, {"threads": -1}, {"frames": 0},
    {"size": (0, 5)}, {"size": (47, 33)}])
def test_failed_encoding_leaves_nothing(options, clip, tmp_path):
    with pytest.raises(LvcError) as caught:
        lvc.encode(clip, tmp_path / "out.lvc", **{"codec": FAST, "size": (48, 32), **options})
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.yuv"]


def test_outputs_that_cannot_be_written(clip, tmp_path):
    (tmp_path / "folder").mkdir()
    for output in (tmp_path / "folder", tmp_path / "none" / "out.lvc"):
        with pytest.raises(VideoError, match="cannot write"):
            lvc.encode(clip, output, codec=FAST, size=(48, 32))
    lvc.encode(clip, tmp_path / "out.lvc", codec=FAST, size=(48, 32))
    for output in (tmp_path / "none" / "out.mkv", tmp_path / "out.xyz"):
        with pytest.raises(VideoError, match="cannot write"):
            lvc.decode(tmp_path / "out.lvc", output)


def test_interruption_leaves_nothing(clip, tmp_path):
    def stop(progress: Progress) -> None:
        if progress.frames == 5:
            raise KeyboardInterrupt

    lvc.encode(clip, tmp_path / "old.lvc", codec=FAST, size=(48, 32))
    before = (tmp_path / "old.lvc").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        lvc.encode(clip, tmp_path / "old.lvc", codec=FAST, quality=60, size=(48, 32), progress=stop)
    assert (tmp_path / "old.lvc").read_bytes() == before
    with pytest.raises(KeyboardInterrupt):
        lvc.decode(tmp_path / "old.lvc", tmp_path / "out.mkv", progress=stop)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.yuv", "old.lvc"]


def test_progress(clip, tmp_path):
    seen: list[Progress] = []
    report = lvc.encode(clip, tmp_path / "a.lvc", codec=FAST, size=(48, 32), frames=7, progress=seen.append)
    assert report.frames == 7
    assert [p.frames for p in seen] == list(range(1, 8))
    assert {p.total for p in seen} == {7}
    assert seen[-1].video_seconds == pytest.approx(7 / 30)
    assert 0 < seen[-1].bytes <= report.bytes
    seen.clear()
    lvc.decode(tmp_path / "a.lvc", tmp_path / "a.yuv", progress=seen.append)
    assert [p.frames for p in seen] == list(range(1, 8))


def test_header_says_the_true_intra_period(clip, tmp_path):
    for codec, period in (("x264", 6), ("x264:keyint=4", 4), ("x264:intra_period=3", 3),
                          ("x264:keyint=infinite", -1)):
        lvc.encode(clip, tmp_path / "a.lvc", codec=codec, size=(48, 32), intra_period=6)
        info = lvc.probe(tmp_path / "a.lvc")
        assert (info.intra_period, info.intra_frames) == (period, 1 if period == -1 else 12 // period)


def test_public_face():
    assert len(lvc.__all__) <= 10
    for name in lvc.__all__:
        assert getattr(lvc, name) is not None
    assert set(lvc.__all__) <= set(dir(lvc))
    with pytest.raises(AttributeError, match="no_such"):
        lvc.no_such  # noqa: B018


def test_two_at_once(clip, tmp_path):
    """Encoders and decoders of ours share nothing. (x264 builds global tables anew with each encoder.)"""
    results = {}

    def work(number: int) -> None:
        path = tmp_path / f"{number}.lvc"
        lvc.encode(clip, path, codec="swift:threads=1", quality=10 * number, size=(48, 32))
        results[number] = (path.read_bytes(), lvc.decode(path, tmp_path / f"{number}.yuv").frames)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, (data, frames) in results.items():
        lvc.encode(clip, tmp_path / "alone.lvc", codec="swift:threads=1", quality=10 * number, size=(48, 32))
        assert (tmp_path / "alone.lvc").read_bytes() == data
        assert frames == 12
    assert len(results) == 4


_PEAK = """
import sys
import lvc
n, raw, stream, out = int(sys.argv[1]), *sys.argv[2:]
lvc.encode(raw, stream, codec="x264:preset=veryfast,threads=1", frames=n, size=(64, 48), intra_period=50)
assert lvc.decode(stream, out).frames == n
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_length(tmp_path, make_frames, write_raw):
    """2,000 frames need no more than 100."""
    raw = write_raw(tmp_path / "clip.yuv", make_frames(50, 64, 48) * 40)
    peaks = [peak_memory(_PEAK, n, raw, tmp_path / "a.lvc", tmp_path / "a.mkv") for n in (100, 2000)]
    # all frames held would be 9 MB, and as much again decoded
    assert peaks[1] < peaks[0] + 4096, peaks
