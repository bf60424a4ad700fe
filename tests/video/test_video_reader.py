"""Reading: every kind of source, exactly as it is, or with a warning, or with a clear error."""

from __future__ import annotations

import random
import tracemalloc
import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from video_samples import assert_same, make_video, picture, smooth, texture

from lvc.errors import UsageError, VideoError
from lvc.types import ColorInfo, Frame
from lvc.video import VideoWarning, open_video


def read(path: Path, **options: object) -> list[Frame]:
    with open_video(path, **options) as source:
        return list(source)


@pytest.mark.usefixtures("no_warning")
@pytest.mark.parametrize("size", [(64, 48), (17, 33), (2, 2), (1, 1), (130, 50)])
def test_lossless_file_is_read_bit_exact(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = [texture(*size, i) for i in range(3)]
    path = make_video(tmp_path / "a.mkv", frames)
    with open_video(path) as source:
        assert (source.info.width, source.info.height) == size
        assert source.info.frame_rate == 25
        got = list(source)
    assert_same(got, frames)
    assert [frame.pts * source.info.time_base for frame in got] == [Fraction(i, 25) for i in range(3)]
    assert all(plane.flags.c_contiguous and plane.flags.owndata for f in got for plane in f.planes)


def test_frames_limit_and_close(tmp_path: Path) -> None:
    frames = [texture(32, 32, i) for i in range(6)]
    path = make_video(tmp_path / "a.mkv", frames)
    assert_same(read(path, frames=4), frames[:4])
    assert len(read(path, frames=10)) == 6
    source = open_video(path)
    next(source)
    source.close()
    source.close()
    with pytest.raises(StopIteration):
        next(source)
    with pytest.raises(UsageError, match="frames must be at least 1"):
        open_video(path, frames=0)


@pytest.mark.usefixtures("no_warning")
def test_one_frame_clip(tmp_path: Path) -> None:
    path = make_video(tmp_path / "one.mp4", [texture(48, 32)], codec="libx264", options={"qp": "0"})
    with open_video(path) as source:
        assert source.info.n_frames == 1
        assert_same(list(source), [texture(48, 32)])


@pytest.mark.usefixtures("no_warning")
def test_full_range_and_color_tags(tmp_path: Path) -> None:
    frame = texture(64, 48)
    path = make_video(tmp_path / "a.mp4", [frame], codec="libx264", options={"qp": "0"}, color_range=2,
                      color_primaries=9, color_trc=14, colorspace=9)
    with open_video(path) as source:
        assert source.info.color == ColorInfo(9, 14, 9, True)
        assert_same(list(source), [frame])
    path = make_video(tmp_path / "b.mkv", [frame], color_range=1, color_primaries=1, color_trc=1,
                      colorspace=1)
    with open_video(path) as source:
        assert source.info.color == ColorInfo(1, 1, 1, False)


@pytest.mark.usefixtures("no_warning")
def test_nv12_and_gray_are_copied(tmp_path: Path) -> None:
    frame = texture(34, 18)
    interleaved = picture(frame).reformat(format="nv12")
    interleaved.pts = 0
    path = make_video(tmp_path / "a.nut", [interleaved], codec="rawvideo", pix_fmt="nv12")
    assert_same(read(path), [frame])
    gray = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.y), format="gray")
    gray.pts = 0
    path = make_video(tmp_path / "b.mkv", [gray], pix_fmt="gray")
    got = read(path)[0]
    np.testing.assert_array_equal(got.y, frame.y)
    assert got.u.min() == got.v.max() == 128


def test_444_10bit_is_converted_with_warning(tmp_path: Path) -> None:
    frame = smooth(64, 48)
    deep = picture(frame).reformat(format="yuv444p10le")
    deep.pts = 0
    path = make_video(tmp_path / "a.mkv", [deep], pix_fmt="yuv444p10le", color_range=1)
    with pytest.warns(VideoWarning, match="yuv444p10le pictures are converted") as caught:
        got = read(path)
    assert len(caught) == 1
    for mine, other in zip(got[0].planes, frame.planes, strict=True):
        assert np.abs(mine.astype(int) - other).max() <= 2
    messages: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(open_video(path, on_warning=messages.append))
    assert len(messages) == 1
    assert str(path) in messages[0]


