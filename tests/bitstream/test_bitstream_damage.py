"""Nothing that happens to a stream goes unnoticed, and what is not hit comes out."""

from __future__ import annotations

import io
import itertools
import time
import tracemalloc
from dataclasses import replace
from typing import BinaryIO

import pytest
from bitstream_samples import HEADER, ITEMS, Pipe, Stream, inter, intra, make, read
from hypothesis import given, settings
from hypothesis import strategies as st

from lvc.bitstream import Damage, SideData, StreamReader, read_index
from lvc.bitstream.container import packet_crc
from lvc.bitstream.fields import write_uvarint
from lvc.bitstream.layout import MAGIC, SYNC
from lvc.errors import (
    BitstreamError,
    CorruptStreamError,
    LvcError,
    NotLvcError,
    TruncatedStreamError,
    UnsupportedVersionError,
)
from lvc.types import Packet, PacketKind

STREAM = make()
FIRST = STREAM.starts[0]
GROUPS = [range(3), range(4, 7), range(7, 8)]
"""Packet numbers of the frames of each group, intra frame first; the others are side data."""
HEADER_CRC = int.from_bytes(STREAM.data[FIRST - 4:FIRST], "little")


def spoilt_packet(offset: int) -> int:
    """Number of the packet that an offset lies in."""
    return max(number for number, start in enumerate(STREAM.starts) if start <= offset)


def survivors(*spoilt: int) -> list[Packet | SideData]:
    """What a tolerant reader gives if these packets are damaged: what comes before, then all from the next
    anchor packet on but inter frames that build on lost ones."""
    kept: list[Packet | SideData] = []
    searching = missing_reference = False
    for number, item in enumerate(ITEMS):
        is_inter = isinstance(item, Packet) and item.kind == PacketKind.INTER
        is_intra = isinstance(item, Packet) and not is_inter
        if number in spoilt:
            searching = True
            missing_reference = missing_reference or isinstance(item, Packet)
            continue
        if is_inter and (searching or missing_reference):
            missing_reference = True
            continue
        searching = False
        if is_intra:
            missing_reference = False
        kept.append(item)
    return kept


def check_noticed(data: bytes, spoilt: int) -> None:
    """A strict reader raises, having given what precedes; a tolerant one gives all that can be had."""
    reader = StreamReader(io.BytesIO(data))
    assert list(itertools.islice(reader, spoilt)) == list(ITEMS[:spoilt])
    with pytest.raises(CorruptStreamError) as caught:
        next(reader)
    assert caught.value.offset is not None
    assert next(reader, None) is None
    items, damages, _ = read(data, strict=False)
    assert damages
    assert items == survivors(spoilt)
    for damage in damages:
        assert isinstance(damage.error, CorruptStreamError)
        assert damage.skipped_bytes >= 0


def test_survivors_knows_the_groups() -> None:
    assert survivors() == list(ITEMS)
    assert survivors(1) == [ITEMS[0], *ITEMS[3:]]
    assert survivors(3) == [*ITEMS[:3], *ITEMS[4:]]
    assert survivors(4) == [*ITEMS[:4], *ITEMS[7:]]


@pytest.mark.parametrize("size", range(len(STREAM.data)))
def test_every_truncation(size: int) -> None:
    data = STREAM.data[:size]
    if size < FIRST:
        for strict in (True, False):
            with pytest.raises(NotLvcError if size == 0 else TruncatedStreamError):
                StreamReader(io.BytesIO(data), strict=strict)
        return
    whole = sum(start <= size for start in STREAM.starts[1:])
    for file in (io.BytesIO(data), Pipe(data)):
        reader = StreamReader(file)  # type: ignore[arg-type]
        assert list(itertools.islice(reader, whole)) == list(ITEMS[:whole])
        with pytest.raises(TruncatedStreamError) as caught:
            next(reader)
        assert caught.value.packet == min(whole, len(ITEMS))
    items, damages, reader = read(data, strict=False)
    assert items == list(ITEMS[:whole])
    assert [type(damage.error) for damage in damages] == [TruncatedStreamError]
    assert (reader.end is not None) == (size >= len(STREAM.data) - 4)
    assert [entry.packet for entry in read_index(io.BytesIO(data))] == [n for n in (0, 4, 7) if n < whole]


