"""Golden streams of the dvc family stay decodable, and damage to them never passes in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lvc
from lvc.errors import LvcError, WeightsError

GOLDEN = Path(__file__).parent / "golden"
WEIGHTS = GOLDEN / "dvc_v1.safetensors"
KINDS = ("hevc", "learned")
VERSIONS = (1, 2)
"""Of the entropy coder."""


def decode(path: Path) -> tuple[list[lvc.Frame], int]:
    """Frames of a stream, and how many pieces of damage were reported."""
    with lvc.open_stream(path, weights=WEIGHTS) as stream:
        frames = list(stream)
        return frames, len(stream.damage)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_golden_streams_decode_as_ever(kind: str, version: int) -> None:
    """Samples may differ by rounding on other machines; anything wrong with symbols would be far off."""
    expected = np.load(GOLDEN / f"dvc_v{version}.npz")
    frames, damage = decode(GOLDEN / f"dvc_v{version}_{kind}.lvc")
    assert damage == 0
    assert len(frames) == 5
    for t, frame in enumerate(frames):
        for name, plane in zip("yuv", frame.planes, strict=True):
            difference = plane.astype(int) - expected[f"{kind}_{t}_{name}"]
            assert np.abs(difference).max() <= 2


def test_golden_stream_needs_its_weights() -> None:
    """The weights of the package are others, which is an error of its own."""
    with pytest.raises(WeightsError, match="made with weights"):
        lvc.open_stream(GOLDEN / "dvc_v1_hevc.lvc")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_an_error_or_a_report(kind: str, version: int, tmp_path: Path) -> None:
    """Cut or changed anywhere: an LvcError, or damage that is reported, and intact groups still decode."""
    data = (GOLDEN / f"dvc_v{version}_{kind}.lvc").read_bytes()
    whole, _ = decode(GOLDEN / f"dvc_v{version}_{kind}.lvc")
    rng = np.random.default_rng(1)
    positions = sorted({*range(0, 120, 8), *rng.integers(120, len(data), 12).tolist(), len(data) - 1})
    path = tmp_path / "damaged.lvc"
    for position in positions:
        changed = bytearray(data)
        changed[position] ^= 1 << int(rng.integers(8))
        for damaged in (bytes(changed), data[:position]):
            path.write_bytes(damaged)
            try:
                frames, reports = decode(path)
            except LvcError:
                continue
            assert reports > 0, f"damage at {position} passed in silence"
            known = {frame.pts: frame for frame in whole}
            for frame in frames:
                assert np.array_equal(frame.y, known[frame.pts].y), f"damage at {position} changed a frame"
