"""The training loop on tiny models and clips: resuming, skipping, averaging, learning, exporting."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from torch import Tensor

import lvc.train.dvctask as dvctask
from lvc.codecs.neural import NeuralCodec
from lvc.entropy import Estimate
from lvc.errors import LvcError, UsageError
from lvc.models import CONFIGS, InterModel, IntraModel, ModelConfig
from lvc.train import train
from lvc.train.cache import prepare
from lvc.train.flowteacher import prepare_flows
from lvc.train.loop import Trainer, learning_rate
from lvc.train.losses import Pictures, inter_loss, intra_loss, rate_weights
from lvc.train.recipe import Recipe, Stage
from lvc.train.validate import Validator
from lvc.types import EncodeOptions, Frame, VideoInfo
from lvc.weights import load_weights

FrameMaker = Callable[..., list[Frame]]
SMALL: dict[str, Any] = {"crop": (32, 32), "batch": 2, "warmup": 2, "lr": 1e-3}
PLAN = (
    Stage("flow", loss="flow", train=("motion_estimation",), reference="clean", steps=2, **SMALL),
    Stage("pairs", steps=3, **SMALL),
    Stage("rollout", steps=2, frames=3, detach=False, motion="network", **SMALL),
    Stage("intra", model="intra", steps=2, frames=1, **SMALL),
)


@pytest.fixture(autouse=True)
def tiny(tiny_config: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONFIGS, "tiny", tiny_config)


@pytest.fixture(scope="module")
def videos(textured_frames: FrameMaker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for seed in range(2):
        with av.open(str(folder / f"{seed}.mkv"), "w") as output:
            stream = output.add_stream("ffv1", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for frame in textured_frames(5, 64, 48, seed=seed):
                packed = np.concatenate([p.reshape(-1, 64) for p in frame.planes])
                output.mux(stream.encode(av.VideoFrame.from_ndarray(packed, format="yuv420p")))
            output.mux(stream.encode(None))
    return folder


@pytest.fixture(scope="module")
def cache(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    prepare([videos], folder, progress=False)
    prepare_flows(folder, progress=False)
    return folder


def recipe(*stages: Stage, **values: Any) -> Recipe:
    return Recipe("run", "tiny", stages or PLAN, **{"autocast": "", **values})


def state(trainer: Trainer) -> dict[str, Tensor]:
    return {
        **{f"model.{k}": v for k, v in trainer.models.state_dict().items()},
        **{f"ema.{k}": v for k, v in trainer.ema.items()},
    }


def stop_at(monkeypatch: pytest.MonkeyPatch, trainer: Trainer, step: int) -> None:
    """Run as far as ``step``, with a checkpoint there, and then as if the process had died."""
    inner = trainer._train_step

    def step_or_stop(*args: Any) -> dict[str, float]:
        if trainer.step == step:
            trainer.save()
            raise KeyboardInterrupt
        return inner(*args)

    monkeypatch.setattr(trainer, "_train_step", step_or_stop)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()


@pytest.fixture(scope="module")
def whole(
    cache: Path, tiny_config: ModelConfig, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Tensor]:
    """State after an uninterrupted run of PLAN."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CONFIGS, "tiny", tiny_config)
        trainer = Trainer(recipe(), cache, tmp_path_factory.mktemp("whole"))
        trainer.run()
    assert trainer.step == 9
    return state(trainer)


