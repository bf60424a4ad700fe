"""swift behind the common interface, with the narrow random networks of tests/conftest.py."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lvc
from lvc.bitstream import StreamHeader
from lvc.codecs import codec_for_header, open_codec
from lvc.codecs.hevc_intra import HevcIntra
from lvc.codecs.schedule import CASCADE, frame_quality, hevc_qp, intra_qp
from lvc.codecs.swift import SwiftCodec, SwiftDecoder, SwiftEncoder, load_swift
from lvc.codecs.swiftcoding import InterCoder
from lvc.errors import CorruptStreamError, LvcError, UsageError, WeightsError
from lvc.models.swiftinference import FilterInference
from lvc.ops.blockmotion import MAX_EFFORT
from lvc.types import EncodeOptions, Frame, Packet, PacketKind, VideoInfo
from lvc.weights import SwiftWeights
from tests.conftest import peak_memory

FrameMaker = Callable[..., list[Frame]]


@pytest.fixture(scope="module")
def codec(swift_weights: SwiftWeights) -> SwiftCodec:
    return SwiftCodec(swift_weights)


def header_of(codec: SwiftCodec, video: VideoInfo, codec_data: bytes = b"") -> StreamHeader:
    return StreamHeader(codec.codec_id, codec.weights_digest, video, 8, codec_data)


def start(codec: SwiftCodec, frames: list[Frame], **options: Any) -> tuple[SwiftEncoder, SwiftDecoder]:
    video = VideoInfo(frames[0].width, frames[0].height)
    encoder = codec.encoder(video, EncodeOptions(**options))
    return encoder, codec.decoder(header_of(codec, video, encoder.codec_data))


def encode(codec: SwiftCodec, frames: list[Frame], **options: Any) -> tuple[list[Packet], SwiftDecoder]:
    encoder, decoder = start(codec, frames, **options)
    return [p for frame in frames for p in encoder.push(frame)] + encoder.flush(), decoder


def decode(decoder: SwiftDecoder, packets: list[Packet]) -> list[Frame]:
    return [f for p in packets for f in decoder.push(p)] + decoder.flush()


def md5(frames: list[Frame]) -> str:
    """Of all samples in order."""
    return hashlib.md5(b"".join(p.tobytes() for f in frames for p in f.planes), usedforsecurity=False).hexdigest()


def error(frames: list[Frame], decoded: list[Frame]) -> float:
    return float(np.mean([(a.y.astype(float) - b.y) ** 2 for a, b in zip(frames, decoded, strict=True)]))


@pytest.mark.parametrize(("width", "height", "count"), [(17, 33, 4), (2, 1, 3), (64, 64, 3), (65, 40, 5), (9, 8, 1)])
def test_round_trip(
    codec: SwiftCodec, textured_frames: FrameMaker, width: int, height: int, count: int
) -> None:
    """What the decoder gives is what the encoder refers to, to the last bit."""
    frames = [Frame(*f.planes, pts=3000 + 17 * f.pts) for f in textured_frames(count, width, height)]
    encoder, decoder = start(codec, frames, quality=45, intra_period=3)
    kinds = []
    for frame in frames:
        (packet,) = encoder.push(frame)
        (decoded,) = decoder.push(packet)
        for a, b in zip(decoded.planes, encoder._state.frame(frame.pts).planes, strict=True):
            np.testing.assert_array_equal(a, b)
        one, other = encoder._state.reference, decoder._state.reference
        assert one is not None
        assert other is not None
        for ours, theirs in ((encoder._state.field, decoder._state.field),
                             (encoder._state.sizes, decoder._state.sizes), (one.sizes, other.sizes)):
            assert (ours is None) == (theirs is None) == (packet.kind == PacketKind.INTRA)
            assert ours is None or np.array_equal(ours, theirs)
        assert decoded.pts == packet.pts == frame.pts
        assert packet.quality == 45 if packet.kind == PacketKind.INTRA else abs(packet.quality - 45) < 8
        assert (decoded.width, decoded.height) == (width, height)
        kinds.append(packet.kind)
    assert kinds == [PacketKind.INTRA if t % 3 == 0 else PacketKind.INTER for t in range(count)]
    assert encoder.flush() == decoder.flush() == []


def test_intra_periods(codec: SwiftCodec, textured_frames: FrameMaker) -> None:
    frames = textured_frames(4, 16, 16)
    for period, expected in ((1, [0, 1, 2, 3]), (2, [0, 2]), (-1, [0])):
        packets, decoder = encode(codec, frames, intra_period=period)
        assert [i for i, p in enumerate(packets) if p.kind == PacketKind.INTRA] == expected
        assert len(decode(decoder, packets)) == 4


def test_higher_quality_is_better_and_larger(codec: SwiftCodec, textured_frames: FrameMaker) -> None:
    frames = textured_frames(3, 64, 48)
    sizes, errors = [], []
    for quality in (0, 15, 31, 47, 63):
        packets, decoder = encode(codec, frames, quality=quality, intra_period=-1)
        sizes.append(sum(len(p.payload) for p in packets[1:]))
        errors.append(error(frames[1:], decode(decoder, packets)[1:]))
    assert sizes == sorted(set(sizes))
    assert errors == sorted(set(errors), reverse=True)
    assert errors[0] > 20 * errors[-1]


def test_still_pictures_cost_next_to_nothing(codec: SwiftCodec, textured_frames: FrameMaker) -> None:
    """Even with random tables: inter frames of what does not move are far below a moving one."""
    frames = textured_frames(4, 64, 64)
    still, _ = encode(codec, [frames[0]] * 4, quality=20, intra_period=-1)
    moving, _ = encode(codec, frames, quality=20, intra_period=-1)
    assert len(still[-1].payload) < 0.5 * len(moving[-1].payload)


def test_intra_frames_are_the_finer_the_longer_they_serve() -> None:
    for quality in (5, 40):
        offsets = [hevc_qp(quality) - intra_qp(quality, period) for period in (1, 2, 5, 10, 16, 32, 250, -1)]
        assert offsets == [0, 0, 1, 2, 3, 4, 4, 4]
    assert intra_qp(63, -1) == max(0, hevc_qp(63) - 4)


@pytest.mark.parametrize("effort", range(MAX_EFFORT + 1))
def test_every_effort_decodes(codec: SwiftCodec, textured_frames: FrameMaker, effort: int,
                              monkeypatch: pytest.MonkeyPatch) -> None:
    """Without effort, all transforms are 8x8; with it, those that were found best, and the decoder knows them."""
    tree, asked = np.full((9, 9), 8, np.uint8), []
    tree[:4, :4], tree[4:6, 6:8] = 32, 16
    inner = InterCoder.choose_sizes
    monkeypatch.setattr(InterCoder, "choose_sizes", lambda *given: asked.append(inner(*given)) or tree)
    frames = textured_frames(3, 72, 68)
    packets, decoder = encode(codec, frames, quality=20, params={"effort": str(effort)})
    decoded = []
    for packet in packets:
        decoded += decoder.push(packet)
        if packet.kind == PacketKind.INTER:
            assert decoder._state.reference is not None
            np.testing.assert_array_equal(decoder._state.reference.sizes, tree if effort else np.full_like(tree, 8))
    assert error(frames, decoded) < 400
    assert len(asked) == (2 if effort else 0)


_PEAK = """
import sys
import lvc
assert lvc.decode(*sys.argv[1:]).frames == 3
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_full_hd_takes_memory_within_bounds(textured_frames: FrameMaker, tmp_path: Path) -> None:
    """1920x1080 by the shipped weights within 1.5 GB, Python and libraries included."""
    coded, raw = tmp_path / "a.lvc", tmp_path / "a.yuv"
    with open(tmp_path / "in.yuv", "wb") as file:
        for frame in textured_frames(3, 1920, 1080):
            file.writelines(p.tobytes() for p in frame.planes)
    lvc.encode(tmp_path / "in.yuv", coded, codec="swift:effort=0", quality=20, size=(1920, 1080))
    assert peak_memory(_PEAK, coded, raw) < 1.5e9 / 1024


