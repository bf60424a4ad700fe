"""The lvc container: header, packets, checksums, index. FORMAT.md beside this file is normative."""

from lvc.bitstream.container import Damage, EndInfo, IndexEntry, SideData
from lvc.bitstream.header import StreamHeader
from lvc.bitstream.layout import FORMAT_VERSION, MAX_PAYLOAD, CodecId
from lvc.bitstream.reader import StreamReader, read_index
from lvc.bitstream.writer import StreamWriter

__all__ = [
    "FORMAT_VERSION",
    "MAX_PAYLOAD",
    "CodecId",
    "Damage",
    "EndInfo",
    "IndexEntry",
    "SideData",
    "StreamHeader",
    "StreamReader",
    "StreamWriter",
    "read_index",
]