@pytest.mark.parametrize("step", [1, 2, 4, 5, 6, 8])
def test_a_stopped_run_goes_on_bit_for_bit(
    whole: dict[str, Tensor], cache: Path, tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within stages and at their boundaries (2, 5, 7); parameters, buffers and their averages."""
    stop_at(monkeypatch, Trainer(recipe(), cache, tmp_path), step)
    resumed = Trainer(recipe(), cache, tmp_path)
    assert resumed.step == step
    resumed.run()
    got = state(resumed)
    assert got.keys() == whole.keys()
    assert [k for k in whole if not torch.equal(got[k], whole[k])] == []
    assert Trainer(recipe(), cache, tmp_path).step == 9


def test_another_seed_is_another_run(whole: dict[str, Tensor], cache: Path, tmp_path: Path) -> None:
    trainer = Trainer(recipe(seed=2), cache, tmp_path)
    trainer.run()
    assert any(not torch.equal(v, whole[k]) for k, v in state(trainer).items())


def test_only_the_named_parts_are_trained(cache: Path, tmp_path: Path) -> None:
    trainer = Trainer(recipe(PLAN[0]), cache, tmp_path)
    before = {k: v.clone() for k, v in trainer.models.state_dict().items()}
    trainer.run()
    changed = {k for k, v in trainer.models.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert all(k.startswith("inter.motion_estimation.") for k in changed)


@pytest.mark.parametrize("fast", [False, True])
def test_bfloat16_where_the_cpu_is_fast_at_it(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                              fast: bool) -> None:
    monkeypatch.setattr("lvc.train.world.fast_bfloat16", lambda: fast)
    inner, seen = dvctask.inter_loss, []

    def loss(*args: Any, **kwargs: Any) -> tuple[Tensor, dict[str, float]]:
        seen.append(torch.is_autocast_enabled("cpu"))
        return inner(*args, **kwargs)

    monkeypatch.setattr(dvctask, "inter_loss", loss)
    for autocast in ("bfloat16", ""):
        Trainer(recipe(Stage("pairs", steps=1, **SMALL), autocast=autocast), cache, tmp_path / autocast).run()
    assert seen == [fast, False]


def test_steps_that_are_not_finite_are_skipped(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(recipe(Stage("pairs", steps=4, **SMALL)), cache, tmp_path)
    inner, seen = dvctask.inter_loss, []

    def loss(*args: Any, **kwargs: Any) -> tuple[Tensor, dict[str, float]]:
        value, figures = inner(*args, **kwargs)
        seen.append({k: v.clone() for k, v in state(trainer).items()})
        return value * (math.nan if len(seen) == 2 else math.inf if len(seen) == 3 else 1.0), figures

    monkeypatch.setattr(dvctask, "inter_loss", loss)
    trainer.run()
    assert len(seen) == 4
    for k, v in seen[1].items():
        assert torch.equal(v, seen[2][k])
        assert torch.equal(v, seen[3][k])
        assert v.isfinite().all()
    assert any(not torch.equal(v, seen[0][k]) for k, v in seen[1].items())
    assert any(not torch.equal(v, seen[3][k]) for k, v in state(trainer).items())


def test_average_follows_the_parameters(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(recipe(Stage("pairs", steps=3, **SMALL), ema=0.5), cache, tmp_path)
    name = "inter.residual.analysis.0.weight"
    expected, inner = trainer.ema[name].clone(), trainer._train_step

    def step(*args: Any) -> dict[str, float]:
        nonlocal expected
        figures = inner(*args)
        decay = min(0.5, (1 + trainer.step) / (10 + trainer.step))
        expected = decay * expected + (1 - decay) * trainer.models.get_parameter(name)
        return figures

    monkeypatch.setattr(trainer, "_train_step", step)
    trainer.run()
    assert not torch.equal(expected, trainer.models.get_parameter(name))
    torch.testing.assert_close(trainer.averaged()["inter"][name.removeprefix("inter.")], expected.detach())
    assert trainer.averaged().keys() == {"inter", "intra"}


def batch_of(frames: list[Frame]) -> Pictures:
    return Pictures.of_batch(
        {name: torch.from_numpy(np.stack([getattr(f, name) for f in frames]))[None] for name in "yuv"}
    )


def test_losses_fall_when_one_batch_is_learned(
    tiny_config: ModelConfig, make_models: Any, textured_frames: FrameMaker
) -> None:
    torch.manual_seed(0)
    pictures, quality = batch_of(textured_frames(2, 64, 64)), torch.tensor([40])
    inter, intra = make_models(tiny_config)
    reference = pictures.pack(inter.space, 0)
    for model, loss_of in (
        (
            inter,
            lambda: inter_loss(inter, "rd", pictures, reference, quality, chroma_weight=2.0, detach=True),
        ),
        (
            inter.motion_estimation,
            lambda: inter_loss(inter, "me", pictures, reference, quality, chroma_weight=2.0, detach=True),
        ),
        (intra, lambda: intra_loss(intra, pictures, quality, chroma_weight=2.0)),
    ):
        optimizer, losses = torch.optim.Adam(model.parameters(), 3e-3), []
        for _ in range(30):
            optimizer.zero_grad()
            loss, figures = loss_of()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(figures["loss"])
        assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])


def test_noise_belongs_to_its_sample(tiny_config: ModelConfig, make_models: Any, textured_frames: FrameMaker) -> None:
    """Gradients of a batch are the mean of those of its samples alone, whatever else is in it."""
    inter, intra = make_models(tiny_config)
    clips = [batch_of(textured_frames(2, 64, 64, seed=seed)) for seed in (0, 1)]
    both = Pictures(torch.cat([c.y for c in clips]), torch.cat([c.uv for c in clips]))
    quality = torch.tensor([40, 20])

    def gradient(model: torch.nn.Module, pictures: Pictures, quality: Tensor, seeds: list[int]) -> Tensor:
        model.zero_grad()
        if model is inter:
            loss, _ = inter_loss(inter, "rd", pictures, pictures.pack(inter.space, 0), quality, chroma_weight=2.0,
                                 detach=True, seeds=seeds)
        else:
            loss, _ = intra_loss(intra, pictures, quality, chroma_weight=2.0, seeds=seeds)
        loss.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    for model in (inter, intra):
        together = gradient(model, both, quality, [7, 8])
        alone = [gradient(model, clips[i], quality[i : i + 1], [7 + i]) for i in (0, 1)]
        error = (together - (alone[0] + alone[1]) / 2).norm() / together.norm()
        assert error < 1e-4
        other = gradient(model, both, quality, [7, 9])
        assert (together - other).norm() / together.norm() > 1e-3


@pytest.mark.parametrize("quality", [13, 32])
def test_lambda_of_ms_ssim_is_that_of_the_papers(tiny_config: ModelConfig, make_models: Any, quality: int,
                                                 textured_frames: FrameMaker) -> None:
    """lambda is about 256 (squared error within 0..1) and 8 at quality 13, 2048 and 64 at quality 32."""
    weight, balance = rate_weights(torch.tensor([quality]))
    assert float(weight) * 255**2 == pytest.approx({13: 256, 32: 2048}[quality], rel=0.04)
    pictures = batch_of(textured_frames(2, 192, 192))
    inter, intra = make_models(tiny_config)
    reference, level = pictures.pack(inter.space, 0), torch.tensor([quality])
    for loss, figures in (
        inter_loss(inter, "rd", pictures, reference, level, chroma_weight=2.0, detach=True, distortion="ms-ssim"),
        intra_loss(intra, pictures, level, chroma_weight=2.0, distortion="ms-ssim"),
    ):
        bpp = figures.get("bpp", 0.0) + figures.get("bpp_motion", 0.0) + figures.get("bpp_residual", 0.0)
        expected = bpp + {13: 8, 32: 64}[quality] * (1 - figures["ms_ssim"])
        assert 0.5 < figures["ms_ssim"] < 1
        assert float(loss.detach()) == pytest.approx(float(balance) * expected, rel=0.05)
        assert loss.requires_grad


def test_rate_of_a_loss_is_what_the_coder_counts(
    tiny_config: ModelConfig, make_models: Any, textured_frames: FrameMaker
) -> None:
    pictures, quality = batch_of(textured_frames(2, 64, 64)), torch.tensor([30])
    inter, _ = make_models(tiny_config)
    reference = pictures.pack(inter.space, 0)
    _, figures = inter_loss(
        inter, "rd", pictures, reference, quality, chroma_weight=2.0, detach=True, noise=False
    )
    coder = Estimate(noise=False)
    inter(coder, pictures.pack(inter.space, 1), reference, quality)
    assert figures["bpp_motion"] + figures["bpp_residual"] == pytest.approx(
        float(coder.take()) / 64**2, rel=1e-4
    )


def test_learning_rate_schedule() -> None:
    stage = Stage("s", steps=100, lr=1e-3, lr_end=1e-5, warmup=10)
    assert learning_rate(stage, 0, 0.0) == pytest.approx(1e-4)
    assert learning_rate(stage, 4, 0.0) == pytest.approx(5e-4)
    assert learning_rate(stage, 50, 0.0) == pytest.approx(1e-3)
    assert learning_rate(stage, 50, 0.5) == pytest.approx((1e-3 + 1e-5) / 2)
    assert learning_rate(stage, 99, 1.0) == pytest.approx(1e-5)
    constant = dataclasses.replace(stage, schedule="constant", warmup=0)
    assert learning_rate(constant, 0, 0.0) == learning_rate(constant, 99, 1.0) == 1e-3


def test_mistakes_are_named_before_any_training(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no_such_part"):
        Trainer(recipe(PLAN[1], dataclasses.replace(PLAN[1], train=("no_such_part",))), cache, tmp_path / "a")
    with pytest.raises(UsageError, match="1024"):
        Trainer(recipe(dataclasses.replace(PLAN[1], crop=(1024, 1024))), cache, tmp_path / "b").run()
    with pytest.raises(UsageError, match="no_such_model"):
        Trainer(dataclasses.replace(recipe(), model="no_such_model"), cache, tmp_path / "c")


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", b"PK\x03\x04 cut"])
def test_a_damaged_checkpoint_is_an_error_and_stays(cache: Path, tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(damage)
    with pytest.raises(LvcError, match=r"checkpoint\.pt"):
        Trainer(recipe(), cache, tmp_path)
    assert (tmp_path / "checkpoint.pt").read_bytes() == damage


TOML = """
name = "small"
model = "tiny"
autocast = "bfloat16"
val_frames = 2
val_qualities = [16, 32, 44, 56]
[[stage]]
name = "pairs"
steps = 2
crop = [32, 32]
batch = 2
[[stage]]
name = "intra"
model = "intra"
frames = 1
steps = 1
crop = [32, 32]
batch = 2
"""


def test_a_recipe_becomes_weights_that_code_video(
    videos: Path, textured_frames: FrameMaker, tmp_path: Path
) -> None:
    """From folders of videos to validated weights; a second call does no further step."""
    path = tmp_path / "small.toml"
    path.write_text(TOML)
    result = train(str(path), data=[str(videos)], val=[str(videos)], runs=str(tmp_path / "runs"))
    log = [json.loads(line) for line in (tmp_path / "runs/small/log.jsonl").read_text().splitlines()]
    validations = [r for r in log if r["kind"] == "validation"]
    assert [r["step"] for r in validations] == [2, 3]
    for record in validations:
        assert record["bpp"] == sorted(record["bpp"])
        assert record["psnr_y"][-1] > record["psnr_y"][0] + 5
    weights = load_weights(result)
    codec = NeuralCodec(weights)
    frames = textured_frames(2, 64, 48)
    encoder = codec.encoder(VideoInfo(64, 48), EncodeOptions(quality=50))
    decoder = loop_decoder(codec, encoder.codec_data)
    decoded = [f for frame in frames for p in encoder.push(frame) for f in decoder.push(p)]
    assert np.mean((decoded[1].y.astype(float) - frames[1].y) ** 2) < 40

    before = result.read_bytes()
    assert train(str(path), data=[str(videos)], val=[str(videos)], runs=str(tmp_path / "runs")) == result
    assert result.read_bytes() == before
    with pytest.raises(UsageError, match="no training data"):
        train(str(path), runs=str(tmp_path / "runs"))


def loop_decoder(codec: NeuralCodec, codec_data: bytes) -> Any:
    from lvc.bitstream import StreamHeader

    return codec.decoder(
        StreamHeader(codec.codec_id, codec.weights_digest, VideoInfo(64, 48), 32, codec_data)
    )


def test_training_goes_on_from_exported_weights(tiny_path: Path, cache: Path, tmp_path: Path) -> None:
    """Frozen tables of a weights file become trainable again."""
    trainer = Trainer(recipe(PLAN[1], init=str(tiny_path)), cache, tmp_path)
    exported = load_weights(tiny_path)
    name = "residual.entropy.base_index"
    inter = trainer.models["inter"]
    assert isinstance(inter, InterModel)
    assert isinstance(trainer.models["intra"], IntraModel)
    assert torch.equal(inter.get_parameter(f"{name}.knots"), exported.inter.get_parameter(f"{name}.knots"))
    assert len(exported.inter.get_buffer(f"{name}.frozen")) == 64
    assert len(inter.get_buffer(f"{name}.frozen")) == 0
    trainer.run()
    assert not torch.equal(
        inter.get_parameter(f"{name}.knots"), exported.inter.get_parameter(f"{name}.knots")
    )


def test_validation_by_ms_ssim(tiny_path: Path, videos: Path, textured_frames: FrameMaker, write_video: Any,
                               tmp_path: Path) -> None:
    """Where MS-SSIM is trained for, it is measured, and clips that are too small for it are left out."""
    write_video(tmp_path / "large.mkv", textured_frames(2, 176, 176))
    prepare([tmp_path / "large.mkv", videos], tmp_path / "cache", progress=False)
    stage = Stage("s", steps=1, crop=(192, 192), distortion="ms-ssim")
    plan = recipe(stage, val_frames=2, val_qualities=(12, 28, 44, 60))
    figures = Validator(plan, tmp_path / "cache", tmp_path / "anchors")(NeuralCodec(load_weights(tiny_path)))
    assert figures["ms_ssim_db"] == sorted(figures["ms_ssim_db"])
    assert figures["ms_ssim_db"][-1] > figures["ms_ssim_db"][0] + 3
    assert figures["clips"] == 1
    assert {"bd_rate_ms_ssim", "bd_rate_yuv", "bd_rate_y"} <= figures.keys()
    prepare([videos], tmp_path / "cache", progress=False)
    with pytest.raises(UsageError, match="MS-SSIM"):
        Validator(plan, tmp_path / "cache", tmp_path / "anchors")
