"""swift with two references: both sides keep the same second one, and streams decode to what was encoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvc.bitstream import StreamHeader
from lvc.codecs.swift import SwiftCodec, SwiftDecoder, SwiftEncoder
from lvc.codecs.swiftstate import ANCHORS
from lvc.errors import CorruptStreamError
from lvc.models.swiftmodel import SwiftModel
from lvc.types import EncodeOptions, Frame, VideoInfo
from lvc.weights import load_swift_weights, save_swift_weights

FrameMaker = Callable[..., list[Frame]]


def sides(codec: SwiftCodec, width: int, height: int, **options: Any) -> tuple[SwiftEncoder, SwiftDecoder]:
    video = VideoInfo(width, height)
    encoder = codec.encoder(video, EncodeOptions(**options))
    header = StreamHeader(codec.codec_id, codec.weights_digest, video, 8, encoder.codec_data)
    return encoder, codec.decoder(header)


@pytest.fixture(scope="module")
def codec_of_two(make_swift: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> SwiftCodec:
    path = tmp_path_factory.mktemp("two") / "two.safetensors"
    save_swift_weights(path, make_swift(references=2), {})
    return SwiftCodec(load_swift_weights(path))


@pytest.mark.parametrize(("width", "height"), [(2, 1), (76, 52)])
def test_round_trip_of_two_references(
    codec_of_two: SwiftCodec, textured_frames: FrameMaker, width: int, height: int
) -> None:
    """Both sides keep the same second reference, of the age that it says, and drop it at an I frame."""
    frames = textured_frames(ANCHORS + 5, width, height)
    period = ANCHORS + 3
    encoder, decoder = sides(codec_of_two, width, height, quality=40, intra_period=period)
    kept: dict[int, Any] = {}
    used = 0
    for count, frame in enumerate(frames):
        place = count % period
        (packet,) = encoder.push(frame)
        (decoded,) = decoder.push(packet)
        for a, b in zip(decoded.planes, encoder._state.frame(frame.pts).planes, strict=True):
            np.testing.assert_array_equal(a, b)
        kept[place] = encoder._state.reference.planes[0].copy()
        for state in (encoder._state, decoder._state):
            if place == 0:
                assert state._anchor is None
                assert state._compound is None
                continue
            assert state._anchor is not None
            expected = (place - 1) // ANCHORS * ANCHORS
            assert state._anchor.age == place + 1 - expected
            np.testing.assert_array_equal(state._anchor.planes[0], kept[expected])
            assert (state._compound is None) == (place == 1)
        if place > 1:
            np.testing.assert_array_equal(encoder._state._compound, decoder._state._compound)
            np.testing.assert_array_equal(encoder._state._anchor.field, decoder._state._anchor.field)
            used += int(encoder._state._compound.sum())
    assert used or width < 17


def test_one_reference_has_no_second(make_swift: Callable[..., SwiftModel], tmp_path: Path,
                                     textured_frames: FrameMaker) -> None:
    save_swift_weights(tmp_path / "one.safetensors", make_swift(references=1), {})
    encoder, _ = sides(SwiftCodec(load_swift_weights(tmp_path / "one.safetensors")), 24, 24)
    for frame in textured_frames(4, 24, 24):
        encoder.push(frame)
        assert encoder._state._anchor is None
        assert encoder._state._compound is None


def test_damaged_streams_of_two_references_end_in_an_error_or_in_frames(
    codec_of_two: SwiftCodec, textured_frames: FrameMaker
) -> None:
    encoder, _ = sides(codec_of_two, 33, 17, quality=45)
    packets = [p for frame in textured_frames(4, 33, 17) for p in encoder.push(frame)]
    rng = np.random.default_rng(1)
    errors = 0
    for place in rng.integers(0, len(packets[2].payload), 24):
        changed = bytearray(packets[2].payload)
        changed[place] ^= int(rng.integers(1, 256))
        _, decoder = sides(codec_of_two, 33, 17)
        for packet in packets[:2]:
            decoder.push(packet)
        try:
            decoder.push(replace(packets[2], payload=bytes(changed)))
        except CorruptStreamError:
            errors += 1
            with pytest.raises(CorruptStreamError):
                decoder.push(packets[3])
            decoder.push(packets[0])  # an I frame starts anew
            assert sum(len(decoder.push(packet)) for packet in packets[1:]) == 3
    assert errors > 12
