"""What trainings on decoded copies (lvc.train.restoredata) have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from lvc.enhance.restore import RestoreConfig
from lvc.enhance.srfi import SrfiConfig
from lvc.train.recipe import Recipe, Stage
from lvc.train.restoredata import BaseSpec, DecodedStore, make_decoded
from lvc.train.task import State


class CopiesTask:
    """Part of a lvc.train.task.Task.

    Args:
        recipe: of a network that is trained on copies.
        cache: prepared cache folder.
        folder: for decoded copies.
    """

    config: RestoreConfig | SrfiConfig

    def __init__(self, recipe: Recipe, cache: Path, folder: Path) -> None:
        self.recipe, self.cache, self.folder = recipe, cache, folder
        self._copies: list[DecodedStore] = []

    def bases(self) -> Sequence[BaseSpec]:
        """The copies to train on."""
        raise NotImplementedError

    def record(self, stage: Stage, index: int, averaged: State) -> dict[str, float]:
        """Make the decoded copies."""
        self._copies = [DecodedStore(self.cache, make_decoded(self.cache, self.folder, spec)) for spec in self.bases()]
        return {"copies": float(len(self._copies))}

    def ready(self) -> bool:
        return bool(self._copies)

    def begin(self, models: nn.ModuleDict, stage: Stage, index: int) -> None:
        """Nothing to set."""

    def can_validate(self, stages: Sequence[Stage]) -> bool:
        return any(stage.kind == "train" for stage in stages)

    def state(self) -> dict[str, Any]:
        return {"config": self.config.to_json()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Nothing to set: the decoded copies are looked for anew."""