def test_every_byte_with_some_values() -> None:
    for offset in range(len(STREAM.data)):
        for change in (0x01, 0x80, 0xFF, STREAM.data[offset]):
            if change:
                check_changed(offset, STREAM.data[offset] ^ change)


def check_changed(offset: int, value: int) -> None:
    data = bytearray(STREAM.data)
    data[offset] = value
    if offset < FIRST:
        for strict in (True, False):
            with pytest.raises(BitstreamError) as caught:
                StreamReader(io.BytesIO(data), strict=strict)
            if offset < len(MAGIC):
                assert isinstance(caught.value, NotLvcError)
            elif offset == len(MAGIC):
                assert isinstance(caught.value, UnsupportedVersionError)
            else:
                assert isinstance(caught.value, CorruptStreamError)
    else:
        check_noticed(bytes(data), spoilt_packet(offset))


def test_every_value_at_every_byte_of_three_kinds_of_packets() -> None:
    for number in (1, 4, len(ITEMS)):
        end = len(STREAM.data) if number == len(ITEMS) else STREAM.starts[number + 1]
        for offset in range(STREAM.starts[number], end):
            for value in range(256):
                if value != STREAM.data[offset]:
                    data = bytearray(STREAM.data)
                    data[offset] = value
                    with pytest.raises(CorruptStreamError):
                        read(bytes(data))


def test_every_value_in_the_header() -> None:
    for offset in range(FIRST):
        for value in range(256):
            if value != STREAM.data[offset]:
                data = bytearray(STREAM.data)
                data[offset] = value
                with pytest.raises(BitstreamError):
                    StreamReader(io.BytesIO(data))


def test_every_missing_and_additional_byte() -> None:
    for offset in range(FIRST, len(STREAM.data)):
        # Where a byte equals its neighbour, it is the last one of the row that can be said to be missing.
        last = offset
        while STREAM.data[last + 1:last + 2] == STREAM.data[offset:offset + 1]:
            last += 1
        check_noticed(STREAM.data[:offset] + STREAM.data[offset + 1:], spoilt_packet(last))
        with pytest.raises(CorruptStreamError):
            read(STREAM.data[:offset] + b"\x00" + STREAM.data[offset:])


@pytest.mark.parametrize("tail", [b"\x00", b"\n", STREAM.data, STREAM.packet(0), STREAM.packet(len(ITEMS)),
                                  bytes(10**5)])
def test_trailing_bytes(tail: bytes) -> None:
    for file in (io.BytesIO(STREAM.data + tail), Pipe(STREAM.data + tail)):
        with pytest.raises(CorruptStreamError, match="bytes follow") as caught:
            list(StreamReader(file))  # type: ignore[arg-type]
        assert caught.value.offset == len(STREAM.data)
    items, damages, reader = read(STREAM.data + tail, strict=False)
    assert items == list(ITEMS)
    assert [damage.skipped_bytes for damage in damages] == [len(tail)]
    assert reader.end is not None
    assert [entry.packet for entry in read_index(io.BytesIO(STREAM.data + tail))] == [0, 4, 7]


TWINS = make([intra(0, b""), *(inter(1001 * i, b"") for i in range(1, 5)), SideData(b""), SideData(b""),
              intra(5005, b""), intra(6006, b"")])
"""Packets whose content equals that of their neighbours."""


@pytest.mark.parametrize("stream", [STREAM, TWINS])
def test_missing_repeated_and_moved_packets(stream: Stream) -> None:
    count = len(stream.starts)
    orders = [[*range(i), *range(i + 1, count)] for i in range(count)]
    orders += [[*range(i), i, *range(i, count)] for i in range(count)]
    for i, j in itertools.combinations(range(count), 2):
        order = list(range(count))
        order[i], order[j] = j, i
        orders.append(order)
        orders.append([*range(i), *range(j, count)])
    all_items, _, _ = read(stream.data)
    for order in orders:
        if order == list(range(count)):
            continue
        data = stream.with_packets(order)
        with pytest.raises(CorruptStreamError):
            read(data)
        items, damages, _ = read(data, strict=False)
        assert damages
        position = iter(all_items)
        assert all(any(item == other for other in position) for item in items), "in order, and none twice"


def test_packets_of_another_stream() -> None:
    other = make(header=replace(HEADER, codec_data=b"modem"))
    for number in range(len(ITEMS) + 1):
        start = STREAM.starts[number]
        size = len(STREAM.packet(number))
        data = STREAM.data[:start] + other.packet(number) + STREAM.data[start + size:]
        assert len(data) == len(STREAM.data)
        assert data != STREAM.data
        with pytest.raises(CorruptStreamError):
            read(data)


