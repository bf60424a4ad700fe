from __future__ import annotations

import io
import subprocess
import sys
from fractions import Fraction

import pytest
from bitstream_samples import HEADER, ITEMS, Pipe, inter, intra, make, read
from hypothesis import given, settings
from hypothesis import strategies as st

from lvc.bitstream import (
    MAX_PAYLOAD,
    IndexEntry,
    SideData,
    StreamHeader,
    StreamReader,
    StreamWriter,
    read_index,
)
from lvc.bitstream.crc import crc32c
from lvc.bitstream.fields import write_uvarint
from lvc.bitstream.header import nominal_step, pack_header
from lvc.errors import (
    CorruptStreamError,
    LvcError,
    TruncatedStreamError,
    UnsupportedVersionError,
    UsageError,
    VideoError,
)
from lvc.types import ColorInfo, Packet, PacketKind, VideoInfo

RATES = st.builds(Fraction, st.integers(1, 2**31 - 1), st.integers(1, 2**31 - 1))
CODES = st.integers(0, 255)
HEADERS = st.builds(
    StreamHeader,
    codec_id=st.integers(1, 2**31 - 1),
    weights_digest=st.just(b"") | st.binary(min_size=16, max_size=16),
    video=st.builds(
        VideoInfo, width=st.integers(1, 16384), height=st.integers(1, 16384), frame_rate=RATES,
        time_base=RATES, color=st.builds(ColorInfo, CODES, CODES, CODES, st.booleans()),
        rotation=st.sampled_from([0, 90, 180, 270]),
        sample_aspect_ratio=st.just(Fraction(0)) | RATES, n_frames=st.none() | st.integers(0, 2**40)),
    intra_period=st.just(-1) | st.integers(1, 2**31 - 1),
    codec_data=st.binary(max_size=300))
FRAMES = st.builds(Packet, st.sampled_from(PacketKind), st.binary(max_size=40), st.integers(-(2**60), 2**60),
                   st.integers(0, 63))
STREAMS = st.lists(FRAMES | st.builds(SideData, st.binary(max_size=20)), max_size=12).map(
    lambda items: [intra(5, b"first"), *items])


@given(HEADERS)
def test_header_round_trip(header: StreamHeader) -> None:
    data = make([], header).data
    items, _, reader = read(data)
    assert reader.header == header
    assert items == []
    assert reader.end is not None
    assert (reader.end.packets, reader.end.frames, reader.end.index) == (0, 0, ())


@settings(max_examples=60)
@given(HEADERS, STREAMS)
def test_stream_round_trip(header: StreamHeader, items: list[Packet | SideData]) -> None:
    stream = make(items, header)
    found, _, reader = read(stream.data)
    assert found == items
    assert reader.end is not None
    assert reader.end.packets == len(items)
    assert reader.end.frames == sum(isinstance(item, Packet) for item in items)
    index = [IndexEntry(i, stream.starts[i], item.pts) for i, item in enumerate(items)
             if isinstance(item, Packet) and item.kind == PacketKind.INTRA]
    assert list(reader.end.index) == index
    assert read_index(io.BytesIO(stream.data)) == index


def test_header_bytes() -> None:
    assert pack_header(HEADER).hex(" ") == (
        "89 4c 56 43 0d 0a 1a 0a 01 00 2e "
        "11 10 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 21 11 b0 ea 01 e9 07 01 b0 ea 01 00 08 "
        "01 0d 06 01 03 04 03 06 08 05 6d 6f 64 65 6c f3 0a 04 dc")


def test_nominal_step() -> None:
    for rate, base, step in ((Fraction(30000, 1001), Fraction(1, 90000), 3003),
                             (Fraction(30), Fraction(1, 1000), 33),
                             (Fraction(24), Fraction(1, 12), 1), (Fraction(2), Fraction(1, 3), 2),
                             (Fraction(1, 2**30), Fraction(1, 2**30), 2**32 - 1)):
        assert nominal_step(VideoInfo(2, 2, frame_rate=rate, time_base=base)) == step


