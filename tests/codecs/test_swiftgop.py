"""swift with B frames, with the narrow random networks of tests/conftest.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lvc
from lvc.bitstream import StreamHeader
from lvc.codecs import swiftgop
from lvc.codecs.swift import SwiftCodec
from lvc.codecs.swiftframe import pad_to_blocks
from lvc.codecs.swiftgop import LENGTHS, SwiftGopDecoder, SwiftGopEncoder, best_length, between
from lvc.codecs.swiftstate import InterState
from lvc.errors import CorruptStreamError, UsageError
from lvc.ops.blockmotion import BlockMotion
from lvc.types import EncodeOptions, Frame, Packet, PacketKind, VideoInfo
from lvc.weights import SwiftWeights, load_swift_weights, save_swift_weights

FrameMaker = Callable[..., list[Frame]]


@pytest.fixture(scope="module")
def codec(swift_weights: SwiftWeights) -> SwiftCodec:
    return SwiftCodec(swift_weights)


def start(codec: SwiftCodec, frames: list[Frame], bframes: int = 7, **options: Any,
          ) -> tuple[SwiftGopEncoder, SwiftGopDecoder]:
    video = VideoInfo(frames[0].width, frames[0].height)
    encoder = codec.encoder(video, EncodeOptions(params={"bframes": str(bframes)}, **options))
    decoder = codec.decoder(StreamHeader(codec.codec_id, codec.weights_digest, video, 8, encoder.codec_data))
    assert isinstance(encoder, SwiftGopEncoder)
    assert isinstance(decoder, SwiftGopDecoder)
    return encoder, decoder


def encode(encoder: SwiftGopEncoder, frames: list[Frame]) -> list[Packet]:
    return [p for frame in frames for p in encoder.push(frame)] + encoder.flush()


def decode(decoder: SwiftGopDecoder, packets: list[Packet]) -> list[Frame]:
    return [f for p in packets for f in decoder.push(p)] + decoder.flush()


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Groups are as long as the frames that are there, at most this list's only element; at first 8."""
    most = [8]
    monkeypatch.setattr(swiftgop, "best_length", lambda frames, *_: min(most[0], len(frames) - 1))
    return most


def test_the_order_of_a_group() -> None:
    """The middle first, then the halves; each frame lies in the middle of two that are known, one the latest."""
    assert [b.place for b in between(8)] == [4, 2, 1, 3, 6, 5, 7]
    assert between(1) == []
    for length in LENGTHS:
        order = [0, length]
        for b in between(length):
            assert b.past in order
            assert b.future in order
            assert b.place - b.past == b.future - b.place == length >> (b.level + 1)
            assert b.guide == max(b.past, b.future, key=order.index)
            order.append(b.place)
        assert sorted(order) == list(range(length + 1))