def test_stream_carried_in_a_stream_is_no_resynchronization_point() -> None:
    inner = make(header=replace(HEADER, codec_data=b"inner")).data
    stream = make([intra(0), SideData(inner), intra(1001), inter(2002)])
    data = bytearray(stream.data)
    data[stream.starts[1] + 8] ^= 1
    items, damages, _ = read(bytes(data), strict=False)
    assert items == [intra(0), intra(1001), inter(2002)]
    assert [(d.lost_packets, d.lost_frames, d.error.packet, d.error.offset) for d in damages] == [
        (1, 0, 1, stream.starts[1])]


def test_damage_says_what_was_lost() -> None:
    data = bytearray(STREAM.data)
    data[STREAM.starts[5] + 3] ^= 4
    items, damages, reader = read(bytes(data), strict=False)
    assert items == [*ITEMS[:5], *ITEMS[7:]]
    [damage] = damages
    assert damage == Damage(damage.error, STREAM.starts[7] - STREAM.starts[5], 2, 2)
    assert (damage.error.packet, damage.error.offset) == (5, STREAM.starts[5])
    assert str(damage.error) == f"the checksum does not match (packet 5, byte offset {STREAM.starts[5]})"
    assert reader.end is not None
    assert reader.end.frames == 7


def test_inter_frames_behind_side_data_are_reported_as_useless() -> None:
    stream = make([intra(0), inter(1001), SideData(b"a"), inter(2002), inter(3003), SideData(b"b"),
                   intra(4004)])
    data = bytearray(stream.data)
    data[stream.starts[1]] ^= 4
    items, damages, _ = read(bytes(data), strict=False)
    assert items == [intra(0), SideData(b"a"), SideData(b"b"), intra(4004)]
    assert [(d.skipped_bytes, d.lost_packets, d.lost_frames) for d in damages] == [(8, 1, 1), (16, 0, 2)]
    assert "2 inter frames build on lost ones" in str(damages[1].error)


def test_lost_side_data_cost_no_frames() -> None:
    stream = make([intra(0), SideData(b"a"), SideData(b"b"), inter(1001)])
    data = bytearray(stream.data)
    data[stream.starts[1] + 9] ^= 1
    items, damages, _ = read(bytes(data), strict=False)
    assert items == [intra(0), SideData(b"b"), inter(1001)]
    assert [(d.lost_packets, d.lost_frames) for d in damages] == [(1, 0)]


def test_several_damages() -> None:
    data = bytearray(STREAM.data)
    for number in (1, 3, 8):
        data[STREAM.starts[number] + 1] ^= 0x10
    items, damages, _ = read(bytes(data), strict=False)
    assert items == survivors(1, 3, 8)
    assert [damage.error.packet for damage in damages] == [1, 8]


def test_zeros_over_a_large_part() -> None:
    data = bytearray(STREAM.data)
    data[STREAM.starts[2] + 3:STREAM.starts[7]] = bytes(STREAM.starts[7] - STREAM.starts[2] - 3)
    items, damages, _ = read(bytes(data), strict=False)
    assert items == [*ITEMS[:2], *ITEMS[7:]]
    assert [(d.lost_packets, d.lost_frames) for d in damages] == [(5, 4)]


def test_index_survives_a_damaged_end() -> None:
    index = read_index(io.BytesIO(STREAM.data))
    for offset in range(STREAM.starts[-1], len(STREAM.data)):
        data = bytearray(STREAM.data)
        data[offset] ^= 0x55
        assert read_index(io.BytesIO(data)) == index
    data = bytearray(STREAM.data)
    data[STREAM.starts[4] + 5] ^= 1
    assert read_index(io.BytesIO(data)) == index, "the end packet is whole"
    assert read_index(io.BytesIO(data[:-1])) == [index[0], index[2]]


def sealed(number: int, data: bytes) -> bytes:
    """A packet with the checksum that it needs."""
    return data + packet_crc(HEADER_CRC, number, data).to_bytes(4, "little")


def anchor(kind: int, number: int, frame: int, body: bytes = b"") -> bytes:
    numbers = b"".join(map(write_uvarint, (number, frame, len(body))))
    return sealed(number, SYNC + bytes([kind]) + numbers + body)


