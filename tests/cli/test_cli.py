"""The command line, in processes of its own."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

import lvc

FAST = "x265:preset=ultrafast"


def run(*arguments: str | Path, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "lvc.cli", *map(str, arguments)], capture_output=True,
                          text=True, timeout=120, check=False, **options)


@pytest.fixture
def clip(tmp_path, make_frames, write_raw):
    """64x64, 8 frames, raw."""
    return write_raw(tmp_path / "clip.yuv", make_frames(8, 64, 64))


@pytest.fixture
def stream(clip, tmp_path):
    lvc.encode(clip, tmp_path / "clip.lvc", codec=FAST, size=(64, 64), intra_period=4)
    return tmp_path / "clip.lvc"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_encode_decode_info(clip, tmp_path):
    done = run("encode", clip, tmp_path / "a.lvc", "--codec", FAST, "--quality", "40", "--intra-period", "4",
               "--frames", "6", "--size", "64x64", "--frame-rate", "30000/1001", "--threads", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "6 frames" in done.stdout
    assert "bpp" in done.stdout
    done = run("info", tmp_path / "a.lvc")
    assert (done.returncode, done.stderr) == (0, "")
    assert "x265" in done.stdout
    assert "29.970 fps" in done.stdout
    done = run("info", tmp_path / "a.lvc", "--json")
    values = json.loads(done.stdout)
    assert (values["frames"], values["intra_frames"], values["quality"]) == (6, 2, [40, 40])
    assert values["bytes"] == (tmp_path / "a.lvc").stat().st_size
    done = run("decode", tmp_path / "a.lvc", tmp_path / "a.y4m")
    assert (done.returncode, done.stderr) == (0, "")
    assert "6 frames, complete" in done.stdout
    assert names(tmp_path) == ["a.lvc", "a.y4m", "clip.yuv"]


def test_quiet(clip, tmp_path):
    done = run("encode", clip, tmp_path / "a.lvc", "--codec", FAST, "--size", "64x64", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run("decode", tmp_path / "a.lvc", tmp_path / "a.mkv", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(("arguments", "part"), [
    (("encode", "nowhere.mp4", "out.lvc", "--codec", FAST), "nowhere.mp4"),
    (("encode", "clip.yuv", "out.lvc", "--codec", "x266", "--size", "64x64"), "x266"),
    (("encode", "clip.yuv", "none/out.lvc", "--codec", FAST, "--size", "64x64"), "none/out.lvc"),
    (("decode", "clip.yuv", "out.mkv"), "lvc"),
    (("decode", "nowhere.lvc", "out.mkv"), "nowhere.lvc"),
    (("decode", "clip.lvc", "out.xyz"), "xyz"),
    (("info", "nowhere.lvc"), "nowhere.lvc")])
def test_errors(arguments, part, stream, tmp_path):
    """Exit code 1, one line on stderr that names the cause, nothing left behind."""
    root = str(Path(lvc.__file__).parent.parent)
    done = run(*arguments, cwd=tmp_path, env={**os.environ, "PYTHONPATH": root})
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("lvc: error: ")
    assert done.stderr.count("\n") == 1
    assert part in done.stderr
    assert names(tmp_path) == ["clip.lvc", "clip.yuv"]


@pytest.mark.parametrize("arguments", [
    (), ("frobnicate",), ("encode", "a.mp4"), ("encode", "a.mp4", "b.lvc", "--quality", "good"),
    ("encode", "a.yuv", "b.lvc", "--size", "64"), ("encode", "a.yuv", "b.lvc", "--frame-rate", "1/0"),
    ("encode", "a.yuv", "b.lvc", "--codec", FAST, "--quality", "64"),
    ("encode", "a.yuv", "b.lvc", "--codec", "x265:crf", "--size", "64x64")])
def test_wrong_usage(arguments, tmp_path):
    done = run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr
    assert names(tmp_path) == []


def test_help_and_version():
    assert run("--version").stdout == f"lvc {lvc.__version__}\n"
    done = run("--help")
    assert done.returncode == 0
    for command in ("encode", "decode", "info", "train", "codecs"):
        assert command in done.stdout
        assert run(command, "--help").returncode == 0


def test_codecs():
    done = run("codecs")
    assert done.returncode == 0
    assert {"x264", "x265", "svt-av1", "vvenc"} <= {line.split()[0] for line in done.stdout.splitlines()}


def test_damage(stream, tmp_path):
    """Exit code 3, the damage on stderr, the rest in the output; with --strict, 1 and no output."""
    data = bytearray(stream.read_bytes())
    data[len(data) // 3] ^= 1
    stream.write_bytes(data)
    done = run("decode", stream, tmp_path / "a.mkv")
    assert done.returncode == 3
    assert done.stderr.startswith("lvc: damage: ")
    assert "byte offset" in done.stderr
    assert "damaged" in done.stdout
    assert (tmp_path / "a.mkv").exists()
    (tmp_path / "a.mkv").unlink()
    assert run("info", stream).returncode == 3
    done = run("decode", stream, tmp_path / "a.mkv", "--strict")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert names(tmp_path) == ["clip.lvc", "clip.yuv"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(number, tmp_path, make_frames, write_raw):
    """Exit code 130, no traceback, no files."""
    raw = write_raw(tmp_path / "long.yuv", make_frames(40, 160, 128) * 20)
    command = [sys.executable, "-m", "lvc.cli", "encode", raw, tmp_path / "a.lvc", "--size", "160x128",
               "--codec", "x265:preset=placebo", "--threads", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        limit = time.monotonic() + 60
        while not list(tmp_path.glob(".a.lvc.*")):
            assert time.monotonic() < limit
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "lvc: interrupted\n"
    assert names(tmp_path) == ["long.yuv"]


def test_progress_on_a_terminal_only(tmp_path, make_frames, write_raw):
    """On a terminal there is a bar with bitrate; by test_encode_decode_info there is none elsewhere."""
    clip = write_raw(tmp_path / "clip.yuv", make_frames(60, 64, 64))
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    command = [sys.executable, "-m", "lvc.cli", "encode", clip, tmp_path / "a.lvc", "--size", "64x64",
               "--codec", "x265:preset=slower,tune=zerolatency", "--threads", "1"]
    with subprocess.Popen(command, stderr=slave, stdout=subprocess.DEVNULL) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                piece = os.read(master, 4096)
            except OSError:  # Linux tells the end of a terminal so
                break
            if not piece:
                break
            shown += piece
    os.close(master)
    assert process.returncode == 0
    assert b"encode" in shown
    assert b"kbit/s" in shown


def test_closed_output(stream):
    """A reader that goes away, as ``| head`` does, is no reason for a traceback."""
    command = [sys.executable, "-m", "lvc.cli", "info", str(stream)]
    read, write = os.pipe()
    os.close(read)
    with subprocess.Popen(command, stdout=write, stderr=subprocess.PIPE, text=True) as process:
        os.close(write)
        _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
