from __future__ import annotations

import io
import re

import pytest
from bitstream_samples import inter, intra, make, read

from lvc.bitstream import CodecId, StreamHeader, StreamReader
from lvc.bitstream.tables import FORMAT_FILE, fill, generated
from lvc.errors import UsageError
from lvc.types import VideoInfo

TEXT = FORMAT_FILE.read_text(encoding="utf-8")


def test_format_document_holds_the_generated_tables() -> None:
    assert fill(TEXT, generated()) == TEXT


def test_fill_notices_missing_and_unknown_marks() -> None:
    tables = generated()
    with pytest.raises(UsageError):
        fill(TEXT, {name: table for name, table in tables.items() if name != "header"})
    with pytest.raises(UsageError):
        fill(TEXT, {**tables, "more": ""})


def test_tables_show_every_field_with_its_limits() -> None:
    tables = generated()
    assert "| `bit_depth` | uvarint | 8 .. 16 |" in tables["header"]
    assert "| `weights_digest` | bytes | 0 or 16 bytes |" in tables["header"]
    assert "| `pts` | svarint | -2^60 .. 2^60 |" in tables["intra body"]
    assert "| `sync` | 4 bytes | `d3 4c 56 e7` |" in tables["anchor packet"]
    assert "| `MAX_PAYLOAD` | 2^26 |" in tables["limits"]


def test_codec_ids_are_fixed_for_ever() -> None:
    fixed = {"X264": 1, "X265": 2, "SVT_AV1": 3, "VVENC": 4, "DVC": 16, "DVC_LITE": 17,
             "DVC_LITE_MSSSIM": 21}
    assert {codec.name: int(codec) for codec in CodecId if codec.name in fixed} == fixed


def test_the_documented_example_is_what_we_write_and_read() -> None:
    block = TEXT[TEXT.index("## 8. An example"):].split("```")[1]
    example = bytes.fromhex("".join(re.match(r"(?:[0-9a-f]{2} )*", line + " ")[0]  # type: ignore[index]
                                    for line in block.splitlines()))
    header = StreamHeader(CodecId.X265, b"", VideoInfo(16, 16), 32)
    packets = [intra(0, b"ab", 32), inter(3000, b"c", 33)]
    assert make(packets, header).data == example
    items, _, reader = read(example)
    assert items == packets
    assert reader.header == header
    assert reader.end is not None
    assert (reader.end.packets, reader.end.frames) == (2, 2)


def test_inter_packets_of_usual_size_cost_eight_bytes() -> None:
    size = 200
    for step in (0, 1):
        frames = [inter(1001 * (i + 1) + step * (i % 2), bytes(size)) for i in range(2)]
        one, two = (len(make([intra(0), *frames[:n]]).data) for n in (1, 2))
        assert two - one - size == 8


def test_reader_waits_for_no_more_than_a_packet() -> None:
    """A live pipe: each packet comes out as soon as its last byte is there."""
    stream = make()

    class Live(io.RawIOBase):
        position = 0

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            self.position += 1
            return stream.data[self.position - 1:self.position]

    file = Live()
    reader = StreamReader(file)  # type: ignore[arg-type]
    assert file.position == stream.starts[0]
    for start in stream.starts[1:]:
        next(reader)
        assert file.position == start
