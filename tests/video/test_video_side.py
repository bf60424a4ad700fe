"""Audio, chapters, tags, subtitles and attachments survive extraction and merging, and stay in time."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from video_samples import make_video, picture, smooth, texture

from lvc.errors import VideoError
from lvc.types import Frame
from lvc.video import VideoWarning, extract_side, merge_side, open_sink, open_video
from lvc.video.reader import ATTACHED_PICTURE, disposition

MILLISECOND = Fraction(1, 1000)


def chapter(number: int, start: int, end: int, title: str) -> dict[str, Any]:
    return {"id": number, "start": start, "end": end, "time_base": MILLISECOND, "metadata": {"title": title}}


CHAPTERS = [chapter(1, 0, 400, "one"), chapter(2, 400, 1000, "two")]


def packets(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    """(pts in seconds, payload) of all packets of a kind of stream, in order of pts."""
    with av.open(str(path)) as source:
        streams = [stream for stream in source.streams if stream.type == kind]
        return sorted((p.pts * Fraction(p.time_base), bytes(p)) for p in source.demux(streams) if p.size)


def offsets(path: Path) -> list[Fraction]:
    """Times of all audio packets from the first video frame on."""
    first = packets(path, "video")[0][0]
    return [time - first for time, _ in packets(path, "audio")]


def copy_video(source: Path, target: Path, side: Path) -> None:
    with open_video(source) as video, open_sink(target, video.info, side=side) as sink:
        for frame in video:
            sink.write(frame)


@pytest.mark.parametrize("output", ["out.mp4", "out.mkv", "out.mov"])
@pytest.mark.parametrize(("name", "video_start", "audio_start"), [
    ("a.mp4", 0, 0), ("a.mp4", 3, Fraction(1, 5)), ("a.mp4", 0, Fraction(-1, 10)),
    ("a.mkv", 2, Fraction(3, 10)), ("a.mkv", 5, Fraction(0)), ("a.ts", 0, Fraction(0))])
def test_audio_stays_in_time(tmp_path: Path, name: str, video_start: int, audio_start: Fraction,
                             output: str) -> None:
    frames = [texture(64, 48, i + video_start) for i in range(20)]
    source = make_video(tmp_path / name, frames, codec="libx264", audio_start=Fraction(audio_start))
    side = tmp_path / "side.mka"
    assert extract_side(source, side)
    target = tmp_path / output
    copy_video(source, target, side)
    merged = tmp_path / ("merged" + output)
    merge_side(source, side, merged)
    before = offsets(source)
    for path in (target, merged):
        after = offsets(path)
        assert len(after) == len(before)
        assert max(abs(a - b) for a, b in zip(after, before, strict=True)) <= MILLISECOND
        # MPEG-TS puts a header before each packet (ADTS), the others do not.
        assert all(was.endswith(data) and len(was) - len(data) in (0, 7) for (_, data), (_, was)
                   in zip(packets(path, "audio"), packets(source, "audio"), strict=True))
        with open_video(path) as again:
            assert sum(1 for _ in again) == 20


def test_audio_from_mp4_to_mp4_is_exact(tmp_path: Path) -> None:
    frames = [texture(64, 48, i) for i in range(20)]
    source = make_video(tmp_path / "a.mp4", frames, codec="libx264", audio_start=Fraction(0))
    side = tmp_path / "side.mka"
    extract_side(source, side)
    copy_video(source, tmp_path / "b.mp4", side)
    assert offsets(tmp_path / "b.mp4") == offsets(source)
    assert offsets(source)[0] < 0  # the priming of the encoder, which Matroska could not hold as it is


@pytest.mark.parametrize("output", ["out.mp4", "out.mkv"])
def test_chapters_and_tags(tmp_path: Path, output: str) -> None:
    source = make_video(tmp_path / "a.mp4", [texture(64, 48, i) for i in range(25)], codec="libx264",
                        audio_start=Fraction(0), tags={"title": "A title", "artist": "Söme one"},
                        chapters=CHAPTERS)
    side = tmp_path / "side.mka"
    assert extract_side(source, side)
    copy_video(source, tmp_path / output, side)
    first = packets(tmp_path / output, "video")[0][0]
    with av.open(str(tmp_path / output)) as result:
        tags = {key.lower(): value for key, value in result.metadata.items()}
        found = [(c["start"] * c["time_base"] - first, c["metadata"]["title"]) for c in result.chapters()]
    assert tags["title"] == "A title"
    assert tags["artist"] == "Söme one"
    assert not any(key.startswith("lvc_") for key in tags)
    assert [title for _, title in found] == ["one", "two"]
    assert abs(found[1][0] - Fraction(2, 5)) <= MILLISECOND


def test_tags_alone_are_kept(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mkv", [texture(64, 48)], tags={"title": "T", "MOOD": "calm"},
                        chapters=CHAPTERS[:1])
    side = tmp_path / "side.mka"
    assert extract_side(source, side)
    copy_video(source, tmp_path / "b.mkv", side)
    with av.open(str(tmp_path / "b.mkv")) as result:
        assert result.metadata["title"] == "T"
        assert result.metadata["MOOD"] == "calm"
        assert len(result.chapters()) == 1
        assert [stream.type for stream in result.streams] == ["video"]
    with pytest.warns(VideoWarning, match="the tag MOOD is lost: mp4 has no place for it"):
        copy_video(source, tmp_path / "b.mp4", side)


def test_nothing_to_keep(tmp_path: Path) -> None:
    side = tmp_path / "side.mka"
    for name in ("a.mkv", "a.mp4"):
        source = make_video(tmp_path / name, [texture(64, 48)], codec="libx264")
        assert not extract_side(source, side)
        assert not side.exists()
    assert not extract_side(tmp_path, side)
    with pytest.raises(VideoError, match=r"missing\.mp4"):
        extract_side(tmp_path / "missing.mp4", side)


def test_until_cuts_the_audio(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", [texture(64, 48, i) for i in range(25)], codec="libx264",
                        audio_start=Fraction(0))
    side = tmp_path / "side.mka"
    assert extract_side(source, side, until=0.4)
    copy_video(source, tmp_path / "b.mp4", side)
    times = [time for time, _ in packets(tmp_path / "b.mp4", "audio")]
    assert Fraction(37, 100) < max(times) < Fraction(2, 5)


def add_subtitles(source: Path, target: Path, codec: str, texts: list[tuple[int, int, bytes]]) -> None:
    """Copy the video, with text (start and length in milliseconds) beside it."""
    with av.open(str(source)) as video, av.open(str(target), "w") as output:
        stream = output.add_stream_from_template(video.streams.video[0], opaque=True)
        words = output.add_mux_stream(codec)
        words.time_base = MILLISECOND
        words.metadata["language"] = "deu"
        if target.suffix == ".mkv":
            output.add_attachment("font.ttf", "font/ttf", b"not really a font")
        for packet in video.demux():
            if packet.size:
                packet.stream = stream
                output.mux(packet)
        for start, length, text in texts:
            packet = av.Packet(text)
            packet.pts = packet.dts = start
            packet.duration, packet.time_base, packet.stream = length, MILLISECOND, words
            output.mux(packet)


def test_subtitles_and_attachments(tmp_path: Path) -> None:
    plain = make_video(tmp_path / "plain.mkv", [texture(64, 48, i) for i in range(50)], codec="libx264",
                       max_b_frames=0)
    source, side = tmp_path / "a.mkv", tmp_path / "side.mka"
    add_subtitles(plain, source, "subrip",
                  [(100, 300, "Grüß <i>dich</i>".encode()), (1000, 500, b"Two\nlines")])
    assert extract_side(source, side)

    copy_video(source, tmp_path / "b.mkv", side)
    assert packets(tmp_path / "b.mkv", "subtitle") == packets(source, "subtitle")
    with av.open(str(tmp_path / "b.mkv")) as result:
        assert result.streams.subtitles[0].language == "deu"
        assert result.streams.attachments[0].data == b"not really a font"
        assert result.streams.attachments[0].name == "font.ttf"

    with pytest.warns(VideoWarning, match="mp4 files hold no attachments"):
        copy_video(source, tmp_path / "b.mp4", side)
    texts = packets(tmp_path / "b.mp4", "subtitle")
    shown = [(time, data[2:].decode()) for time, data in texts if len(data) > 2]
    assert shown == [(Fraction(1, 10), "Grüß dich"), (Fraction(1), "Two\nlines")]
    silent = [time for time, data in texts if data == b"\0\0"]
    assert Fraction(2, 5) in silent  # the first text goes away when it should

    assert extract_side(tmp_path / "b.mp4", side)
    copy_video(tmp_path / "b.mp4", tmp_path / "c.mkv", side)
    assert packets(tmp_path / "c.mkv", "subtitle") == [(Fraction(1, 10), "Grüß dich".encode()),
                                                       (Fraction(1), b"Two\nlines")]


def test_cover_art(tmp_path: Path) -> None:
    image = picture(smooth(16, 16)).reformat(format="yuvj420p")
    image.pts = 0
    cover = make_video(tmp_path / "cover.mjpeg", [image], codec="mjpeg", pix_fmt="yuvj420p", color_range=2)
    sounding = make_video(tmp_path / "plain.mp4", [texture(64, 48, i) for i in range(10)], codec="libx264",
                          audio_start=Fraction(0))
    source, side = tmp_path / "a.mkv", tmp_path / "side.mka"
    with av.open(str(sounding)) as given, av.open(str(source), "w") as output:
        streams = {s.index: output.add_stream_from_template(s, opaque=True) for s in given.streams}
        output.add_attachment("cover.jpg", "image/jpeg", cover.read_bytes())
        for packet in given.demux():
            if packet.size:
                packet.stream = streams[packet.stream_index]
                output.mux(packet)
    previous = source
    for name in ("b.mp4", "c.mkv", "d.mp4"):
        assert extract_side(previous, side)
        copy_video(previous, tmp_path / name, side)
        with av.open(str(tmp_path / name)) as result:
            covers = [s for s in result.streams.video if disposition(s) & ATTACHED_PICTURE]
            assert len(covers) == 1
            kept = [bytes(p) for p in result.demux(covers) if p.size]
        assert kept == [cover.read_bytes()]
        assert len(packets(tmp_path / name, "audio")) == len(packets(source, "audio"))
        with open_video(tmp_path / name) as again:
            assert again.info.width == 64
        previous = tmp_path / name
    with pytest.warns(VideoWarning, match="cover art .* cannot be kept in mov"):
        copy_video(source, tmp_path / "e.mov", side)


def test_formats_without_room_get_a_file_beside(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", [texture(64, 48, i) for i in range(5)], codec="libx264",
                        audio_start=Fraction(0))
    side = tmp_path / "side.mka"
    extract_side(source, side)
    with pytest.warns(VideoWarning, match=r"they are in b\.y4m\.side\.mka"):
        copy_video(source, tmp_path / "b.y4m", side)
    assert (tmp_path / "b.y4m.side.mka").read_bytes() == side.read_bytes()
    with open_video(tmp_path / "b.y4m") as video:
        assert sum(1 for _ in video) == 5


def test_damaged_side_file(tmp_path: Path) -> None:
    side = tmp_path / "side.mka"
    side.write_bytes(random.Random(3).randbytes(5000))
    with open_video(make_video(tmp_path / "a.mkv", [texture(32, 32)])) as video, \
            pytest.raises(VideoError, match=r"cannot read .*side\.mka"):
        open_sink(tmp_path / "b.mkv", video.info, side=side)
    with pytest.raises(VideoError, match=r"cannot read .*side\.mka"):
        merge_side(tmp_path / "a.mkv", side, tmp_path / "b.mkv")
    with pytest.raises(VideoError, match=r"\.mp4, \.mov or \.mkv only"):
        merge_side(tmp_path / "a.mkv", side, tmp_path / "b.avi")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mkv", "side.mka"]


def test_second_video_stream_is_named(tmp_path: Path) -> None:
    one = make_video(tmp_path / "one.mkv", [texture(64, 48)])
    path = tmp_path / "two.mkv"
    with av.open(str(one)) as source, av.open(str(path), "w") as output:
        streams = [output.add_stream_from_template(source.streams.video[0], opaque=True) for _ in range(2)]
        frame: Frame = texture(64, 48)
        assert frame.width == 64
        data = next(bytes(p) for p in source.demux() if p.size)
        for stream in streams:
            packet = av.Packet(data)
            packet.pts = packet.dts = 0
            packet.time_base, packet.stream = MILLISECOND, stream
            output.mux(packet)
    with pytest.warns(VideoWarning, match=r"video stream 1 \(ffv1\) is lost"):
        assert not extract_side(path, tmp_path / "side.mka")
