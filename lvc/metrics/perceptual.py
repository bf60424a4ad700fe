"""SSIM, VMAF and XPSNR by the filters of an ffmpeg executable.

The filters ``ssim``, ``libvmaf`` (model vmaf_v0.6.1) and ``xpsnr`` run in one process of the executable that
the package imageio-ffmpeg brings along; pictures go to it through a pipe, so nothing is stored, and no file
format or timestamp stands between what was decoded and what is measured.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from pathlib import Path
from types import TracebackType

from lvc.errors import LvcError, UsageError
from lvc.metrics.psnr import PSNR_CAP, psnr_yuv611
from lvc.types import Frame

PERCEPTUAL_MIN_SIDE = 32
"""Shortest side, in pixels, that is measured: the coarsest of VMAF's four scales halves a picture thrice, and
its filters want more than a few samples there."""

_SSIM = re.compile(r"n:\d+ Y:(\S+) U:(\S+) V:(\S+) All:(\S+)")
_XPSNR = re.compile(r"n: *\d+ +XPSNR y: *(\S+) +XPSNR u: *(\S+) +XPSNR v: *(\S+)", re.IGNORECASE)

# Source and decoded picture come in turns. Numbering them anew on either side pairs them whatever happens.
_GRAPH = (
    "[0:v]split=2[x][y];"
    r"[x]select=not(mod(n\,2)),setpts=N,fps={rate},split=3[r1][r2][r3];"
    r"[y]select=mod(n\,2),setpts=N,fps={rate},split=3[d1][d2][d3];"
    "[d1][r1]ssim=stats_file=ssim.log[o1];"
    # unlike the others, xpsnr takes the source first
    "[r2][d2]xpsnr=stats_file=xpsnr.log[o2];"
    "[d3][r3]libvmaf=log_path=vmaf.json:log_fmt=json:n_threads={threads}[o3]"
)


@dataclass(frozen=True, slots=True)
class PerceptualQuality:
    """Perceptual quality of one decoded frame, or of a sequence.

    Attributes:
        ssim_y: SSIM of luma, 0 to 1 (FFmpeg's: windows of 8x8 samples without weights, four apart).
        ssim: SSIM of the three planes, weighted by their numbers of samples.
        vmaf: VMAF, model vmaf_v0.6.1, 0 to 100.
        xpsnr_y, xpsnr_u, xpsnr_v: XPSNR of each plane, dB (Helmrich et al., ICASSP 2020), at most PSNR_CAP.
        xpsnr: (6 Y + U + V) / 8 of these, dB.
    """

    ssim_y: float
    ssim: float
    vmaf: float
    xpsnr_y: float
    xpsnr_u: float
    xpsnr_v: float
    xpsnr: float

    def as_dict(self) -> dict[str, float]:
        """Names and values, ready for JSON."""
        return asdict(self)


def find_ffmpeg() -> str:
    """Path of the ffmpeg executable that imageio-ffmpeg brings along.

    Raises:
        LvcError: there is none.
    """
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        raise LvcError("SSIM, VMAF and XPSNR are not available without the package imageio-ffmpeg") from None


class PerceptualMeter:
    """Measures frame by frame: push every pair, then ask for the result.

    >>> with PerceptualMeter(416, 240, Fraction(50)) as meter:  # doctest: +SKIP
    ...     for source, decoded in pairs:
    ...         meter.push(source, decoded)
    ...     qualities = meter.finish()

    Memory does not grow with the number of frames.

    Args:
        width, height: of all frames, in luma samples.
        frame_rate: frames a second; XPSNR weighs motion by the difference of two frames up to 32, of three
            above.
        threads: of VMAF; it does not change the result.

    Raises:
        UsageError: a side of less than PERCEPTUAL_MIN_SIDE, or a frame rate not above zero.
        LvcError: there is no ffmpeg executable.
    """

    def __init__(self, width: int, height: int, frame_rate: Fraction = Fraction(30), *,
                 threads: int = 1) -> None:
        if min(width, height) < PERCEPTUAL_MIN_SIDE:
            raise UsageError(f"SSIM, VMAF and XPSNR need at least {PERCEPTUAL_MIN_SIDE} pixels on either "
                             f"side, not {width}x{height}")
        if frame_rate <= 0 or threads < 1:
            raise UsageError(f"the frame rate and the number of threads must be above zero, not {frame_rate} "
                             f"and {threads}")
        self._size = (width, height)
        self._frames = 0
        self._folder = tempfile.TemporaryDirectory(prefix="lvc-metrics-")
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        command = [
            find_ffmpeg(), "-hide_banner", "-nostdin", "-loglevel", "error",
            "-f", "rawvideo", "-pixel_format", "yuv420p", "-video_size", f"{width}x{height}",
            "-framerate", str(frame_rate), "-i", "pipe:0",
            "-filter_complex", _GRAPH.format(rate=frame_rate, threads=threads),
            *(part for output in ("[o1]", "[o2]", "[o3]") for part in ("-map", output)),
            "-fps_mode", "passthrough", "-f", "null", "-",
        ]
        try:
            # a session of its own: Ctrl-C is for us, and we end the process
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                             stderr=self._log, cwd=self._folder.name, start_new_session=True)
        except OSError as error:
            raise LvcError(f"SSIM, VMAF and XPSNR are not available: {error.strerror}") from error
        self._end = weakref.finalize(self, _end, self._process, self._folder)

    def push(self, reference: Frame, decoded: Frame) -> None:
        """Take the source and the decoded picture of one frame.

        Raises:
            UsageError: a frame of another size.
            LvcError: ffmpeg failed.
        """
        for frame in (reference, decoded):
            if (frame.width, frame.height) != self._size:
                raise UsageError(f"a {frame.width}x{frame.height} frame among frames of "
                                 f"{self._size[0]}x{self._size[1]}")
        assert self._process.stdin is not None
        try:
            for frame in (reference, decoded):
                for plane in frame.planes:
                    self._process.stdin.write(plane.tobytes())
        except (OSError, ValueError):
            raise self._failure() from None
        self._frames += 1

    def finish(self) -> list[PerceptualQuality]:
        """The quality of every frame, in order. Nothing may be pushed afterwards.

        Raises:
            UsageError: no frames were pushed.
            LvcError: ffmpeg failed.
        """
        if self._frames == 0:
            raise UsageError("the quality of no frames is undefined")
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except OSError:
            raise self._failure() from None
        if self._process.wait() != 0:
            raise self._failure()
        folder = Path(self._folder.name)
        try:
            ssim = _SSIM.findall((folder / "ssim.log").read_text())
            xpsnr = _XPSNR.findall((folder / "xpsnr.log").read_text())
            frames = json.loads((folder / "vmaf.json").read_text())["frames"]
            vmaf = [frame["metrics"]["vmaf"] for frame in frames]
        except (OSError, ValueError, KeyError) as error:
            raise LvcError(f"ffmpeg's filters left no results: {error}") from error
        if not len(ssim) == len(xpsnr) == len(vmaf) == self._frames:
            raise LvcError(f"ffmpeg measured {len(ssim)}, {len(xpsnr)} and {len(vmaf)} frames by SSIM, XPSNR "
                           f"and VMAF, out of {self._frames}")
        self._end()
        return [_quality(*row) for row in zip(ssim, vmaf, xpsnr, strict=True)]

    def __enter__(self) -> PerceptualMeter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._end()

    def _failure(self) -> LvcError:
        self._process.kill()
        self._process.wait()
        self._log.seek(0)
        lines = self._log.read(1 << 16).decode(errors="replace").strip().splitlines()
        self._end()
        return LvcError(f"ffmpeg's filters failed: {lines[0] if lines else 'the process ended early'}")


def mean_perceptual_quality(frames: Sequence[PerceptualQuality]) -> PerceptualQuality:
    """The quality of a sequence: arithmetic means, but for XPSNR.

    XPSNR is averaged as FFmpeg's filter does it: the root of the weighted squared error of each frame,
    averaged, in dB again. (A mean of dB would give another figure than other tools.)

    Raises:
        UsageError: no frames.
    """
    if not frames:
        raise UsageError("the mean quality of no frames is undefined")
    means: dict[str, float] = {}
    for field in fields(PerceptualQuality):
        values = [getattr(frame, field.name) for frame in frames]
        means[field.name] = sum(values) / len(values)
    for name in ("xpsnr_y", "xpsnr_u", "xpsnr_v"):
        values = [getattr(frame, name) for frame in frames]
        distance = sum(0.0 if value >= PSNR_CAP else 10 ** (-value / 20) for value in values) / len(values)
        means[name] = min(PSNR_CAP, -20 * math.log10(distance)) if distance else PSNR_CAP
    means["xpsnr"] = psnr_yuv611(means["xpsnr_y"], means["xpsnr_u"], means["xpsnr_v"])
    return PerceptualQuality(**means)


def _quality(ssim: tuple[str, ...], vmaf: float, xpsnr: tuple[str, ...]) -> PerceptualQuality:
    y, u, v = (min(PSNR_CAP, float(value)) for value in xpsnr)
    return PerceptualQuality(float(ssim[0]), float(ssim[3]), float(vmaf), y, u, v, psnr_yuv611(y, u, v))


def _end(process: subprocess.Popen[bytes], folder: tempfile.TemporaryDirectory[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdin is not None and not process.stdin.closed:
        with contextlib.suppress(OSError):
            process.stdin.close()
    folder.cleanup()
