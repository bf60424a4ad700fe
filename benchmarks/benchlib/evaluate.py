"""One rate point of one codec on one sequence, from a real file: encode, decode elsewhere, compare."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import lvc
import lvc.metrics
from benchlib import environment
from benchlib.pictures import describe, frames_of, sha256_of
from benchlib.specs import BenchmarkError, RatePoint, SequenceSpec
from lvc import Frame

RECORD_VERSION = 1
_WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True)
class Job:
    """Everything that a record depends on.

    Attributes:
        sequence, point: what is coded, and how.
        intra_period: frames from one intra frame to the next; -1 for the first frame only.
        frames: at most so many frames, None for all.
        threads: for encoder and decoder; 0 lets the codec choose.
    """

    sequence: SequenceSpec
    point: RatePoint
    intra_period: int = 32
    frames: int | None = None
    threads: int = 0

    @property
    def frame_limit(self) -> int | None:
        limits = [n for n in (self.sequence.frames, self.frames) if n is not None]
        return min(limits) if limits else None

    def key(self, sequence_sha256: str) -> str:
        """Name of the record in the cache: the hash of all that it depends on."""
        digest = weights_digest(self.point.codec_string)
        parts = {
            "record": RECORD_VERSION,
            "sequence": [sequence_sha256, self.sequence.size, str(self.sequence.frame_rate)],
            "codec": self.point.codec_string,
            "quality": self.point.quality,
            "intra_period": self.intra_period,
            "frames": self.frame_limit,
            "threads": self.threads,
            "weights": digest,
            "code": environment.code_digest(bool(digest)),
            "versions": environment.versions(),
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
        decode = _run(["decode", "CODED", "DECODED"], {"CODED": coded, "DECODED": decoded}, job, Path(folder))
        progress("measure")
        qualities, md5 = _compare(job, decoded, picture.color, on_frame)
        file_bytes = coded.stat().st_size
    n = len(qualities)
    for run in (encode, decode):
        run["fps"] = round(n / run["seconds"], 3)
    mean = lvc.metrics.mean_quality(qualities)
    return {
        "record": RECORD_VERSION,
        "sequence": {
            "name": source.name,
            "sha256": sha256_of(source.path),
            "width": picture.width,
            "height": picture.height,
            "frames": n,
            "frame_rate": str(picture.frame_rate),
        },
        "codec": point.codec,
        "point": {point.parameter: point.value},
        "codec_string": point.codec_string,
        "intra_period": job.intra_period,
        "threads": job.threads,
        "file_bytes": file_bytes,
        "bpp": file_bytes * 8 / (picture.width * picture.height * n),
        "kbps": float(file_bytes * 8 * picture.frame_rate / n / 1000),
        "mean": {name: _rounded(value) for name, value in mean.as_dict().items()},
        "per_frame": {name: [_rounded(getattr(q, name)) for q in qualities] for name in mean.as_dict()},
        "decoded_md5": md5,
        "encode": encode,
        "decode": decode,
        "weights_digest": weights_digest(point.codec_string),
        "versions": environment.versions(),
        "machine": environment.machine(),
    }


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
    result = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    line = "lvc " + shlex.join(arguments)
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines()
        raise BenchmarkError(f"{job.sequence.name}: '{line}' failed with exit code {result.returncode}: "
                             f"{lines[-1] if lines else 'no message'}")
    times = json.loads(report.read_text(encoding="utf-8"))
    return {"command": line, **{name: round(value, 4) for name, value in times.items()}}


def _compare(
    job: Job, decoded: Path, color: Any, on_frame: Callable[[int, Frame, Frame], None] | None
) -> tuple[list[lvc.metrics.FrameQuality], str]:
    sequence = job.sequence
    expected = frames_of(
        sequence.path, frames=job.frame_limit, size=sequence.size, frame_rate=sequence.frame_rate
    )
    qualities: list[lvc.metrics.FrameQuality] = []
    digest = hashlib.md5(usedforsecurity=False)
    for index, (a, b) in enumerate(zip_longest(expected, frames_of(decoded))):
        if a is None or b is None:
            raise BenchmarkError(f"{sequence.name}: {job.point.codec_string} gave back "
                                 f"{'more' if a is None else 'fewer'} frames than the source has, {index}")
        qualities.append(lvc.metrics.compare_frames(a, b, color))
        for plane in b.planes:
            digest.update(plane.tobytes())
        if on_frame:
            on_frame(index, a, b)
    if not qualities:
        raise BenchmarkError(f"{sequence.name}: the sequence has no frames")
    return qualities, digest.hexdigest()
