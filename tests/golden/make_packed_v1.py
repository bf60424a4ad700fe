"""Makes packed_v1.lvc and packed_v1.json beside this file.

Made once: a stream of x265-packed, the SHA-256 of the standard stream in it, and the MD5 of the samples of every
decoded frame. Every later version, on every machine, must give the same.

    python -m tests.golden.make_packed_v1        # in the root of the repository
"""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from pathlib import Path

import lvc
from lvc.bitstream import StreamReader
from lvc.codecs.packed import Unpacker
from lvc.types import Packet, VideoInfo
from lvc.video import open_sink
from tests import conftest as fixtures
from tests.golden.make_swift_v1 import digest

HERE = Path(__file__).parent


def contents(stream: Path) -> dict[str, str]:
    """SHA-256 of the standard stream, and MD5 of frames by pts."""
    with open(stream, "rb") as file:
        reader = StreamReader(file, strict=True)
        unpack = Unpacker(reader.header.video)
        units = [unpack(packet).payload for packet in reader if isinstance(packet, Packet)]
    with lvc.open_stream(stream) as decoded:
        frames = {str(frame.pts): digest(frame) for frame in decoded}
    return {"stream": hashlib.sha256(b"".join(units)).hexdigest(), **frames}


def make(folder: Path) -> None:
    """Write the files into a folder."""
    stream, source = folder / "packed_v1.lvc", folder / "source.y4m"
    with open_sink(source, VideoInfo(98, 78, Fraction(25), Fraction(1, 25))) as sink:
        for frame in fixtures.moving_frames(9, 98, 78):
            sink.write(frame)
    lvc.encode(source, stream, codec="x265-packed:crf=32", intra_period=5)
    stream.with_suffix(".json").write_text(json.dumps(contents(stream), indent=1) + "\n", encoding="utf-8")
    source.unlink()


if __name__ == "__main__":
    make(HERE)
