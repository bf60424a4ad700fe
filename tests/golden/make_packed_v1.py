"""Makes packed_v1 and packed_v1_tools, each .lvc and .json, beside this file.

Made once: streams of x265-packed, one as by default and one with tools that x265 seldom uses, the SHA-256 of the
standard stream in each, and the MD5 of the samples of every decoded frame. Every later version, on every machine, must
give the same.

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
STREAMS = {
    "packed_v1": ((98, 78, 9), "crf=32"),
    "packed_v1_tools": ((176, 144, 8), "preset=slower,crf=12,tskip=1,cu-lossless=1,rect=1,amp=1,weightb=1,wpp=1,ref=4,"
                                       "aq-mode=3,qg-size=16,tu-inter-depth=3,tu-intra-depth=3"),
}


def units_of(stream: Path) -> tuple[list[Packet], list[bytes]]:
    """Packets, and the access units in them."""
    with open(stream, "rb") as file:
        reader = StreamReader(file, strict=True)
        unpack = Unpacker(reader.header.video)
        packets = [packet for packet in reader if isinstance(packet, Packet)]
        return packets, [unpack(packet).payload for packet in packets]


def contents(stream: Path) -> dict[str, str]:
    """SHA-256 of the standard stream, and MD5 of frames by pts."""
    with lvc.open_stream(stream) as decoded:
        frames = {str(frame.pts): digest(frame) for frame in decoded}
    return {"stream": hashlib.sha256(b"".join(units_of(stream)[1])).hexdigest(), **frames}


def make(folder: Path) -> None:
    """Write the files into a folder."""
    source = folder / "source.y4m"
    for name, ((width, height, count), options) in STREAMS.items():
        with open_sink(source, VideoInfo(width, height, Fraction(25), Fraction(1, 25))) as sink:
            for frame in fixtures.moving_frames(count, width, height):
                sink.write(frame)
        stream = folder / f"{name}.lvc"
        lvc.encode(source, stream, codec=f"x265-packed:{options}", intra_period=5)
        stream.with_suffix(".json").write_text(json.dumps(contents(stream), indent=1) + "\n", encoding="utf-8")
    source.unlink()


if __name__ == "__main__":
    make(HERE)
