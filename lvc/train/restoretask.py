"""Training of the restoration network on what base decoders give for training clips (lvc.train.restoredata)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lvc.codecs.restore import AV1_CODECS, RestoreCodec
from lvc.enhance.levels import index_of_level, level_of_index
from lvc.enhance.neighbours import Planes, aligned
from lvc.enhance.restore import STRIDE, RestoreConfig, RestoreNet, pack, plane_means
from lvc.errors import UsageError
from lvc.train.copiestask import CopiesTask
from lvc.train.recipe import Stage
from lvc.train.restoredata import BaseSpec, DecodedStore
from lvc.train.task import BETAS, State, ahead
from lvc.weights import RestoreWeights, load_restore_weights, save_restore_weights

BASES = (BaseSpec("svt-av1", "8", (20.0, 60.0), 1), BaseSpec("svt-av1", "8", (20.0, 60.0), 2),
         BaseSpec("x265", "medium", (17.0, 39.0), 1))
"""Decoded copies that are trained on."""

PLANE_WEIGHTS = (6 / 8, 1 / 8, 1 / 8)
"""Of Y, U and V, as in 6:1:1 PSNR."""

_NO_NEIGHBOUR, _OTHER_SCENE = 0.04, 0.04
"""Shares of neighbours that are made missing, or are taken out of another clip, as behind a cut."""

_DECIBEL = 10.0 / np.log(10.0)
_ERROR_FLOOR = 0.1
_RATIO_MAX = 3.0


@dataclass(frozen=True)
class Sample:
    """A crop for training.

    Attributes:
        frames: the decoded frame, the one before and the one after, both aligned to it.
        original: what was coded.
        levels: of the three. errors: mean squared errors of the planes Y, U, V of the whole decoded frame.
        kind: as of RestoreNet.
    """

    frames: tuple[Planes, Planes, Planes]
    original: Planes
    levels: tuple[float, float, float]
    errors: tuple[float, float, float]
    kind: tuple[float, float]


@dataclass(frozen=True)
class Batch:
    """Samples as tensors: frames three of (N, 24, h, w), original (N, 24, h, w), the rest (N, .)."""

    frames: tuple[Tensor, Tensor, Tensor]
    original: Tensor
    levels: Tensor
    errors: Tensor
    kind: Tensor


def collate(samples: Sequence[Sample]) -> Batch:
    """A batch of samples of one size."""

    def packed(planes: Sequence[Planes]) -> Tensor:
        return pack(*(torch.from_numpy(np.stack([p[i] for p in planes])).float()[:, None] for i in range(3)))

    def values(name: str) -> Tensor:
        return torch.tensor([getattr(sample, name) for sample in samples], dtype=torch.float32)

    before, after = (packed([s.frames[i] for s in samples]) for i in (1, 2))
    return Batch((packed([s.frames[0] for s in samples]), before, after), packed([s.original for s in samples]),
                 values("levels"), values("errors"), values("kind"))


class Crops:
    """Random crops of decoded copies, each a function of (seed, number).

    Args:
        copies: of one cache.
        crop: (height, width) in luma samples, multiples of 4.

    Raises UsageError if no clip is large enough.
    """

    def __init__(self, copies: Sequence[DecodedStore], crop: tuple[int, int]) -> None:
        if any(side < STRIDE or side % STRIDE for side in crop):
            raise UsageError(f"crop sides must be multiples of {STRIDE}, not {crop}")
        self._copies, self._crop = copies, crop
        clips = copies[0].store.manifest.clips
        self._fits = [i for i, c in enumerate(clips) if c.height >= crop[0] and c.width >= crop[1]]
        if not self._fits:
            raise UsageError(f"none of {len(clips)} clips holds {crop[1]}x{crop[0]}")
        weights = np.sqrt([clips[i].n_frames * clips[i].height * clips[i].width for i in self._fits])
        self._cumulative = np.cumsum(weights)

    def sample(self, rng: np.random.Generator) -> Sample:
        """A crop of a random frame, mirrored and reversed in time at random."""
        copy = self._copies[int(rng.integers(len(self._copies)))]
        pick, top, left, no_before, no_after, reverse, mirror_y, mirror_x = rng.random(8).tolist()
        clip = self._clip(pick)
        info = copy.store.manifest.clips[clip]
        t = int(rng.integers(info.n_frames))
        where = self._place(copy, clip, top, left)
        frame = _cut(copy.planes(clip), t, where)
        level = _level(copy, clip, t)
        frames, levels = [frame], [level]
        for at, chance in ((t - 1, no_before), (t + 1, no_after)):
            source, number = clip, at
            if _NO_NEIGHBOUR < chance < _NO_NEIGHBOUR + _OTHER_SCENE:
                source = self._clip(rng.random())
                number = int(rng.integers(copy.store.manifest.clips[source].n_frames))
            if chance < _NO_NEIGHBOUR or not 0 <= number < copy.store.manifest.clips[source].n_frames:
                frames.append(frame)
                levels.append(level)
                continue
            spot = where if source == clip else self._place(copy, source, top, left)
            frames.append(aligned(frame, _cut(copy.planes(source), number, spot), level))
            levels.append(_level(copy, source, number))
        if reverse < 0.5:
            frames[1:], levels[1:] = frames[:0:-1], levels[:0:-1]
        flips = (slice(None, None, -1 if mirror_y < 0.5 else 1), slice(None, None, -1 if mirror_x < 0.5 else 1))

        def mirrored(planes: Planes) -> Planes:
            return planes[0][flips], planes[1][flips], planes[2][flips]

        y, u, v = copy.errors(clip)[t].tolist()
        return Sample((mirrored(frames[0]), mirrored(frames[1]), mirrored(frames[2])),
                      mirrored(_cut(copy.store.planes(clip), t, where)), (levels[0], levels[1], levels[2]), (y, u, v),
                      (float(t == 0), float(copy.codec in AV1_CODECS)))

    def _clip(self, pick: float) -> int:
        place = int(np.searchsorted(self._cumulative, pick * self._cumulative[-1], side="right"))
        return self._fits[min(place, len(self._fits) - 1)]

    def _place(self, copy: DecodedStore, clip: int, top: float, left: float) -> tuple[slice, slice]:
        info, (height, width) = copy.store.manifest.clips[clip], self._crop
        y, x = (2 * int(part * ((whole - side) // 2 + 1))
                for part, whole, side in ((top, info.height, height), (left, info.width, width)))
        return slice(y, y + height), slice(x, x + width)


def _cut(planes: Sequence[Any], t: int, where: tuple[slice, slice]) -> Planes:
    rows, columns = where
    half = slice(rows.start // 2, rows.stop // 2), slice(columns.start // 2, columns.stop // 2)
    y, u, v = planes
    return (np.ascontiguousarray(y[t][rows, columns]), np.ascontiguousarray(u[t][half]),
            np.ascontiguousarray(v[t][half]))


def _level(copy: DecodedStore, clip: int, t: int) -> float:
    """What a stream would say: the level is coded."""
    return level_of_index(index_of_level(float(copy.errors(clip)[t, 0]) ** 0.5))


def squared_errors(x: Tensor, original: Tensor) -> Tensor:
    """Mean squared errors of the planes, (N, 3)."""
    return plane_means((x - original).square().mean((2, 3)))


def restore_loss(net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Change of the frames' 6:1:1 PSNR, in dB and negated, if each crop stood for its frame: to the first order."""
    restored = net(*batch.frames, batch.levels, batch.kind)
    gain = squared_errors(batch.frames[0], batch.original) - squared_errors(restored, batch.original)
    ratio = (gain / (batch.errors + _ERROR_FLOOR)).clamp(-_RATIO_MAX, _RATIO_MAX)
    loss = -_DECIBEL * (ratio * ratio.new_tensor(PLANE_WEIGHTS)).sum(1).mean()
    return loss, {"gain_db": -float(loss.detach())}


