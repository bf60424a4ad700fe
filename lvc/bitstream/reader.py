"""Reading a stream, damaged ones included."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import BinaryIO

from lvc.bitstream.container import Damage, EndInfo, IndexCoder, IndexEntry, SideData, unpack_index
from lvc.bitstream.crc import crc32c
from lvc.bitstream.fields import Cursor, FieldError
from lvc.bitstream.header import nominal_step, read_header
from lvc.bitstream.layout import (
    END,
    FALSE_MARKER_COST,
    MAX_BODY,
    MAX_COUNT,
    MAX_PTS,
    SCAN_BUDGET,
    SYNC,
    TRAILER,
    AnchorType,
)
from lvc.bitstream.packets import MISSING_END, PacketParser, RawPacket
from lvc.bitstream.source import ByteSource
from lvc.errors import BitstreamError, CorruptStreamError, TruncatedStreamError
from lvc.types import Packet, PacketKind

Item = Packet | SideData | Damage
_TRAILER_BYTES = 4


class _GiveUpError(CorruptStreamError):
    """Searching on would take too long."""


class StreamReader:
    """Reads header and packets, front to back; the file need not be seekable.

    Iteration gives Packet and SideData in stream order, and ends after the closing packet.

    A strict reader raises at the first damage and is then at its end. A tolerant one (``strict=False``) gives
    a Damage instead, searches for the next sync marker with a right checksum, and goes on: side data from the
    next side packet on, frames from the next intra frame on. After the closing packet, or at the end of a
    stream that has none, it stops. Whatever is given, before or after a Damage, was checked and is right.

    Args:
        file: opened for binary reading, at the first byte of the stream.
        strict: raise at damage.

    Attributes:
        header: the StreamHeader.
        end: EndInfo once the closing packet was read, before that None.
        number: packet number of the item given last; -1 before the first.
        offset: stream offset of the item given last.

    Raises:
        NotLvcError: no lvc stream.
        UnsupportedVersionError: made by a newer version of lvc (also while iterating, strict or not, at a
            packet type that readers must know).
        CorruptStreamError: damage to the header; while iterating: any damage.
        TruncatedStreamError: the stream ends before its closing packet.
        VideoError: the file cannot be read.
    """

    def __init__(self, file: BinaryIO, *, strict: bool = True) -> None:
        self._source = ByteSource(file)
        self._strict = strict
        self.header, crc = read_header(self._source)
        self._parser = PacketParser(self._source, crc)
        self._step = nominal_step(self.header.video)
        self._first_offset = self._source.offset
        self._pending: deque[Item] = deque()
        self.number = -1
        self.offset = self._first_offset
        self.end: EndInfo | None = None
        self._restart(0, 0)
        # The index is checked against the intra frames really met, if all were; their digest stands for them.
        self._index: IndexCoder | None = IndexCoder()
        self._index_crc = 0
        self._wasted = 0

    def _restart(self, packets: int, frames: int) -> None:
        """Go on at the present offset, where packet ``packets`` and frame packet ``frames`` come next."""
        self._packets = packets
        self._frames = frames
        self._pts: int | None = None
        self._dropped_frames = 0
        self._dropped_bytes = 0
        self._lost = False
        self._done = False
        self._pending.clear()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        while not self._pending:
            if self._done:
                raise StopIteration
            self._advance()
        return self._pending.popleft()

    def _advance(self) -> None:
        """Read one packet; put what comes of it into the queue."""
        try:
            packet = self._read_expected()
        except CorruptStreamError as error:
            if self._strict:
                self._done = True
                raise
            self._recover(error)
        except BitstreamError:
            self._done = True
            raise
        else:
            self._take(packet)

    def _read_expected(self) -> RawPacket:
        packet = self._parser.parse(self._packets)
        if packet.number != self._packets:
            raise CorruptStreamError(f"packet {packet.number} stands where packet {self._packets} belongs, "
                                     "packets were lost, repeated or moved",
                                     packet=self._packets, offset=packet.offset)
        if packet.frame is not None and packet.frame != self._frames:
            raise CorruptStreamError(f"the packet counts {packet.frame} frames before it, not {self._frames}",
                                     packet=packet.number, offset=packet.offset)
        if packet.type == PacketKind.INTER and not self._lost:
            if self._pts is None:
                raise CorruptStreamError("an inter frame comes before the first intra frame",
                                         packet=packet.number, offset=packet.offset)
            if abs(self._pts + self._step + packet.pts) > MAX_PTS:
                raise CorruptStreamError("a presentation time is out of range",
                                         packet=packet.number, offset=packet.offset)
        return packet

    def _take(self, packet: RawPacket) -> None:
        """Give a good packet that is in its place, and move behind it."""
        self._source.drop(packet.size)
        self._packets = packet.number + 1
        if packet.type == PacketKind.INTER:
            self._frames += 1
            if self._lost:
                self._dropped_frames += 1
                self._dropped_bytes += packet.size
                return
            assert self._pts is not None
            self._give_frame(packet, self._pts + self._step + packet.pts)
            return
        if packet.type == AnchorType.INTRA:
            self._report_dropped(packet)
            if self._index is not None:
                entry = self._index.pack(IndexEntry(packet.number, packet.offset, packet.pts))
                self._index_crc = crc32c(entry, self._index_crc)
            self._frames += 1
            self._give_frame(packet, packet.pts)
        elif packet.type == AnchorType.SIDE:
            self._give(SideData(packet.payload), packet)
        elif packet.type == AnchorType.END:
            self._report_dropped(packet)
            self._finish(packet)

    def _give(self, item: Item, packet: RawPacket) -> None:
        self._pending.append(item)
        self.number = packet.number
        self.offset = packet.offset

    def _give_frame(self, packet: RawPacket, pts: int) -> None:
        self._pts = pts
        self._give(Packet(PacketKind(packet.type), packet.payload, pts, packet.quality), packet)

    def _report_dropped(self, packet: RawPacket) -> None:
        """Tell of whole inter frames that were of no use because what they build on is lost."""
        if self._dropped_frames:
            error = CorruptStreamError(f"{self._dropped_frames} inter frames build on lost ones",
                                       packet=packet.number, offset=packet.offset)
            self._pending.append(Damage(error, self._dropped_bytes, 0, self._dropped_frames))
        self._lost = False
        self._dropped_frames = self._dropped_bytes = 0

    def _recover(self, error: CorruptStreamError) -> None:
        """Search for the next anchor packet; queue what was lost, and the packet."""
        source = self._source
        start = source.offset
        self._index = None
        self._done = True
        try:
            packet = self._scan()
        except _GiveUpError as given_up:
            self._pending += [Damage(error, source.offset - start), Damage(given_up, 0)]
            return
        if packet is None:
            self._pending.append(Damage(error, source.offset - start))
            if not isinstance(error, TruncatedStreamError):
                self._pending.append(Damage(TruncatedStreamError(MISSING_END, offset=source.offset), 0))
            return
        assert packet.frame is not None
        lost_frames = packet.frame - self._frames
        self._pending.append(Damage(error, source.offset - start, packet.number - self._packets, lost_frames))
        # Where only side data were lost, inter frames still have what they build on.
        self._lost = self._lost or lost_frames > 0
        self._frames = packet.frame
        self._done = False
        self._take(packet)

    def _scan(self) -> RawPacket | None:
        """Move to the next good anchor packet that was not read yet; to the end and None if there is none.

        Raises _GiveUpError if false markers make this too much work.
        """
        source, parser = self._source, self._parser
        while True:
            found = source.buffer.find(SYNC)
            if found < 0:
                source.drop(len(source.buffer) - len(SYNC) + 1 if len(source.buffer) >= len(SYNC) else 0)
                if not source.fill(len(source.buffer) + 1):
                    source.drop(len(source.buffer))
                    return None
                continue
            source.drop(found)
            before = parser.checked
            try:
                packet = parser.parse(self._packets)
            except CorruptStreamError:
                # Chance gives one false marker in four gigabytes; somebody who plants them could otherwise
                # make every few bytes of a file cost a checksum over MAX_BODY.
                self._wasted += max(parser.checked - before, FALSE_MARKER_COST)
                if self._wasted > SCAN_BUDGET + source.offset:
                    raise _GiveUpError("too many false sync markers, the search is given up",
                                       offset=source.offset) from None
            else:
                assert packet.frame is not None
                if packet.number >= self._packets and packet.frame >= self._frames:
                    return packet
                source.drop(packet.size - 1)
            source.drop(1)

    def _finish(self, packet: RawPacket) -> None:
        """Judge the closing packet and what follows it."""
        self._done = True
        self.number = packet.number
        self.offset = packet.offset
        error: CorruptStreamError | None = None
        skipped = 0
        try:
            info = _end_info(packet, self._first_offset)
            if self._index is not None:
                head = len(END.pack({"entries": self._index.count}))
                same = crc32c(packet.payload[head:]) == self._index_crc
                if not same or self._index.count != len(info.index):
                    raise FieldError("the index is not that of the stream")
            self.end = info
        except FieldError as cause:
            error = CorruptStreamError(f"damaged closing packet: {cause}",
                                       packet=packet.number, offset=packet.offset)
        source = self._source
        if error is None and not source.fill(_TRAILER_BYTES):
            error = TruncatedStreamError("the stream ends within its last four bytes",
                                         packet=packet.number, offset=source.end)
        elif error is None and TRAILER.unpack(Cursor(source.buffer))["end_size"] != packet.size:
            error = CorruptStreamError("the last four bytes of the stream are damaged",
                                       packet=packet.number, offset=source.offset)
        if error is None:
            source.drop(_TRAILER_BYTES)
            if source.fill(1):
                skipped = source.end - source.offset
                error = CorruptStreamError("bytes follow the end of the stream", offset=source.offset)
        if error is not None:
            if self._strict:
                raise error
            self._pending.append(Damage(error, skipped, 0, 0))

    def seek(self, entry: IndexEntry) -> None:
        """Go on at an intra frame, which iteration then gives first.

        Args:
            entry: out of read_index or EndInfo.index of the same stream.

        Raises:
            UsageError: the file is not seekable.
            CorruptStreamError: there is no such intra frame at that offset.
        """
        self._source.move(entry.offset)
        self._index = None
        packet = self._parser.parse(entry.packet)
        if (packet.type, packet.number, packet.pts) != (AnchorType.INTRA, entry.packet, entry.pts):
            raise CorruptStreamError("the index points to another packet",
                                     packet=entry.packet, offset=entry.offset)
        assert packet.frame is not None
        self._restart(packet.number, packet.frame)


def _end_info(packet: RawPacket, first_offset: int) -> EndInfo:
    assert packet.frame is not None
    return unpack_index(packet.payload, packets=packet.number, frames=packet.frame,
                        first_offset=first_offset, end_offset=packet.offset)


def _read_tail(source: ByteSource, header_crc: int, first_offset: int) -> EndInfo | None:
    """EndInfo by way of the stream's last four bytes; None if they do not lead to a good closing packet."""
    assert source.size is not None
    if source.size < first_offset + _TRAILER_BYTES:
        return None
    source.move(source.size - _TRAILER_BYTES)
    if not source.fill(_TRAILER_BYTES):
        return None
    size = TRAILER.unpack(Cursor(source.buffer))["end_size"]
    offset = source.size - _TRAILER_BYTES - size
    if offset < first_offset or size > MAX_BODY + 64:
        return None
    source.move(offset)
    try:
        packet = PacketParser(source, header_crc).parse(MAX_COUNT)
        if packet.type != AnchorType.END or packet.size != size:
            return None
        return _end_info(packet, first_offset)
    except (BitstreamError, FieldError):
        return None


def read_index(file: BinaryIO) -> list[IndexEntry]:
    """The intra frames of a stream, in stream order.

    They come from the closing packet if the file is seekable and ends with a good one, else from reading all
    packets (damaged ones are stepped over). A seekable file is left at the position where it was.

    Args:
        file: opened for binary reading, at the first byte of the stream.

    Raises:
        NotLvcError, UnsupportedVersionError, CorruptStreamError: as StreamReader does at the header.
        VideoError: the file cannot be read.
    """
    source = ByteSource(file)
    if not source.seekable:
        return _scan_index(StreamReader(file, strict=False))
    start = file.tell()
    try:
        _, crc = read_header(source)
        end = _read_tail(source, crc, source.offset)
        if end is not None:
            return list(end.index)
        file.seek(start)
        return _scan_index(StreamReader(file, strict=False))
    finally:
        file.seek(start)


def _scan_index(reader: StreamReader) -> list[IndexEntry]:
    return [IndexEntry(reader.number, reader.offset, item.pts) for item in reader
            if isinstance(item, Packet) and item.kind == PacketKind.INTRA]