@pytest.mark.parametrize(("effort", "preset"), [(0, "fast"), (1, "slower"), (3, "slower")])
def test_effort_of_intra_frames(codec: SwiftCodec, textured_frames: FrameMaker, effort: int, preset: str) -> None:
    frames = textured_frames(1, 72, 68)
    for bframes in "03":
        packets, _ = encode(codec, frames, quality=30, params={"effort": str(effort), "bframes": bframes})
        assert packets[0].payload == HevcIntra(preset).encode(frames[0], intra_qp(30, -1))


def test_the_area_to_filter_is_the_best(codec: SwiftCodec, textured_frames: FrameMaker,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all areas that with the least error is said and used; a filter that does harm is left out."""
    frames, chosen = textured_frames(3, 64, 48), []
    inner = FilterInference.code_area
    monkeypatch.setattr(FilterInference, "code_area", lambda *given: chosen.append(given[2]) or inner(*given))
    for harm in (False, True):
        if harm:
            monkeypatch.setattr(FilterInference, "__call__", lambda _, decoded, *more: tuple(255 - p for p in decoded))
        encoder, decoder = start(codec, frames, quality=30)
        for frame in frames:
            (packet,) = encoder.push(frame)
            (decoded,) = decoder.push(packet)
            for a, b in zip(decoded.planes, encoder._state.frame(frame.pts).planes, strict=True):
                np.testing.assert_array_equal(a, b)
    said = [area for area in chosen if area is not None]
    assert len(said) == chosen.count(None) == 4
    assert said[2:] == [0, 0]


def test_qualities_of_p_frames() -> None:
    """Every fourth is better than asked for; within what there is."""
    assert [frame_quality(30, place) for place in range(1, 9)] == [29, 31, 29, 35, 29, 31, 29, 35]
    assert [frame_quality(30, 4 * k + place) - 30 for k in (0, 7) for place in range(4)] == [*CASCADE, *CASCADE]
    assert {frame_quality(q, place) for q in range(64) for place in range(1, 5)} == set(range(64))


# -- the same on every machine ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stream(codec: SwiftCodec, textured_frames: FrameMaker) -> tuple[list[Packet], str]:
    """A stream of 76x52 and the digest of its frames."""
    packets, decoder = encode(codec, textured_frames(4, 76, 52), quality=42, threads=1)
    return packets, md5(decode(decoder, packets))


def test_frames_do_not_depend_on_threads(
    codec: SwiftCodec, textured_frames: FrameMaker, stream: tuple[list[Packet], str]
) -> None:
    packets, expected = stream
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            _, decoder = start(codec, textured_frames(1, 76, 52))
            assert md5(decode(decoder, packets)) == expected
        again, _ = encode(codec, textured_frames(4, 76, 52), quality=42, threads=2)
    finally:
        torch.set_num_threads(before)
    assert [p.payload for p in again] == [p.payload for p in packets]


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_frames_do_not_depend_on_the_precision_of_products(
    codec: SwiftCodec, textured_frames: FrameMaker, stream: tuple[list[Packet], str], precision: str
) -> None:
    """Where float32 products may be carried out in bfloat16 or TF32."""
    packets, expected = stream
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        _, decoder = start(codec, textured_frames(1, 76, 52))
        assert md5(decode(decoder, packets)) == expected
    finally:
        torch.set_float32_matmul_precision(before)


_DECODE = """
import sys
from pathlib import Path
import torch
from lvc.bitstream import StreamHeader
from lvc.codecs.swift import load_swift
from lvc.types import Packet, PacketKind, VideoInfo
import hashlib
codec = load_swift(sys.argv[1])
decoder = codec.decoder(StreamHeader(codec.codec_id, codec.weights_digest, VideoInfo(76, 52), 8, b""))
digest = hashlib.md5(usedforsecurity=False)
for k, line in enumerate(Path(sys.argv[2]).read_text().split()):
    kind, quality, payload = line.split(":")
    packet = Packet(PacketKind(int(kind)), bytes.fromhex(payload), k, int(quality))
    for frame in decoder.push(packet):
        for plane in frame.planes:
            digest.update(plane.tobytes())
print(torch.backends.cpu.get_cpu_capability())
print(digest.hexdigest())
"""

AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "DNNL_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2"}
SSE = {"ONEDNN_MAX_CPU_ISA": "SSE41", "DNNL_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
       "ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "2"}


@pytest.mark.parametrize("environment", [AVX2, pytest.param(SSE, marks=pytest.mark.slow)], ids=["avx2", "sse"])
def test_frames_do_not_depend_on_the_instruction_set(
    swift_path: Path, stream: tuple[list[Packet], str], tmp_path: Path, environment: dict[str, str]
) -> None:
    """In a process of its own: the libraries take their limits from the environment when they are loaded."""
    packets, expected = stream
    dump = tmp_path / "packets.txt"
    dump.write_text("\n".join(f"{int(p.kind)}:{p.quality}:{p.payload.hex()}" for p in packets))
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", _DECODE, str(swift_path), str(dump)],
                            env={**os.environ, **environment}, capture_output=True, text=True, timeout=300, check=True)
    capability, digest = result.stdout.split("\n")[:2]
    if capability != "NO AVX":  # what processors of other makes say
        assert capability.lower() == environment["ATEN_CPU_CAPABILITY"]
    assert digest == expected


# -- damage ----------------------------------------------------------------------------------------------


def test_decoding_goes_on_at_the_next_intra_frame(codec: SwiftCodec, textured_frames: FrameMaker) -> None:
    frames = textured_frames(6, 32, 24)
    packets, decoder = encode(codec, frames, intra_period=3, quality=40)
    whole = decode(decoder, packets)

    _, late = start(codec, frames)  # a decoder that starts in the middle
    with pytest.raises(CorruptStreamError, match="without the intra frame"):
        late.push(packets[2])
    assert md5(decode(late, packets[3:])) == md5(whole[3:])

    _, hurt = start(codec, frames)  # one that met damage
    assert md5(hurt.push(packets[0])) == md5(whole[:1])
    with pytest.raises(CorruptStreamError):
        hurt.push(replace(packets[1], payload=packets[1].payload[:-2]))
    with pytest.raises(CorruptStreamError):
        hurt.push(packets[2])  # not decoded from a reference that is not the encoder's
    assert md5(decode(hurt, packets[3:])) == md5(whole[3:])
    with pytest.raises(CorruptStreamError):
        hurt.push(replace(packets[4], quality=64))
    with pytest.raises(CorruptStreamError):
        hurt.push(packets[5])


def test_damaged_payloads_end_in_an_error_or_in_frames(codec: SwiftCodec, textured_frames: FrameMaker) -> None:
    """No payload crashes the decoder, takes other exceptions than its own, or takes long."""
    packets, _ = encode(codec, textured_frames(3, 33, 17), quality=45)
    rng = np.random.default_rng(1)
    outcomes = {"error": 0, "frame": 0}
    _, clean = start(codec, textured_frames(1, 33, 17))
    right = decode(clean, packets)
    for target in (0, 2):
        payload = packets[target].payload
        assert len(payload) > 20
        damaged = [payload[:n] for n in range(0, len(payload), 1 + len(payload) // 8)]
        for place in rng.integers(0, len(payload), 16):
            changed = bytearray(payload)
            changed[place] ^= int(rng.integers(1, 256))
            damaged.append(bytes(changed))
        damaged += [payload + b"\0", rng.bytes(len(payload)), rng.bytes(3), b"\xff" * 50, bytes(50)]
        if target:
            damaged.append(packets[0].payload)
        for data in damaged:
            _, decoder = start(codec, textured_frames(1, 33, 17))
            decode(decoder, packets[:target])
            begin = time.process_time()
            try:
                (frame,) = decoder.push(replace(packets[target], payload=data))
            except CorruptStreamError:
                outcomes["error"] += 1
            else:
                outcomes["frame"] += 1
                assert (frame.width, frame.height) == (33, 17)
                assert target == 0 or md5([frame]) != md5(right[target : target + 1])
            assert time.process_time() - begin < 5
    assert outcomes["error"] > 30


def test_another_quality_is_other_symbols(codec: SwiftCodec, textured_frames: FrameMaker) -> None:
    packets, decoder = encode(codec, textured_frames(2, 33, 17), quality=45)
    expected = md5(decode(decoder, packets))
    decode(decoder, packets[:1])
    with contextlib.suppress(CorruptStreamError):
        assert md5(decoder.push(replace(packets[1], quality=20))) != expected


# -- use ------------------------------------------------------------------------------------------------


def test_wrong_use_is_named(codec: SwiftCodec, textured_frames: FrameMaker) -> None:
    video = VideoInfo(32, 32)
    with pytest.raises(UsageError, match="speed"):
        codec.encoder(video, EncodeOptions(params={"speed": "1"}))
    for value in ("4", "-1", "1.0", "", "high"):
        with pytest.raises(UsageError, match="effort"):
            codec.encoder(video, EncodeOptions(params={"effort": value}))
    with pytest.raises(UsageError, match="16x16"):
        codec.encoder(video, EncodeOptions()).push(textured_frames(1, 16, 16)[0])
    for data in (b"\0", b"\x02\x03"):
        with pytest.raises(CorruptStreamError, match="codec data"):
            codec.decoder(header_of(codec, video, data))


def test_codec_string_and_header(swift_path: Path, codec: SwiftCodec, tmp_path: Path) -> None:
    """By codec string and weights file; streams of other weights are refused."""
    opened = open_codec(f"swift:weights={swift_path},effort=0,quality=50")
    assert (opened.name, opened.codec_id) == ("swift", codec.codec_id)
    assert opened.weights_digest == codec.weights_digest
    assert opened.options(EncodeOptions()).quality == 50
    header = header_of(codec, VideoInfo(16, 16))
    assert codec_for_header(header, str(swift_path)).weights_digest == codec.weights_digest
    with pytest.raises(WeightsError, match="made with weights"):
        codec_for_header(replace(header, weights_digest=bytes(16)), str(swift_path))
    with pytest.raises(WeightsError, match="cannot be read"):
        load_swift(str(tmp_path / "absent.safetensors"))


def test_weights_of_another_codec_are_refused(swift_path: Path, tiny_path: Path) -> None:
    with pytest.raises(WeightsError):
        load_swift(str(tiny_path))
    with pytest.raises(LvcError):
        open_codec(f"dvc-lite:weights={swift_path}")
