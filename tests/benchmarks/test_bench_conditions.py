"""Data sets and presets: definitions, finding files, equal command lines; estimates of the time left."""

from __future__ import annotations

import shlex
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
import run
from benchlib.datasets import dataset_names, find_sequences, load_dataset, prepare
from benchlib.pictures import describe, frames_of
from benchlib.presets import load_preset, preset_names
from benchlib.progress import TimeLeft, duration
from benchlib.specs import BenchmarkError, SequenceSpec, expand, parse_codec_spec

import lvc
from lvc.metrics import frame_to_rgb, psnr

COUNTS = {"hevc-b": 5, "hevc-c": 4, "hevc-d": 4, "hevc-e": 3, "uvg": 7, "mcl-jcv": 30, "vimeo-90k": 1,
          "test-clips": 5, "test-clips-large": 3}


def test_definitions_of_data_sets():
    assert dataset_names() == sorted(COUNTS)
    for name, count in COUNTS.items():
        dataset = load_dataset(name)
        assert len(dataset.sequences) == count
        assert dataset.source
        for sequence in dataset.sequences:
            assert sequence.dataset == name
            if name == "vimeo-90k":
                continue
            width, height = sequence.size
            if name.startswith("test-clips"):
                assert sequence.path.suffix == ".mkv"
                assert min(width, height) >= 240
                assert sequence.frames >= 24
                continue
            assert f"_{width}x{height}_" in str(sequence.path)
            rate = str(sequence.path).rpartition(".")[0].removesuffix("fps_420_8bit_YUV").rpartition("_")[2]
            assert Fraction(rate) == sequence.frame_rate
            # MCL-JCV: five seconds; the others: 240 to 600 frames
            if name == "mcl-jcv":
                assert sequence.frames == 5 * sequence.frame_rate
            else:
                assert 240 <= sequence.frames <= 600
    with pytest.raises(BenchmarkError, match="there is no data set 'kodak'"):
        load_dataset("kodak")