class RestoreTask(CopiesTask):
    """Trains "restore". Implements lvc.train.task.Task.

    Args:
        recipe: its model is restore.
        cache: prepared cache folder.
        folder: for decoded copies.
    """

    betas = BETAS
    config = RestoreConfig()

    def bases(self) -> Sequence[BaseSpec]:
        return BASES

    def build(self) -> nn.ModuleDict:
        net = RestoreNet(self.config)
        if self.recipe.init:
            shipped = self.recipe.init == "shipped"
            init = load_restore_weights("restore" if shipped else Path(self.recipe.init)).net
            if init.config != self.config:
                raise UsageError(f"{self.recipe.init} holds a network of another size")
            net.load_state_dict(init.state_dict())
        return nn.ModuleDict({"restore": net.to(memory_format=torch.channels_last)})

    def lr_factor(self, stage: Stage, name: str) -> float:
        return 1.0

    def stream(self, stage: Stage, index: int, start: int) -> Iterator[Batch]:
        crops = Crops(self._copies, stage.crop)

        def make(step: int) -> Batch:
            rng = np.random.default_rng((self.recipe.seed, index, step))
            return collate([crops.sample(rng) for _ in range(stage.batch)])

        return ahead(make, start, 3)

    def loss(self, models: nn.ModuleDict, stage: Stage, batch: Any) -> tuple[Tensor, dict[str, float]]:
        return restore_loss(models["restore"], batch)

    def write(self, averaged: State, path: Path, metadata: dict[str, str]) -> RestoreCodec:
        return RestoreCodec(write_restore(self.config, averaged["restore"], path, metadata))


def write_restore(config: RestoreConfig, averaged: dict[str, Tensor], path: Path,
                  metadata: dict[str, str]) -> RestoreWeights:
    """Write the (averaged) state of a training to a weights file, and load that file."""
    net = RestoreNet(config)
    net.load_state_dict(averaged)
    save_restore_weights(path, net, metadata)
    return load_restore_weights(path)
