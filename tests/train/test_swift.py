"""Training of swift on tiny clips: stages, resuming, weights that code video, mistakes that are named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lvc.bitstream import StreamHeader
from lvc.codecs.swift import load_swift
from lvc.errors import UsageError
from lvc.models.swiftmodel import SwiftModel
from lvc.ops.integer import IntConv2d
from lvc.train import train
from lvc.train.export import export_swift
from lvc.train.loop import Trainer
from lvc.train.recipe import Recipe, Stage, load_recipe
from lvc.train.swiftdata import Recording
from lvc.train.swifttask import WEIGHT_ROOM, SwiftTask
from lvc.types import EncodeOptions, Frame, VideoInfo

FrameMaker = Callable[..., list[Frame]]
MakeSwift = Callable[..., SwiftModel]
SMALL: dict[str, Any] = {"crop": (32, 40), "batch": 2, "warmup": 2, "lr": 1e-3}
RECORD = Stage("record", kind="record", frames=4, qualities=(30, 50))
PLAN = (RECORD, Stage("entropy", model="entropy", steps=3, **SMALL),
        Stage("motion", model="motion", steps=2, batch=32, warmup=2, lr=1e-3),
        Stage("sizes", model="sizes", steps=2, batch=16, warmup=2, lr=1e-3),
        Stage("again", kind="record", frames=3, quantizer="rdo", effort=0),
        Stage("filter in real numbers", model="filter", steps=2, rounding=False, **SMALL),
        Stage("filter", model="filter", steps=2, **SMALL))


@pytest.fixture(autouse=True)
def small(small_swift: MakeSwift, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SwiftTask, "config", small_swift().config)


def test_units_of_weights(swift_cache: Path, tmp_path: Path) -> None:
    """Real numbers learn in any unit; then it is the finest. Before anything was learned, there is room to grow."""
    task = SwiftTask(plan(), swift_cache, tmp_path)
    models = task.build()
    layers = [layer for layer in models["filter"].modules() if isinstance(layer, IntConv2d)]
    real, integer = len(PLAN) - 2, len(PLAN) - 1
    task.begin(models, PLAN[real], real)
    assert {int(layer.shift) for layer in layers} == {6}
    task.begin(models, PLAN[integer], integer)
    assert int(models["filter"].end.shift) == 10  # all of it is zero
    with torch.no_grad():
        models["filter"].end.weight[0, 0] = 3.0
    task.begin(models, PLAN[integer], integer)
    assert int(models["filter"].end.shift) == 5
    task.begin(models, PLAN[1], 1)
    for layer in models["entropy"].modules():
        if isinstance(layer, IntConv2d):
            assert max(WEIGHT_ROOM, float(layer.weight.detach().abs().max())) * 2.0 ** int(layer.shift) <= 127.5
            assert int(layer.shift) <= 8


def plan(*stages: Stage, **values: Any) -> Recipe:
    return Recipe("run", "swift", stages or PLAN, **{"autocast": "", "clip": 0.3, **values})


def state(trainer: Trainer) -> dict[str, Tensor]:
    return {**{f"model.{k}": v for k, v in trainer.models.state_dict().items()},
            **{f"ema.{k}": v for k, v in trainer.ema.items()}}


@pytest.fixture(scope="module")
def uninterrupted(swift_cache: Path, small_swift: MakeSwift,
                  tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SwiftTask, "config", small_swift().config)
        trainer = Trainer(plan(), swift_cache, tmp_path_factory.mktemp("whole"))
        trainer.run()
    assert trainer.step == 11
    return state(trainer)


@pytest.mark.parametrize("step", [2, 7, 9])
def test_a_stopped_run_goes_on_bit_for_bit(uninterrupted: dict[str, Tensor], swift_cache: Path, tmp_path: Path,
                                           step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a stage, and before the first step of one that follows a recording."""
    first = Trainer(plan(), swift_cache, tmp_path)
    inner = first._train_step

    def step_or_stop(*args: Any) -> dict[str, float]:
        if first.step == step:
            if first.stage_step:
                first.save()
            raise KeyboardInterrupt
        return inner(*args)

    monkeypatch.setattr(first, "_train_step", step_or_stop)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    resumed = Trainer(plan(), swift_cache, tmp_path)
    assert resumed.step == step
    resumed.run()
    got = state(resumed)
    assert got.keys() == uninterrupted.keys()
    assert [k for k, v in uninterrupted.items() if not torch.equal(got[k], v)] == []


def test_a_recording_that_is_gone_is_made_again(swift_cache: Path, tmp_path: Path) -> None:
    stages = PLAN[:2]
    Trainer(plan(*stages), swift_cache, tmp_path).run()
    shutil.rmtree(tmp_path / "recording")
    longer = (*stages, Stage("more", model="entropy", steps=1, **SMALL))
    trainer = Trainer(plan(*longer), swift_cache, tmp_path)
    assert trainer.stage_index == 2
    trainer.run()
    assert trainer.step == 4
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert kinds == ["record", "record"]
    assert Recording(tmp_path / "recording").digest == trainer.task.state()["recording"]


