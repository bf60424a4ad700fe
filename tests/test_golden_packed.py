"""Golden streams of x265-packed give the same standard stream, and so the same samples, for ever."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from lvc.codecs.packed import COUNT_LIMIT, WEIGHT_RATE, Side, trained
from tests.golden.make_packed_v1 import STREAMS, contents, make, units_of

GOLDEN = Path(__file__).parent / "golden"


def test_golden_streams_decode_as_ever() -> None:
    for name, ((_, _, count), _) in STREAMS.items():
        found = contents(GOLDEN / f"{name}.lvc")
        assert found == json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
        assert len(found) == 1 + count


def test_golden_streams_are_packed_and_hold_all_there_is() -> None:
    """So a changed context of any element would show."""
    bins: Counter[str] = Counter()
    for name in STREAMS:
        packets, units = units_of(GOLDEN / f"{name}.lvc")
        assert not any(packet.payload.startswith(b"\0\0") for packet in packets)
        side = Side(trained()[0], COUNT_LIMIT, WEIGHT_RATE, 1 << 20)
        for unit in units:
            side.pack(unit)
        bins.update({element: row[0] for element, row in side.bits().items()})
    assert min(bins.values()) > 0, bins


def test_the_script_works(tmp_path: Path) -> None:
    make(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in GOLDEN.glob("packed_v1*")}
