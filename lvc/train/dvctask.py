"""Training of the dvc family: clips of video, roll-outs behind a decoded first frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lvc.codecs.hevc_intra import HevcIntra
from lvc.codecs.neural import NeuralCodec, hevc_qp
from lvc.models import CONFIGS, InterModel, IntraModel
from lvc.ops.picture import picture_space
from lvc.train.data import ClipDataset, batches
from lvc.train.losses import Pictures, inter_loss, intra_loss
from lvc.train.recipe import Recipe, Stage
from lvc.train.task import State, ahead, unfreeze
from lvc.train.validate import write_averaged
from lvc.types import Frame
from lvc.weights import load_weights

LR_FACTORS = ((".density.", 10.0), (".base_index.", 128.0), ("_gain.", 2.0), (".entropy.decoder.", 0.2),
              (".synthesis.", 0.05))
"""Learning rates relative to the rest, by a part of the parameter's name. Factorized densities start wide,
and every hyper-latent pays for it; scale indices count 64 levels. In integer layers inputs go up to 255, so
small changes go a long way, as they do in transforms that start at an optimum."""

Batch = tuple[Pictures, Tensor, Tensor | None]
"""Pictures, qualities (N,), and the decoded first frames (not for the intra model)."""


class DvcTask:
    """Trains "inter" and "intra" on the clips of a cache. Implements lvc.train.task.Task."""

    def __init__(self, recipe: Recipe, cache: Path) -> None:
        self.recipe, self.cache = recipe, cache
        self._space = picture_space(CONFIGS[recipe.model].picture)

    def build(self) -> nn.ModuleDict:
        config = CONFIGS[self.recipe.model]
        models = nn.ModuleDict({"inter": InterModel(config), "intra": IntraModel(config)})
        if self.recipe.init:
            shipped = self.recipe.init == "shipped"
            init = load_weights(self.recipe.model if shipped else Path(self.recipe.init))
            for name, module in (("inter", init.inter), ("intra", init.intra)):
                if module is not None:
                    models[name].load_state_dict(module.state_dict())
            unfreeze(models)
        return models.to(memory_format=torch.channels_last)

    def lr_factor(self, stage: Stage, name: str) -> float:
        return next((f for part, f in LR_FACTORS if part in f".{name}"), 1.0)

    def record(self, stage: Stage, index: int, averaged: State) -> dict[str, float]:
        raise NotImplementedError("recipes of this family have no recordings")

    def ready(self) -> bool:
        return True

    def begin(self, models: nn.ModuleDict, stage: Stage, index: int) -> None:
        pass

    def stream(self, stage: Stage, index: int, start: int) -> Iterator[Batch]:
        dataset = ClipDataset(self.cache, crop=stage.crop, length=stage.frames,
                              seed=self.recipe.seed * 1000 + index, flows=stage.needs_flows)
        source = batches(dataset, stage.batch, start)
        hevc = HevcIntra("ultrafast")

        def reference(batch: dict[str, Tensor], i: int, quality: int) -> tuple[Tensor, Tensor]:
            planes: list[Any] = [batch[name][i, 0].numpy() for name in "yuv"]
            if stage.reference == "hevc":
                height, width = planes[0].shape
                frame = hevc.decode(hevc.encode(Frame(*planes), hevc_qp(quality)), width, height)
                planes = list(frame.planes)
            return torch.from_numpy(planes[0])[None].float(), torch.from_numpy(np.stack(planes[1:])).float()

        def prepare(step: int) -> Batch:
            batch = next(source)  # ``ahead`` calls in order
            rng = np.random.default_rng((self.recipe.seed, index, step))
            low, high = stage.qualities
            quality = torch.from_numpy(rng.integers(low, high + 1, stage.batch))
            if stage.model == "intra":
                return Pictures.of_batch(batch), quality, None
            coded = [reference(batch, i, int(q)) for i, q in enumerate(quality)]
            first = self._space.pack(torch.stack([y for y, _ in coded]), torch.stack([uv for _, uv in coded]))
            return Pictures.of_batch(batch), quality, first.contiguous(memory_format=torch.channels_last)

        return ahead(prepare, start)

    def loss(self, models: nn.ModuleDict, stage: Stage, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        pictures, quality, reference = batch
        weight = self.recipe.chroma_weight
        if stage.model == "intra":
            model = models["intra"]
            assert isinstance(model, IntraModel)
            return intra_loss(model, pictures, quality, chroma_weight=weight)
        model = models["inter"]
        assert isinstance(model, InterModel)
        assert reference is not None
        return inter_loss(model, stage.loss, pictures, reference, quality, chroma_weight=weight,
                          detach=stage.detach)

    def can_validate(self, stages: Sequence[Stage]) -> bool:
        return any(stage.model == "inter" and stage.loss == "rd" for stage in stages)

    def write(self, averaged: State, path: Path, metadata: dict[str, str]) -> NeuralCodec:
        return NeuralCodec(write_averaged(averaged, self.recipe.model, path, metadata))

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        pass