@pytest.mark.parametrize(("height", "matrix", "kr", "kb"), [(48, 6, 0.299, 0.114), (720, 1, 0.2126, 0.0722)])
def test_rgb_is_converted_by_the_matrix_of_its_height(tmp_path: Path, height: int, matrix: int, kr: float,
                                                      kb: float) -> None:
    rgb = np.empty((height, 32, 3), np.uint8)
    rgb[:] = (200, 90, 30)
    image = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="gbrp")
    image.pts = 0
    path = make_video(tmp_path / "a.avi", [image], codec="magicyuv", pix_fmt="gbrp")
    source = open_video(path)
    assert source.info.color.matrix == matrix
    assert not source.info.color.full_range
    with pytest.warns(VideoWarning, match=r"BT\.(601|709), limited range"):
        got = next(source)
    r, g, b = 200 / 255, 90 / 255, 30 / 255
    y = kr * r + (1 - kr - kb) * g + kb * b
    expected = 16 + 219 * y, 128 + 112 * (b - y) / (1 - kb), 128 + 112 * (r - y) / (1 - kr)
    for plane, value in zip(got.planes, expected, strict=True):
        assert np.abs(plane - value).max() < 1


@pytest.mark.usefixtures("no_warning")
def test_variable_frame_rate_and_first_pts(tmp_path: Path) -> None:
    stamps = [9000, 12000, 20000, 21500, 35000]
    base = Fraction(1, 90000)
    frames = [Frame(*texture(32, 32, i).planes, pts) for i, pts in enumerate(stamps)]
    path = make_video(tmp_path / "a.mp4", frames, codec="libx264", time_base=base)
    with open_video(path) as source:
        assert [f.pts * source.info.time_base for f in source] == [pts * base for pts in stamps]
    path = make_video(tmp_path / "a.mkv", frames, time_base=base)
    with open_video(path) as source:
        got = [f.pts * source.info.time_base for f in source]
    assert max(abs(a - b * base) for a, b in zip(got, stamps, strict=True)) <= Fraction(1, 2000)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("clockwise", [90, 180, 270])
def test_rotation_is_reported_not_applied(tmp_path: Path, name: str, clockwise: int) -> None:
    path = make_video(tmp_path / name, [texture(64, 48)], codec="libx264", rotation=-clockwise)
    with open_video(path) as source:
        assert source.info.rotation == clockwise
        assert next(source).y.shape == (48, 64)


def test_sample_aspect_ratio(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", [texture(64, 48)], codec="libx264",
                      sample_aspect_ratio=Fraction(4, 3))
    with open_video(path) as source:
        assert source.info.sample_aspect_ratio == Fraction(4, 3)


def test_cover_art_is_not_the_video(tmp_path: Path) -> None:
    image = picture(smooth(16, 16)).reformat(format="yuvj420p")
    image.pts = 0
    cover = make_video(tmp_path / "cover.mjpeg", [image], codec="mjpeg", pix_fmt="yuvj420p", color_range=2)
    video = make_video(tmp_path / "v.mkv", [texture(64, 48)], codec="libx264")
    both, only = tmp_path / "both.mp4", tmp_path / "only.mp4"
    for path, inputs in ((both, [cover, video]), (only, [cover])):
        with av.open(str(path), "w") as output:
            sources = [av.open(str(i)) for i in inputs]
            streams = [output.add_stream_from_template(s.streams.video[0], opaque=True) for s in sources]
            streams[0].disposition = 1 << 10
            if path == only:
                sound = output.add_stream("aac", rate=44100, layout="mono")
            for source, stream in zip(sources, streams, strict=True):
                for packet in source.demux():
                    if packet.size:
                        packet.stream = stream
                        packet.pts = packet.dts = 0
                        output.mux(packet)
            if path == only:
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                silence.sample_rate = 44100
                output.mux(sound.encode(silence))
                output.mux(sound.encode(None))
    with open_video(both) as source:
        assert (source.info.width, source.info.height) == (64, 48)
    with pytest.raises(VideoError, match=r"only\.mp4: it has no video stream"):
        open_video(only)


