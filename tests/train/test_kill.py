"""A run that is killed, at whatever moment, and resumed is the run that was not."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import lvc.train.loop as loop
from lvc.models import CONFIGS, ModelConfig
from lvc.train.cache import prepare
from lvc.train.loop import Trainer
from lvc.train.recipe import Recipe, Stage, load_recipe
from lvc.types import Frame

ROOT = Path(__file__).parents[2]
SMALL: dict[str, Any] = {"crop": (32, 32), "batch": 2, "warmup": 2, "lr": 1e-3, "motion": "network"}
STAGES = (
    Stage("pairs", steps=2, **SMALL),
    Stage("intra", model="intra", steps=2, **{**SMALL, "motion": "classical"}, frames=1),
)


class Killed(BaseException):
    """What no handler of errors holds up."""


@pytest.fixture(scope="module")
def cache(textured_frames: Any, write_video: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kill")
    frames: list[Frame] = textured_frames(4, 96, 80)
    prepare([write_video(folder / "clip.mkv", frames)], folder / "cache", progress=False)
    return folder / "cache"


def life(cache: Path, folder: Path, validated: list[int]) -> Trainer:
    """A process: resumes what is there."""
    def validate(trainer: Trainer) -> dict[str, Any]:
        validated.append(trainer.step)
        return {"bd_rate_yuv": float(trainer.step)}

    return Trainer(Recipe("run", "tiny", STAGES, autocast="", checkpoint_minutes=1e-9), cache, folder, validate)


def result(trainer: Trainer, folder: Path) -> tuple[dict[str, Tensor], list[Any]]:
    """Parameters, averages and the log without times."""
    tensors = {**trainer.models.state_dict(), **{f"ema.{k}": v for k, v in trainer.ema.items()}}
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    for record in records:
        for name in ("minutes", "step_seconds", "data_share"):
            record.pop(name, None)
    return tensors, records


@pytest.fixture(autouse=True)
def small(tiny_config: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONFIGS, "tiny", tiny_config)
    monkeypatch.setattr(loop, "LOG_STEPS", 1)


@pytest.fixture(scope="module")
def whole(cache: Path, tiny_config: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The run that is not killed."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CONFIGS, "tiny", tiny_config)
        patch.setattr(loop, "LOG_STEPS", 1)
        validated: list[int] = []
        trainer = life(cache, folder, validated)
        trainer.run()
    assert validated == [2, 4]
    return result(trainer, folder)


@pytest.mark.parametrize("moment", ["before a checkpoint", "within a checkpoint", "after a checkpoint",
                                    "within a step", "within a validation", "after a validation"])
def test_lives_cut_short_add_up(whole: Any, cache: Path, tmp_path: Path, moment: str,
                                monkeypatch: pytest.MonkeyPatch) -> None:
    """Each life ends at the second chance that it gets (validations: the first), until one comes through."""
    validated: list[int] = []
    lives, chances = 0, 0
    seen: set[int] = set()
    save, train_step, log_validation = Trainer.save, Trainer._train_step, Trainer._log_validation
    torch_save = torch.save

    def strike() -> None:
        nonlocal chances
        chances += 1
        if chances == 2:
            raise Killed

    def cut_save(trainer: Trainer) -> None:
        if moment == "before a checkpoint":
            strike()
        save(trainer)
        if moment == "after a checkpoint":
            strike()

    def cut_torch_save(state: Any, path: Path) -> None:
        torch_save(state, path)
        if moment == "within a checkpoint":
            path.write_bytes(path.read_bytes()[:1000])
            strike()
            torch_save(state, path)

    def cut_step(trainer: Trainer, *args: Any) -> dict[str, float]:
        figures = train_step(trainer, *args)
        if moment == "within a step":
            strike()
        return figures

    def cut_validation(trainer: Trainer) -> None:
        if moment.endswith("a validation") and trainer.step not in seen:
            seen.add(trainer.step)
            inner = trainer._validate
            if moment == "within a validation":
                trainer._validate = lambda _: (_ for _ in ()).throw(Killed)
            log_validation(trainer)
            trainer._validate = inner
            raise Killed
        log_validation(trainer)

    monkeypatch.setattr(Trainer, "save", cut_save)
    monkeypatch.setattr(torch, "save", cut_torch_save)
    monkeypatch.setattr(Trainer, "_train_step", cut_step)
    monkeypatch.setattr(Trainer, "_log_validation", cut_validation)
    while True:
        chances, lives = 0, lives + 1
        assert lives < 30
        trainer = life(cache, tmp_path, validated)
        try:
            trainer.run()
            break
        except Killed:
            continue
    assert lives > 2
    tensors, records = result(trainer, tmp_path)
    assert tensors.keys() == whole[0].keys()
    assert [k for k in tensors if not torch.equal(tensors[k], whole[0][k])] == []
    assert set(validated) == {2, 4}  # none is left out
    assert records == whole[1]
    assert life(cache, tmp_path, validated).step == 4


def test_half_a_line_in_the_log_is_dropped(cache: Path, tmp_path: Path, whole: Any) -> None:
    trainer = life(cache, tmp_path, [])
    trainer.run()
    path = tmp_path / "log.jsonl"
    path.write_text(path.read_text() + '{"kind": "train", "st')
    resumed = life(cache, tmp_path, [])
    resumed.run()
    assert result(resumed, tmp_path)[1] == whole[1]


@pytest.mark.slow
def test_a_process_that_is_killed(cache: Path, tmp_path: Path) -> None:
    """SIGKILL at moments that nobody chose, until a process comes to the end by itself."""
    head = 'name = "run"\nmodel = "dvc-lite"\ncheckpoint_minutes = 1e-9\n'
    stage = '[[stage]]\nname = "{0}"\nmodel = "{0}"\nsteps = 4\ncrop = [64, 64]\nbatch = 1\n' \
            'motion = "{1}"\nframes = {2}\n'
    path = tmp_path / "recipe.toml"
    path.write_text(head + stage.format("inter", "network", 2) + stage.format("intra", "classical", 1))
    command = [sys.executable, "-m", "lvc.train", str(path), "--data", str(cache), "--threads", "1", "--runs"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    checkpoint = tmp_path / "killed/run/checkpoint.pt"
    kills = 0
    for pause in (0.0, 0.1, None):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = subprocess.Popen([*command, str(tmp_path / "killed")], env=environment, stderr=subprocess.DEVNULL)
        while pause is not None and process.poll() is None:
            if checkpoint.exists() and checkpoint.stat().st_mtime_ns != before:
                time.sleep(pause)
                process.kill()
                break
            time.sleep(0.01)
        kills += process.wait() == -9
    assert kills == 2
    torch.set_num_threads(1)
    plan = dataclasses.replace(load_recipe(path), data=(str(cache),))
    trainer = Trainer(plan, cache, tmp_path / "whole")
    trainer.run()
    got = torch.load(checkpoint, weights_only=True)
    assert got["step"] == trainer.step == 8
    assert [k for k, v in trainer.models.state_dict().items() if not torch.equal(got["models"][k], v)] == []
    assert [k for k, v in trainer.ema.items() if not torch.equal(got["ema"][k], v)] == []
