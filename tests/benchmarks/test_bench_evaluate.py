"""run.py from end to end with a real encoder: files, fresh processes, cache."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest
import run
import torch
from benchlib import environment
from benchlib.evaluate import Job, _compare, evaluate
from benchlib.pictures import describe, frames_of
from benchlib.specs import BenchmarkError, RatePoint, SequenceSpec

import demo
import lvc
from lvc.enhance.adaptive import KMAC_PER_PIXEL
from lvc.enhance.restore import RestoreConfig, RestoreNet
from lvc.metrics import PerceptualMeter, compare_frames
from lvc.models.complexity import swift_decode_kmac_per_pixel
from lvc.models.swiftmodel import SwiftConfig, SwiftModel
from lvc.ops.integer import IntConv2d
from lvc.weights import load_stsr_weights, save_restore_weights

CODEC = "x264:preset=ultrafast"
GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def measured(clip):
    """One record, with the frames that it was measured on."""
    seen = []
    point = RatePoint(CODEC, "crf", "30")
    job = Job(SequenceSpec("texture", clip), point, intra_period=4, frames=6, threads=1)
    record = evaluate(job, on_frame=lambda index, source, decoded: seen.append((index, source, decoded)))
    return record, seen


@pytest.mark.slow
def test_record_is_that_of_a_file_made_by_hand(clip, tmp_path, measured):
    record, seen = measured
    coded, decoded = tmp_path / "c.lvc", tmp_path / "d.y4m"
    lvc.encode(clip, coded, codec=f"{CODEC},crf=30", intra_period=4, frames=6, threads=1)
    lvc.decode(coded, decoded)
    frames = list(frames_of(decoded))
    assert record["file_bytes"] == coded.stat().st_size
    assert record["bpp"] == pytest.approx(coded.stat().st_size * 8 / (176 * 164 * 6))
    assert record["kbps"] == pytest.approx(coded.stat().st_size * 8 / (6 / 25) / 1000)
    planes = b"".join(plane.tobytes() for frame in frames for plane in frame.planes)
    assert record["decoded_md5"] == hashlib.md5(planes).hexdigest()
    qualities = [compare_frames(a, b) for a, b in zip(frames_of(clip, frames=6), frames, strict=True)]
    with PerceptualMeter(176, 164, Fraction(25)) as meter:
        for a, b in zip(frames_of(clip, frames=6), frames, strict=True):
            meter.push(a, b)
        perceptual = meter.finish()
    for name in ("ssim_y", "ssim", "vmaf", "xpsnr_y", "xpsnr"):
        assert record["per_frame"][name] == pytest.approx([getattr(q, name) for q in perceptual], abs=1e-4)
    assert record["mean"]["vmaf"] == pytest.approx(sum(q.vmaf for q in perceptual) / 6, abs=1e-4)
    for name in ("psnr_y", "psnr_yuv", "psnr_rgb", "ms_ssim"):
        expected = [getattr(quality, name) for quality in qualities]
        assert record["per_frame"][name] == pytest.approx(expected, abs=1e-5)
        assert record["mean"][name] == pytest.approx(sum(expected) / 6, abs=1e-5)
    assert 20 < record["mean"]["psnr_yuv"] < 60
    assert [index for index, _, _ in seen] == list(range(6))


@pytest.mark.slow
def test_record_states_how_it_was_made(measured):
    record, _ = measured
    assert record["sequence"] | {"sha256": ""} == {
        "name": "texture", "sha256": "", "width": 176, "height": 164, "frames": 6, "frame_rate": "25",
        "dataset": "",
    }
    assert (record["codec"], record["point"]) == (CODEC, {"crf": "30"})
    assert record["codec_string"] == f"{CODEC},crf=30"
    assert record["encode"]["command"] == (
        f"lvc encode SOURCE CODED --codec {CODEC},crf=30 --intra-period 4 --frames 6 --threads 1"
    )
    assert record["decode"]["command"] == "lvc decode CODED DECODED"
    for part in ("encode", "decode"):
        assert record[part]["fps"] == pytest.approx(6 / record[part]["seconds"], rel=1e-2)
        assert 10 < record[part]["peak_rss_mib"] < 300  # torch, which is loaded here, is not loaded there
        assert 0 < record[part]["cpu_seconds"] < record[part]["seconds"] + 0.2  # one core
    assert record["weights_digest"] == ""
    assert record["kmac"] is None
    assert (record["record"], record["preset"]) == (2, "")
    assert set(record["versions"]) >= {"python", "lvc", "av", "imageio-ffmpeg", "encoder"}
    assert record["versions"]["encoder"].startswith("core ")
    assert 0 < record["payload_bytes"] < record["file_bytes"]
    assert record["side_bytes"] == 0
    assert str(json.loads(json.dumps(record))) == str(record)


@pytest.mark.slow
def test_second_run_comes_from_the_cache_and_a_failed_point_does_not_stop_the_rest(
    clip, write_clip, tmp_path, capsys, monkeypatch
):
    out, cache = tmp_path / "results.json", tmp_path / "cache"
    wrong = write_clip(tmp_path / "wrong.mkv", 32, 32, 2, "yuv444p")
    arguments = ["--sequences", str(clip), "--codecs", f"{CODEC}@crf=20,40", "--frames", "2",
                 "--intra-period", "2", "--out", str(out), "--cache", str(cache)]
    assert run.main(arguments) == 0
    assert "2 points (0 from the cache), 0 failed" in capsys.readouterr().out
    first = out.read_text()
    rates = [point["bpp"] for point in json.loads(first)["points"]]
    assert rates[0] > rates[1]

    measured = []
    monkeypatch.setattr(run, "evaluate", lambda job: measured.append(job) or evaluate(job))
    assert run.main(arguments) == 0
    assert "2 points (2 from the cache)" in capsys.readouterr().out
    assert measured == []
    assert out.read_text() == first

    arguments[1:2] = [str(clip), str(wrong)]
    assert run.main(arguments) == 1
    captured = capsys.readouterr()
    assert "2 points (2 from the cache), 2 failed" in captured.out
    assert "measures 8-bit 4:2:0, this is yuv444p" in captured.err
    assert out.read_text() == first


@pytest.mark.slow
def test_times_are_left_out_when_points_share_the_machine(clip, tmp_path, capsys):
    out = tmp_path / "results.json"
    arguments = ["--sequences", str(clip), "--codecs", f"{CODEC}@crf=20,40", "--frames", "2", "--jobs", "2",
                 "--out", str(out), "--cache", str(tmp_path / "cache")]
    assert run.main(arguments) == 0
    for point in json.loads(out.read_text())["points"]:
        assert set(point["encode"]) == set(point["decode"]) == {"command"}
    arguments[arguments.index("--jobs") + 1] = "1"
    assert run.main([*arguments, "--untimed"]) == 0
    assert "2 points (2 from the cache)" in capsys.readouterr().out.splitlines()[-1]
    # A timed run does not take untimed records for its own.
    assert run.main(arguments) == 0
    assert "2 points (0 from the cache)" in capsys.readouterr().out.splitlines()[-1]


def test_multiply_adds_of_networks():
    assert environment.kmac("x265:preset=medium") is None
    found = environment.kmac("dvc-lite")
    assert found["intra"] is None  # HEVC
    assert 10 < found["inter"]["decode"] < 40
    assert found["inter"]["encode"] is None  # it depends on what the encoder tries
    first = f"weights={GOLDEN / 'dvc_v1.safetensors'}"  # of the first design
    plain, network = (environment.kmac(f"dvc-lite:{first}{more}") for more in ("", ",intra=learned,motion=network"))
    assert 0 < network["intra"]["decode"] < network["intra"]["encode"] < 100
    assert 0 < plain["inter"]["decode"] < plain["inter"]["encode"] < network["inter"]["encode"] < 100
    assert network["inter"]["decode"] == plain["inter"]["decode"]
    swift = environment.kmac("swift")
    assert swift["intra"] is None
    assert swift["inter"]["encode"] is None
    assert 1 < swift["inter"]["decode"] < 15


def test_multiply_adds_of_swift_by_hand():
    """A further 3x3 layer of the filter costs what it does at a quarter of the resolution; wider entropy networks, at
    an eighth.
    """
    def cost(**sizes: int) -> float:
        return 1000 * swift_decode_kmac_per_pixel(SwiftModel(SwiftConfig(**sizes)))

    small = {"entropy_width": 8, "filter_width": 16}
    assert cost(**small, filter_layers=3) - cost(**small, filter_layers=2) == pytest.approx(9 * 16 * 16 / 16)
    entropy = [sum(layer.weight.numel() for layer in SwiftModel(SwiftConfig(entropy_width=width)).entropy.modules()
                   if isinstance(layer, IntConv2d)) for width in (8, 16)]
    assert cost(entropy_width=16) - cost(entropy_width=8) == pytest.approx((entropy[1] - entropy[0]) / 64)


@pytest.mark.parametrize("codec", ["x264", "x265", "svt-av1", "vvenc", "libaom"])
def test_encoders_tell_their_version(codec):
    assert re.search(r"\d", environment.encoder_version(codec))
    assert environment.encoder_version("dvc-lite") == ""


@pytest.mark.slow
def test_an_interrupted_run_goes_on_where_it_was(clip, tmp_path, capsys):
    """Told to end while it measures, it leaves no process behind; what was finished is not measured again."""
    out, cache = tmp_path / "results.json", tmp_path / "cache"
    arguments = ["--sequences", str(clip), "--codecs", f"{CODEC}@crf=20,25,30,35,40", "--frames", "2",
                 "--out", str(out), "--cache", str(cache)]
    root = Path(run.__file__).parents[1]
    process = subprocess.Popen([sys.executable, run.__file__, *arguments], stderr=subprocess.PIPE, text=True,
                               env=os.environ | {"PYTHONPATH": str(root)}, start_new_session=True)
    try:
        first = process.stderr.readline()
        assert first.startswith("1/5 texture x264")
        assert "left" in first
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(60) == 130
    finally:
        process.kill()
    assert "interrupted; finished points are in the cache" in rest
    assert "Traceback" not in rest
    assert not out.exists()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        pytest.fail("processes were left behind")
    # The cache also holds what codecs do to a small clip, which points are keyed by.
    finished = sum(not path.name.startswith("behaviour-") for path in cache.glob("*.json"))
    assert 1 <= finished < 5
    assert run.main(arguments) == 0
    assert f"5 points ({finished} from the cache), 0 failed" in capsys.readouterr().out
    points = json.loads(out.read_text())["points"]
    assert [p["point"]["crf"] for p in points] == ["20", "25", "30", "35", "40"]


@pytest.mark.slow
def test_decoders_that_give_other_frames_are_noticed(clip, write_clip, tmp_path):
    """Other sizes and numbers of frames than the source's."""
    job = Job(SequenceSpec("texture", clip), RatePoint(CODEC, "crf", "30"))
    picture = describe(job.sequence)
    for name, shape, message in (("size", (176, 160, 10), "frames of 176x160, the source has 176x164"),
                                 ("less", (176, 164, 9), "fewer frames"),
                                 ("more", (176, 164, 11), "more frames")):
        decoded = write_clip(tmp_path / f"{name}.mkv", *shape)
        with pytest.raises(BenchmarkError, match=f"texture: .*{message}"):
            _compare(job, decoded, picture, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--intra-period", "0"], "--intra-period must be -1 or at least 1"),
        (["--threads", "-1"], "--threads must be at least 0"),
        (["--preset", "no-such"], "there is no preset 'no-such'; there are: dcvc"),
        (["--dataset", "no-such", "."], "there is no data set 'no-such'; there are: hevc-b"),
        (["--only", "nothing*"], "no sequence is called nothing"),
        (["--codecs", "no-such-codec"], "no-such-codec"),
        (["--codecs", "x264@crf"], "not of the form"),
        (["--sequences", "missing.mkv"], "no such file"),
        (["--jobs", "0"], "--jobs must be at least 1"),
        (["--frames", "0"], "--frames must be at least 1"),
    ],
)
def test_wrong_requests_end_in_one_line(clip, tmp_path, capsys, changes, message):
    arguments = ["--sequences", str(clip), "--codecs", "x264@crf=30", "--out", str(tmp_path / "r.json"),
                 "--cache", str(tmp_path / "cache")]
    assert run.main([*arguments, *changes]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "r.json").exists()


