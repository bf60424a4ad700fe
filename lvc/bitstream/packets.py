"""Parsing of single packets out of a window of bytes, without any state of the stream but its header."""

from __future__ import annotations

from dataclasses import dataclass

from lvc.bitstream.container import packet_crc
from lvc.bitstream.fields import Cursor, FieldError, ShortError, Struct
from lvc.bitstream.layout import (
    ANCHOR,
    CRC_BYTES,
    FIRST_SKIPPABLE_TYPE,
    INTER,
    INTER_TAG,
    INTRA,
    MAX_PAYLOAD,
    SYNC,
    AnchorType,
)
from lvc.bitstream.source import ByteSource
from lvc.errors import CorruptStreamError, TruncatedStreamError, UnsupportedVersionError
from lvc.types import MAX_QUALITY, PacketKind

MISSING_END = "the stream ends before its closing packet"
CUT_PACKET = "the stream ends within a packet, or the length of the packet is damaged"


@dataclass(frozen=True, slots=True)
class RawPacket:
    """A packet whose checksum was right.

    Attributes:
        type: an AnchorType, PacketKind.INTER, or a skippable type that this version does not know.
        number: packet number.
        frame: frame packets before it; None for inter packets, which do not say.
        payload: coded frame, side data or body of the closing packet.
        pts: intra: presentation time; inter: the residual; else 0.
        quality: of frame packets; else 0.
        offset: stream offset of its first byte.
        size: bytes from its first byte to its CRC's last.
    """

    type: int
    number: int
    frame: int | None
    payload: bytes
    pts: int
    quality: int
    offset: int
    size: int

    @property
    def end(self) -> int:
        """Stream offset behind the packet."""
        return self.offset + self.size


class PacketParser:
    """Reads the packet at the beginning of a source's window; leaves the window where it is.

    Args:
        source: the stream.
        header_crc: CRC of its header.

    Attributes:
        checked: bytes that were put through the checksum so far, for callers that limit this work.
    """

    def __init__(self, source: ByteSource, header_crc: int) -> None:
        self._source = source
        self._header_crc = header_crc
        self.checked = 0

    def parse(self, number: int) -> RawPacket:
        """The packet at the window's first byte.

        Args:
            number: the packet number that an inter packet must have; an anchor packet brings its own, which
                the caller has to judge.

        Raises:
            CorruptStreamError, TruncatedStreamError: it is damaged, or it ends after the end of the stream.
            UnsupportedVersionError: it is whole, but of a type that a reader must know.
        """
        source = self._source
        offset = source.offset
        if not source.fill(1):
            raise TruncatedStreamError(MISSING_END, packet=number, offset=offset)
        tag = source.buffer[0]
        try:
            if tag == SYNC[0]:
                return self._parse_anchor(offset, number)
            if INTER_TAG <= tag <= INTER_TAG + MAX_QUALITY:
                return self._parse_inter(offset, number)
            raise CorruptStreamError(f"no packet begins with byte 0x{tag:02x}", packet=number, offset=offset)
        except ShortError as error:
            raise TruncatedStreamError(CUT_PACKET, packet=number, offset=offset) from error
        except FieldError as error:
            raise CorruptStreamError(f"damaged packet: {error}", packet=number, offset=offset) from error

    def _fields(self, struct: Struct) -> tuple[dict[str, int], int]:
        """Values of a structure at the window's first byte, and its size; reads as few bytes as will do."""
        while True:
            cursor = Cursor(self._source.buffer)
            try:
                return struct.unpack(cursor), cursor.pos
            except ShortError:
                if not self._source.fill(len(self._source.buffer) + 1):
                    raise

    def _checked_payload(self, start: int, length: int, number: int, offset: int, expected: int) -> bytes:
        source = self._source
        end = start + length
        if not source.fill(end + CRC_BYTES):
            raise TruncatedStreamError(CUT_PACKET, packet=expected, offset=offset)
        self.checked += end
        data = bytes(memoryview(source.buffer)[:end])
        found = int.from_bytes(source.buffer[end:end + CRC_BYTES], "little")
        if found != packet_crc(self._header_crc, number, data):
            raise CorruptStreamError("the checksum does not match", packet=expected, offset=offset)
        return data[start:]

    def _parse_inter(self, offset: int, number: int) -> RawPacket:
        values, start = self._fields(INTER)
        payload = self._checked_payload(start, values["length"], number, offset, number)
        return RawPacket(PacketKind.INTER, number, None, payload, values["pts_residual"],
                         values["tag"] - INTER_TAG, offset, start + len(payload) + CRC_BYTES)

    def _parse_anchor(self, offset: int, number: int) -> RawPacket:
        values, start = self._fields(ANCHOR)
        kind, own = values["type"], values["packet"]
        body = self._checked_payload(start, values["length"], own, offset, number)
        size = start + len(body) + CRC_BYTES
        pts = quality = 0
        if kind == AnchorType.INTRA:
            cursor = Cursor(body)
            intra = INTRA.unpack(cursor)
            pts, quality, body = intra["pts"], intra["quality"], body[cursor.pos:]
            if len(body) > MAX_PAYLOAD:
                raise FieldError(f"a payload of {len(body)} bytes is over the limit of {MAX_PAYLOAD}")
        elif kind not in (AnchorType.SIDE, AnchorType.END) and kind < FIRST_SKIPPABLE_TYPE:
            raise UnsupportedVersionError(f"packet type {kind} is not known to this version of lvc",
                                          packet=own, offset=offset)
        return RawPacket(kind, own, values["frame"], body, pts, quality, offset, size)
