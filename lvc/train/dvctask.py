"""Training of the dvc family: clips of video, roll-outs behind a decoded first frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lvc.codecs.hevc_intra import HevcIntra
from lvc.codecs.neural import NeuralCodec
from lvc.codecs.schedule import PSNR, hevc_qp, intra_qp, tuning_of
from lvc.models import CONFIGS, ContextInterModel, InterModel, IntraModel, inter_model
from lvc.ops.integer import IntConv2d
from lvc.ops.picture import picture_space
from lvc.train.contextlosses import find_fields, motion_loss, picture_loss
from lvc.train.data import ClipDataset, batch_of
from lvc.train.illustrate import illustrate
from lvc.train.losses import Pictures, inter_loss, intra_loss
from lvc.train.recipe import Recipe, Stage
from lvc.train.task import BETAS, State, ahead, unfreeze
from lvc.train.validate import write_averaged
from lvc.train.world import World
from lvc.types import Frame
from lvc.weights import load_swift_weights, load_weights, manifest

LR_FACTORS = ((".density.", 10.0), (".base_index.", 128.0), ("_gain.", 2.0), (".entropy.decoder.", 0.2),
              (".synthesis.", 0.05))
"""Learning rates relative to the rest, by a part of the parameter's name. Factorized densities start wide,
and every hyper-latent pays for it; scale indices count 64 levels. In integer layers inputs go up to 255, so
small changes go a long way, as they do in transforms that start at an optimum."""

CONTEXT_LR_FACTORS = ((".entropy.base_index.", 8.0), (".entropy.flag_base.", 8.0), (".motion.distribution.", 2.0),
                      (".motion.flag_distribution.", 2.0), (".synthesis.", 0.1))
"""The same for the second design (lvc.models.dvccontext)."""

WEIGHT_ROOM = 0.49
"""Weights that its integer layers may grow to, at least: they start smaller."""


@dataclass
class Batch:
    """Samples of one step.

    Attributes:
        pictures: the source.
        quality: (N,) int64.
        reference: (N, channels, H, W) decoded first frames; None for the intra model.
        seeds: of each sample's noise.
        fields: (N, T - 1, 2, h, w), block motion for the second design.
    """

    pictures: Pictures
    quality: Tensor
    reference: Tensor | None
    seeds: list[int]
    fields: Tensor | None = None


def _start(model: ContextInterModel) -> None:
    """Start the residual's probabilities as swift's, where they have the same size, and motion with room to learn."""
    known = load_swift_weights("swift").model
    if model.config.context is not None and model.config.context.entropy_width == known.config.entropy_width:
        unfreeze(known)
        model.entropy.load_state_dict(known.entropy.state_dict())
    for layer in model.motion.modules():
        if isinstance(layer, IntConv2d):
            layer.calibrate(WEIGHT_ROOM)


class DvcTask:
    """Trains "inter" and "intra" on the clips of a cache. Implements lvc.train.task.Task.

    Args:
        recipe: of a model of the dvc family.
        cache: prepared cache folder.
        world: whose share of each batch is taken.
        workers: threads that make batches.
    """

    betas = BETAS

    def __init__(self, recipe: Recipe, cache: Path, world: World | None = None, workers: int = 1) -> None:
        self.recipe, self.cache = recipe, cache
        self._world, self._workers = world or World(), workers
        self._config = CONFIGS[recipe.model]
        self._tuning = tuning_of(self._config)
        self._hevc = HevcIntra("ultrafast", self._tuning.chroma_qp_offset, self._tuning.masking)
        self._space = picture_space(self._config.picture)

    def build(self) -> nn.ModuleDict:
        config = self._config
        models = nn.ModuleDict({"inter": inter_model(config), "intra": IntraModel(config)})
        if self.recipe.init:
            source = self.recipe.model if self.recipe.init == "shipped" else self.recipe.init
            ships = self.recipe.init == "shipped" or source in manifest()
            init = load_weights(source if ships else Path(source))
            for name, module in (("inter", init.inter), ("intra", init.intra)):
                if module is not None:
                    models[name].load_state_dict(module.state_dict())
            unfreeze(models)
            inter = models["inter"]
            if isinstance(inter, ContextInterModel) and inter.config.context != init.config.context:
                inter.residual.start_steps(inter.config)
        elif isinstance(inter := models["inter"], ContextInterModel):
            _start(inter)
        return models.to(memory_format=torch.channels_last)

    def lr_factor(self, stage: Stage, name: str) -> float:
        context = stage.model == "inter" and self._config.context is not None
        return next((f for part, f in (CONTEXT_LR_FACTORS if context else LR_FACTORS) if part in f".{name}"), 1.0)

    def record(self, stage: Stage, index: int, averaged: State) -> dict[str, float]:
        raise NotImplementedError("recipes of this family have no recordings")

    def ready(self) -> bool:
        return True

    def begin(self, models: nn.ModuleDict, stage: Stage, index: int) -> None:
        pass

    def stream(self, stage: Stage, index: int, start: int) -> Iterator[Batch]:
        dataset = ClipDataset(self.cache, crop=stage.crop, length=stage.frames,
                              seed=self.recipe.seed * 1000 + index, flows=self.recipe.needs_flows(stage),
                              frame_skip_prob=stage.frame_skip, exposure=stage.exposure)
        return ahead(lambda step: self._batch(dataset, stage, index, step), start, workers=self._workers)

    def _batch(self, dataset: ClipDataset, stage: Stage, index: int, step: int) -> Batch:
        """This process's share of a step's batch; what is drawn for a sample does not depend on the sharing."""
        rank, size = self._world.rank, self._world.size
        raw = batch_of(dataset, stage.batch, step, rank, size)
        rng = np.random.default_rng((self.recipe.seed, index, step))
        low, high = stage.qualities
        share = slice(rank * stage.batch, (rank + 1) * stage.batch)
        quality = torch.from_numpy(rng.integers(low, high + 1, stage.batch * size)[share])
        seeds = rng.integers(2**63, size=stage.batch * size)[share].tolist()
        if stage.model == "intra":
            return Batch(Pictures.of_batch(raw), quality, None, seeds)
        planes = [self._decoded([raw[name][i, 0].numpy() for name in "yuv"], stage.reference, int(q))
                  for i, q in enumerate(quality)]
        y, uv = (torch.from_numpy(np.stack([p[part] for p in planes])).float() for part in (0, 1))
        first = self._space.pack(y[:, None], uv).contiguous(memory_format=torch.channels_last)
        fields = None
        if self._config.context is not None:
            clips = [[(raw["y"][i, t].numpy(), raw["u"][i, t].numpy(), raw["v"][i, t].numpy())
                      for t in range(stage.frames)] for i in range(len(quality))]
            found = [find_fields((p[0], p[1][0], p[1][1]), clip, int(q)) for p, clip, q in zip(planes, clips, quality)]
            fields = torch.from_numpy(np.stack([np.stack(f) for f in found]).astype(np.float32))
        return Batch(Pictures.of_batch(raw), quality, first, seeds, fields)

    def _decoded(self, planes: list[Any], reference: str, quality: int) -> tuple[Any, Any]:
        """Luma (H, W) and chroma (2, H/2, W/2) of a first frame as the decoder would have them."""
        if reference == "hevc":
            height, width = planes[0].shape
            qp = hevc_qp(quality) if self._tuning == PSNR else intra_qp(quality, -1, self._tuning)
            frame = self._hevc.decode(self._hevc.encode(Frame(*planes), qp), width, height)
            planes = list(frame.planes)
        return planes[0], np.stack(planes[1:])

    def loss(self, models: nn.ModuleDict, stage: Stage, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        weight = self.recipe.chroma_weight
        if stage.model == "intra":
            model = models["intra"]
            assert isinstance(model, IntraModel)
            return intra_loss(model, batch.pictures, batch.quality, chroma_weight=weight, seeds=batch.seeds,
                              distortion=stage.distortion)
        model = models["inter"]
        assert batch.reference is not None
        if isinstance(model, ContextInterModel):
            assert batch.fields is not None
            if stage.loss == "m":
                return motion_loss(model, batch.fields, batch.quality)
            learns = any(p.requires_grad for p in model.entropy.parameters())
            return picture_loss(model, batch.pictures, batch.reference, batch.fields, batch.quality,
                                chroma_weight=weight, rate=learns, distortion=stage.distortion)
        assert isinstance(model, InterModel)
        return inter_loss(model, stage.loss, batch.pictures, batch.reference, batch.quality,
                          chroma_weight=weight, detach=stage.detach, seeds=batch.seeds,
                          distortion=stage.distortion)

    def illustrate(self, models: nn.ModuleDict, stage: Stage, batch: Batch) -> dict[str, Tensor]:
        model = models[stage.model]
        if isinstance(model, ContextInterModel):
            return {}
        assert isinstance(model, InterModel | IntraModel)
        return illustrate(model, stage.loss, batch.pictures, batch.reference, batch.quality)

    def can_validate(self, stages: Sequence[Stage]) -> bool:
        return any(stage.model == "inter" and stage.loss == "rd" for stage in stages)

    def write(self, averaged: State, path: Path, metadata: dict[str, str]) -> NeuralCodec:
        return NeuralCodec(write_averaged(averaged, self.recipe.model, path, metadata))

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        pass
