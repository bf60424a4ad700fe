"""Training of the dvc family's second design, on a narrow model and tiny clips."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lvc.codecs.neural import NeuralCodec
from lvc.models import CONFIGS, ContextInterModel, ModelConfig
from lvc.models.config import ContextConfig
from lvc.ops.blocksteps import ms_ssim_rule
from lvc.ops.transforms import Layer
from lvc.train.cache import prepare
from lvc.train.loop import Trainer
from lvc.train.recipe import Recipe, Stage
from lvc.train.validate import write_averaged
from lvc.types import EncodeOptions, Frame, VideoInfo

LAYERS = (Layer(2, 5, 24), Layer(2, 5, 96), Layer(1, 3, 96))
SMALL: dict[str, Any] = {"crop": (48, 64), "batch": 2, "frames": 3, "warmup": 1, "lr": 1e-3}
MOTION = Stage("motion", loss="m", train=("motion",), steps=2, **SMALL)
PICTURES = Stage("pictures", train=("entropy", "refine", "residual.synthesis", "loop_filter"), steps=2, **SMALL)


@pytest.fixture(autouse=True)
def tiny(tiny_config: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(tiny_config, residual=LAYERS, context=ContextConfig(8, 12))
    monkeypatch.setitem(CONFIGS, "tiny", config)


@pytest.fixture(scope="module")
def cache(textured_frames: Callable[..., list[Frame]], write_video: Any,
          tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without flows: this design needs none."""
    folder = tmp_path_factory.mktemp("clips")
    write_video(folder / "a.mkv", textured_frames(4, 80, 64))
    prepare([folder], folder / "cache", progress=False)
    return folder / "cache"


def trained(cache: Path, folder: Path, *stages: Stage) -> Trainer:
    trainer = Trainer(Recipe("run", "tiny", stages, autocast=""), cache, folder)
    trainer.run()
    return trainer


def changed(a: Trainer, b: dict[str, torch.Tensor]) -> set[str]:
    return {name.split(".")[1] for name, p in a.models.named_parameters() if not torch.equal(p, b[name])}


def test_stages_train_what_they_say_and_the_codec_uses_it(cache: Path, tmp_path: Path,
                                                          textured_frames: Callable[..., list[Frame]]) -> None:
    trainer = Trainer(Recipe("run", "tiny", (MOTION, PICTURES), autocast=""), cache, tmp_path / "both")
    assert isinstance(trainer.models["inter"], ContextInterModel)
    start = {name: p.detach().clone() for name, p in trainer.models.named_parameters()}
    assert changed(trained(cache, tmp_path / "motion", MOTION), start) == {"motion"}
    trainer.run()
    assert changed(trainer, start) == {"motion", "entropy", "refine", "residual", "loop_filter"}
    codec = NeuralCodec(write_averaged(trainer.averaged(), "tiny", tmp_path / "w.safetensors"))
    frames = textured_frames(2, 48, 32)
    encoder = codec.encoder(VideoInfo(48, 32), EncodeOptions(quality=40))
    assert [len(encoder.push(frame)) for frame in frames] == [1, 1]


@pytest.mark.parametrize("part", ["loop_filter", "entropy"])
def test_losses_fall(cache: Path, tmp_path: Path, part: str) -> None:
    """Of one batch, by steps against its gradient: pictures with the filter alone, bits with the probabilities."""
    stage = dataclasses.replace(PICTURES, train=(part,))
    trainer = Trainer(Recipe("run", "tiny", (stage,), autocast=""), cache, tmp_path)
    optimizer = trainer._make_optimizer(stage)
    batch = next(trainer.task.stream(stage, 0, 0))
    values = []
    for _ in range(6):
        loss, figures = trainer.task.loss(trainer.models, stage, batch)
        assert ("bpp_residual" in figures) == (part == "entropy")
        values.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert values[-1] < values[0]


def test_ms_ssim_by_steps_that_differ(textured_frames: Callable[..., list[Frame]], write_video: Any, tmp_path: Path,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    """From weights with one step: gains become those of the rule, losses fall, and the codec codes by the rule."""
    write_video(tmp_path / "a.mkv", textured_frames(3, 200, 176))
    prepare([tmp_path], tmp_path / "cache", progress=False)
    rule = ms_ssim_rule(0.6, 0.3, 0.6)
    plain = CONFIGS["tiny"]
    varied = dataclasses.replace(plain, context=ContextConfig(8, 12, rule))
    monkeypatch.setitem(CONFIGS, "tiny-msssim", varied)
    flat = trained(tmp_path / "cache", tmp_path / "flat", dataclasses.replace(MOTION, steps=1))
    init = tmp_path / "flat.safetensors"
    write_averaged(flat.averaged(), "tiny", init)
    stage = dataclasses.replace(PICTURES, distortion="ms-ssim", crop=(176, 176), batch=1, frames=2)
    recipe = Recipe("run", "tiny-msssim", (stage,), autocast="", init=str(init))
    trainer = Trainer(recipe, tmp_path / "cache", tmp_path / "varied")
    model = trainer.models["inter"]
    assert isinstance(model, ContextInterModel)
    torch.testing.assert_close(model.residual.log_inverse_gain.knots[3].exp() * 16, torch.tensor(rule.relative).float())
    before = flat.averaged()["inter"]["motion.distribution.logits"]
    torch.testing.assert_close(model.motion.state_dict()["distribution.logits"], before, rtol=1e-3, atol=1e-3)
    optimizer = trainer._make_optimizer(stage)
    batch = next(trainer.task.stream(stage, 0, 0))
    values = []
    for _ in range(4):
        loss, figures = trainer.task.loss(trainer.models, stage, batch)
        assert 0.5 < figures["ms_ssim"] < 1
        assert figures["bpp_residual"] > 0
        values.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert values[-1] < values[0]
    weights = write_averaged(trainer.averaged(), "tiny-msssim", tmp_path / "w.safetensors")
    assert weights.config == varied