def test_picture_size_change_ends_with_an_error(tmp_path: Path) -> None:
    path = tmp_path / "change.h264"
    data = b""
    for size in ((64, 48), (32, 32)):
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt = *size, "yuv420p"
        encoder.time_base = Fraction(1, 25)
        encoder.options = {"tune": "zerolatency"}
        for i in range(3):
            image = picture(texture(*size, i))
            image.pts = i
            data += b"".join(bytes(p) for p in encoder.encode(image))
        data += b"".join(bytes(p) for p in encoder.encode(None))
    path.write_bytes(data)
    source = open_video(path, on_warning=lambda text: None)
    with pytest.raises(VideoError, match=r"picture size changes from 64x48 to 32x32"):
        list(source)
    assert source.n_read == 3


def test_repeated_timestamps_are_repaired(tmp_path: Path) -> None:
    frames = [texture(32, 32, i) for i in range(8)]
    path = make_video(tmp_path / "a.mkv", frames)
    broken = tmp_path / "broken.mkv"
    with av.open(str(path)) as source, av.open(str(broken), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0], opaque=True)
        for i, packet in enumerate(p for p in source.demux() if p.size):
            packet.pts, packet.dts = [0, 40, 80, 80, 60, 200, 200, 240][i], i  # Matroska writes no dts
            packet.stream = stream
            output.mux(packet)
    repaired = open_video(broken)
    with pytest.warns(VideoWarning, match="timestamps that do not increase are repaired"):
        stamps = [round(f.pts * repaired.info.time_base * 1000) for f in repaired]
    assert stamps == [0, 40, 80, 81, 82, 200, 201, 240]


def test_joined_clips_go_on_in_time(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", [texture(32, 32, i) for i in range(6)])
    joined = tmp_path / "joined.mkv"
    with av.open(str(path)) as source, av.open(str(joined), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0], opaque=True)
        for i, packet in enumerate(p for p in source.demux() if p.size):
            packet.pts, packet.dts = [5000, 5040, 5080, 10, 50, 90][i], i
            packet.stream = stream
            output.mux(packet)
    again = open_video(joined, on_warning=lambda text: None)
    assert [round(f.pts * again.info.time_base * 1000) for f in again] == [5000, 5040, 5080, 5120, 5160, 5200]


def test_unreadable_sources(tmp_path: Path) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()
    garbage = tmp_path / "garbage.mp4"
    garbage.write_bytes(random.Random(1).randbytes(20000))
    text = tmp_path / "notes.txt"
    text.write_text("no video here\n" * 100)
    whole = make_video(tmp_path / "whole.mp4", [texture(64, 48, i) for i in range(10)], codec="libx264")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[:2000])
    for path, cause in ((tmp_path / "nothing.mp4", "No such file"), (empty, "the file is empty"),
                        (garbage, ""), (text, ""), (cut, ""),
                        (tmp_path, "there is no PNG file")):
        if path == tmp_path:
            path = tmp_path / "folder"
            path.mkdir()
        with pytest.raises(VideoError) as caught:
            list(open_video(path))
        message = str(caught.value)
        assert str(path) in message
        assert cause in message
        assert "\n" not in message


