"""Round trips, agreement of the C++ coder with the reference, overhead, and the checks of arguments."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvc.coding import CdfTables, Decoder, Encoder, code_length, gaussian_tables, use_kernels
from lvc.coding.coder import LANES
from lvc.coding.reference import ReferenceDecoder, ReferenceEncoder
from lvc.errors import CorruptStreamError, UsageError

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
SCALES = np.geomspace(0.11, 64, 64)


@st.composite
def tables_and_symbols(draw):
    """Any tables (up to 4 of up to 300 symbols), and up to 60 symbols in and far out of them."""
    precision = draw(st.integers(2, 16))
    total = 2**precision
    cuts = st.sets(st.integers(1, total - 1), min_size=1, max_size=min(300, total - 1))
    rows = [[0, *sorted(draw(cuts)), total] for _ in range(draw(st.integers(1, 4)))]
    lengths = np.array([len(row) for row in rows])
    cdf = np.zeros((len(rows), lengths.max()), np.int64)
    for i, row in enumerate(rows):
        cdf[i, : len(row)] = row
    anywhere = st.integers(INT32_MIN, INT32_MAX - 300) | st.integers(-200, 10)
    offsets = np.array(draw(st.lists(anywhere, min_size=len(rows), max_size=len(rows))))
    tables = CdfTables(cdf, lengths, offsets, precision)
    index = draw(st.lists(st.integers(0, len(rows) - 1), max_size=60))
    near, far = st.integers(-3, 303), st.integers(INT32_MIN, INT32_MAX)
    symbols = [draw(near) + int(offsets[t]) if draw(st.booleans()) else draw(far) for t in index]
    symbols = np.clip(np.array(symbols, np.int64), INT32_MIN, INT32_MAX).astype(np.int32)
    return tables, symbols, np.array(index, np.uint8)


@settings(max_examples=150, deadline=None)
@given(tables_and_symbols(), st.sampled_from([None, *LANES]))
def test_any_symbols_come_back_and_the_reference_agrees(case, lanes):
    tables, symbols, index = case
    encoder, reference = Encoder(lanes=lanes), ReferenceEncoder(lanes=lanes)
    encoder.push(symbols, index, tables)
    reference.push(symbols, index, tables)
    data = encoder.finish()
    assert data == reference.finish()
    for decoder in (Decoder(data), ReferenceDecoder(data)):
        assert np.array_equal(decoder.pull(index, tables), symbols)
        decoder.close()
    # a lane: 4 bits of length, 16 bits of the initial state, less than 1 bit of rounding
    fixed = (2 + 21 * (lanes or 1) + 7) / 8 if len(symbols) else 0
    assert len(data) <= code_length(symbols, index, tables) / 8 * 1.01 + fixed


@pytest.mark.parametrize("lanes", LANES)
def test_all_kernels_give_the_bytes_of_the_reference(kernels, extreme_tables, lanes):
    """On extreme tables and values, in pushes and pulls that break groups of lanes anywhere."""
    rng = np.random.default_rng(1)
    index = np.repeat(np.arange(extreme_tables.n_tables, dtype=np.uint8), 250)
    first = extreme_tables.offsets[index].astype(np.int64)
    count = extreme_tables.lengths[index] - 1
    symbols = first + rng.integers(0, count)  # the last one falls on the escape
    ends = rng.choice([INT32_MIN, INT32_MIN + 1, -1, 0, INT32_MAX - 1, INT32_MAX], symbols.size)
    symbols = np.where(rng.random(symbols.size) < 0.05, ends, symbols).astype(np.int32)
    order = rng.permutation(symbols.size)
    symbols, index = symbols[order], index[order]
    encoder, reference = Encoder(extreme_tables, lanes=lanes), ReferenceEncoder(extreme_tables, lanes=lanes)
    for part in np.split(np.arange(symbols.size), [1, 40, 72, 1000, 1001]):
        encoder.push(symbols[part], index[part])
    reference.push(symbols, index)
    data = encoder.finish()
    assert data == reference.finish()
    decoder = Decoder(data, extreme_tables)
    for part in np.split(np.arange(symbols.size), [3, 35, 36, 700]):
        assert np.array_equal(decoder.pull(index[part]), symbols[part])
    decoder.close()


@pytest.mark.parametrize(("low", "high"), [(0, 64), (0, 20), (45, 64)])
def test_kernels_agree_on_many_gaussian_symbols(kernels, low, high):
    """Enough symbols for every way through the kernels: near and far ranks, whole pieces, all lane counts."""
    tables = gaussian_tables(SCALES)
    rng = np.random.default_rng(2)
    symbols, index = gaussian_symbols(rng, 30_011, low, high)
    symbols[::97] *= 5  # escapes
    for lanes in LANES:
        encoder = Encoder(tables, lanes=lanes)
        encoder.push(symbols[:5], index[:5])
        encoder.push(symbols[5:].astype(np.int32), index[5:].astype(np.int32))
        data = encoder.finish()
        use_kernels("scalar")
        other = Encoder(tables, lanes=lanes)
        other.push(symbols, index)
        assert data == other.finish()
        use_kernels(kernels)
        for places in (index, index.astype(np.int32)):
            decoder = Decoder(data, tables)
            assert np.array_equal(decoder.pull(places), symbols)
            decoder.close()


def test_large_table_sets_need_wider_entries(kernels, make_tables):
    """More than 65536 symbols in all tables together, and more than 64 tables."""
    rows = [[1] * 16384] * 5 + [[16380, 4]] * 70
    tables = make_tables(rows, [-8000] * 75, 14)
    rng = np.random.default_rng(3)
    index = rng.integers(0, 75, 3000).astype(np.uint8)
    symbols = rng.integers(-8010, 8500, 3000).astype(np.int16)
    encoder, reference = Encoder(tables, lanes=32), ReferenceEncoder(tables, lanes=32)
    encoder.push(symbols, index)
    reference.push(symbols, index)
    data = encoder.finish()
    assert data == reference.finish()
    decoder = Decoder(data, tables)
    assert np.array_equal(decoder.pull(index), symbols)
    decoder.close()


def gaussian_symbols(rng, n, low, high):
    index = rng.integers(low, high, n).astype(np.uint8)
    return np.rint(rng.standard_normal(n) * SCALES[index]).astype(np.int16), index


def test_code_length_is_that_of_the_steps(make_tables):
    tables = make_tables([[4, 12], [8, 4, 4]], [0, -1], 4)
    escape = np.log2(16 / 12)
    assert code_length(np.array([0], np.int8), np.array([0]), tables) == pytest.approx(2)
    assert code_length(np.array([1], np.int8), np.array([0]), tables) == pytest.approx(escape + 1)
    assert code_length(np.array([-1], np.int8), np.array([0]), tables) == pytest.approx(escape + 3)
    assert code_length(np.array([INT32_MAX], np.int32), np.array([0]), tables) == pytest.approx(escape + 63)
    assert code_length(np.array([INT32_MIN], np.int32), np.array([0]), tables) == pytest.approx(escape + 65)
    symbols = np.array([[0, 0], [-1, 0]], np.int8)
    assert code_length(symbols, tables=tables) == pytest.approx(2 + 2 + 1 + 2)


def test_mixed_tables_and_forms_in_one_stream(coder, make_tables):
    rng = np.random.default_rng(3)
    gaussian = gaussian_tables(SCALES[:8], precision=12)
    channels = make_tables([[10, 200, 40, 6], [1, 254, 1], [128, 128]], [-1, 0, 3], 8)
    y, index = gaussian_symbols(rng, 240, 0, 8)
    y, index = y.reshape(4, 5, 12), index.reshape(4, 5, 12)
    z = rng.integers(-3, 5, (3, 4, 5)).astype(np.int8)
    encoder, decoder = coder
    writer = encoder()
    writer.push_channels(z, channels)
    writer.push(y, index, gaussian)
    writer.push(y[:0], index[:0], gaussian)
    writer.push_channels(z[:, :, :0], channels)
    writer.push_channels(z[:, 1, 1], channels)
    data = writer.finish()
    reader = decoder(data)
    assert np.array_equal(reader.pull_channels(z.shape, channels), z)
    assert np.array_equal(reader.pull(index[:2], gaussian), y[:2])
    assert reader.pull(index[:0], gaussian).shape == (0, 5, 12)
    assert np.array_equal(reader.pull(index[2:].astype(np.int64), gaussian), y[2:])
    assert reader.pull_channels((3, 0, 7), channels).shape == (3, 0, 7)
    assert np.array_equal(reader.pull_channels([3], channels), z[:, 1, 1])
    reader.close()


def test_channels_are_the_same_as_their_index(make_tables):
    tables = make_tables([[10, 200, 40, 6], [1, 254, 1]], [-1, 0], 8)
    symbols = np.random.default_rng(4).integers(-3, 4, (2, 3, 5)).astype(np.int32)
    index = np.broadcast_to(np.arange(2, dtype=np.uint8)[:, None, None], symbols.shape)
    one, two = Encoder(), Encoder()
    one.push_channels(symbols, tables)
    two.push(symbols, index, tables)
    assert one.finish() == two.finish()


@pytest.mark.parametrize("symbol_type", [np.int8, np.int16, np.int32, ">i2"])
@pytest.mark.parametrize("index_type", [np.uint8, np.int8, np.uint16, np.int32, np.int64, np.uint64, ">i4"])
def test_types_and_strides_change_nothing(coder, symbol_type, index_type):
    tables = gaussian_tables(SCALES[:40])
    symbols, index = gaussian_symbols(np.random.default_rng(5), 60, 0, 40)
    symbols, index = symbols.reshape(10, 6).T, index.reshape(10, 6).T
    expected = coder[0]()
    expected.push(symbols.copy(), index.copy(), tables)
    encoder = coder[0]()
    strided, places = symbols.astype(symbol_type, order="K"), index.astype(index_type, order="K")
    assert not strided.flags.c_contiguous
    assert not places.flags.c_contiguous
    encoder.push(strided, places, tables)
    data = encoder.finish()
    assert data == expected.finish()
    decoder = coder[1](data)
    assert np.array_equal(decoder.pull(places, tables), symbols)
    decoder.close()


def test_symbols_may_change_after_a_push(make_tables):
    tables = make_tables([[4, 8, 4]], [0], 4)
    symbols, index = np.array([0, 1, 1, 0], np.int8), np.zeros(4, np.uint8)
    encoder = Encoder(tables)
    encoder.push(symbols, index)
    symbols[:] = 1
    assert Decoder(encoder.finish(), tables).pull(index).tolist() == [0, 1, 1, 0]


def test_scalars(coder):
    tables = gaussian_tables(SCALES[:4])
    encoder = coder[0]()
    encoder.push(np.array(2, np.int8), np.array(3), tables)
    value = coder[1](encoder.finish()).pull(np.array(3), tables)
    assert value.shape == ()
    assert value == 2


def test_torch_tensors():
    import torch

    tables = gaussian_tables(SCALES[:8])
    symbols = torch.tensor([[0, 1, -1], [0, 0, 9]], dtype=torch.int16)
    index = torch.tensor([[0, 1, 2], [3, 4, 5]])
    encoder = Encoder()
    encoder.push(symbols, index, tables)
    data = encoder.finish()
    out = torch.empty(2, 3, dtype=torch.int32)
    Decoder(data).pull(index, tables, out=out)
    assert torch.equal(out, symbols.int())
    for bad in (torch.zeros(2, 3), torch.zeros(2, 3, requires_grad=True), symbols.to("meta")):
        with pytest.raises(UsageError):
            Encoder().push(bad, index, tables)


def test_out_is_written_and_returned(make_tables):
    tables = make_tables([[1, 3], [2, 2]], [0, 0], 2)
    encoder = Encoder()
    encoder.push_channels(np.zeros((2, 4), np.int8), tables)
    data = encoder.finish()
    out = np.full((2, 4), 9, np.int32)
    assert Decoder(data).pull_channels((2, 4), tables, out=out) is out
    assert not out.any()
    index = np.repeat([[0], [1]], 4, axis=1).astype(np.int32)
    assert not Decoder(data).pull(index, tables, out=index).any()  # in place, too
    assert not index.any()
    read_only = out.copy()
    read_only.setflags(write=False)
    for bad in (out[:1], out.T, out.astype(np.int64), read_only, [0] * 8, np.zeros((4, 4), np.int32)[::2]):
        with pytest.raises(UsageError, match="out must"):
            Decoder(data).pull_channels((2, 4), tables, out=bad)


@pytest.mark.parametrize(
    ("symbols", "index", "message"),
    [
        (np.zeros(3, np.int64), np.zeros(3, np.uint8), "int8, int16 or int32, not int64"),
        (np.zeros(3, np.uint8), np.zeros(3, np.uint8), "not uint8"),
        (np.zeros(3), np.zeros(3, np.uint8), "not float64"),
        ([0, 0, 0], np.zeros(3, np.uint8), "symbols must be a numpy array or a CPU tensor, not list"),
        (np.zeros(3, np.int8), [0, 0, 0], "index must be a numpy array or a CPU tensor, not list"),
        (np.zeros(3, np.int8), np.zeros(3), "index must hold integers, not float64"),
        (np.zeros(3, np.int8), np.zeros(3, bool), "index must hold integers, not bool"),
        (np.zeros(3, np.int8), None, "not NoneType"),
        (np.zeros(3, np.int8), np.zeros((3, 1), np.uint8), r"one shape, not \(3,\) and \(3, 1\)"),
        (np.zeros(3, np.int8), np.zeros(4, np.uint8), "one shape"),
        (np.zeros(3, np.int8), np.array([0, 1, 2], np.uint8), "index must be from 0 to 1"),
        (np.zeros(3, np.int8), np.array([0, 1, -1], np.int32), "index must be from 0 to 1"),
        (np.zeros(3, np.int8), np.array([0, 1, 2**40]), "index must be from 0 to 1"),
        (np.zeros(3, np.int8), np.array([0, 1, -1], np.int8), "index must be from 0 to 1"),
    ],
)
def test_bad_pushes_are_refused_and_leave_no_trace(coder, make_tables, symbols, index, message):
    tables = make_tables([[1, 3], [2, 2]], [0, 0], 2)
    encoder = coder[0]()
    encoder.push(np.zeros(5, np.int8), np.zeros(5, np.uint8), tables)
    with pytest.raises(UsageError, match=message):
        encoder.push(symbols, index, tables)
    clean = coder[0]()
    clean.push(np.zeros(5, np.int8), np.zeros(5, np.uint8), tables)
    assert encoder.finish() == clean.finish()


def test_other_bad_calls(coder, make_tables):
    encoder_type, decoder_type = coder
    tables = make_tables([[1, 3], [2, 2]], [0, 0], 2)
    encoder = encoder_type()
    with pytest.raises(UsageError, match="tables must be CdfTables"):
        encoder.push(np.zeros(3, np.int8), np.zeros(3, np.uint8), "tables")
    with pytest.raises(UsageError, match="tables must be CdfTables, not NoneType"):
        encoder.push(np.zeros(3, np.int8), np.zeros(3, np.uint8))
    for lanes in (0, 2, 64, True, "4", 4.5):
        with pytest.raises(UsageError, match="lanes must be"):
            encoder_type(tables, lanes=lanes)
    for shape in ((3, 2), (), (0, 2)):
        with pytest.raises(UsageError, match="2 channels"):
            encoder.push_channels(np.zeros(shape, np.int8), tables)
    encoder.push_channels(np.zeros((2, 2), np.int8), tables)
    data = encoder.finish()
    for again in (encoder.finish, lambda: encoder.push_channels(np.zeros((2, 2), np.int8), tables)):
        with pytest.raises(UsageError, match="finished"):
            again()
    decoder = decoder_type(data)
    bad = {(3, 2): "2 channels", (2, -1): "negative", 4: "sequence", "ab": "sequence"}
    for shape, message in bad.items():
        with pytest.raises(UsageError, match=message):
            decoder.pull_channels(shape, tables)
    with pytest.raises(UsageError, match="from 0 to 1"):
        decoder.pull(np.array([0, 2], np.uint8), tables)
    assert not decoder.pull_channels((2, 2), tables).any()  # the refused calls took nothing
    decoder.close()


def test_decoder_takes_bytes_like_only():
    for data in (bytearray(), memoryview(b"")):
        Decoder(data).close()
    for data in ("", None, [1, 2], np.zeros(4, np.uint8)):
        with pytest.raises(UsageError, match="coded data must be bytes"):
            Decoder(data)


def test_threads_do_not_disturb_each_other():
    tables = gaussian_tables(SCALES)
    cases = [gaussian_symbols(np.random.default_rng(seed), 100_000, 0, 64) for seed in range(4)]

    def encode(case, results, i):
        encoder = Encoder()
        for part in np.array_split(np.arange(len(case[0])), 10):
            encoder.push(case[0][part], case[1][part], tables)
        data = encoder.finish()
        decoder = Decoder(data)
        assert np.array_equal(decoder.pull(case[1], tables), case[0])
        decoder.close()
        results[i] = data

    alone, together = [b""] * 4, [b""] * 4
    for i, case in enumerate(cases):
        encode(case, alone, i)
    threads = [threading.Thread(target=encode, args=(case, together, i)) for i, case in enumerate(cases)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_other_threads_run_while_it_codes():
    tables = gaussian_tables(SCALES)
    symbols, index = gaussian_symbols(np.random.default_rng(6), 6_000_000, 0, 64)
    encoder = Encoder()
    encoder.push(symbols, index, tables)
    finished = threading.Event()
    times = []

    def finish():
        encoder.finish()
        finished.set()

    thread = threading.Thread(target=finish)
    thread.start()
    while not finished.is_set():
        times.append(time.perf_counter())
        time.sleep(0.001)
    thread.join()
    assert len(times) > 3  # with the GIL held, this loop would stand still after its first round


def test_one_encoder_in_two_threads_is_safe(make_tables):
    """The order of the pushes is then undefined, but every push is whole."""
    tables = make_tables([[100, 100, 56]], [0], 8)
    encoder = Encoder()
    barrier = threading.Barrier(2)

    def push(value):
        barrier.wait()
        for _ in range(200):
            encoder.push(np.full(50, value, np.int8), np.zeros(50, np.uint8), tables)

    threads = [threading.Thread(target=push, args=(value,)) for value in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    values = Decoder(encoder.finish()).pull(np.zeros((400, 50), np.uint8), tables)
    assert (values == values[:, :1]).all()
    assert values[:, 0].sum() == 200


def test_asking_for_more_than_was_written_is_always_noticed(coder):
    tables = gaussian_tables(SCALES)
    rng = np.random.default_rng(7)
    for n in range(40):
        symbols, index = gaussian_symbols(rng, n, 0, 64)
        encoder = coder[0]()
        encoder.push(symbols, index, tables)
        decoder = coder[1](encoder.finish())
        decoder.pull(index, tables)
        with pytest.raises(CorruptStreamError, match="ends too early"):
            decoder.pull(np.zeros(1, np.uint8), tables)