def end_with(body: bytes, number: int = 0, frame: int = 0) -> bytes:
    packet = anchor(4, number, frame, body)
    return packet + len(packet).to_bytes(4, "little")


HEAD = STREAM.data[:FIRST]


@pytest.mark.parametrize("kind", [64, 100, 127])
def test_skippable_packets_are_skipped(kind: int) -> None:
    data = HEAD + STREAM.packet(0) + anchor(kind, 1, 1, b"from the future")
    data += anchor(3, 2, 1, b"side") + end_with(bytes([1, 0, *write_uvarint(FIRST), 0]), 3, 1)
    items, _, reader = read(data)
    assert items == [ITEMS[0], SideData(b"side")]
    assert reader.end is not None
    assert reader.end.packets == 3
    broken = bytearray(data)
    broken[data.index(b"future")] ^= 1
    with pytest.raises(CorruptStreamError):
        read(bytes(broken))


@pytest.mark.parametrize("kind", [0, 2, 5, 63])
def test_unknown_critical_packets_stop_every_reader(kind: int) -> None:
    data = HEAD + STREAM.packet(0) + anchor(kind, 1, 1, b"from the future") + end_with(b"\x00", 2, 1)
    for strict in (True, False):
        reader = StreamReader(io.BytesIO(data), strict=strict)
        assert next(reader) == ITEMS[0]
        with pytest.raises(UnsupportedVersionError, match=f"packet type {kind} ") as caught:
            next(reader)
        assert caught.value.packet == 1
        assert next(reader, None) is None
    broken = data[:FIRST] + b"\x00" + data[FIRST + 1:]
    with pytest.raises(UnsupportedVersionError):
        read(broken, strict=False)


def test_wrong_frame_count() -> None:
    index = bytes([1, 0, *write_uvarint(FIRST), 0])
    for in_side, in_end in ((1, 1), (0, 1), (2, 1), (1, 2)):
        data = HEAD + STREAM.packet(0) + anchor(3, 1, in_side, b"side") + end_with(index, 2, in_end)
        if (in_side, in_end) == (1, 1):
            assert read(data)[0] == [ITEMS[0], SideData(b"side")]
        else:
            with pytest.raises(CorruptStreamError, match="the packet counts"):
                read(data)


@pytest.mark.parametrize("packets", [
    anchor(128, 0, 0),
    sealed(0, b"\x80\x00\x00"),
    anchor(1, 0, 1, b"\x00\x00"),
    anchor(1, 1, 0, b"\x00\x00"),
    anchor(1, 0, 0, b"\x00\x40"),
    anchor(1, 0, 0, b"\x00"),
    anchor(1, 0, 0, b""),
    STREAM.packet(0) + sealed(1, b"\x80\xfe\xff\xff\xff\xff\xff\xff\xff\x7f\x00"),
    end_with(b""), end_with(b"\x01"), end_with(b"\x00\x00"), end_with(b"\x00", 0, 1),
    STREAM.packet(0) + end_with(b"\x00", 1, 1),
    STREAM.packet(0) + end_with(bytes([1, 1, *write_uvarint(FIRST), 0]), 1, 1),
    STREAM.packet(0) + end_with(bytes([1, 0, *write_uvarint(FIRST + 1), 0]), 1, 1),
    STREAM.packet(0) + end_with(bytes([1, 0, *write_uvarint(FIRST), 2]), 1, 1),
    STREAM.packet(0) + end_with(bytes([2, 0, *write_uvarint(FIRST), 0, 0, 1, 0]), 1, 1),
    STREAM.packet(0) + end_with(bytes([1, 0, *write_uvarint(10**6), 0]), 1, 1),
])
def test_well_sealed_nonsense(packets: bytes) -> None:
    """What a faulty writer might make: the checksums are right, the content is not."""
    with pytest.raises(CorruptStreamError):
        read(HEAD + packets)
    _, damages, reader = read(HEAD + packets, strict=False)
    assert damages
    assert reader.end is None
    for entry in read_index(io.BytesIO(HEAD + packets)):
        try:
            reader.seek(entry)
        except CorruptStreamError:
            continue
        assert isinstance(next(reader), Packet)


def memory_of_reading(file: BinaryIO) -> int:
    tracemalloc.start()
    try:
        assert any(isinstance(item, Damage) for item in StreamReader(file, strict=False))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


LARGEST = write_uvarint(1 << 26)