def test_damaged_file_gives_the_rest_with_a_warning(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", [texture(64, 48, i) for i in range(20)])
    data = bytearray(path.read_bytes())
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(data[: len(data) // 2])
    messages: list[str] = []
    got = list(open_video(cut, on_warning=messages.append))
    assert 5 <= len(got) <= 11
    assert_same(got[:5], [texture(64, 48, i) for i in range(5)])


def write_png(path: Path, rgb: np.ndarray, pix_fmt: str = "rgb24") -> None:
    image = av.VideoFrame.from_ndarray(rgb, format="gray" if rgb.ndim == 2 else "rgb24")
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = image.width, image.height, pix_fmt
    encoder.time_base = Fraction(1, 25)
    encoder.thread_count = 1
    image = image.reformat(format=pix_fmt)
    image.pts = 0
    path.write_bytes(b"".join(bytes(p) for p in [*encoder.encode(image), *encoder.encode(None)]))


def test_png_folder_in_natural_order(tmp_path: Path) -> None:
    for i in (1, 2, 10):
        rgb = np.full((17, 33, 3), 20 * i, np.uint8)
        write_png(tmp_path / f"img{i}.png", rgb)
    (tmp_path / "readme.txt").write_text("not a picture")
    source = open_video(tmp_path, frame_rate=24)
    assert source.info.frame_rate == 24
    assert source.info.n_frames == 3
    assert source.info.color.matrix == 6
    with pytest.warns(VideoWarning, match="rgb24 pictures are converted"):
        frames = list(source)
    assert [round((int(f.y[0, 0]) - 16) * 255 / 219 / 20) for f in frames] == [1, 2, 10]
    assert [f.pts for f in frames] == [0, 1, 2]
    assert frames[0].u.shape == (9, 17)


def test_png_of_other_kinds_and_sizes(tmp_path: Path) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    write_png(tmp_path / "a.png", levels, "gray")
    with pytest.warns(VideoWarning):
        gray = read(tmp_path)[0]
    # Gray of PNG has full range, as its RGB has.
    assert np.abs(gray.y - (16 + levels.astype(float) * 219 / 255)).max() <= 1
    write_png(tmp_path / "b.png", np.zeros((8, 30), np.uint8), "gray")
    source = open_video(tmp_path, on_warning=lambda text: None)
    with pytest.raises(VideoError, match=r"b\.png: it is 30x8, the first picture is 32x8"):
        list(source)
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    with pytest.raises(VideoError, match=r"b\.png"):
        read(tmp_path, on_warning=lambda text: None)


@pytest.mark.usefixtures("no_warning")
def test_raw_yuv(tmp_path: Path) -> None:
    frames = [texture(17, 33, i) for i in range(3)]
    path = tmp_path / "a.yuv"
    path.write_bytes(b"".join(plane.tobytes() for f in frames for plane in f.planes))
    with open_video(path, size=(17, 33), frame_rate=29.97) as source:
        assert source.info.frame_rate == Fraction(2997, 100).limit_denominator(1001)
        assert source.info.n_frames == 3
        assert_same(list(source), frames)
    assert_same(read(path, size=(17, 33), frames=2), frames[:2])
    with pytest.raises(VideoError, match=r"the size .* must be given"):
        open_video(path)
    with pytest.raises(VideoError, match="not a whole number of 16x32 4:2:0 frames"):
        open_video(path, size=(16, 32))
    with pytest.raises(UsageError, match="width must be from 1"):
        open_video(path, size=(0, 32))


def test_arguments_for_other_sources(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", [texture(32, 32)])
    with pytest.raises(UsageError, match="frame_rate is for raw"):
        open_video(path, frame_rate=25)
    with pytest.raises(UsageError, match="frame rate must be"):
        open_video(path, frame_rate=-1)
    with pytest.raises(UsageError, match="size is for raw"):
        open_video(tmp_path, size=(32, 32))


@pytest.mark.usefixtures("no_warning")
def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    path = tmp_path / "long.y4m"
    frame = texture(160, 120)
    with open(path, "wb") as file:
        file.write(b"YUV4MPEG2 W160 H120 F25:1 Ip A1:1 C420jpeg\n")
        for _ in range(500):
            file.write(b"FRAME\n" + b"".join(plane.tobytes() for plane in frame.planes))
    with open_video(path) as source:
        assert source.info.sample_aspect_ratio == 1
        next(source)
        tracemalloc.start()
        count = sum(1 for _ in source)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert count == 499
    assert peak < 20 * 160 * 120 * 3 // 2