@pytest.mark.parametrize("step", [1, 5, 64, 100000])
def test_pipe_in_and_out(step: int) -> None:
    stream = make()

    class Drain(io.RawIOBase):
        """A raw file: takes a few bytes of what it is given, and cannot seek."""

        got = b""

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]
            self.got += bytes(data[:step])
            return min(step, len(data))

    drain = Drain()
    with StreamWriter(drain, HEADER) as writer:  # type: ignore[arg-type]
        for item in ITEMS:
            if isinstance(item, SideData):
                writer.write_side(item.data)
            else:
                writer.write_packet(item)
    assert drain.got == stream.data
    assert writer.offset == len(stream.data)
    for pipe in (Pipe(stream.data, step), io.BufferedReader(Pipe(stream.data, step), 16)):
        assert list(StreamReader(pipe)) == list(ITEMS)  # type: ignore[arg-type]
    index = read_index(io.BytesIO(stream.data))
    assert read_index(Pipe(stream.data, step)) == index  # type: ignore[arg-type]


def test_a_real_pipe(tmp_path) -> None:  # type: ignore[no-untyped-def]
    stream = make()
    program = ("import sys\nfrom lvc.bitstream import *\nreader = StreamReader(sys.stdin.buffer)\n"
               "with StreamWriter(sys.stdout.buffer, reader.header) as writer:\n"
               "    for item in reader:\n"
               "        if isinstance(item, SideData): writer.write_side(item.data)\n"
               "        else: writer.write_packet(item)\n"
               "assert 'torch' not in sys.modules\n")
    done = subprocess.run([sys.executable, "-c", program], input=stream.data, capture_output=True, check=True)
    assert done.stdout == stream.data


def test_stream_may_begin_inside_a_file() -> None:
    file = io.BytesIO(b"before" + make().data)
    file.seek(6)
    index = read_index(file)
    assert file.tell() == 6
    assert index == read_index(io.BytesIO(make().data))
    reader = StreamReader(file)
    assert list(reader) == list(ITEMS)
    reader.seek(index[1])
    assert next(reader) == ITEMS[4]


def test_number_and_offset_follow_the_items() -> None:
    stream = make()
    reader = StreamReader(io.BytesIO(stream.data))
    assert reader.number == -1
    for number, _ in enumerate(reader):
        assert (reader.number, reader.offset) == (number, stream.starts[number])
    assert (reader.number, reader.offset) == (len(ITEMS), stream.starts[-1])


def test_seek() -> None:
    stream = make()
    index = read_index(io.BytesIO(stream.data))
    reader = StreamReader(io.BytesIO(stream.data))
    for entry, first in ((index[2], 7), (index[0], 0), (index[1], 4)):
        reader.seek(entry)
        assert list(reader) == list(ITEMS[first:])
        assert reader.end is not None
    for wrong in (IndexEntry(4, index[1].offset, 0), IndexEntry(5, index[1].offset, 3003),
                  IndexEntry(4, index[1].offset + 1, 3003), IndexEntry(3, stream.starts[3], 0),
                  IndexEntry(4, 10**6, 3003), IndexEntry(4, len(stream.data), 3003)):
        with pytest.raises(CorruptStreamError):
            reader.seek(wrong)
    with pytest.raises(UsageError):
        StreamReader(Pipe(stream.data)).seek(index[0])  # type: ignore[arg-type]


def test_large_payload_and_side_chunks() -> None:
    side = bytes(range(256)) * 10000
    file = io.BytesIO()
    with StreamWriter(file, HEADER) as writer:
        writer.write_packet(intra(0, bytes(MAX_PAYLOAD)))
        writer.write_side(side)
    items, _, _ = read(file.getvalue())
    assert isinstance(items[0], Packet)
    assert items[0].payload == bytes(MAX_PAYLOAD)
    assert [len(item.data) for item in items[1:] if isinstance(item, SideData)] == [1 << 20, 1 << 20, 462848]
    assert b"".join(item.data for item in items[1:] if isinstance(item, SideData)) == side
    with pytest.raises(UsageError, match="over the limit"):
        StreamWriter(io.BytesIO(), HEADER).write_packet(intra(0, bytes(MAX_PAYLOAD + 1)))


def test_index_is_cut_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lvc.bitstream.container.MAX_INDEX_ENTRIES", 3)
    stream = make([intra(i) for i in range(6)])
    items, _, reader = read(stream.data)
    assert len(items) == 6
    assert reader.end is not None
    assert [entry.pts for entry in reader.end.index] == [0, 1, 2]


