"""The training loop: stages, checkpoints that resume to the step, EMA, logs. What is trained is up to a task.

Every random number of step k is drawn from a seed made of the recipe's seed and k, and sample i of the data
is a function of i, so a resumed run repeats what an uninterrupted one does. With several processes
(lvc.train.world) a step is what one process with the batches of all of them does.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from lvc.errors import UsageError
from lvc.train.board import Board
from lvc.train.dvctask import DvcTask
from lvc.train.recipe import Recipe, Stage
from lvc.train.restoretask import RestoreTask
from lvc.train.stsrtask import StsrTask
from lvc.train.swifttask import SwiftTask
from lvc.train.task import Illustrated, State, Task
from lvc.train.world import World, to_device

LOG_STEPS = 20
"""Steps from one line in the log to the next."""


def make_task(recipe: Recipe, cache: Path, folder: Path, world: World | None = None, workers: int = 1) -> Task:
    """The task of a recipe's family of models; ``cache`` and ``folder`` as of Trainer."""
    world = world or World()
    if recipe.family == "dvc":
        return DvcTask(recipe, cache, world, workers)
    # These know of one process only: each has draws of its own.
    own = dataclasses.replace(recipe, seed=recipe.seed + 1_000_003 * world.rank)
    if recipe.family == "restore":
        return RestoreTask(own, cache, folder / "decoded")
    if recipe.family == "stsr":
        return StsrTask(own, cache, folder / "decoded")
    return SwiftTask(own, cache, folder / "recording")


class _Objective(nn.Module):
    """The loss as a module, which is what DistributedDataParallel takes."""

    def __init__(self, task: Task, models: nn.ModuleDict, stage: Stage) -> None:
        super().__init__()
        self.task, self.models, self.stage = task, models, stage

    def forward(self, batch: Any) -> tuple[torch.Tensor, dict[str, float]]:
        return self.task.loss(self.models, self.stage, batch)