TOML = """
name = "small"
model = "swift"
autocast = ""
val_frames = 2
val_qualities = [20, 45]
[[stage]]
name = "record"
kind = "record"
frames = 3
[[stage]]
name = "entropy"
model = "entropy"
steps = 2
crop = [32, 32]
batch = 2
[[stage]]
name = "motion"
model = "motion"
steps = 1
batch = 16
[[stage]]
name = "sizes"
model = "sizes"
steps = 1
batch = 16
"""


def test_a_recipe_becomes_weights_that_code_video(swift_videos: Path, textured_frames: FrameMaker,
                                                  tmp_path: Path) -> None:
    """From folders of videos to validated weights, and on from those."""
    path, runs = tmp_path / "small.toml", str(tmp_path / "runs")
    path.write_text(TOML)
    one_clip = str(swift_videos / "0.mkv")
    result = train(str(path), data=[str(swift_videos)], val=[one_clip], runs=runs)
    log = [json.loads(line) for line in (tmp_path / "runs/small/log.jsonl").read_text().splitlines()]
    assert [r["kind"] for r in log] == ["record", "validation", "validation"]  # motion is not there after "entropy"
    assert log[1]["bpp"][0] < log[1]["bpp"][1]
    assert log[1]["psnr_y"][0] + 5 < log[1]["psnr_y"][1]

    codec, frames = load_swift(str(result)), textured_frames(3, 64, 48)
    encoder = codec.encoder(VideoInfo(64, 48), EncodeOptions(quality=50))
    decoder = codec.decoder(StreamHeader(codec.codec_id, codec.weights_digest, VideoInfo(64, 48), 32, b""))
    decoded = [f for frame in frames for p in encoder.push(frame) for f in decoder.push(p)]
    assert np.mean((decoded[2].y.astype(float) - frames[2].y) ** 2) < 30

    shipped = export_swift(tmp_path / "runs/small/checkpoint.pt", tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_text())["swift"]["sha256"] == shipped.sha256
    same = codec.weights.model.state_dict()
    assert all(torch.equal(value, same[key]) for key, value in shipped.model.state_dict().items())

    more = path.with_name("more.toml")
    more.write_text(TOML.replace('"small"', f'"more"\ninit = "{result}"'))
    with pytest.raises(UsageError, match="no training data"):
        train(str(more), runs=runs)
    cache_folder = next((tmp_path / "runs/cache").iterdir())
    trainer = Trainer(load_recipe(more), cache_folder, tmp_path / "more")
    start = trainer.models["entropy"].get_parameter("base_index.knots")
    assert torch.equal(start, codec.weights.model.entropy.base_index.knots)
    assert len(trainer.models["entropy"].get_buffer("base_index.frozen")) == 0


@pytest.mark.parametrize(("stages", "values", "pattern"), [
    ((PLAN[1],), {}, "recording"),
    (PLAN[:1], {"autocast": "bfloat16"}, "autocast"),
    ((RECORD, Stage("x", steps=1)), {}, "entropy, motion, sizes, filter"),
    ((RECORD, Stage("x", model="entropy", steps=1, crop=(20, 32))), {}, "multiples of 8"),
    ((RECORD, Stage("x", model="entropy", steps=1, quantizer="rdo")), {}, "quantizer"),
    ((RECORD, Stage("x", model="entropy", steps=1, loss="me")), {}, "loss"),
    ((Stage("x", kind="record", batch=3),), {}, "batch"),
    ((Stage("x", kind="record", rounding=False),), {}, "rounding"),
])
def test_mistakes_in_recipes_are_named(stages: tuple[Stage, ...], values: dict[str, Any], pattern: str) -> None:
    with pytest.raises(UsageError, match=pattern):
        plan(*stages, **values)


def test_mistakes_in_stages_are_named(swift_cache: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ends by itself"):
        Stage("x", kind="record", steps=3)
    with pytest.raises(UsageError, match="effort"):
        Stage("x", kind="record", effort=9)
    with pytest.raises(UsageError, match="swift only"):
        Recipe("x", "dvc-lite", (RECORD,))
    with pytest.raises(UsageError, match="effort"):
        Recipe("x", "dvc-lite", (Stage("x", steps=1, effort=2),))
    with pytest.raises(UsageError, match="rounding"):
        Recipe("x", "dvc-lite", (Stage("x", steps=1, rounding=False),))
    with pytest.raises(UsageError, match="rounding must be bool"):
        Stage("x", steps=1, rounding=0)
    trainer = Trainer(plan(RECORD, Stage("x", model="entropy", steps=1, crop=(512, 512))), swift_cache, tmp_path)
    with pytest.raises(UsageError, match="512x512"):
        trainer.run()
