"""The second design of the dvc family: motion without loss, contexts from an integer shadow."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lvc.bitstream import StreamHeader
from lvc.codecs.dvccontext import ContextCoder, ContextReference, after_intra, padded
from lvc.codecs.neural import NeuralCodec
from lvc.codecs.schedule import MS_SSIM, PSNR, frame_quality, hevc_qp, intra_qp, tuning_of
from lvc.entropy.distributions import TableDistribution
from lvc.entropy.symbols import EstimateSymbols, ReadSymbols, WriteSymbols
from lvc.errors import CorruptStreamError, UsageError
from lvc.models import CONFIGS, ContextInterModel, IntraModel, ModelConfig
from lvc.models.config import ContextConfig
from lvc.models.motionpyramid import VECTOR_MAX, MotionPyramid
from lvc.ops.blocksteps import ms_ssim_rule
from lvc.ops.gains import QualityTable
from lvc.ops.integer import IntConv2d
from lvc.ops.transforms import Layer
from lvc.types import EncodeOptions, Frame, PacketKind, VideoInfo
from lvc.weights import load_weights, save_weights

FrameMaker = Callable[..., list[Frame]]
LAYERS = (Layer(2, 5, 24), Layer(2, 5, 96), Layer(1, 3, 96))


@pytest.fixture(scope="module")
def config(tiny_config: ModelConfig) -> ModelConfig:
    return dataclasses.replace(tiny_config, residual=LAYERS, context=ContextConfig(8, 12))


RULES = {"one step": None, "steps by block": ms_ssim_rule(0.6, 0.3, 0.6)}


@pytest.fixture(scope="module", params=RULES)
def codec(config: ModelConfig, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> NeuralCodec:
    """Narrow random networks that all matter, with one step for all of a frame and with steps that differ."""
    config = dataclasses.replace(config, context=ContextConfig(8, 12, RULES[request.param]))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        model = ContextInterModel(config)
        for module in model.modules():
            if isinstance(module, IntConv2d):
                module.bias.normal_(0.0, 2.0)
                module.calibrate()
            elif isinstance(module, TableDistribution):
                module.logits.add_(torch.randn_like(module.logits) * 0.2)
            elif isinstance(module, QualityTable) and module.knots.shape[1] != 96:
                module.knots.add_(torch.randn_like(module.knots) * 2.0)
        for network in (model.refine, model.loop_filter):
            network.tail.weight.normal_(0.0, 0.01)
        path = tmp_path_factory.mktemp("weights") / "context.safetensors"
        save_weights(path, model, IntraModel(config), {})
    return NeuralCodec(load_weights(path))


def contents(codec: NeuralCodec) -> ContextInterModel:
    assert isinstance(codec.weights.inter, ContextInterModel)
    return codec.weights.inter


def test_the_encoder_aims_at_what_the_weights_are_for(codec: NeuralCodec) -> None:
    assert tuning_of(CONFIGS["dvc-lite"]) == PSNR
    assert tuning_of(CONFIGS["dvc-lite-msssim"]) == MS_SSIM
    encoder = codec.encoder(VideoInfo(64, 64), EncodeOptions())
    assert encoder._coder.tuning == tuning_of(codec.weights.config) == (
        PSNR if contents(codec).config.context == ContextConfig(8, 12) else MS_SSIM)
    assert encoder._coder.hevc._rate.startswith("qp" if encoder._coder.tuning == PSNR else "crf")
    for quality in range(64):
        assert intra_qp(quality, 1, MS_SSIM) == min(51, hevc_qp(quality) + MS_SSIM.intra_offset)
    assert [frame_quality(30, place, MS_SSIM) - 30 for place in range(4)] == list(MS_SSIM.cascade)


@pytest.mark.parametrize("params", [{}, {"intra": "learned"}, {"effort": "0"}, {"effort": "2"}], ids=str)
@pytest.mark.parametrize(("width", "height", "count"), [(18, 34, 3), (70, 50, 6)])
def test_round_trip(codec: NeuralCodec, textured_frames: FrameMaker, params: dict[str, str], width: int, height: int,
                    count: int) -> None:
    """The decoder's frames are the encoder's references to the last bit; qualities follow the cascade."""
    frames, tuning = textured_frames(count, width, height), tuning_of(codec.weights.config)
    video = VideoInfo(width, height)
    encoder = codec.encoder(video, EncodeOptions(quality=40, intra_period=4, params=params))
    decoder = codec.decoder(StreamHeader(codec.codec_id, codec.weights_digest, video, 8, encoder.codec_data))
    for t, frame in enumerate(frames):
        (packet,) = encoder.push(frame)
        (decoded,) = decoder.push(packet)
        reference = encoder._coder.reference
        assert reference is not None
        for a, b, source in zip(decoded.planes, reference.planes, frame.planes, strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.shape == source.shape
        assert packet.kind == (PacketKind.INTRA if t % 4 == 0 else PacketKind.INTER)
        assert packet.quality == (frame_quality(40, t % 4, tuning) if t % 4 else 40)
        assert np.mean((decoded.y.astype(float) - frame.y) ** 2) < 60


def coded(coder: ContextCoder, frames: list[Frame], quality: int = 40) -> tuple[list[bytes], list[ContextReference]]:
    payloads, references = [], [after_intra(frames[0].planes, exact=True)]
    with torch.inference_mode():
        for frame in frames[1:]:
            writer = WriteSymbols()
            references.append(coder.code(writer, references[-1], quality, padded(frame.planes)))
            payloads.append(writer.finish())
    return payloads, references


def test_payloads_do_not_depend_on_threads(codec: NeuralCodec, textured_frames: FrameMaker) -> None:
    """Written with one thread, read with two: the same motion, symbols and shadow."""
    frames = textured_frames(4, 96, 64)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        payloads, references = coded(ContextCoder(contents(codec), 1), frames)
        torch.set_num_threads(2)
        for reference, expected in read_again(ContextCoder(contents(codec), 2), payloads, references):
            assert int(np.abs(reference.planes[0].astype(int) - expected.planes[0]).max()) <= 1
    finally:
        torch.set_num_threads(before)


@torch.inference_mode()
def read_again(reader: ContextCoder, payloads: list[bytes],
               references: list[ContextReference]) -> list[tuple[ContextReference, ContextReference]]:
    """What a reader makes of payloads, each beside what the writer had; their shadows are the same."""
    reference, pairs = references[0], []
    for payload, expected in zip(payloads, references[1:], strict=True):
        symbols = ReadSymbols(payload)
        reference = reader.code(symbols, reference, 40)
        symbols.close()
        same_shadow(reference, expected)
        pairs.append((reference, expected))
    return pairs


def same_shadow(a: ContextReference, b: ContextReference) -> None:
    assert a.field is not None
    np.testing.assert_array_equal(a.field, b.field)
    np.testing.assert_array_equal(a.shadow.context, b.shadow.context)
    for one, other in zip(a.shadow.planes, b.shadow.planes, strict=True):
        np.testing.assert_array_equal(one, other)


def test_parsing_does_not_depend_on_what_is_seen(codec: NeuralCodec, textured_frames: FrameMaker) -> None:
    """A decoder whose networks in floating point give other pictures still reads every symbol."""
    frames = textured_frames(4, 64, 48)
    payloads, references = coded(ContextCoder(contents(codec)), frames)
    model = copy.deepcopy(contents(codec))
    with torch.no_grad():
        for network in (model.refine, model.loop_filter, model.residual.synthesis):
            for parameter in network.parameters():
                parameter.mul_(1.1)
    reference = read_again(ContextCoder(model), payloads, references)[-1][0]
    assert any((a != b).any() for a, b in zip(reference.planes, references[-1].planes, strict=True))


def test_after_a_learned_intra_frame_the_shadow_is_grey(textured_frames: FrameMaker) -> None:
    (frame,) = textured_frames(1, 30, 20)
    exact, other = (after_intra(frame.planes, exact) for exact in (True, False))
    assert exact.planes[0].shape == (32, 32)
    assert exact.planes[1].shape == (16, 16)
    np.testing.assert_array_equal(exact.planes[0], exact.shadow.planes[0])
    np.testing.assert_array_equal(exact.planes[0], other.planes[0])
    assert all((plane == 128).all() for plane in other.shadow.planes)


class Drawn(WriteSymbols):
    """Takes the place of a reader: draws symbols from the distributions, writes them, and adds up their bits as a
    training would."""

    def __init__(self) -> None:
        super().__init__()
        self.bits = 0.0
        self._rng = torch.Generator().manual_seed(0)

    def symbols(self, value: Tensor | None, index: Tensor, mask: Tensor, distribution: TableDistribution) -> Tensor:
        drawn = torch.zeros(mask.shape)
        drawn[mask] = self._draw(index[mask], distribution)
        estimate = EstimateSymbols(torch.ones(1))
        estimate.symbols(drawn, index, mask, distribution)
        self.bits += float(estimate.bits[0].sum())
        return super().symbols(drawn, index, mask, distribution)

    def code(self, values: Any, index: Any, distribution: TableDistribution) -> Any:
        place = torch.from_numpy(np.asarray(index, np.float32))
        drawn = self._draw(place.flatten(), distribution).reshape(place.shape)
        self.bits += float(distribution.bits(drawn, place).sum())
        return super().code(drawn.numpy().astype(np.int16), index, distribution)

    def _draw(self, index: Tensor, distribution: TableDistribution) -> Tensor:
        if not len(index):
            return index
        chances = distribution.logits.detach().softmax(1)[index.long(), :-1]
        size = torch.multinomial(chances, 1, generator=self._rng)[:, 0].float()
        negative = torch.rand(len(index), generator=self._rng) < (0.5 if distribution.signed else 0.0)
        return torch.where(negative, -size, size)


def test_estimated_bits_are_written_bytes(codec: NeuralCodec, textured_frames: FrameMaker) -> None:
    """Within 1 %, of a frame that is drawn from the model: all of it, motion, choices of the encoder and residual."""
    coder = Drawn()
    with torch.inference_mode():
        reference = after_intra(textured_frames(1, 320, 256)[0].planes, exact=True)
        for _ in range(4):
            reference = ContextCoder(contents(codec)).code(coder, reference, 50)
    data = coder.finish()
    assert len(data) > 1000
    assert coder.bits == pytest.approx(8 * len(data), rel=0.01)


@pytest.mark.parametrize("shape", [(1, 1), (3, 33), (34, 20)])
def test_motion_comes_back(codec: NeuralCodec, shape: tuple[int, int]) -> None:
    """Of any size and magnitude, smooth or not, with and without a former field; and rows are what is coded."""
    motion, quality = contents(codec).motion, torch.tensor([20])
    assert isinstance(motion, MotionPyramid)
    rng = torch.Generator().manual_seed(1)
    wild = torch.randint(-VECTOR_MAX, VECTOR_MAX + 1, (1, 2, *shape), generator=rng).float()
    calm = torch.randint(-2, 3, (1, 2, *(-(-n // 4) for n in shape)), generator=rng).float()
    calm = calm.repeat_interleave(4, 2).repeat_interleave(4, 3)[..., : shape[0], : shape[1]].contiguous()
    with torch.inference_mode():
        for field, former in ((wild, None), (wild, calm), (calm, None), (calm, wild), (calm, calm)):
            writer = WriteSymbols()
            assert torch.equal(motion(writer, field, former, quality, shape), field)
            data = writer.finish()
            reader = ReadSymbols(data)
            assert torch.equal(motion(reader, None, former, quality, shape), field)
            reader.close()
            whole, by_rows = EstimateSymbols(torch.ones(1)), EstimateSymbols(torch.ones(1))
            motion(whole, field, former, quality, shape)
            inputs, candidates, latents = motion.rows(field, former, quality)
            assert torch.equal(motion.code_rows(by_rows, inputs, candidates, latents), latents)
            coarsest = sum(float(b.sum()) for b in whole.bits[:2])
            expected = sum(float(b.sum()) for b in whole.bits) - coarsest
            assert sum(float(b.sum()) for b in by_rows.bits) == pytest.approx(expected, rel=1e-4, abs=1e-2)


def test_damage_is_noticed_or_decodes_to_frames(codec: NeuralCodec, textured_frames: FrameMaker) -> None:
    frames = textured_frames(2, 34, 18)
    video = VideoInfo(34, 18)
    encoder = codec.encoder(video, EncodeOptions(quality=45))
    packets = [p for frame in frames for p in encoder.push(frame)]
    rng = np.random.default_rng(0)
    payload, errors = packets[1].payload, 0
    damaged = [payload[:n] for n in range(0, len(payload), 1 + len(payload) // 12)]
    damaged += [payload + b"\0", rng.bytes(len(payload)), b"\xff" * 40, bytes(40)]
    for place in rng.integers(0, len(payload), 20):
        changed = bytearray(payload)
        changed[place] ^= int(rng.integers(1, 256))
        damaged.append(bytes(changed))
    for data in damaged:
        decoder = codec.decoder(StreamHeader(codec.codec_id, codec.weights_digest, video, 8, encoder.codec_data))
        decoder.push(packets[0])
        try:
            (frame,) = decoder.push(dataclasses.replace(packets[1], payload=data))
        except CorruptStreamError:
            errors += 1
        else:
            assert (frame.width, frame.height) == (34, 18)
    assert errors > 15


def test_wrong_use_is_named(codec: NeuralCodec, config: ModelConfig) -> None:
    video = VideoInfo(32, 32)
    with pytest.raises(UsageError, match="motion"):
        codec.encoder(video, EncodeOptions(params={"motion": "network"}))
    with pytest.raises(CorruptStreamError, match="codec data"):
        codec.decoder(StreamHeader(codec.codec_id, codec.weights_digest, video, 8, b"\0"))
    for wrong in ({"context": None}, {"picture": "rgb"}, {"dct_start": False}):
        with pytest.raises(ValueError, match="second design"):
            ContextInterModel(dataclasses.replace(config, **wrong))
    assert ModelConfig.from_json(config.to_json()) == config


def test_weights_fit_a_path(codec: NeuralCodec, config: ModelConfig, tmp_path: Path) -> None:
    """Equal models give equal files, whatever was frozen before."""
    again = tmp_path / "again.safetensors"
    digest = save_weights(again, copy.deepcopy(contents(codec)), codec.weights.intra, {})
    assert digest == codec.weights_digest
