"""Makes container_v1.lvc and container_v1.json beside this file.

They were made once, with version 1.0 of the format, and stay: every later version must read the stream and
find what the JSON says. ``--check`` compares with what would be written now.
"""

from __future__ import annotations

import argparse
import io
import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

from lvc.bitstream import CodecId, SideData, StreamHeader, StreamReader, StreamWriter
from lvc.types import ColorInfo, Packet, PacketKind, VideoInfo

HERE = Path(__file__).parent


def build() -> bytes:
    """The stream: a bit of everything that version 1.0 can hold."""
    video = VideoInfo(1919, 1079, frame_rate=Fraction(24000, 1001), time_base=Fraction(1, 24000),
                      color=ColorInfo(9, 16, 9, True), rotation=90, sample_aspect_ratio=Fraction(4, 3),
                      n_frames=9)
    header = StreamHeader(CodecId.DVC_LITE, bytes(range(0xF0, 0x100)), video, -1, b"\x00codec data\xff")
    file = io.BytesIO()
    with StreamWriter(file, header) as writer:
        writer.write_side(b"before all frames")
        times = (-2002, -1001, 0, 3003, 1001, 2002, 2**40, 2**40 + 1001, 2**40 + 1500)
        for i, pts in enumerate(times):
            kind = PacketKind.INTRA if i % 3 == 0 else PacketKind.INTER
            writer.write_packet(Packet(kind, bytes((i * j) & 0xFF for j in range(i * 40)), pts, i * 7))
        writer.write_side(bytes(range(256)))
        writer.write_side(b"")
    return file.getvalue()


def describe(data: bytes) -> dict[str, Any]:
    """What a strict reader finds in the stream, for JSON."""
    reader = StreamReader(io.BytesIO(data))
    video = reader.header.video
    found: dict[str, Any] = {"header": {
        "codec_id": reader.header.codec_id, "weights_digest": reader.header.weights_digest.hex(),
        "intra_period": reader.header.intra_period, "codec_data": reader.header.codec_data.hex(),
        "width": video.width, "height": video.height, "frame_rate": str(video.frame_rate),
        "time_base": str(video.time_base), "color": asdict(video.color), "rotation": video.rotation,
        "sample_aspect_ratio": str(video.sample_aspect_ratio), "n_frames": video.n_frames}, "items": []}
    for item in reader:
        entry: dict[str, Any] = {"number": reader.number, "offset": reader.offset}
        if isinstance(item, SideData):
            entry |= {"side": item.data.hex()}
        elif isinstance(item, Packet):
            entry |= {"kind": item.kind.name, "pts": item.pts, "quality": item.quality,
                      "payload": item.payload.hex()}
        found["items"].append(entry)
    assert reader.end is not None
    found["end"] = {"packets": reader.end.packets, "frames": reader.end.frames,
                    "index": [[entry.packet, entry.offset, entry.pts] for entry in reader.end.index]}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the files instead of writing them")
    data = build()
    text = json.dumps(describe(data), indent=1) + "\n"
    if parser.parse_args().check:
        same = ((HERE / "container_v1.lvc").read_bytes() == data
                and (HERE / "container_v1.json").read_text() == text)
        raise SystemExit(0 if same else "the golden files differ from what would be written now")
    (HERE / "container_v1.lvc").write_bytes(data)
    (HERE / "container_v1.json").write_text(text)


if __name__ == "__main__":
    main()
