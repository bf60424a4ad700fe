"""Golden streams of x265-packed give the same standard stream, and so the same samples, for ever."""

from __future__ import annotations

import json
from pathlib import Path

from tests.golden.make_packed_v1 import contents, make

GOLDEN = Path(__file__).parent / "golden"


def test_golden_streams_decode_as_ever(tmp_path: Path) -> None:
    """That of the repository, and one made on the spot, which shows that the script works."""
    make(tmp_path)
    for stream in (GOLDEN / "packed_v1.lvc", tmp_path / "packed_v1.lvc"):
        found = contents(stream)
        assert found == json.loads(stream.with_suffix(".json").read_text(encoding="utf-8"))
        assert len(found) == 10
