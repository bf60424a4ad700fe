"""What writer and reader of the container share: the items of a stream, packet checksums, and the index."""

from __future__ import annotations

from dataclasses import dataclass

from lvc.bitstream.crc import crc32c
from lvc.bitstream.fields import Cursor, FieldError
from lvc.bitstream.layout import END, INDEX_ENTRY, MAX_COUNT, MAX_INDEX_ENTRIES, MAX_PTS
from lvc.errors import CorruptStreamError


@dataclass(frozen=True, slots=True)
class SideData:
    """A piece of the carried Matroska file (audio, subtitles, metadata); pieces join in stream order."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """A hole in the stream that a tolerant reader stepped over.

    Attributes:
        error: what was wrong, with packet number and byte offset; TruncatedStreamError if the end is missing.
        skipped_bytes: bytes between the last good packet and the next good one (or the end of the stream).
        lost_packets: packets that are missing, None if unknown.
        lost_frames: frames that are missing, None if unknown.
    """

    error: CorruptStreamError
    skipped_bytes: int
    lost_packets: int | None = None
    lost_frames: int | None = None


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """Where an intra frame is.

    Attributes:
        packet: its packet number.
        offset: stream offset of its first byte (the sync marker).
        pts: its presentation time, in ticks.
    """

    packet: int
    offset: int
    pts: int


@dataclass(frozen=True, slots=True)
class EndInfo:
    """What the closing packet says.

    Attributes:
        packets: number of packets before the closing one.
        frames: number of frame packets.
        index: intra frames in stream order (the first 2**18 of them).
    """

    packets: int
    frames: int
    index: tuple[IndexEntry, ...]


def packet_crc(header_crc: int, number: int, data: bytes) -> int:
    """Checksum of one packet.

    The header's CRC and the packet's number come first, so that a packet of another stream, or one out of its
    place, never passes: numbers that differ by less than 2**32 differ in a burst of at most 32 bits, and a
    CRC of 32 bits notices every such burst.

    Args:
        header_crc: CRC-32C of the stream header.
        number: packet number.
        data: the packet from its first byte to the byte before its CRC.
    """
    seed = header_crc.to_bytes(4, "little") + number.to_bytes(8, "little")
    return crc32c(data, crc32c(seed))


class IndexCoder:
    """Delta coding of index entries, one after the other.

    Attributes:
        count: entries so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._last = IndexEntry(0, 0, 0)

    def pack(self, entry: IndexEntry) -> bytes:
        """Bytes of the next entry; none once the index is full."""
        if self.count == MAX_INDEX_ENTRIES:
            return b""
        last = self._last
        self._last = entry
        self.count += 1
        return INDEX_ENTRY.pack({
            "packet_delta": entry.packet - last.packet,
            "offset_delta": entry.offset - last.offset,
            "pts_delta": entry.pts - last.pts,
        })


def unpack_index(body: bytes, *, packets: int, frames: int, first_offset: int, end_offset: int) -> EndInfo:
    """The closing packet's body.

    Args:
        body: its bytes.
        packets, frames: number of packets and frame packets before it.
        first_offset: stream offset of the first packet.
        end_offset: stream offset of the closing packet.

    Raises:
        FieldError: entries out of order or out of the stream, or more than there are frames.
    """
    cursor = Cursor(body)
    count = END.unpack(cursor)["entries"]
    if count > frames or 3 * count > cursor.left:
        raise FieldError(f"an index of {count} entries does not fit")
    if frames and not count:
        raise FieldError("the index is empty")
    entries: list[IndexEntry] = []
    packet, offset, pts = -1, 0, 0
    for _ in range(count):
        values = INDEX_ENTRY.unpack(cursor)
        if entries and not values["packet_delta"]:
            raise FieldError("a packet stands twice in the index")
        packet = max(packet, 0) + values["packet_delta"]
        offset += values["offset_delta"]
        pts += values["pts_delta"]
        if packet >= min(packets, MAX_COUNT) or not first_offset <= offset < end_offset or abs(pts) > MAX_PTS:
            raise FieldError("an entry of the index lies outside the stream")
        entries.append(IndexEntry(packet, offset, pts))
    if cursor.left:
        raise FieldError("bytes are left behind the index")
    return EndInfo(packets, frames, tuple(entries))