@pytest.mark.slow
def test_failing_encoder_is_named(clip):
    job = Job(SequenceSpec("texture", clip), RatePoint("x264:preset=no-such-preset", "crf", "30"))
    with pytest.raises(BenchmarkError, match=r"texture: 'lvc encode .*no-such-preset.*' failed with"):
        evaluate(job)


def test_pictures_of_raw_video_and_of_files_that_are_none(clip, tmp_path):
    frames = list(frames_of(clip, frames=3))
    raw = tmp_path / "raw.yuv"
    raw.write_bytes(b"".join(plane.tobytes() for frame in frames for plane in frame.planes))
    sequence = SequenceSpec("raw", raw, size=(176, 164))
    assert (describe(sequence).width, describe(sequence).height) == (176, 164)
    again = list(frames_of(raw, size=(176, 164)))
    assert len(again) == 3
    assert all((a.y == b.y).all() and (a.v == b.v).all() for a, b in zip(frames, again, strict=True))
    with pytest.raises(BenchmarkError, match="needs its size"):
        describe(SequenceSpec("raw", raw))
    bad = tmp_path / "bad.mkv"
    bad.write_bytes(b"not a video")
    with pytest.raises(BenchmarkError, match=r"bad\.mkv: cannot be read"):
        describe(SequenceSpec("bad", bad))


