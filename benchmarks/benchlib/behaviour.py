"""What external codecs and measures do on small pictures, as hashes for the cache.

Records of standard encoders take hours, and most changes to lvc cannot alter them. Whether one did shows in
what comes out: each codec string codes a small clip, and the bytes of the file and of the frames decoded from
it stand for the code that it ran through (options, container, reader, writer). Source files alone would say
"changed" at every added codec, and anchors would be measured anew for nothing.
"""

from __future__ import annotations

import functools
import hashlib
import json
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

import lvc
from benchlib import environment
from benchlib.pictures import frames_of
from benchlib.results import Cache
from lvc import Frame
from lvc.metrics import PerceptualMeter, compare_frames

_CLIP = (101, 75, 7)
"""Width, height, frames: odd sizes, larger than any encoder's minimum, and two closed GOPs at _PERIODS[0]."""
_PERIODS = (4, -1)
_PICTURE = (178, 166, 3)
"""Width, height, frames that measures are tried on; MS-SSIM wants 161 pixels."""


def of_codec(codec_string: str, cache: Cache) -> str:
    """Hash of the files that a codec string makes of a small clip, and of the frames decoded from them.

    Args:
        codec_string: of a codec without weights.
        cache: remembers it for as long as no source file of lvc changes.

    Raises:
        LvcError: the codec failed.
    """
    return _remembered(f"codec {codec_string}", cache, functools.partial(_coded, codec_string))


def of_measures(cache: Cache) -> str:
    """Hash of all measures of a few pictures, to the digits that records have."""
    return _remembered("measures", cache, _measured)


def _remembered(what: str, cache: Cache, compute: Callable[[], str]) -> str:
    parts = [what, _CLIP, _PERIODS, _PICTURE, environment.code_digest(False), environment.versions()]
    name = "behaviour-" + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
    known = cache.load(name)
    if known is None or not isinstance(known.get("digest"), str):
        known = {"digest": compute()}
        cache.store(name, known)
    return str(known["digest"])


def _coded(codec_string: str) -> str:
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory(prefix="lvc-bench-") as name:
        source, coded, decoded = (Path(name, file) for file in ("s.mkv", "c.lvc", "d.y4m"))
        _write(source, _pictures(*_CLIP))
        for period in _PERIODS:
            lvc.encode(source, coded, codec=codec_string, intra_period=period, threads=1,
                       on_warning=lambda message: None)
            lvc.decode(coded, decoded)
            digest.update(coded.read_bytes())
            for frame in frames_of(decoded):
                for plane in frame.planes:
                    digest.update(plane.tobytes())
    return digest.hexdigest()[:32]


def _measured() -> str:
    width, height, _ = _PICTURE
    pictures = _pictures(*_PICTURE)
    shifted = [Frame(*(np.roll(plane, 1, 1) // 2 + 40 for plane in frame.planes)) for frame in pictures]
    with PerceptualMeter(width, height, Fraction(25)) as meter:
        for a, b in zip(pictures, shifted, strict=True):
            meter.push(a, b)
        found = [quality.as_dict() for quality in meter.finish()]
    found += [compare_frames(a, b).as_dict() for a, b in zip(pictures, shifted, strict=True)]
    values = [[None if value is None else round(value, 4) for value in row.values()] for row in found]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:32]


def _pictures(width: int, height: int, frames: int) -> list[Frame]:
    """A pattern that moves, with edges and a little texture; the same on every machine."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.int64)
    found = []
    for n in range(frames):
        x, y = columns + 3 * n, rows + n
        luma = 60 + (x * x // 37 + y * y // 29) % 90 + 50 * ((x // 16 + y // 12) % 2) + (x * 7 + y * 13) % 5
        u, v = ((90 + (columns + k * rows + 2 * n) // 2 % 70)[::2, ::2] for k in (1, 2))
        found.append(Frame(*(plane.astype(np.uint8) for plane in (luma, u, v)), pts=n))
    return found


def _write(path: Path, pictures: list[Frame]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = pictures[0].width, pictures[0].height, "yuv420p"
        for frame in pictures:
            picture = av.VideoFrame(frame.width, frame.height, "yuv420p")
            for plane, samples in zip(picture.planes, frame.planes, strict=True):
                rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
                rows[:, : plane.width] = samples
            picture.pts, picture.time_base = frame.pts, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
