"""Sources of each size, and one row of figures a codec, size and number of threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
from benchlib.pictures import frames_of
from benchlib.specs import BenchmarkError, RatePoint

import lvc
from lvc.metrics import plane_psnr, psnr_yuv611
from speedlib.clock import STAGES

_WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True)
class Case:
    """What one row is measured under."""

    point: RatePoint
    size: tuple[int, int]
    threads: int
    frames: int
    intra_period: int
    repeat: int


def make_source(clip: Path, size: tuple[int, int], frames: int, out: Path) -> None:
    """Scale a clip (bicubic) to a .y4m file, which costs next to nothing to read.

    A clip that is too short is played to and fro.

    Raises:
        BenchmarkError: it cannot be read, or holds no frame.
    """
    try:
        with av.open(str(clip)) as container, open(out, "wb") as file:
            stream = container.streams.video[0]
            rate = Fraction(stream.average_rate or 30)
            pictures = []
            for picture in container.decode(stream):
                pictures.append(picture.reformat(*size, format="yuv420p", interpolation="BICUBIC"))
                if len(pictures) == frames:
                    break
            if not pictures:
                raise BenchmarkError(f"{clip}: no frames")
            ratio = f"{rate.numerator}:{rate.denominator}"
            file.write(f"YUV4MPEG2 W{size[0]} H{size[1]} F{ratio} Ip A1:1 C420jpeg\n".encode())
            order = [*range(len(pictures)), *range(len(pictures) - 2, 0, -1)]
            for index in range(frames):
                file.write(b"FRAME\n")
                file.write(pictures[order[index % len(order)]].to_ndarray().tobytes())
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise BenchmarkError(f"{clip}: cannot be scaled to {size[0]}x{size[1]} ({error})") from error


def measure(case: Case, source: Path) -> dict[str, Any]:
    """Encode and decode, each in a process of its own bound to as many cores as threads are asked for.

    Raises:
        BenchmarkError: a process failed, or gave back other frames than the source has.
    """
    width, height = case.size
    with tempfile.TemporaryDirectory(prefix="lvc-speed-") as name:
        folder = Path(name)
        coded, decoded = folder / "coded.lvc", folder / "decoded.y4m"
        encode = _process(case, "encode", source, coded, folder)
        decode = _process(case, "decode", coded, decoded, folder)
        pairs = list(zip(frames_of(source, frames=case.frames), frames_of(decoded), strict=False))
        if len(pairs) != case.frames:
            raise BenchmarkError(f"{case.point.codec_string} gave back {len(pairs)} of {case.frames} frames")
        psnr = sum(psnr_yuv611(*plane_psnr(a, b)) for a, b in pairs) / len(pairs)
        size = coded.stat().st_size
    pixels = width * height * case.frames
    for run in (encode, decode):
        run["fps"] = case.frames / run["seconds"]
        run["mpx_per_second"] = pixels / 1e6 / run["seconds"]
    return {"codec": case.point.codec, "codec_string": case.point.codec_string,
            "point": {case.point.parameter: case.point.value},
            "learned": bool(lvc.open_codec(case.point.codec_string).weights_digest),
            "width": width, "height": height, "frames": case.frames, "threads": case.threads,
            "file_bytes": size, "bpp": 8 * size / pixels, "psnr_yuv": psnr,
            "encode": encode, "decode": decode}


def _process(case: Case, mode: str, source: Path, target: Path, folder: Path) -> dict[str, Any]:
    job = {"mode": mode, "source": str(source), "target": str(target), "codec": case.point.codec_string,
           "quality": case.point.quality, "intra_period": case.intra_period, "frames": case.frames,
           "threads": case.threads, "repeat": case.repeat}
    job_file, report = folder / "job.json", folder / "report.json"
    job_file.write_text(json.dumps(job), encoding="utf-8")
    env = dict(os.environ)
    package_root = str(Path(lvc.__file__).parents[1])
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [package_root, env.get("PYTHONPATH")]))
    env["OMP_NUM_THREADS"] = str(case.threads)
    result = subprocess.run([sys.executable, str(_WORKER), str(job_file), str(report)], env=env,
                            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["no message"]
        raise BenchmarkError(f"{case.point.codec_string}: {mode} of {case.size[0]}x{case.size[1]} failed: "
                             f"{lines[-1]}")
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    stages = {stage: found["stages"].get(stage, 0.0) for stage in STAGES}
    stages["other"] = max(0.0, found["seconds"] - sum(stages.values()))
    found["stages"] = {stage: round(value, 6) for stage, value in stages.items()}
    return found
