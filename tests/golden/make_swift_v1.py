"""Makes swift_v1.safetensors, and swift_v1 and swift_v1_bframes, each .lvc and .json, beside this file.

Made once: narrow untrained networks, streams coded with them, without and with B frames, and the MD5 of the samples of
every decoded frame. Every later version, on every machine, must decode the streams with these weights to the same
samples.

    python -m tests.golden.make_swift_v1        # in the root of the repository
"""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from pathlib import Path

import lvc
from lvc.types import Frame, VideoInfo
from lvc.video import open_sink
from lvc.weights import save_swift_weights
from tests import conftest as fixtures

HERE = Path(__file__).parent


def digest(frame: Frame) -> str:
    """MD5 of the samples of Y, U and V, row by row."""
    return hashlib.md5(b"".join(plane.tobytes() for plane in frame.planes), usedforsecurity=False).hexdigest()


def make(folder: Path) -> None:
    """Write the files into a folder."""
    weights, source = folder / "swift_v1.safetensors", folder / "source.y4m"
    save_swift_weights(weights, fixtures.seeded_swift(), {"note": "golden, never trained"})
    with open_sink(source, VideoInfo(50, 38, Fraction(25), Fraction(1, 25))) as sink:
        for frame in fixtures.moving_frames(7, 50, 38):
            sink.write(frame)
    for name, option in (("swift_v1", ""), ("swift_v1_bframes", ",bframes=3")):
        stream = folder / f"{name}.lvc"
        lvc.encode(source, stream, codec=f"swift:weights={weights}{option}", quality=45, intra_period=5)
        with lvc.open_stream(stream, weights=weights) as decoded:
            frames = {str(frame.pts): digest(frame) for frame in decoded}
        stream.with_suffix(".json").write_text(json.dumps(frames, indent=1) + "\n", encoding="utf-8")
    source.unlink()


if __name__ == "__main__":
    make(HERE)
