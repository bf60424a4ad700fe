"""Training of swift: each network by itself, on recordings of what the encoder does (lvc.train.swiftdata)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from lvc.codecs.swift import SwiftCodec
from lvc.errors import UsageError, VideoError
from lvc.models.swift import SwiftEntropy
from lvc.models.swiftfilter import SwiftFilter
from lvc.models.swiftmodel import SwiftConfig, SwiftModel
from lvc.models.swiftmotion import SwiftMotion
from lvc.models.swiftsizes import SwiftSizes
from lvc.ops.integer import IntConv2d
from lvc.train.recipe import Recipe, Stage
from lvc.train.swiftdata import Crops, Recording
from lvc.train.swiftlosses import MotionBatch, entropy_loss, filter_loss, motion_loss
from lvc.train.swiftrecord import record
from lvc.train.task import BETAS, State, ahead, unfreeze
from lvc.weights import SwiftWeights, load_swift_weights, save_swift_weights

LR_FACTORS = {"entropy": (("logits", 5.0), ("base", 40.0)), "motion": (("logits", 10.0),), "sizes": (("logits", 10.0),)}
"""Learning rates relative to the rest, by model and a part of the parameter's name: indices count 64 levels,
and each row of a table is met by a few symbols only."""

LR_FACTORS_AGAIN = {"entropy": (("base", 8.0),)}
"""The same for a model that was trained before: indices and tables that are about right diverge at such rates."""

WEIGHT_ROOM = 0.49
"""Weights that a network which learns with integers from the start may grow to, at least: they start smaller."""

ROWS = {"motion": ("vectors", "splits", "compound"), "sizes": ("joins",)}
"""Files of a recording that a model learns from, as far as there are such."""


def swift_model(config: SwiftConfig, averaged: State) -> SwiftModel:
    """A model with the state of its networks, in evaluation mode."""
    model = SwiftModel(config)
    model.load_state_dict({f"{name}.{key}": value for name, part in averaged.items() for key, value in part.items()})
    return model.eval().requires_grad_(False)


def write_swift(config: SwiftConfig, averaged: State, path: Path, metadata: dict[str, str]) -> SwiftWeights:
    """Write the (averaged) state of a training to a weights file, and load that file."""
    save_swift_weights(path, swift_model(config, averaged), metadata)
    return load_swift_weights(path)


class SwiftTask:
    """Trains "entropy", "motion", "sizes" and "filter" on recordings of clips. Implements lvc.train.task.Task.

    Args:
        recipe: its model is swift.
        cache: prepared cache folder.
        folder: for the recording; there is one at a time.
    """

    betas = BETAS
    config = SwiftConfig()

    def __init__(self, recipe: Recipe, cache: Path, folder: Path) -> None:
        self.recipe, self.cache, self.folder = recipe, cache, folder
        self._digest = ""
        self._recording: Recording | None = None

    def build(self) -> nn.ModuleDict:
        model = SwiftModel(self.config)
        if self.recipe.init:
            shipped = self.recipe.init == "shipped"
            init = load_swift_weights("swift" if shipped else Path(self.recipe.init)).model
            if init.config != self.config:
                raise UsageError(f"{self.recipe.init} holds networks of other sizes")
            unfreeze(init)
            model.load_state_dict(init.state_dict())
        return nn.ModuleDict(dict(model.named_children()))

    def lr_factor(self, stage: Stage, name: str) -> float:
        factors = (LR_FACTORS_AGAIN if self._trained(stage) else LR_FACTORS).get(stage.model, ())
        return next((f for part, f in factors if part in name), 1.0)

    def _trained(self, stage: Stage) -> bool:
        """Whether the stage's model was trained before."""
        return bool(self.recipe.init) or any(s.model == stage.model and s.kind == "train"
                                             for s in self.recipe.stages[: self.recipe.stages.index(stage)])

    def record(self, stage: Stage, index: int, averaged: State) -> dict[str, float]:
        self._recording = None  # unmaps the former one, which gives way
        self._recording = recording = record(self.cache, self.folder, swift_model(self.config, averaged), stage,
                                             (self.recipe.seed, index))
        self._digest = recording.digest
        return {"clips": len(recording.clips), "frames": sum(c.n_frames for c in recording.clips),
                **{name: float(n) for name, n in recording.n_rows.items()}}

    def ready(self) -> bool:
        if self._recording is None:
            try:
                self._recording = Recording(self.folder)
            except VideoError:
                return False
        return self._recording.digest == self._digest

    def begin(self, models: nn.ModuleDict, stage: Stage, index: int) -> None:
        if not stage.rounding:
            return
        for layer in models[stage.model].modules():
            if isinstance(layer, IntConv2d):
                layer.calibrate(0.0 if self._trained(stage) else WEIGHT_ROOM)

    def stream(self, stage: Stage, index: int, start: int) -> Iterator[Crops | MotionBatch]:
        recording = self._recording
        assert recording is not None
        if stage.model in ROWS:
            if not any(recording.n_rows.get(name) for name in ROWS[stage.model]):
                raise UsageError(f"stage {stage.name}: the clips are too small to learn {stage.model} from")
            return ahead(lambda step: self._motion_rows(recording, stage, index, step), start)
        recording.check_crop(stage.crop)  # now, not in the background
        return ahead(lambda step: recording.crops(self._rng(index, step), stage.crop, stage.batch), start)

    def _rng(self, index: int, step: int) -> np.random.Generator:
        return np.random.default_rng((self.recipe.seed, index, step))

    def _motion_rows(self, recording: Recording, stage: Stage, index: int, step: int) -> MotionBatch:
        rng = self._rng(index, step)
        names = [name for name in ROWS[stage.model] if recording.n_rows.get(name)]
        most = max(recording.n_rows[name] for name in names)
        batch: MotionBatch = {}
        for name in names:
            layout = recording.motion[name]
            # In proportion, so that the loss is that of whole frames.
            n = max(1, round(stage.batch * recording.n_rows[name] / most))
            batch[name] = (layout, recording.rows(name, rng, n))
        return batch

    def loss(self, models: nn.ModuleDict, stage: Stage, batch: Any) -> tuple[Tensor, dict[str, float]]:
        model = models[stage.model]
        for layer in model.modules():
            if isinstance(layer, IntConv2d):
                layer.rounding = stage.rounding
                if not stage.rounding:
                    layer.calibrate()  # makes no difference now, but it may be validated at any time
        if isinstance(model, SwiftEntropy):
            return entropy_loss(model, *batch.residual())
        if isinstance(model, (SwiftMotion, SwiftSizes)):
            return motion_loss(model, batch)
        assert isinstance(model, SwiftFilter)
        return filter_loss(model, batch)

    def can_validate(self, stages: Sequence[Stage]) -> bool:
        trained = {stage.model for stage in stages if stage.kind == "train"}
        return {"entropy", "motion"} <= trained or bool(self.recipe.init and trained)

    def write(self, averaged: State, path: Path, metadata: dict[str, str]) -> SwiftCodec:
        return SwiftCodec(write_swift(self.config, averaged, path, metadata))

    def state(self) -> dict[str, Any]:
        return {"recording": self._digest, "config": self.config.to_json()}

    def load_state(self, state: dict[str, Any]) -> None:
        self._digest = str(state["recording"])
