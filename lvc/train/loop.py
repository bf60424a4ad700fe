"""The training loop: stages, checkpoints that resume to the step, EMA, logs.

Every random number of step k is drawn from a seed made of the recipe's seed and k, and sample i of the data
is a function of i, so a resumed run repeats what an uninterrupted one does.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from lvc.codecs.hevc_intra import HevcIntra
from lvc.codecs.neural import hevc_qp
from lvc.errors import UsageError
from lvc.models import CONFIGS, InterModel, IntraModel
from lvc.train.data import ClipDataset, batches
from lvc.train.losses import Pictures, inter_loss, intra_loss
from lvc.train.recipe import Recipe, Stage
from lvc.types import Frame
from lvc.weights import load_weights

LR_FACTORS = ((".density.", 10.0), (".base_index.", 128.0), ("_gain.", 2.0), (".entropy.decoder.", 0.2),
              (".synthesis.", 0.05))
"""Learning rates relative to the rest, by a part of the parameter's name. Factorized densities start wide,
and every hyper-latent pays for it; scale indices count 64 levels. In integer layers inputs go up to 255, so
small changes go a long way, as they do in transforms that start at an optimum."""


class Trainer:
    """Runs a recipe.

    Args:
        recipe: what to do.
        cache: prepared cache folder with the training data.
        folder: for checkpoints and logs; a run that is found there is resumed.
        validate: called with the trainer every so often and after each stage; returns figures for the log.
    """

    def __init__(self, recipe: Recipe, cache: Path, folder: Path, validate: Any = None) -> None:
        self.recipe, self.cache, self.folder = recipe, cache, folder
        self._validate = validate
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        config = CONFIGS[recipe.model]
        self.models = nn.ModuleDict({"inter": InterModel(config), "intra": IntraModel(config)})
        if recipe.init:
            init = load_weights(recipe.model if recipe.init == "shipped" else Path(recipe.init))
            for name, module in (("inter", init.inter), ("intra", init.intra)):
                if module is not None:
                    self.models[name].load_state_dict(module.state_dict())
            unfreeze(self.models)
        for stage in recipe.stages:
            self._parameters(stage)  # names that are wrong are noticed now, not after hours
        self.models.to(memory_format=torch.channels_last)
        self.ema = {k: v.detach().clone() for k, v in self.models.named_parameters()}
        self.stage_index = self.stage_step = self.step = 0
        self.stage_seconds = self.total_seconds = 0.0
        self.best_score = math.inf
        self.optimizer: torch.optim.Optimizer | None = None
        self._resume()

    # -- state ---------------------------------------------------------------------------------------------

    @property
    def checkpoint_path(self) -> Path:
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        """Write a checkpoint; the former one stays whole until the new one is."""
        state = {"models": self.models.state_dict(), "ema": self.ema, "stage_index": self.stage_index,
                 "stage_step": self.stage_step, "step": self.step, "stage_seconds": self.stage_seconds,
                 "total_seconds": self.total_seconds, "best_score": self.best_score,
                 "optimizer": self.optimizer.state_dict() if self.optimizer else None}
        temporary = self.checkpoint_path.with_suffix(".tmp")
        torch.save(state, temporary)
        os.replace(temporary, self.checkpoint_path)

    def _resume(self) -> None:
        if not self.checkpoint_path.exists():
            return
        try:
            state = torch.load(self.checkpoint_path, map_location="cpu", weights_only=True)
            self.models.load_state_dict(state["models"])
            self.ema = state["ema"]
            for name in ("stage_index", "stage_step", "step", "stage_seconds", "total_seconds", "best_score"):
                setattr(self, name, state[name])
            if state["optimizer"] is not None and self.stage_index < len(self.recipe.stages):
                self.optimizer = self._make_optimizer(self.stage)
                self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, KeyError, OSError, ValueError, EOFError, UnpicklingError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UsageError(f"{self.checkpoint_path} is damaged or of another recipe: {reason}") from error

    @property
    def stage(self) -> Stage:
        return self.recipe.stages[self.stage_index]

    @property
    def may_validate(self) -> bool:
        """Whether the whole codec has been trained at all: before, real bytes say nothing."""
        done = self.recipe.stages[: self.stage_index] + (
            (self.stage,) if self.stage_index < len(self.recipe.stages) and self.stage_step else ())
        return any(stage.model == "inter" and stage.loss == "rd" for stage in done)

    def averaged(self) -> dict[str, dict[str, Tensor]]:
        """State of each model with the averaged (EMA) parameters."""
        state = self.models.state_dict()
        state.update(self.ema)
        return {name: {k.split(".", 1)[1]: v for k, v in state.items() if k.startswith(name + ".")}
                for name in self.models}

    # -- running -------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train until the last stage is done."""
        while self.stage_index < len(self.recipe.stages):
            self._run_stage(self.stage)
            self.stage_index += 1
            self.stage_step, self.stage_seconds, self.optimizer = 0, 0.0, None
            self.save()
            self._log_validation()

    def _run_stage(self, stage: Stage) -> None:
        if self.optimizer is None:
            self.optimizer = self._make_optimizer(stage)
        last_checkpoint = last_validation = time.monotonic()
        stream = self._stream(stage)
        with tqdm(total=stage.steps or None, initial=self.stage_step, desc=stage.name, unit="step",
                  mininterval=1.0) as bar:
            while (progress := self._progress(stage)) < 1.0:
                start = time.monotonic()
                figures = self._train_step(stage, next(stream), progress)
                elapsed = time.monotonic() - start
                self.step += 1
                self.stage_step += 1
                self.stage_seconds += elapsed
                self.total_seconds += elapsed
                bar.update()
                if self.stage_step % 20 == 0:
                    bar.set_postfix({k: f"{v:.3f}" for k, v in figures.items()}, refresh=False)
                    self._log("train", stage, figures)
                now = time.monotonic()
                if now - last_checkpoint > 60 * self.recipe.checkpoint_minutes:
                    self.save()
                    last_checkpoint = now
                if now - last_validation > 60 * self.recipe.validate_minutes:
                    self._log_validation()
                    last_validation = time.monotonic()

    def _train_step(self, stage: Stage, batch: tuple[Pictures, Tensor, Tensor | None],
                    progress: float) -> dict[str, float]:
        assert self.optimizer is not None
        pictures, quality, reference = batch
        rate = learning_rate(stage, self.stage_step, progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        torch.manual_seed(hash((self.recipe.seed, self.step)) % 2**63)  # the noise of this step
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.autocast == "bfloat16"):
            if stage.model == "intra":
                loss, figures = intra_loss(self.models["intra"], pictures, quality,
                                           chroma_weight=self.recipe.chroma_weight)
            else:
                assert reference is not None
                loss, figures = inter_loss(self.models["inter"], stage.loss, pictures, reference, quality,
                                           chroma_weight=self.recipe.chroma_weight, detach=stage.detach)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        trained = [p for g in self.optimizer.param_groups for p in g["params"]]
        norm = float(nn.utils.clip_grad_norm_(trained, self.recipe.clip))
        if math.isfinite(norm) and math.isfinite(float(loss)):
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
            factor = next((f for part, f in LR_FACTORS if part in f".{name}"), 1.0)
            groups.setdefault(factor, []).append(p)
        return torch.optim.AdamW([{"params": params, "factor": factor} for factor, params in groups.items()],
                                 stage.lr, weight_decay=0.0)

    # -- data ----------------------------------------------------------------------------------------------

    def _stream(self, stage: Stage) -> Iterator[tuple[Pictures, Tensor, Tensor | None]]:
        """Batches of a stage from its present step on, each with qualities and decoded first frames."""
        dataset = ClipDataset(self.cache, crop=stage.crop, length=stage.frames,
                              seed=self.recipe.seed * 1000 + self.stage_index, flows=stage.needs_flows)
        source = batches(dataset, stage.batch, self.stage_step)
        space = self.models["inter"].space
        hevc = HevcIntra("ultrafast")

        def reference(batch: dict[str, Tensor], i: int, quality: int) -> tuple[Tensor, Tensor]:
            planes = [batch[name][i, 0].numpy() for name in "yuv"]
            if stage.reference == "hevc":
                height, width = planes[0].shape
                frame = hevc.decode(hevc.encode(Frame(*planes), hevc_qp(quality)), width, height)
                planes = list(frame.planes)
            return torch.from_numpy(planes[0])[None].float(), torch.from_numpy(np.stack(planes[1:])).float()

        def prepare(step: int) -> tuple[Pictures, Tensor, Tensor | None]:
            batch = next(source)
            rng = np.random.default_rng((self.recipe.seed, self.stage_index, step))
            low, high = stage.qualities
            quality = torch.from_numpy(rng.integers(low, high + 1, stage.batch))
            if stage.model == "intra":
                return Pictures.of_batch(batch), quality, None
            coded = [reference(batch, i, int(q)) for i, q in enumerate(quality)]
            first = space.pack(torch.stack([y for y, _ in coded]), torch.stack([uv for _, uv in coded]))
            return Pictures.of_batch(batch), quality, first.contiguous(memory_format=torch.channels_last)

        # One thread keeps the order of ``source``; two batches are made ahead, beside the training.
        with ThreadPoolExecutor(1, thread_name_prefix="lvc-reference") as pool:
            step = self.stage_step
            ready = [pool.submit(prepare, step), pool.submit(prepare, step + 1)]
            while True:
                step += 1
                ready.append(pool.submit(prepare, step + 1))
                yield ready.pop(0).result()

    # -- logs ----------------------------------------------------------------------------------------------

    def _log(self, kind: str, stage: Stage | None, figures: dict[str, Any]) -> None:
        record = {"kind": kind, "stage": stage.name if stage else None, "step": self.step,
                  "minutes": round(self.total_seconds / 60, 3), **figures}
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def _log_validation(self) -> None:
        if self._validate is None:
            return
        self.save()
        figures = self._validate(self)
        if figures:
            index = min(self.stage_index, len(self.recipe.stages) - 1)
            self._log("validation", self.recipe.stages[index], figures)
            self.save()  # with the best score so far


def learning_rate(stage: Stage, step: int, progress: float) -> float:
    """Linear warm-up, then constant or cosine from lr to lr_end; ``progress`` 0..1 through the stage."""
    warm = min(1.0, (step + 1) / max(stage.warmup, 1))
    if stage.schedule == "constant":
        return stage.lr * warm
    return warm * (stage.lr_end + (stage.lr - stage.lr_end) * 0.5 * (1.0 + math.cos(math.pi * progress)))


def unfreeze(models: nn.Module) -> None:
    """Drop the frozen integer tables of exported weights, so that training moves them again."""
    for module in models.modules():
        frozen = getattr(module, "frozen", None)
        if isinstance(frozen, Tensor):
            module.frozen = frozen[:0]
