"""Scene cuts: found where another scene begins, and nowhere else; swift codes them as I frames."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import lvc
from lvc.codecs.scenecut import Places, SceneCuts
from lvc.codecs.swift import SwiftCodec
from lvc.errors import UsageError
from lvc.types import EncodeOptions, Frame, PacketKind, VideoInfo
from lvc.video import open_sink
from lvc.weights import SwiftWeights


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def scene(rng: np.random.Generator, width: int = 128, height: int = 96, count: int = 4) -> list[Frame]:
    """A pan over a smooth random picture."""
    coarse = rng.integers(0, 256, (height // 8 + 4, width // 8 + 4)).astype(np.float64)
    picture = np.kron(coarse, np.ones((8, 8)))
    for axis in (0, 1):
        picture = sum(np.roll(picture, k, axis) for k in range(-4, 5)) / 9
    frames = []
    for k in range(count):
        y = picture[k : k + height, 2 * k : 2 * k + width].astype(np.uint8)
        frames.append(Frame(np.ascontiguousarray(y), *(np.full((height // 2, width // 2), 128, np.uint8),) * 2, k))
    return frames


def test_cuts_are_found_and_nothing_else(rng: np.random.Generator) -> None:
    for threads in (1, 2):
        cuts = SceneCuts(threads)
        frames = [f for _ in range(3) for f in scene(rng)]
        assert [cuts(f.y) for f in frames] == [k > 0 and k % 4 == 0 for k in range(12)]


def test_flat_noise_and_small_frames_are_no_cuts(rng: np.random.Generator) -> None:
    cuts = SceneCuts()
    assert not any(cuts(rng.integers(40, 43, (96, 128), np.uint8)) for _ in range(4))
    for shape in ((31, 200), (8, 8), (63, 63)):
        cuts = SceneCuts()
        assert not any(cuts(rng.integers(0, 256, shape, np.uint8)) for _ in range(3))


@pytest.mark.parametrize(("period", "cut_at", "places"), [
    (3, (), [0, 1, 2, 0, 1, 2, 0]), (3, (4,), [0, 1, 2, 0, 0, 1, 2]), (-1, (2, 5), [0, 1, 0, 1, 2, 0, 1]),
    (0, (), [0, 1, 2, 3, 4, 5, 6]), (1, (3,), [0] * 7)])
def test_places(period: int, cut_at: tuple[int, ...], places: list[int]) -> None:
    class Cuts(SceneCuts):
        count = -1

        def __call__(self, luma: np.ndarray) -> bool:
            self.count += 1
            return self.count in cut_at

    counter = Places(period, Cuts())
    assert [counter(np.zeros((64, 64), np.uint8)) for _ in places] == places
    if not cut_at:
        counter = Places(period)
        assert [counter(np.zeros((64, 64), np.uint8)) for _ in places] == places


@pytest.mark.parametrize("params", [{}, {"bframes": "3"}, {"scenecut": "0"}, {"scenecut": "0", "bframes": "3"}])
def test_swift_starts_scenes_with_intra_frames(swift_weights: SwiftWeights, rng: np.random.Generator,
                                               params: dict[str, str]) -> None:
    codec, frames = SwiftCodec(swift_weights), [*scene(rng, count=6), *scene(rng, count=5)]
    frames = [Frame(f.y, f.u, f.v, k) for k, f in enumerate(frames)]
    encoder = codec.encoder(VideoInfo(128, 96), EncodeOptions(quality=30, intra_period=-1, params=params))
    packets = [p for f in frames for p in encoder.push(f)] + encoder.flush()
    assert sorted(p.pts for p in packets) == list(range(11))
    assert [p.pts for p in packets if p.kind == PacketKind.INTRA] == ([0] if "scenecut" in params else [0, 6])


@pytest.mark.filterwarnings("ignore:the bitrate of")
def test_a_cut_in_a_file(swift_path: Path, rng: np.random.Generator, tmp_path: Path) -> None:
    """Frames keep their times, also with rate control, and both intra frames can be decoded from."""
    frames = [*scene(rng, count=5), *scene(rng, count=5)]
    with open_sink(tmp_path / "in.y4m", VideoInfo(128, 96, Fraction(25), Fraction(1, 25))) as sink:
        for k, f in enumerate(frames):
            sink.write(Frame(f.y, f.u, f.v, k))
    for rate in ({"quality": 30}, {"bitrate": 500_000}):
        lvc.encode(tmp_path / "in.y4m", tmp_path / "a.lvc", codec=f"swift:weights={swift_path}", intra_period=-1,
                   **rate)
        with lvc.open_stream(tmp_path / "a.lvc", weights=swift_path) as stream:
            decoded = list(stream)
        assert [f.pts for f in decoded] == list(range(10))
        errors = [np.square(a.y.astype(np.float64) - b.y).mean() for a, b in zip(decoded, frames)]
        assert max(errors[0], errors[5]) < 100


def test_scenecut_is_0_or_1(swift_weights: SwiftWeights) -> None:
    with pytest.raises(UsageError, match="scenecut must be 0 or 1"):
        SwiftCodec(swift_weights).encoder(VideoInfo(64, 64), EncodeOptions(params={"scenecut": "yes"}))