@pytest.mark.slow
def test_layered_codecs_and_weights_of_a_file(clip, tmp_path, capsys):
    """A base codec's own rate parameter, weights that are not those of the package; decoded with them, too."""
    torch.manual_seed(0)
    net = RestoreNet(RestoreConfig(width=8, blocks=1)).eval()
    weights = tmp_path / "w.safetensors"
    save_restore_weights(weights, net, {})
    codec = f"restore:base=x264,preset=ultrafast,weights={weights}"
    out = tmp_path / "r.json"
    arguments = ["--sequences", str(clip), "--codecs", f"{codec}@crf=30,40", f"{CODEC}@crf=30,40", "--frames", "3",
                 "--intra-period", "3", "--out", str(out), "--cache", str(tmp_path / "cache"), "--jobs", "2"]
    assert run.main(arguments) == 0
    *layered, base, _ = json.loads(out.read_text())["points"]
    assert [point["point"] for point in layered] == [{"crf": "30"}, {"crf": "40"}]
    first = layered[0]
    assert first["decode"]["command"] == f"lvc decode CODED DECODED --weights {weights}"
    assert first["weights_digest"]
    assert first["kmac"]["inter"]["decode"] == pytest.approx(net.config.kmac_per_pixel + KMAC_PER_PIXEL, abs=1e-3)
    assert first["versions"]["encoder"] == base["versions"]["encoder"]
    # coefficients, a header, and a name of weights
    assert base["file_bytes"] < first["file_bytes"] < base["file_bytes"] + 400


