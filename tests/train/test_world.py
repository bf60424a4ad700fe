"""Several processes: together they do what one process with the whole batch does."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lvc.errors import UsageError
from lvc.train.cache import prepare
from lvc.train.dvctask import DvcTask
from lvc.train.loop import Trainer
from lvc.train.recipe import Recipe, Stage, load_recipe
from lvc.train.world import World, to_device
from lvc.types import Frame

ROOT = Path(__file__).parents[2]
TOML = """
name = "run"
model = "dvc-lite"
autocast = ""
checkpoint_minutes = 0.0001
[[stage]]
name = "pairs"
motion = "network"
steps = 2
crop = [64, 64]
batch = {batch}
warmup = 0
[[stage]]
name = "intra"
model = "intra"
frames = 1
steps = 1
crop = [64, 64]
batch = {batch}
warmup = 0
"""


@pytest.fixture(scope="module")
def cache(textured_frames: Any, write_video: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    frames: list[Frame] = textured_frames(4, 96, 80)
    prepare([write_video(folder / "clip.mkv", frames)], folder / "cache", progress=False)
    return folder / "cache"


def recipe(folder: Path, batch: int) -> Path:
    path = folder / f"batch{batch}.toml"
    path.write_text(TOML.format(batch=batch))
    return path


def parameters(models: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([v.flatten().double() for k, v in models.items() if v.is_floating_point()])


def test_two_processes_are_one_with_twice_the_batch(cache: Path, tmp_path: Path) -> None:
    """By torchrun over loopback, through two stages; rank 0 alone writes, once each."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
               "lvc.train", str(recipe(tmp_path, 1)), "--data", str(cache), "--runs", str(tmp_path / "two"),
               "--threads", "1", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("weights: ") == 1
    two = torch.load(tmp_path / "two/run/checkpoint.pt", weights_only=True)
    assert two["step"] == 3
    written = {path.name for path in (tmp_path / "two/run").iterdir()}
    assert written == {"checkpoint.pt", "candidate.safetensors", "tensorboard"}
    assert len(list((tmp_path / "two/run/tensorboard").iterdir())) == 1

    whole = Trainer(load_recipe(recipe(tmp_path, 2)), cache, tmp_path / "one")
    start = parameters({k: v.clone() for k, v in whole.models.state_dict().items()})
    whole.run()
    half = Trainer(load_recipe(recipe(tmp_path, 1)), cache, tmp_path / "half")
    half.run()
    one, other = parameters(whole.models.state_dict()), parameters(half.models.state_dict())
    moved = (one - start).norm()
    assert moved > 0
    assert (parameters(two["models"]) - one).norm() < 0.01 * moved
    assert (other - one).norm() > 0.1 * moved  # what leaving out half of the batch would do
    averaged = torch.cat([two["ema"][k].flatten() - v.flatten() for k, v in whole.ema.items()])
    assert averaged.double().norm() < 0.01 * moved


@pytest.mark.parametrize("model", ["inter", "intra"])
def test_shares_of_a_batch_are_the_batch(cache: Path, model: str) -> None:
    """Pictures, qualities, decoded first frames and seeds of the noise; nothing twice."""
    stage = Stage("s", model=model, motion="network", steps=1, crop=(32, 48), batch=2, frames=1 + (model == "inter"),
                  exposure=0.1)
    plan = Recipe("run", "dvc-lite", (stage,))
    whole = next(DvcTask(plan, cache).stream(dataclasses.replace(stage, batch=4), 0, 3))
    shares = [next(DvcTask(plan, cache, World(rank, 2), workers=2).stream(stage, 0, 3)) for rank in (0, 1)]
    assert torch.equal(torch.cat([s.quality for s in shares]), whole.quality)
    assert torch.equal(torch.cat([s.pictures.y for s in shares]), whole.pictures.y)
    assert shares[0].seeds + shares[1].seeds == whole.seeds
    assert len(set(whole.seeds)) == 4
    if model == "inter":
        assert torch.equal(torch.cat([s.reference for s in shares]), whole.reference)
    else:
        assert whole.reference is None


def test_batches_do_not_depend_on_the_number_of_workers(cache: Path) -> None:
    stage = Stage("s", motion="network", steps=1, crop=(32, 48), batch=2)
    plan = Recipe("run", "dvc-lite", (stage,))
    streams = [DvcTask(plan, cache, workers=workers).stream(stage, 0, 2) for workers in (1, 3)]
    for _ in range(5):
        one, three = (next(stream) for stream in streams)
        assert torch.equal(one.pictures.y, three.pictures.y)
        assert torch.equal(one.reference, three.reference)
        assert one.seeds == three.seeds


def test_a_world_of_one_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    world = World.join("cpu")
    assert (world, world.leads) == (World(), True)
    assert world.total(2.5) == world.of_leader(2.5) == 2.5
    assert world.mean({"a": 1.0}) == {"a": 1.0}
    assert world.broadcast([1]) == [1]
    calls: list[int] = []
    assert world.in_turn(lambda: calls.append(1) or "made") == "made"
    assert calls == [1]
    module = torch.nn.Linear(1, 1)
    assert world.parallel(module) is module
    world.leave()


def test_mistakes_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="tpu"):
        World.join("tpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UsageError, match="no GPU"):
        World.join("cuda")
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(UsageError, match="RANK"):
        World.join("cpu")


def test_batches_move_as_a_whole(cache: Path) -> None:
    """Tensors at any depth change place (the meta device stands for a GPU); the rest stays as it is."""
    stage = Stage("s", motion="network", steps=1, crop=(32, 48), batch=2)
    batch = next(DvcTask(Recipe("run", "dvc-lite", (stage,)), cache).stream(stage, 0, 0))
    moved = to_device([batch, {"a": (torch.ones(2), 5)}, np.ones(1)], torch.device("meta"))
    assert moved[0].reference.device.type == moved[0].pictures.y.device.type == "meta"
    assert moved[1]["a"][0].device.type == "meta"
    assert moved[1]["a"][1] == 5
    assert moved[0].seeds == batch.seeds
    assert batch.pictures.y.device.type == "cpu"


def test_ranks_write_no_log(cache: Path, tmp_path: Path) -> None:
    stage = Stage("s", motion="network", steps=1, crop=(64, 64), batch=1)
    trainer = Trainer(Recipe("run", "dvc-lite", (stage,)), cache, tmp_path, world=World(rank=1))
    trainer.save()
    trainer._log("train", stage, {"loss": 1.0})
    assert list(tmp_path.iterdir()) == []


if torch.cuda.is_available():

    @pytest.mark.cuda
    def test_a_gpu_does_what_a_cpu_does(cache: Path, tmp_path: Path) -> None:
        plan = load_recipe(recipe(tmp_path, 2))
        one, other = (Trainer(plan, cache, tmp_path / device, world=World(device=torch.device(device)))
                      for device in ("cpu", "cuda"))
        start = parameters({k: v.clone() for k, v in one.models.state_dict().items()})
        one.run()
        other.run()
        end = parameters(one.models.state_dict())
        assert (parameters({k: v.cpu() for k, v in other.models.state_dict().items()}) - end).norm() < (
            0.1 * (end - start).norm())
        resumed = Trainer(plan, cache, tmp_path / "cuda", world=World(device=torch.device("cuda")))
        assert resumed.step == 3
