"""One rate point of one codec on one sequence, from a real file: encode, decode elsewhere, compare."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import zip_longest
from pathlib import Path
from typing import Any

import lvc
import lvc.metrics
from benchlib import behaviour, environment
from benchlib.pictures import Picture, describe, frames_of, sha256_of
from benchlib.results import Cache
from benchlib.specs import BenchmarkError, RatePoint, SequenceSpec
from lvc import Frame

RECORD_VERSION = 2
_WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True)
class Job:
    """Everything that a record depends on.

    Attributes:
        sequence, point: what is coded, and how.
        intra_period: frames from one intra frame to the next; -1 for the first frame only.
        frames: at most so many frames, None for all.
        threads: for encoder and decoder; 0 lets the codec choose.
        preset: name of the test conditions, empty if there is none.
        pin: keep both processes on as many cores as they may have threads. Not for several jobs at once,
            which would share these cores.
    """

    sequence: SequenceSpec
    point: RatePoint
    intra_period: int = 32
    frames: int | None = None
    threads: int = 0
    preset: str = ""
    pin: bool = True

    @property
    def frame_limit(self) -> int | None:
        limits = [n for n in (self.sequence.frames, self.frames) if n is not None]
        return min(limits) if limits else None

    def key(self, sequence_sha256: str, cache: Cache) -> str:
        """Name of the record in the cache: the hash of all that it depends on.

        Of learned codecs that is the source code of lvc, too; of others, what their code does (see
        benchlib.behaviour), so that they stay cached while networks are worked on.
        """
        digest = weights_digest(self.point.codec_string)
        if digest:
            code = [environment.code_digest(True)]
            versions = environment.versions()
        else:
            code = [behaviour.of_codec(self.point.codec_string, cache), behaviour.of_measures(cache)]
            versions = {k: v for k, v in environment.versions().items() if k not in ("lvc", "python")}
        parts = {
            "record": RECORD_VERSION,
            "sequence": [sequence_sha256, self.sequence.size, str(self.sequence.frame_rate)],
            "codec": self.point.codec_string,
            "quality": self.point.quality,
            "intra_period": self.intra_period,
            "frames": self.frame_limit,
            "threads": self.threads,
            "weights": digest,
            "code": code,
            "versions": versions,
            "machine": environment.machine(),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


@functools.cache
def weights_digest(codec_string: str) -> str:
    """Digest of a codec's weights, in hexadecimal; empty for a codec without weights."""
    return lvc.open_codec(codec_string).weights_digest.hex()


def evaluate(
    job: Job,
    *,
    on_frame: Callable[[int, Frame, Frame], None] | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measure one rate point.

    The encoder writes a file; another process decodes that file to .y4m; its frames are compared with
    those of the source. Rate is the size of the file.

    Args:
        job: what to measure.
        on_frame: is given index, source frame and decoded frame of each picture.
        on_progress: is given the name of each step as it begins.

    Returns:
        A record that JSON can hold; benchmarks/README.md describes it.

    Raises:
        BenchmarkError: the codec failed, or the decoded file has other frames than the source.
    """
    progress = on_progress or (lambda step: None)
    source, point = job.sequence, job.point
    picture = describe(source)
    with tempfile.TemporaryDirectory(prefix="lvc-bench-") as folder:
        coded, decoded = Path(folder, "coded.lvc"), Path(folder, "decoded.y4m")
        progress("encode")
        encode = _run(_encode_arguments(job), {"SOURCE": source.path, "CODED": coded}, job, Path(folder))
        progress("decode")
        decode = _run(_decode_arguments(job), {"CODED": coded, "DECODED": decoded}, job, Path(folder))
        progress("measure")
        measured = _compare(job, decoded, picture, on_frame)
        file_bytes = coded.stat().st_size
        stream = lvc.probe(coded)
    n = measured.frames
    for run in (encode, decode):
        run["fps"] = round(n / run["seconds"], 3)
    return {
        "record": RECORD_VERSION,
        "sequence": {
            "name": source.name,
            "sha256": sha256_of(source.path),
            "width": picture.width,
            "height": picture.height,
            "frames": n,
            "frame_rate": str(picture.frame_rate),
            "dataset": source.dataset,
        },
        "codec": point.codec,
        "point": {point.parameter: point.value},
        "codec_string": point.codec_string,
        "intra_period": job.intra_period,
        "threads": job.threads,
        "preset": job.preset,
        "file_bytes": file_bytes,
        "payload_bytes": stream.intra_bytes + stream.inter_bytes,
        "side_bytes": stream.side_bytes,
        "bpp": file_bytes * 8 / (picture.width * picture.height * n),
        "kbps": float(file_bytes * 8 * picture.frame_rate / n / 1000),
        "mean": {name: _rounded(value) for name, value in measured.mean.items()},
        "per_frame": {name: list(map(_rounded, values)) for name, values in measured.per_frame.items()},
        "decoded_md5": measured.md5,
        "encode": encode,
        "decode": decode,
        "kmac": environment.kmac(point.codec_string),
        "weights_digest": weights_digest(point.codec_string),
        "commit": environment.commit(),
        "versions": _versions(point.codec),
        "machine": environment.machine(),
    }


def _versions(codec: str) -> dict[str, str]:
    base = re.search(r"[:,]base=([^,]+)", codec)  # of a layered codec
    encoder = environment.encoder_version(base[1] if base else codec.partition(":")[0])
    return environment.versions() | ({"encoder": encoder} if encoder else {})


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def _encode_arguments(job: Job) -> list[str]:
    arguments = ["encode", "SOURCE", "CODED", "--codec", job.point.codec_string,
                 "--intra-period", str(job.intra_period)]
    if job.point.quality is not None:
        arguments += ["--quality", str(job.point.quality)]
    if job.frame_limit is not None:
        arguments += ["--frames", str(job.frame_limit)]
    if job.sequence.size is not None:
        arguments += ["--size", "{}x{}".format(*job.sequence.size)]
    if job.threads:
        arguments += ["--threads", str(job.threads)]
    return arguments


def _decode_arguments(job: Job) -> list[str]:
    weights = re.search(r"[:,]weights=([^,]+)", job.point.codec_string)
    return ["decode", "CODED", "DECODED", *(["--weights", weights[1]] if weights else [])]


def command_lines(job: Job) -> list[str]:
    """The commands of a point, as records hold them: SOURCE, CODED and DECODED stand for files."""
    return [f"lvc {shlex.join(arguments)}" for arguments in (_encode_arguments(job), _decode_arguments(job))]


def _run(arguments: list[str], files: dict[str, Path], job: Job, folder: Path) -> dict[str, Any]:
    """Run one command line in a fresh process; return its times and, for the record, the line."""
    report = folder / "report.json"
    command = [sys.executable, str(_WORKER), str(report), job.point.codec_string,
               *(str(files.get(argument, argument)) for argument in arguments)]
    env = dict(os.environ)
    # The package that this process uses, wherever it lies, is the one that is measured.
    package_root = str(Path(lvc.__file__).parents[1])
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [package_root, env.get("PYTHONPATH")]))
    if job.threads:
        env["OMP_NUM_THREADS"] = str(job.threads)
        if job.pin:
            env["LVC_BENCH_CORES"] = str(job.threads)
    code, message = _PROCESSES.run(command, env)
    line = "lvc " + shlex.join(arguments)
    if code != 0:
        lines = message.strip().splitlines()
        raise BenchmarkError(f"{job.sequence.name}: '{line}' failed with exit code {code}: "
                             f"{lines[-1] if lines else 'no message'}")
    times = json.loads(report.read_text(encoding="utf-8"))
    return {"command": line, **{name: round(value, 4) for name, value in times.items()}}


class _Processes:
    """Runs processes, and can end all that run at the moment."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._ended = False

    def run(self, command: list[str], env: dict[str, str]) -> tuple[int, str]:
        """Exit code, and what was written to stderr."""
        with self._lock:
            if self._ended:
                raise BenchmarkError("interrupted")
            process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.PIPE, text=True, errors="replace")
            self._running.add(process)
        try:
            _, message = process.communicate()
            return process.returncode, message
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            with self._lock:
                self._running.discard(process)

    def end(self) -> None:
        """Terminate what runs; nothing more can be run."""
        with self._lock:
            self._ended = True
            for process in self._running:
                process.terminate()


