"""Writing a stream."""

from __future__ import annotations

import io
from types import TracebackType
from typing import BinaryIO

from lvc.bitstream.container import IndexCoder, IndexEntry, packet_crc
from lvc.bitstream.header import StreamHeader, nominal_step, pack_header
from lvc.bitstream.layout import (
    ANCHOR,
    CRC_BYTES,
    END,
    INTER,
    INTER_TAG,
    INTRA,
    MAX_PAYLOAD,
    MAX_PTS,
    TRAILER,
    AnchorType,
)
from lvc.errors import UsageError, VideoError
from lvc.types import MAX_QUALITY, Packet, PacketKind

SIDE_CHUNK = 1 << 20
"""Side data is cut into packets of this size: one damaged byte loses little, and memory stays small."""


class StreamWriter:
    """Writes header, packets and closing packet, front to back: the file need not be seekable.

    As a context manager it closes the stream at the end of the block, but not after an exception: then the
    closing packet is missing, and readers will say so. The file itself stays open either way.

    Args:
        file: opened for binary writing.
        header: written at once.

    Attributes:
        packets, frames: number of packets and frame packets written so far.
        offset: bytes written so far.

    Raises:
        UsageError: a header outside the format's limits, or a file opened as text.
        VideoError: the file cannot be written.
    """

    def __init__(self, file: BinaryIO, header: StreamHeader) -> None:
        if isinstance(file, io.TextIOBase):
            raise UsageError("a stream must be opened for binary writing")
        self._file = file
        self._step = nominal_step(header.video)
        self._index = IndexCoder()
        self._index_data = bytearray()
        self._pts: int | None = None
        self._closed = False
        self.packets = 0
        self.frames = 0
        self.offset = 0
        data = pack_header(header)
        self._header_crc = int.from_bytes(data[-CRC_BYTES:], "little")
        self._write(data)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                # A raw file may take less than it is given; file objects that return nothing took it all.
                written = self._file.write(view)
                view = view[len(view) if written is None else written:]
        except (OSError, ValueError) as error:
            self._closed = True
            raise VideoError(f"the stream cannot be written: {error}") from error
        self.offset += len(data)

    def _write_packet(self, data: bytes) -> None:
        self._write(data + packet_crc(self._header_crc, self.packets, data).to_bytes(CRC_BYTES, "little"))
        self.packets += 1

    def _anchor(self, kind: AnchorType, body: bytes) -> bytes:
        return ANCHOR.pack({"type": kind, "packet": self.packets, "frame": self.frames,
                            "length": len(body)}) + body

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the stream is closed: nothing can be written to it")

    def write_packet(self, packet: Packet) -> None:
        """Append a coded frame. Raises UsageError on values outside the limits, or if it must be intra."""
        self._check_open()
        if packet.kind not in (PacketKind.INTRA, PacketKind.INTER):
            raise UsageError(f"{packet.kind!r} is no kind of packet")
        if not 0 <= packet.quality <= MAX_QUALITY:
            raise UsageError(f"quality must be from 0 to {MAX_QUALITY}, not {packet.quality}")
        if abs(packet.pts) > MAX_PTS:
            raise UsageError(f"presentation time {packet.pts} is out of range")
        if len(packet.payload) > MAX_PAYLOAD:
            raise UsageError(f"a payload of {len(packet.payload)} bytes is over the limit of {MAX_PAYLOAD}")
        if packet.kind == PacketKind.INTRA:
            body = INTRA.pack({"pts": packet.pts, "quality": packet.quality}) + packet.payload
            self._index_data += self._index.pack(IndexEntry(self.packets, self.offset, packet.pts))
            data = self._anchor(AnchorType.INTRA, body)
        elif self._pts is None:
            raise UsageError("the first frame of a stream must be an intra frame")
        else:
            data = INTER.pack({"tag": INTER_TAG + packet.quality, "length": len(packet.payload),
                               "pts_residual": packet.pts - self._pts - self._step}) + packet.payload
        self._write_packet(data)
        self.frames += 1
        self._pts = packet.pts

    def write_side(self, data: bytes) -> None:
        """Append side data; more than 1 MiB becomes several packets."""
        self._check_open()
        for start in range(0, max(len(data), 1), SIDE_CHUNK):
            self._write_packet(self._anchor(AnchorType.SIDE, bytes(data[start:start + SIDE_CHUNK])))

    def close(self) -> None:
        """Write the closing packet and flush the file (which stays open). A second call does nothing."""
        if self._closed:
            return
        start = self.offset
        body = END.pack({"entries": self._index.count}) + bytes(self._index_data)
        data = self._anchor(AnchorType.END, body)
        crc = packet_crc(self._header_crc, self.packets, data).to_bytes(CRC_BYTES, "little")
        self._write(data + crc)
        self._write(TRAILER.pack({"end_size": self.offset - start}))
        self._closed = True
        try:
            self._file.flush()
        except (OSError, ValueError) as error:
            raise VideoError(f"the stream cannot be written: {error}") from error

    def __enter__(self) -> StreamWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        self._closed = True
