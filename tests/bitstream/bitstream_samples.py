"""Small streams for the tests of the container."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from lvc.bitstream import CodecId, Damage, SideData, StreamHeader, StreamReader, StreamWriter
from lvc.types import ColorInfo, Packet, PacketKind, VideoInfo

HEADER = StreamHeader(
    CodecId.DVC_LITE, bytes(range(16)),
    VideoInfo(33, 17, frame_rate=Fraction(30000, 1001), time_base=Fraction(1, 30000),
              color=ColorInfo(1, 13, 6, True), rotation=270, sample_aspect_ratio=Fraction(4, 3), n_frames=7),
    intra_period=3, codec_data=b"model")


def intra(pts: int, payload: bytes = b"intra", quality: int = 40) -> Packet:
    return Packet(PacketKind.INTRA, payload, pts, quality)


def inter(pts: int, payload: bytes = b"p", quality: int = 20) -> Packet:
    return Packet(PacketKind.INTER, payload, pts, quality)


ITEMS: tuple[Packet | SideData, ...] = (
    intra(0), inter(1001), inter(2002),
    SideData(b"audio 0"),
    intra(3003, b""), inter(5005, b"b"), inter(4004, b"", 63),
    intra(6006, bytes(range(200)), 0),
    SideData(b""), SideData(b"audio 1"),
)


@dataclass(frozen=True)
class Stream:
    """Bytes of a stream, and where its packets begin (``starts[i]`` for packet i, the end packet's last)."""

    data: bytes
    starts: list[int]

    def packet(self, number: int) -> bytes:
        """The bytes of one packet; the end packet comes with the trailer."""
        return self.data[self.starts[number]:(self.starts + [len(self.data)])[number + 1]]

    def with_packets(self, numbers: Sequence[int]) -> bytes:
        """Header, the packets of these numbers in this order, and the end packet if it is among them."""
        return self.data[:self.starts[0]] + b"".join(self.packet(number) for number in numbers)


def make(items: Sequence[Packet | SideData] = ITEMS, header: StreamHeader = HEADER) -> Stream:
    file = io.BytesIO()
    starts = []
    with StreamWriter(file, header) as writer:
        for item in items:
            starts.append(writer.offset)
            if isinstance(item, SideData):
                writer.write_side(item.data)
            else:
                writer.write_packet(item)
        starts.append(writer.offset)
    return Stream(file.getvalue(), starts)


def read(data: bytes, *, strict: bool = True) -> tuple[list[Packet | SideData], list[Damage], StreamReader]:
    """Everything of a stream: what was carried, what was damaged, and the reader."""
    reader = StreamReader(io.BytesIO(data), strict=strict)
    found = list(reader)
    return ([item for item in found if not isinstance(item, Damage)],
            [item for item in found if isinstance(item, Damage)], reader)


class Pipe(io.RawIOBase):
    """Reads bytes as a pipe does: not seekable, and a few at a time. Counts what was taken."""

    def __init__(self, data: bytes, step: int = 7) -> None:
        self._data = io.BytesIO(data)
        self._step = step
        self.taken = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        part = self._data.read(min(self._step, len(buffer)))
        buffer[:len(part)] = part
        self.taken += len(part)
        return len(part)