def hevc_d(folder: Path) -> Path:
    """Files of the right names and sizes, empty but for their length."""
    folder.mkdir()
    for sequence in load_dataset("hevc-d").sequences:
        path = folder / ("sub" if sequence.name == "BQSquare" else ".") / sequence.path
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            file.truncate(sequence.frames * 416 * 240 * 3 // 2)
    return folder


def test_files_of_a_data_set_are_found(tmp_path):
    folder = hevc_d(tmp_path / "d")
    found = find_sequences(load_dataset("hevc-d"), folder)
    assert [s.name for s in found] == ["BasketballPass", "BlowingBubbles", "BQSquare", "RaceHorsesD"]
    assert found[2].path == folder / "sub" / "BQSquare_416x240_60.yuv"
    assert (found[3].frames, found[3].size, found[3].frame_rate) == (300, (416, 240), Fraction(30))
    only = find_sequences(load_dataset("hevc-d"), folder, ["B*s", "Race*"])
    assert [s.name for s in only] == ["BasketballPass", "BlowingBubbles", "RaceHorsesD"]


def test_missing_and_wrong_files_are_named(tmp_path):
    dataset, folder = load_dataset("hevc-d"), hevc_d(tmp_path / "d")
    with pytest.raises(BenchmarkError, match="not a folder"):
        find_sequences(dataset, tmp_path / "other")
    with pytest.raises(BenchmarkError, match="hevc-d has no sequence 'Kimono'; there are: BasketballPass, "):
        find_sequences(dataset, folder, ["Kimono"])
    (folder / "RaceHorses_416x240_30.yuv").write_bytes(b"short")
    with pytest.raises(BenchmarkError, match="5 bytes, but 300 frames of 416x240, 8-bit 4:2:0, are 44928000"):
        find_sequences(dataset, folder)
    (folder / "RaceHorses_416x240_30.yuv").unlink()
    with pytest.raises(BenchmarkError, match=r"1 of 4 sequences are not in .*: RaceHorses_416x240_30\.yuv"):
        find_sequences(dataset, folder)
    (folder / "RaceHorses_416x240_30.mkv").write_bytes(b"stored losslessly")
    found = find_sequences(dataset, folder)
    assert (found[3].path.suffix, found[3].size, found[3].frames) == (".mkv", None, 300)


def test_septuplets_become_420_video(tmp_path):
    folder, entries = tmp_path / "vimeo", [f"{i // 1000 + 1:05d}/{i % 1000 + 1:04d}" for i in range(7824)]
    (folder / "sequences" / entries[1]).mkdir(parents=True)
    (folder / "sep_testlist.txt").write_text("\n".join(entries) + "\n\n")
    ys, xs = np.mgrid[0:256, 0:448]
    pictures = []
    for n in range(7):
        rgb = np.stack([xs // 2 + n, ys // 2 + 40, (xs + ys) // 4 + 20], -1).astype(np.uint8)
        pictures.append(rgb)
        with av.open(str(folder / "sequences" / entries[1] / f"im{n + 1}.png"), "w", format="image2",
                     options={"update": "1"}) as out:
            stream = out.add_stream("png", rate=1)
            stream.width, stream.height, stream.pix_fmt = 448, 256, "rgb24"
            for packet in [*stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")), *stream.encode()]:
                out.mux(packet)
    dataset = load_dataset("vimeo-90k")
    (found,) = find_sequences(dataset, folder, [entries[1]])
    assert found.name == "00001/0002"
    ready = prepare(found, tmp_path / "cache")
    assert (ready.size, ready.frames, describe(ready).frame_rate) == ((448, 256), 7, 30)
    frames = list(frames_of(ready.path, size=ready.size, frame_rate=ready.frame_rate))
    assert len(frames) == 7
    for frame, rgb in zip(frames, pictures, strict=True):
        assert psnr(frame_to_rgb(frame), rgb) > 40
    assert prepare(found, tmp_path / "cache") == ready
    assert len(list((tmp_path / "cache").iterdir())) == 1
    (missing,) = find_sequences(dataset, folder, [entries[2]])
    with pytest.raises(BenchmarkError, match=r"0003/im1\.png is missing"):
        prepare(missing, tmp_path / "cache")
    (folder / "sequences" / entries[1] / "im3.png").write_bytes(b"no picture")
    with pytest.raises(BenchmarkError, match=r"im3\.png: cannot be read"):
        prepare(found, tmp_path / "cache")
    (folder / "sep_testlist.txt").write_text("00001/0002\n")
    with pytest.raises(BenchmarkError, match="1 entries, but Vimeo-90k has 7824"):
        find_sequences(dataset, folder)


def test_presets_are_what_their_conditions_say():
    assert preset_names() == ["dcvc", "papers-ldp", "readme", "real"]
    for name in preset_names():
        preset = load_preset(name)
        assert len(expand(preset.specs())) >= 15
        assert all(bool(anchor.command) != anchor.spec.startswith(("dvc", "swift", "restore", "stsr", "x265-packed"))
                   for anchor in preset.anchors)
    ldp = load_preset("papers-ldp")
    assert (ldp.conditions("hevc-b").frames, ldp.conditions("hevc-b").intra_periods) == (100, (10,))
    assert (ldp.conditions("uvg").frames, ldp.conditions("uvg").intra_periods) == (96, (12,))
    assert load_preset("dcvc").conditions("uvg").intra_periods == (32, -1)
    assert load_preset("real").conditions("").intra_periods == (-1,)
    readme = load_preset("readme")
    for anchor in readme.anchors:
        low_delay = "zerolatency" in anchor.spec or anchor.spec.startswith(("swift@", "dvc-lite"))
        assert anchor.structure == ("low delay" if low_delay else "B frames")
        assert (anchor.spec in readme.specs(10)) == (
            not anchor.spec.startswith(("swift:bframes", "restore", "stsr", "x265-packed")))
    assert readme.specs(32) == readme.specs()
    assert readme.structure("x265:preset=medium") == "B frames"
    assert readme.structure("x265") == ""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "codec"), [
    ("papers-ldp", "x265:preset=veryfast,tune=zerolatency"),
    ("papers-ldp", "x264:preset=medium,tune=zerolatency"),
    ("real", "x265:preset=medium"), ("real", "svt-av1:preset=10"), ("real", "vvenc:preset=faster")])
def test_command_lines_of_ffmpeg_make_streams_of_the_same_size(clip, tmp_path, name, codec):
    """The same intra frames and nearly the same size: the encoders in the two builds of FFmpeg differ."""
    anchor = next(a for a in load_preset(name).anchors if a.spec.startswith(f"{codec}@"))
    point = parse_codec_spec(anchor.spec)[2]
    coded, raw, out = tmp_path / "c.lvc", tmp_path / "source.yuv", tmp_path / "out.mkv"
    lvc.encode(clip, coded, codec=point.codec_string, intra_period=5)
    stream = lvc.probe(coded)
    raw.write_bytes(b"".join(p.tobytes() for frame in frames_of(clip) for p in frame.planes))
    line = anchor.command_line(value=point.value, intra_period=5, width=176, height=164, rate=25, frames=10,
                               source=raw, out=out)
    assert "{" not in line
    program, *rest = shlex.split(line)
    assert program == "ffmpeg"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", *rest]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    with av.open(str(out)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert [n for n, p in enumerate(packets) if p.is_keyframe] == [0, 5]
    # x264 writes 700 bytes on itself into the first packet, x265 a hundred
    ours = stream.intra_bytes + stream.inter_bytes
    assert sum(p.size for p in packets) == pytest.approx(ours, rel=0.05, abs=800)


def test_dry_run_writes_command_lines_out(clip, capsys):
    arguments = ["--preset", "papers-ldp", "--sequences", str(clip), "--dry-run", "--threads", "1"]
    assert run.main(arguments) == 0
    out = capsys.readouterr().out
    assert ("lvc encode SOURCE CODED --codec x265:preset=veryfast,tune=zerolatency,crf=15 --intra-period 10 "
            "--frames 100 --threads 1\nlvc decode CODED DECODED\n# as ffmpeg -f rawvideo") in out
    assert "crf=31:keyint=10:" in out
    assert out.count("lvc encode") == 20


def test_list_names_everything(capsys):
    assert run.main(["--list"]) == 0
    out = capsys.readouterr().out
    for text in (*preset_names(), *dataset_names(),
                 "FourPeople_1280x720_60.yuv, 1280x720, 600 frames, 60 fps",
                 "each of the 7824 entries of sep_testlist.txt"):
        assert text in out


def test_time_left_goes_by_codec_and_pixels():
    left = TimeLeft(jobs=2)
    assert left.left([("slow", 100.0)]) is None
    left.done("slow", 10.0, 20.0)
    left.done("fast", 10.0, 1.0)
    left.done("fast", 10.0, 3.0)
    assert left.left([("slow", 5.0), ("fast", 50.0)]) == pytest.approx((5 * 2.0 + 50 * 0.2) / 2)
    assert left.left([("unknown", 10.0)]) == pytest.approx(10 * 1.1 / 2)
    assert left.left([]) == 0


@pytest.mark.parametrize(("seconds", "text"), [(None, "?"), (0.4, "0 s"), (59, "59 s"), (61, "1 min"),
                                               (3540, "59 min"), (3900, "1 h 05 min")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_sequences_that_are_not_of_png_stay_as_they_are(clip, tmp_path):
    sequence = SequenceSpec("texture", clip)
    assert prepare(sequence, tmp_path) is sequence
