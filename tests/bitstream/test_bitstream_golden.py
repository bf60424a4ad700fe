"""The golden stream of version 1.0 stays readable, and is still what version 1.0 writes."""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path
from types import ModuleType

import pytest

from lvc.bitstream import FORMAT_VERSION, read_index

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_container_v1", GOLDEN / "make_container_v1.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_golden_stream_reads_as_ever(script: ModuleType) -> None:
    data = (GOLDEN / "container_v1.lvc").read_bytes()
    expected = json.loads((GOLDEN / "container_v1.json").read_text())
    assert script.describe(data) == expected
    assert [[e.packet, e.offset, e.pts] for e in read_index(io.BytesIO(data))] == expected["end"]["index"]
    assert expected["end"]["frames"] == 9
    assert [item.get("pts") for item in expected["items"][1:4]] == [-2002, -1001, 0]


def test_writer_still_makes_the_golden_stream(script: ModuleType) -> None:
    assert script.build()[8:10] == bytes(FORMAT_VERSION) == b"\x01\x00"
    assert script.build() == (GOLDEN / "container_v1.lvc").read_bytes()