@pytest.mark.parametrize("packet", [
    inter(0), Packet(PacketKind.INTRA, b"", 2**60 + 1), Packet(PacketKind.INTRA, b"", 0, 64),
    Packet(PacketKind.INTRA, b"", 0, -1), Packet(7, b"", 0),  # type: ignore[arg-type]
])
def test_writer_refuses(packet: Packet) -> None:
    writer = StreamWriter(io.BytesIO(), HEADER)
    before = writer.offset
    with pytest.raises(UsageError):
        writer.write_packet(packet)
    assert writer.offset == before


@pytest.mark.parametrize("change", [
    {"weights_digest": bytes(15)}, {"intra_period": 0}, {"intra_period": -2}, {"codec_data": bytes(65537)},
    {"codec_id": 0}, {"intra_period": 2**31}, {"video": VideoInfo(8, 8, color=ColorInfo(primaries=256))},
    {"video": VideoInfo(8, 8, frame_rate=Fraction(2**31, 3))}, {"video": VideoInfo(8, 8, n_frames=-5)},
    {"video": VideoInfo(8, 8, sample_aspect_ratio=Fraction(-1, 2))},
])
def test_header_refuses(change: dict[str, object]) -> None:
    values = {"codec_id": 1, "weights_digest": b"", "video": VideoInfo(8, 8), "intra_period": 1, **change}
    with pytest.raises(UsageError):
        StreamWriter(io.BytesIO(), StreamHeader(**values))  # type: ignore[arg-type]


def test_writer_after_close_and_after_an_exception() -> None:
    file = io.BytesIO()
    writer = StreamWriter(file, HEADER)
    writer.write_packet(intra(0))
    writer.close()
    size = len(file.getvalue())
    writer.close()
    assert len(file.getvalue()) == size
    for call in (lambda: writer.write_packet(intra(0)), lambda: writer.write_side(b"")):
        with pytest.raises(UsageError, match="closed"):
            call()
    file = io.BytesIO()
    broken = StreamWriter(file, HEADER)
    broken.write_packet(intra(0))
    with pytest.raises(UsageError), broken:
        broken.write_packet(intra(0, quality=64))
    broken.close()
    with pytest.raises(TruncatedStreamError, match="before its closing packet"):
        read(file.getvalue())


def test_files_that_cannot_be_used(tmp_path) -> None:  # type: ignore[no-untyped-def]
    class Full(io.BytesIO):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            raise OSError(28, "No space left on device")

    class Broken(io.BytesIO):
        def read1(self, size: int = -1) -> bytes:  # type: ignore[override]
            raise OSError(5, "Input/output error")

    with pytest.raises(VideoError, match="No space left"):
        StreamWriter(Full(), HEADER)
    with pytest.raises(VideoError, match="Input/output error"):
        StreamReader(Broken(b"abcdefgh" * 4))
    with pytest.raises(UsageError, match="binary"):
        StreamReader(io.StringIO("x"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="binary"):
        StreamWriter(io.StringIO(), HEADER)  # type: ignore[arg-type]
    closed = io.BytesIO(make().data)
    closed.close()
    with pytest.raises(LvcError):
        StreamReader(closed)


def _reheaded(fields: bytes, major: int = 1, minor: int = 0) -> bytes:
    data = pack_header(HEADER)[:8] + bytes([major, minor]) + write_uvarint(len(fields)) + fields
    return data + crc32c(data).to_bytes(4, "little")


def test_versions() -> None:
    fields = pack_header(HEADER)[11:-4]
    assert StreamReader(io.BytesIO(_reheaded(fields))).header == HEADER
    # A newer minor version may have added fields; in our own they are an error.
    assert StreamReader(io.BytesIO(_reheaded(fields + b"new fields", minor=9))).header == HEADER
    with pytest.raises(CorruptStreamError, match="too many"):
        StreamReader(io.BytesIO(_reheaded(fields + b"new fields")))
    for major in (0, 2, 255):
        with pytest.raises(UnsupportedVersionError, match=f"version {major} ") as caught:
            StreamReader(io.BytesIO(_reheaded(b"all is different", major=major)))
        assert caught.value.offset == 8
    for position, value in ((29, 1), (30, 10)):
        changed = bytearray(fields)
        changed[position] = value
        with pytest.raises(UnsupportedVersionError, match="pixel format"):
            StreamReader(io.BytesIO(_reheaded(bytes(changed))))