class Trainer:
    """Runs a recipe.

    Args:
        recipe: what to do.
        cache: prepared cache folder with the training data.
        folder: for checkpoints and logs; a run that is found there is resumed.
        validate: called with the trainer every so often and after each stage; returns figures for the log.
        world: the processes of this training, and where this one computes.
        workers: threads that make batches.
    """

    def __init__(self, recipe: Recipe, cache: Path, folder: Path, validate: Any = None, *,
                 world: World | None = None, workers: int = 1) -> None:
        self.recipe, self.cache, self.folder = recipe, cache, folder
        self.world, self._workers = world or World(), workers
        self._validate = validate
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        self.task = make_task(recipe, cache, folder, self.world, workers)
        self.models = self.task.build().to(self.world.device)
        for stage in recipe.stages:
            if stage.kind == "train":
                self._parameters(stage)  # names that are wrong are noticed now, not after hours
        self.ema = {k: v.detach().clone() for k, v in self.models.named_parameters()}
        self.stage_index = self.stage_step = self.step = 0
        self.stage_seconds = self.total_seconds = 0.0
        self.best_score = math.inf
        self.validation_is_due = False
        self.optimizer: torch.optim.Optimizer | None = None
        self._objective: nn.Module | None = None
        self._resume()
        self._board = Board(folder, self.step) if self.world.leads else None

    # -- state ---------------------------------------------------------------------------------------------

    @property
    def checkpoint_path(self) -> Path:
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        """Write a checkpoint; the former one stays whole until the new one is. Process 0 only, others return."""
        if not self.world.leads:
            return
        state = {"models": self.models.state_dict(), "ema": self.ema, "stage_index": self.stage_index,
                 "stage_step": self.stage_step, "step": self.step, "stage_seconds": self.stage_seconds,
                 "total_seconds": self.total_seconds, "best_score": self.best_score,
                 "validation_is_due": self.validation_is_due, "task": self.task.state(),
                 "optimizer": self.optimizer.state_dict() if self.optimizer else None}
        temporary = self.checkpoint_path.with_suffix(".tmp")
        torch.save(state, temporary)
        os.replace(temporary, self.checkpoint_path)

    def _resume(self) -> None:
        # Other processes take it from process 0: the file may be on its machine only.
        state = self.world.broadcast(self._load() if self.world.leads else None)
        if state is None:
            return
        try:
            self.models.load_state_dict(state["models"])
            self.ema = to_device(state["ema"], self.world.device)
            self.validation_is_due = state.get("validation_is_due", False)
            for name in ("stage_index", "stage_step", "step", "stage_seconds", "total_seconds", "best_score"):
                setattr(self, name, state[name])
            self.task.load_state(state.get("task", {}))
            if state["optimizer"] is not None and self.stage_index < len(self.recipe.stages):
                self.optimizer = self._make_optimizer(self.stage)
                self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, KeyError, ValueError) as error:
            raise self._damaged(error) from error

    def _load(self) -> dict[str, Any] | None:
        if not self.checkpoint_path.exists():
            return None
        try:
            return dict(torch.load(self.checkpoint_path, map_location="cpu", weights_only=True))
        except (RuntimeError, KeyError, OSError, ValueError, EOFError, UnpicklingError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> UsageError:
        reason = " ".join(str(error).split())[:200]
        return UsageError(f"{self.checkpoint_path} is damaged or of another recipe: {reason}")

    @property
    def stage(self) -> Stage:
        return self.recipe.stages[self.stage_index]

    @property
    def may_validate(self) -> bool:
        """Whether the whole codec has been trained at all: before, real bytes say nothing."""
        done = self.recipe.stages[: self.stage_index] + (
            (self.stage,) if self.stage_index < len(self.recipe.stages) and self.stage_step else ())
        return self.task.can_validate(done)

    def averaged(self) -> State:
        """State of each model with the averaged (EMA) parameters."""
        state = self.models.state_dict()
        state.update(self.ema)
        return {name: {k.split(".", 1)[1]: v for k, v in state.items() if k.startswith(name + ".")}
                for name in self.models}

    # -- running -------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train until the last stage is done."""
        try:
            self._run()
        finally:
            if self._board:
                self._board.close()

    def _run(self) -> None:
        if self.validation_is_due:
            self._log_validation()
        while self.stage_index < len(self.recipe.stages):
            stage = self.stage
            if stage.kind == "record":
                self._record(self.stage_index)
            else:
                self._run_stage(stage)
            self.stage_index += 1
            self.stage_step, self.stage_seconds, self.optimizer, self._objective = 0, 0.0, None, None
            if stage.kind == "train":
                self._log_validation()
            else:
                self.save()

    def _record(self, index: int) -> None:
        """Process 0 records; the others wait, and take what the task then knows."""
        stage = self.recipe.stages[index]
        start = time.monotonic()
        figures = self.task.record(stage, index, self.averaged()) if self.world.leads else {}
        if self.world.size > 1:
            state = self.world.broadcast(self.task.state())
            if not self.world.leads:
                self.task = make_task(self.recipe, self.cache, self.folder, self.world, self._workers)
                self.task.load_state(state)
        self.total_seconds += time.monotonic() - start
        self._log("record", stage, figures)

    def _run_stage(self, stage: Stage) -> None:
        if not self.world.of_leader(self.task.ready()):
            # It was deleted, or only the checkpoint was brought here: record with the networks as they are.
            self._record(max(i for i in range(self.stage_index) if self.recipe.stages[i].kind == "record"))
        if not self.task.ready():
            raise UsageError(f"process {self.world.rank} does not find the recording in {self.folder}: "
                             "all machines must see the same folder")
        if self.stage_step == 0:
            self._begin(stage)
        if self.optimizer is None:
            self.optimizer = self._make_optimizer(stage)
        last_checkpoint = last_validation = time.monotonic()
        stream = self.task.stream(stage, self.stage_index, self.stage_step)
        waited = worked = 0.0
        batch = None
        with tqdm(total=stage.steps or None, initial=self.stage_step, desc=stage.name, unit="step",
                  mininterval=1.0, disable=not self.world.leads) as bar:
            while (progress := self._progress(stage)) < 1.0:
                start = time.monotonic()
                batch = next(stream)
                waited += time.monotonic() - start
                figures = self._train_step(stage, batch, progress)
                # All processes go by the clock of one, or they would not leave the stage together.
                elapsed = self.world.of_leader(time.monotonic() - start)
                worked += elapsed
                self.step += 1
                self.stage_step += 1
                self.stage_seconds += elapsed
                self.total_seconds += elapsed
                bar.update()
                if self.stage_step % LOG_STEPS == 0:
                    figures = {**self.world.mean(figures), "step_seconds": worked / LOG_STEPS,
                               "data_share": waited / worked}
                    bar.set_postfix({k: f"{v:.3f}" for k, v in figures.items()}, refresh=False)
                    self._log("train", stage, figures)
                    waited = worked = 0.0
                now = time.monotonic()
                if now - last_checkpoint > 60 * self.recipe.checkpoint_minutes:
                    self.save()
                    last_checkpoint = now
                if now - last_validation > 60 * self.recipe.validate_minutes:
                    self._illustrate(stage, batch)
                    self._log_validation()
                    last_validation = time.monotonic()
            if batch is not None:
                self._illustrate(stage, batch)

    def _begin(self, stage: Stage) -> None:
        before = {name: p.detach().clone() for name, p in self.models.named_parameters()}
        self.task.begin(self.models, stage, self.stage_index)
        for name, p in self.models.named_parameters():
            if not torch.equal(p, before[name]):
                self.ema[name].copy_(p.detach())

    def _train_step(self, stage: Stage, batch: Any, progress: float) -> dict[str, float]:
        assert self.optimizer is not None
        rate = learning_rate(stage, self.stage_step, progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        # For what a loss draws from the default generator, other numbers in each process.
        place = (self.world.rank,) if self.world.rank else ()
        torch.manual_seed(hash((self.recipe.seed, self.step, *place)) % 2**63)
        device = self.world.device
        if self._objective is None:
            self._objective = self.world.parallel(_Objective(self.task, self.models, stage))
        narrow = bool(self.recipe.autocast) and self.world.has_bfloat16
        with torch.autocast(device.type, torch.bfloat16, enabled=narrow):
            loss, figures = self._objective(to_device(batch, device))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        trained = [p for g in self.optimizer.param_groups for p in g["params"]]
        norm = float(nn.utils.clip_grad_norm_(trained, self.recipe.clip))
        if self.world.total(not (math.isfinite(norm) and math.isfinite(float(loss.detach())))) == 0:
            self.optimizer.step()
            decay = min(self.recipe.ema, (1.0 + self.step) / (10.0 + self.step))
            with torch.no_grad():
                # All of them: left-over gradients of a former stage are not there after a resumption.
                for name, p in self.models.named_parameters():
                    self.ema[name].lerp_(p, 1.0 - decay)
        else:
            figures["skipped"] = 1.0
        return {**figures, "grad_norm": norm, "lr": rate}

    def _progress(self, stage: Stage) -> float:
        return self.stage_step / stage.steps if stage.steps else self.stage_seconds / (60 * stage.minutes)

    def _parameters(self, stage: Stage) -> list[tuple[str, nn.Parameter]]:
        model = self.models[stage.model]
        try:
            parts = [model.get_submodule(name) for name in stage.train] if stage.train else [model]
        except AttributeError as error:
            raise UsageError(f"stage {stage.name}: no such part to train: {error}") from None
        return [item for part in parts for item in part.named_parameters()]

    def _make_optimizer(self, stage: Stage) -> torch.optim.Optimizer:
        named = self._parameters(stage)
        parameters = [p for _, p in named]
        if not parameters:
            raise UsageError(f"stage {stage.name}: nothing to train in {', '.join(stage.train)}")
        for p in self.models.parameters():
            p.requires_grad_(False)
        for p in parameters:
            p.requires_grad_(True)
        groups: dict[float, list[nn.Parameter]] = {}
        for name, p in named:
            groups.setdefault(self.task.lr_factor(stage, name), []).append(p)
        return torch.optim.AdamW([{"params": params, "factor": factor} for factor, params in groups.items()],
                                 stage.lr, betas=self.task.betas, weight_decay=0.0)

    # -- logs ----------------------------------------------------------------------------------------------

    def _log(self, kind: str, stage: Stage, figures: dict[str, Any]) -> None:
        if self._board:
            self._board.log(kind, stage.name, self.step, self.total_seconds / 60, figures)

    def _illustrate(self, stage: Stage, batch: Any) -> None:
        """Show what the averaged models do."""
        if self._board is None or not isinstance(self.task, Illustrated):
            return
        raw = {name: p.detach().clone() for name, p in self.models.named_parameters()}
        with torch.no_grad():
            try:
                for name, p in self.models.named_parameters():
                    p.copy_(self.ema[name])
                pictures = self.task.illustrate(self.models, stage, to_device(batch, self.world.device))
            finally:
                for name, p in self.models.named_parameters():
                    p.copy_(raw[name])
        self._board.show(pictures, stage.name, self.step)

    def _log_validation(self) -> None:
        """Validate, with a checkpoint before and after: what is killed meanwhile is done when the run resumes."""
        if self._validate is None:
            self.save()
            return
        if not self.validation_is_due:
            self.validation_is_due = True
            self.save()
        if not self.world.leads:
            self.validation_is_due = False
            return
        figures = self._validate(self)
        if figures:
            index = min(self.stage_index, len(self.recipe.stages) - 1)
            self._log("validation", self.recipe.stages[index], figures)
        self.validation_is_due = False
        self.save()  # with the best score so far


def learning_rate(stage: Stage, step: int, progress: float) -> float:
    """Linear warm-up, then constant or cosine from lr to lr_end; ``progress`` 0..1 through the stage."""
    warm = min(1.0, (step + 1) / max(stage.warmup, 1))
    if stage.schedule == "constant":
        return stage.lr * warm
    return warm * (stage.lr_end + (stage.lr - stage.lr_end) * 0.5 * (1.0 + math.cos(math.pi * progress)))
