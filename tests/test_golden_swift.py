"""Golden streams of swift decode to the same samples for ever, on every machine; damage never passes in silence.

Every ``swift_v*.lvc`` under tests/golden, and one that tests/golden/make_swift_v1.py makes on the spot, which shows
that the script works and that this version decodes its own streams.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import lvc
from lvc.errors import LvcError, WeightsError
from tests.golden.make_swift_v1 import digest, make

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Those of this version first."""
    folder = tmp_path_factory.mktemp("golden")
    make(folder)
    assert {p.name for p in folder.iterdir()} == {p.name for p in GOLDEN.glob("swift_v1*")}
    return [path for place in (folder, GOLDEN) for path in sorted(place.glob("swift_v*.lvc"))]


def weights_of(stream: Path) -> Path:
    """What ``swift_v1_*.lvc`` was made with: swift_v1.safetensors."""
    return stream.with_name("_".join(stream.stem.split("_")[:2]) + ".safetensors")


def decode(stream: Path, weights: Path) -> tuple[dict[str, str], int]:
    """Digests of the frames by pts, and how many pieces of damage were reported."""
    with lvc.open_stream(stream, weights=weights) as decoded:
        frames = {str(frame.pts): digest(frame) for frame in decoded}
        return frames, len(decoded.damage)


def test_golden_streams_decode_as_ever(streams: list[Path]) -> None:
    """To the last bit of every sample."""
    for stream in streams:
        expected = json.loads(stream.with_suffix(".json").read_text(encoding="utf-8"))
        assert len(expected) == 7
        assert len(set(expected.values())) == 7
        assert decode(stream, weights_of(stream)) == (expected, 0)


def test_streams_need_their_weights(streams: list[Path], tiny_path: Path, swift_path: Path) -> None:
    for wrong in (tiny_path, swift_path):
        with pytest.raises(WeightsError):
            lvc.open_stream(streams[0], weights=wrong)


@pytest.mark.parametrize("place", [-2, -1])
def test_damage_is_an_error_or_a_report(streams: list[Path], tmp_path: Path, place: int) -> None:
    """Cut or changed anywhere: an LvcError, or damage that is reported, and intact groups still decode."""
    stream = streams[place]
    weights, data = weights_of(stream), stream.read_bytes()
    whole, _ = decode(stream, weights)
    rng = np.random.default_rng(1)
    positions = sorted({*range(0, 120, 24), *rng.integers(120, len(data), 8).tolist(), len(data) - 1})
    path = tmp_path / "damaged.lvc"
    for position in positions:
        changed = bytearray(data)
        changed[position] ^= 1 << int(rng.integers(8))
        for damaged in (bytes(changed), data[:position]):
            path.write_bytes(damaged)
            try:
                frames, reports = decode(path, weights)
            except LvcError:
                continue
            assert reports > 0, f"damage at {position} passed in silence"
            assert frames.items() <= whole.items(), f"damage at {position} changed a frame"
