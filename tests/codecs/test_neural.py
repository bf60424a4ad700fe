"""The neural codec behind the common interface, with the tiny model of tests/conftest.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import lvc.codecs.neural as neural
from lvc.bitstream import StreamHeader
from lvc.codecs import codec_for_header
from lvc.codecs.neural import ClassicalMotion, NeuralCodec, NeuralDecoder, NeuralEncoder
from lvc.codecs.schedule import hevc_qp
from lvc.errors import CorruptStreamError, LvcError, UsageError, WeightsError
from lvc.types import EncodeOptions, Frame, Packet, PacketKind, VideoInfo
from lvc.weights import Weights, save_weights

FrameMaker = Callable[..., list[Frame]]


@pytest.fixture(scope="module")
def codec(tiny_weights: Weights) -> NeuralCodec:
    return NeuralCodec(tiny_weights)


def header_of(codec: NeuralCodec, video: VideoInfo, codec_data: bytes = b"\0") -> StreamHeader:
    return StreamHeader(codec.codec_id, codec.weights_digest, video, 8, codec_data)


def start(codec: NeuralCodec, frames: list[Frame], **options: object) -> tuple[NeuralEncoder, NeuralDecoder]:
    video = VideoInfo(frames[0].width, frames[0].height)
    encoder = codec.encoder(video, EncodeOptions(**options))  # type: ignore[arg-type]
    return encoder, codec.decoder(header_of(codec, video, encoder.codec_data))


def encode(codec: NeuralCodec, frames: list[Frame], **options: object) -> tuple[list[Packet], NeuralDecoder]:
    encoder, decoder = start(codec, frames, **options)
    return [p for frame in frames for p in encoder.push(frame)] + encoder.flush(), decoder


def equal(a: Frame, b: Frame) -> bool:
    return a.pts == b.pts and all(np.array_equal(x, y) for x, y in zip(a.planes, b.planes, strict=True))


@pytest.mark.parametrize(
    "params", [{}, {"intra": "learned"}, {"motion": "network"}], ids=["default", "learned", "network"]
)
@pytest.mark.parametrize(("width", "height", "count"), [(17, 33, 3), (96, 64, 4), (2, 1, 2), (65, 40, 1)])
def test_round_trip(
    codec: NeuralCodec,
    textured_frames: FrameMaker,
    params: dict[str, str],
    width: int,
    height: int,
    count: int,
) -> None:
    """The decoder's frames are the encoder's references to the last bit."""
    frames = [Frame(*f.planes, pts=3000 + 17 * f.pts) for f in textured_frames(count, width, height)]
    encoder, decoder = start(codec, frames, quality=50, intra_period=3, params=params)
    kinds = []
    for frame in frames:
        (packet,) = encoder.push(frame)
        (decoded,) = decoder.push(packet)
        reference = encoder._coder.reference
        assert reference is not None
        assert decoded.pts == packet.pts == frame.pts
        assert (decoded.width, decoded.height) == (width, height)
        for a, b in zip(decoded.planes, reference.planes, strict=True):
            np.testing.assert_array_equal(a, b)
        kinds.append(packet.kind)
    assert kinds == [PacketKind.INTRA if t % 3 == 0 else PacketKind.INTER for t in range(count)]
    assert encoder.flush() == decoder.flush() == []


def test_untrained_codec_works_at_every_rate(codec: NeuralCodec, textured_frames: FrameMaker) -> None:
    """What starts as a DCT gives better pictures for more bytes, before any training."""
    frames = textured_frames(3, 96, 64)
    sizes, errors = [], []
    for quality in (8, 32, 56):
        packets, decoder = encode(codec, frames, quality=quality, intra_period=-1)
        decoded = [f for p in packets for f in decoder.push(p)]
        assert {p.quality for p in packets} == {quality}
        sizes.append(sum(len(p.payload) for p in packets))
        errors.append(float(np.mean([(a.y.astype(float) - b.y) ** 2 for a, b in zip(frames, decoded)])))
    assert sizes[0] < sizes[1] < sizes[2]
    assert errors[0] > 2 * errors[1] > 8 * errors[2]


def test_equal_input_gives_equal_bytes_whatever_the_threads(
    codec: NeuralCodec, textured_frames: FrameMaker
) -> None:
    """Symbols do not depend on the number of threads: a stream made with one decodes with two."""
    frames = textured_frames(3, 96, 64)
    before = torch.get_num_threads()
    try:
        packets, decoder = encode(codec, frames, quality=40, threads=1)
        once = [f for p in packets for f in decoder.push(p)]
        again, decoder = encode(codec, frames, quality=40, threads=1)
        torch.set_num_threads(2)
        twice = [f for p in packets for f in decoder.push(p)]
    finally:
        torch.set_num_threads(before)
    assert [p.payload for p in packets] == [p.payload for p in again]
    for a, b in zip(once, twice, strict=True):
        assert int(np.abs(a.y.astype(int) - b.y).max()) <= 1  # the pixel path is float


def test_intra_periods(codec: NeuralCodec, textured_frames: FrameMaker) -> None:
    frames = textured_frames(5, 32, 32)
    for period, expected in ((1, [0, 1, 2, 3, 4]), (2, [0, 2, 4]), (-1, [0])):
        packets, _ = encode(codec, frames, intra_period=period)
        assert [i for i, p in enumerate(packets) if p.kind == PacketKind.INTRA] == expected


def test_decoding_goes_on_at_the_next_intra_frame(codec: NeuralCodec, textured_frames: FrameMaker) -> None:
    frames = textured_frames(6, 48, 32)
    packets, decoder = encode(codec, frames, intra_period=3, quality=40)
    whole = [f for p in packets for f in decoder.push(p)]

    _, late = start(codec, frames)  # a decoder that starts in the middle
    with pytest.raises(CorruptStreamError, match="without the intra frame"):
        late.push(packets[2])
    assert all(
        equal(a, b) for a, b in zip([f for p in packets[3:] for f in late.push(p)], whole[3:], strict=True)
    )

    _, hurt = start(codec, frames)  # one that met damage
    assert equal(hurt.push(packets[0])[0], whole[0])
    with pytest.raises(CorruptStreamError):
        hurt.push(replace(packets[1], payload=packets[1].payload[:-2]))
    with pytest.raises(CorruptStreamError):
        hurt.push(packets[2])  # not decoded from a reference that is not the encoder's
    assert equal(hurt.push(packets[3])[0], whole[3])
    with pytest.raises(CorruptStreamError):
        hurt.push(replace(packets[4], quality=64))
    with pytest.raises(CorruptStreamError):
        hurt.push(packets[5])


@pytest.mark.parametrize("intra", ["hevc", "learned"])
def test_damaged_payloads_end_in_an_error_or_in_frames(
    codec: NeuralCodec, textured_frames: FrameMaker, intra: str
) -> None:
    frames = textured_frames(2, 33, 17)
    packets, _ = encode(codec, frames, quality=45, params={"intra": intra})
    rng = np.random.default_rng(1)
    outcomes = {"error": 0, "frame": 0}
    for target in (0, 1):
        payload = packets[target].payload
        assert len(payload) > 20
        damaged = [payload[:n] for n in range(0, len(payload), 1 + len(payload) // 25)]
        for place in rng.integers(0, len(payload), 40):
            changed = bytearray(payload)
            changed[place] ^= int(rng.integers(1, 256))
            damaged.append(bytes(changed))
        damaged += [payload + b"\0", rng.bytes(len(payload)), rng.bytes(3), b"\xff" * 50, bytes(50)]
        for data in damaged:
            _, decoder = start(codec, frames, params={"intra": intra})
            for packet in packets[:target]:
                decoder.push(packet)
            try:
                (frame,) = decoder.push(replace(packets[target], payload=data))
            except CorruptStreamError:
                outcomes["error"] += 1
            else:
                outcomes["frame"] += 1
                assert (frame.width, frame.height) == (33, 17)
    assert outcomes["error"] > 50


def test_wrong_use_is_named(codec: NeuralCodec, textured_frames: FrameMaker, tiny_weights: Weights) -> None:
    video = VideoInfo(32, 32)
    with pytest.raises(UsageError, match="speed"):
        codec.encoder(video, EncodeOptions(params={"speed": "1"}))
    with pytest.raises(UsageError, match="learned"):
        codec.encoder(video, EncodeOptions(params={"intra": "jpeg"}))
    with pytest.raises(UsageError, match="16x16"):
        codec.encoder(video, EncodeOptions()).push(textured_frames(1, 16, 16)[0])
    for data in (b"", b"\x02", b"\0\0", b"\0\1", b"\0\3", b"\2\2", b"\0\2\0"):
        with pytest.raises(CorruptStreamError, match="codec data"):
            codec.decoder(header_of(codec, video, data))
    without = NeuralCodec(replace(tiny_weights, intra=None))
    with pytest.raises(WeightsError, match="intra"):
        without.encoder(video, EncodeOptions(params={"intra": "learned"}))
    with pytest.raises(WeightsError, match="intra"):
        without.decoder(header_of(codec, video, b"\x01"))


def test_streams_of_other_weights_are_refused(
    codec: NeuralCodec,
    tiny_path: Path,
    tmp_path: Path,
    make_models: Callable[..., tuple[torch.nn.Module, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """codec_for_header finds the shipped weights, and takes no others than the stream's."""
    shipped = {"file": str(tiny_path)}
    monkeypatch.setattr("lvc.weights.manifest", lambda: {"dvc-lite": shipped})
    monkeypatch.setattr(neural, "load_weights", lambda name: load(shipped["file"]))

    def load(path: str) -> Weights:
        from lvc.weights import load_weights

        return load_weights(Path(path))

    header = header_of(codec, VideoInfo(16, 16))
    assert codec_for_header(header).weights_digest == codec.weights_digest
    assert codec_for_header(header).name == "dvc-lite"
    other = tmp_path / "other.safetensors"
    save_weights(other, *make_models(codec.weights.config, seed=1), {})
    shipped["file"] = str(other)
    with pytest.raises(WeightsError, match=codec.weights_digest.hex()):
        codec_for_header(header)
    monkeypatch.setattr("lvc.weights.manifest", dict)
    with pytest.raises(LvcError, match="dvc-lite"):
        codec_for_header(header)


def test_hevc_qp_follows_the_quantization_step() -> None:
    qps = [hevc_qp(q) for q in range(64)]
    assert qps == sorted(qps, reverse=True)
    assert min(qps) > 0
    assert max(qps) < 51
    # Thirteen qualities are one octave of the step, as six QPs are.
    assert [hevc_qp(q) - hevc_qp(q + 13) for q in range(50)] == [6] * 50


def test_classical_motion_finds_the_shift(codec: NeuralCodec, textured_frames: FrameMaker) -> None:
    frames = textured_frames(2, 128, 96, motion=(6, -4))
    coder = codec.encoder(VideoInfo(128, 96), EncodeOptions())._coder
    current, reference = (coder.picture(f, 32) for f in frames[::-1])
    flow = ClassicalMotion(codec.weights.inter)(current, reference, 12.0)
    assert flow.shape == (1, 2, 24, 32)
    # The content moved by (6, -4), so what is here now was at (-6, 4) before.
    np.testing.assert_allclose(flow[0, :, 4:-4, 4:-4].flatten(1).median(1).values, [-6.0, 4.0], atol=0.3)