@pytest.mark.parametrize(("width", "height"), [(17, 33), (64, 64), (65, 40)])
@pytest.mark.parametrize(("count", "period", "most"), [(12, -1, 8), (10, 5, 4), (6, -1, 2), (3, -1, 1), (1, -1, 8)])
def test_round_trip(codec: SwiftCodec, textured_frames: FrameMaker, lengths: list[int], width: int, height: int,
                    count: int, period: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames come back in their order, with what the encoder referred to, to the last bit."""
    lengths[0] = most
    frames = [Frame(*f.planes, pts=3000 + 17 * f.pts) for f in textured_frames(count, width, height)]
    seen: list[Any] = []
    inner = InterState.between

    def keep(*args: Any, **options: Any) -> Any:
        picture = inner(*args, **options)
        seen.append(picture.reference.planes)
        return picture

    monkeypatch.setattr(InterState, "between", keep)
    encoder, decoder = start(codec, frames, quality=40, intra_period=period)
    packets = encode(encoder, frames)
    coded, seen[:] = list(seen), []
    decoded = decode(decoder, packets)
    assert [f.pts for f in decoded] == [f.pts for f in frames]
    assert {(f.width, f.height) for f in decoded} == {(width, height)}
    assert sorted(p.pts for p in packets) == [f.pts for f in frames]
    for ours, theirs in zip(coded, seen, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
    intra = [p.pts for p in packets if p.kind == PacketKind.INTRA]
    assert intra == [f.pts for f in frames[:: period if period > 0 else count]]
    assert (len(coded) > 0) == (most > 1 and count > 2)
    last = encoder._state.picture.reference.planes[0][:height, :width]
    np.testing.assert_array_equal(decoded[-1].y, last)
    error = np.mean([(a.y.astype(float) - b.y) ** 2 for a, b in zip(frames, decoded, strict=True)])
    assert error < 60


def test_delay(codec: SwiftCodec, textured_frames: FrameMaker, lengths: list[int]) -> None:
    """Packets wait for the end of a group, decoded frames for those before them only."""
    frames = textured_frames(9, 32, 32)
    encoder, decoder = start(codec, frames, quality=30, intra_period=-1)
    assert [len(encoder.push(frame)) for frame in frames] == [1, 0, 0, 0, 0, 0, 0, 0, 8]
    assert encoder.flush() == []
    encoder, _ = start(codec, frames, quality=30, intra_period=-1)
    given = [[f.pts for f in decoder.push(p)] for p in encode(encoder, frames)]
    assert given == [[0], [], [], [], [1, 2], [3, 4], [], [5, 6], [7, 8]]


def test_threads_change_nothing(codec: SwiftCodec, textured_frames: FrameMaker) -> None:
    frames = textured_frames(6, 72, 40)
    one, two = (encode(start(codec, frames, quality=30, intra_period=-1, threads=n)[0], frames) for n in (1, 2))
    assert one == two


def test_still_and_steady_motion_take_long_groups(textured_frames: FrameMaker) -> None:
    frames = [pad_to_blocks(f.planes) for f in textured_frames(1, 96, 64)] * 9
    assert best_length(frames, 30) == 8
    assert best_length(frames[:7], 30) == 2  # six frames to code
    assert best_length(frames[:2], 30) == 1


def test_lengths_are_chosen_by_error(monkeypatch: pytest.MonkeyPatch, textured_frames: FrameMaker) -> None:
    """If errors rise steeply with the distance, frames one by one are best; if less, groups are the longer."""
    planes = pad_to_blocks(textured_frames(1, 32, 32)[0].planes)
    frames = [tuple(p + np.uint8(k) for p in planes) for k in range(9)]
    chosen = []
    for power in (3.0, 0.35, 0.0):
        def search(current: Any, reference: Any, *_: Any, power: float = power, **options: Any) -> BlockMotion:
            distance = abs(int(current[0, 0]) - int(reference[0, 0]))
            satd = np.full((4, 4), int(1e5 * distance**power * (0.8 if options["second"] else 1.0)), np.int32)
            return BlockMotion(np.zeros((2, 4, 4), np.int16), np.full((4, 4), 8, np.uint8), satd,
                               np.zeros((4, 4), np.bool_))

        monkeypatch.setattr(swiftgop, "search", search)
        chosen.append(best_length(frames, 30))
    assert chosen[0] == 1
    assert chosen == sorted(chosen)
    assert chosen[-1] == 8


def test_damage_is_told_and_an_intra_frame_ends_it(codec: SwiftCodec, textured_frames: FrameMaker,
                                                   lengths: list[int]) -> None:
    frames = textured_frames(10, 32, 32)
    encoder, decoder = start(codec, frames, quality=30, intra_period=5)
    packets = encode(encoder, frames)
    assert [p.kind == PacketKind.INTRA for p in packets] == [True, *[False] * 4] * 2
    for payload, message in ((b"", "nothing"), (b"\x04", "04"), (packets[1].payload[:-2], None)):
        decoder.push(packets[0])
        with pytest.raises(CorruptStreamError, match=message):
            decoder.push(Packet(PacketKind.INTER, payload, packets[1].pts, packets[1].quality))
        with pytest.raises(CorruptStreamError, match="without the intra frame"):
            decoder.push(packets[2])
        assert decoder.flush() == []
    decoder.push(packets[0])
    decoder.push(packets[1])
    with pytest.raises(CorruptStreamError, match="3 B frames are missing"):
        decoder.push(packets[5])
    assert [f.pts for f in decode(decoder, packets[5:])] == [5, 6, 7, 8, 9]
    assert [f.pts for f in decode(decoder, packets[:3])] == [0, 2, 4]  # a stream that ends too early


def test_wrong_parameters(codec: SwiftCodec, make_swift: Callable[..., Any], tmp_path: Path) -> None:
    video = VideoInfo(32, 32)
    with pytest.raises(UsageError, match="bframes must be one of 0, 1, 3, 7, not '2'"):
        codec.encoder(video, EncodeOptions(params={"bframes": "2"}))
    with pytest.raises(UsageError, match="no rate control"):
        codec.encoder(video, EncodeOptions(params={"bframes": "7"}, bitrate=100_000))
    for data in (b"\x00", b"\x04", b"\x01\x01"):
        with pytest.raises(CorruptStreamError, match="codec data"):
            codec.decoder(StreamHeader(codec.codec_id, codec.weights_digest, video, 8, data))
    path = tmp_path / "one.safetensors"
    save_swift_weights(path, make_swift(references=1), {})
    one = SwiftCodec(load_swift_weights(path))
    with pytest.raises(UsageError, match="second reference"):
        one.encoder(video, EncodeOptions(params={"bframes": "7"}))
    with pytest.raises(CorruptStreamError, match="codec data"):
        one.decoder(StreamHeader(one.codec_id, one.weights_digest, video, 8, b"\x01"))


def test_files(textured_frames: FrameMaker, swift_path: Path, tmp_path: Path) -> None:
    """Through the container: times and order of what is decoded are those of the source."""
    source, stream, again = (tmp_path / name for name in ("a.y4m", "a.lvc", "b.yuv"))
    frames = textured_frames(7, 48, 32)
    source.write_bytes(b"YUV4MPEG2 W48 H32 F25:1 Ip A1:1 C420jpeg\n" + b"".join(
        b"FRAME\n" + b"".join(p.tobytes() for p in f.planes) for f in frames))
    codec = f"swift:weights={swift_path},bframes=3"
    report = lvc.encode(source, stream, codec=codec, quality=40, intra_period=-1)
    assert report.frames == 7
    with lvc.open_stream(stream, weights=swift_path) as opened:
        decoded = list(opened)
    assert [f.pts for f in decoded] == sorted({f.pts for f in decoded})
    assert len(decoded) == 7
    for frame, right in zip(decoded, frames, strict=True):
        assert np.mean((frame.y.astype(float) - right.y) ** 2) < 60
    lvc.decode(stream, again, weights=swift_path)
    assert again.read_bytes() == b"".join(p.tobytes() for f in decoded for p in f.planes)