_PROCESSES = _Processes()
stop = _PROCESSES.end
"""Ends all encoders and decoders, for a program that is about to end."""


@dataclass(frozen=True)
class _Measured:
    frames: int
    mean: dict[str, float | None]
    per_frame: dict[str, list[float | None]]
    md5: str


def _compare(
    job: Job, decoded: Path, picture: Picture, on_frame: Callable[[int, Frame, Frame], None] | None
) -> _Measured:
    sequence = job.sequence
    expected = frames_of(
        sequence.path, frames=job.frame_limit, size=sequence.size, frame_rate=sequence.frame_rate
    )
    qualities: list[lvc.metrics.FrameQuality] = []
    digest = hashlib.md5(usedforsecurity=False)
    perceptual: list[lvc.metrics.PerceptualQuality] = []
    with contextlib.ExitStack() as stack:
        meter = None
        if min(picture.width, picture.height) >= lvc.metrics.PERCEPTUAL_MIN_SIDE:
            meter = lvc.metrics.PerceptualMeter(picture.width, picture.height, picture.frame_rate)
            stack.enter_context(meter)
        for index, (a, b) in enumerate(zip_longest(expected, frames_of(decoded))):
            if a is None or b is None:
                raise BenchmarkError(f"{sequence.name}: {job.point.codec_string} gave back "
                                     f"{'more' if a is None else 'fewer'} frames than the source has: "
                                     f"{index}")
            if (a.width, a.height) != (b.width, b.height):
                raise BenchmarkError(f"{sequence.name}: {job.point.codec_string} gave back frames of "
                                     f"{b.width}x{b.height}, the source has {a.width}x{a.height}")
            if meter is not None:
                meter.push(a, b)
            qualities.append(lvc.metrics.compare_frames(a, b, picture.color))
            for plane in b.planes:
                digest.update(plane.tobytes())
            if on_frame:
                on_frame(index, a, b)
        if not qualities:
            raise BenchmarkError(f"{sequence.name}: the sequence has no frames")
        if meter is not None:
            perceptual = meter.finish()
    mean: dict[str, float | None] = lvc.metrics.mean_quality(qualities).as_dict()
    per_frame: dict[str, list[float | None]] = {name: [getattr(q, name) for q in qualities] for name in mean}
    names = [field.name for field in fields(lvc.metrics.PerceptualQuality)]
    mean |= lvc.metrics.mean_perceptual_quality(perceptual).as_dict() if perceptual else dict.fromkeys(names)
    for name in names:
        per_frame[name] = [getattr(q, name) for q in perceptual] or [None] * len(qualities)
    return _Measured(len(qualities), mean, per_frame, digest.hexdigest())