def test_complexity_of_stsr(stsr_path):
    kmac = {kt: environment.kmac(f"stsr:kt={kt},weights={stsr_path}") for kt in ("1", "2", "auto")}
    net = load_stsr_weights(stsr_path).net
    for kt, found in kmac.items():
        expected = pytest.approx(net.kmac_per_pixel(2 if kt == "2" else 1), abs=1e-3)
        assert found == {kind: {"encode": expected, "decode": expected} for kind in ("intra", "inter")}
    assert environment.kmac("stsr:kt=2,enhance=off") is None
    filters = environment.kmac("stsr:kt=2,enhance=filters")
    assert filters["inter"]["decode"] == pytest.approx(KMAC_PER_PIXEL, abs=1e-3)
    assert environment.kmac("stsr:kt=2")["inter"]["decode"] > 5 * KMAC_PER_PIXEL


@pytest.mark.slow
def test_demo_script(clip, tmp_path, capsys):
    arguments = ["--clip", str(clip), "--frames", "3", "--intra-period", "3", "--out", str(tmp_path / "out"),
                 "--test", "x264:preset=ultrafast@crf=18,24,30,36",
                 "--anchor", "x265:preset=ultrafast@crf=18,24,30,36"]
    assert demo.main(arguments) == 0
    out = capsys.readouterr().out
    assert out.count("x264 ultrafast") == 5
    assert out.count("x265 ultrafast") == 5
    for metric in ("RGB PSNR (dB)", "YUV PSNR, 6:1:1 (dB)", "MS-SSIM"):
        assert metric in out
    for name in ("rd.png", "side_by_side.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")
    assert len(json.loads((tmp_path / "out" / "results.json").read_text())["points"]) == 8