@pytest.mark.parametrize("claim", [
    STREAM.packet(0) + b"\x80\x00" + LARGEST,
    SYNC + b"\x01\x00\x00" + LARGEST,
    SYNC + b"\x03\x00\x00" + LARGEST,
    SYNC + b"\x04\x00\x00" + LARGEST,
    SYNC + b"\x01\x00\x00" + write_uvarint(2**63 - 1),
    anchor(4, 0, 0, write_uvarint(1 << 18)),
])
def test_claimed_lengths_take_no_memory(claim: bytes) -> None:
    data = HEAD + claim + bytes(1000)
    # The rest of this file is less than what is claimed, so it need not be held at once.
    assert memory_of_reading(io.BytesIO(data + bytes(1 << 23))) < 1 << 20
    # From a pipe, one read of up to 1 MiB is tried.
    assert memory_of_reading(Pipe(data, 4096)) < 1 << 21  # type: ignore[arg-type]


def test_header_that_claims_too_much() -> None:
    data = STREAM.data[:10] + write_uvarint(1 << 40) + bytes(1000)
    with pytest.raises(CorruptStreamError, match="header size"):
        StreamReader(io.BytesIO(data))


def test_long_streams_take_no_more_memory_than_short_ones() -> None:
    def peak(frames: int) -> int:
        stream = make([intra(i) if i % 10 == 0 else inter(i, bytes(2000)) for i in range(frames)])
        tracemalloc.start()
        try:
            for _ in StreamReader(io.BytesIO(stream.data)):
                pass
            return tracemalloc.get_traced_memory()[1] - len(stream.data)
        finally:
            tracemalloc.stop()

    assert peak(2000) < peak(200) + (1 << 18)


def test_false_markers_cost_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lvc.bitstream.reader.SCAN_BUDGET", 1 << 22)
    for claim in (0, 1 << 14):
        false = SYNC + b"\x03\x01\x01" + write_uvarint(claim)
        data = HEAD + STREAM.packet(0) + false * 200000
        start = time.process_time()
        items, damages, _ = read(data, strict=False)
        assert time.process_time() - start < 2
        assert items == [ITEMS[0]]
        assert "too many false sync markers" in str(damages[-1].error)


def test_sync_markers_in_payloads_do_no_harm() -> None:
    items = [intra(0, SYNC * 3), inter(1001, SYNC + b"\x01\x05\x00\x04"), SideData(SYNC + SYNC[:2]),
             intra(2002, SYNC)]
    stream = make(items)
    assert read(stream.data)[0] == items
    data = bytearray(stream.data)
    data[stream.starts[0] + 5] ^= 1
    assert read(bytes(data), strict=False)[0] == [items[2], items[3]]


def test_files_of_other_kinds() -> None:
    for data, hint in ((b"", "empty"), (b"\x89PNG\r\n\x1a\n" + bytes(100), "not an lvc file"),
                       (STREAM.data.replace(b"\r\n", b"\n"), "text mode"), (b"RIFF", "not an lvc file"),
                       (bytes(byte & 0x7F for byte in STREAM.data), "text mode")):
        with pytest.raises(NotLvcError, match=hint):
            StreamReader(io.BytesIO(data))
        with pytest.raises(NotLvcError, match=hint):
            read_index(io.BytesIO(data))


EDITS = st.tuples(st.integers(FIRST, len(STREAM.data)), st.integers(0, 9), st.binary(max_size=6))
MUTATIONS = st.lists(EDITS, min_size=1, max_size=4)


@settings(max_examples=300, deadline=None)
@given(MUTATIONS)
def test_mutated_streams_give_true_items_only(mutations: list[tuple[int, int, bytes]]) -> None:
    data = STREAM.data
    for offset, removed, added in mutations:
        data = data[:offset] + added + data[offset + removed:]
    items, damages, _ = read(data, strict=False)
    assert data == STREAM.data or damages
    position = iter(ITEMS)
    assert all(any(item == other for other in position) for item in items)
    read_index(io.BytesIO(data))
    read_index(Pipe(data))  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", MAGIC, MAGIC + b"\x01\x00", HEAD, HEAD + SYNC]))
def test_noise_raises_nothing_but_lvc_errors(noise: bytes, start: bytes) -> None:
    for strict in (True, False):
        try:
            damages = read(start + noise, strict=strict)[1]
        except LvcError:
            continue
        assert damages
