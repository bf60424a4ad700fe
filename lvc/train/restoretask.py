"""Training of the restoration network on what base decoders give for training clips (lvc.train.restoredata)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lvc.codecs.restore import AV1_CODECS, RestoreCodec
from lvc.enhance.adaptive import (
    NARROW,
    WIDE,
    Views,
    block_side,
    chroma_unit,
)
from lvc.enhance.levels import index_of_level, level_of_index
from lvc.enhance.neighbours import Planes, aligned
from lvc.enhance.restore import RestoreConfig, RestoreNet, pack, unpack_proposals
from lvc.errors import UsageError
from lvc.train.copiestask import CopiesTask
from lvc.train.recipe import Stage
from lvc.train.restoredata import BaseSpec, DecodedStore
from lvc.train.task import BETAS, State, ahead
from lvc.weights import RestoreWeights, load_restore_weights, save_restore_weights

BASES = (BaseSpec("svt-av1", "8", (20.0, 60.0), 1), BaseSpec("svt-av1", "8", (20.0, 60.0), 2),
         BaseSpec("x265", "medium", (17.0, 39.0), 1))
"""Decoded copies that are trained on."""

Array = npt.NDArray[Any]

PLANE_WEIGHTS = (6 / 8, 1 / 8, 1 / 8)
"""Of Y, U and V, as in 6:1:1 PSNR."""

_NO_NEIGHBOUR, _OTHER_SCENE = 0.04, 0.04
"""Shares of neighbours that are made missing, or are taken out of another clip, as behind a cut."""

GROUP = 4
"""Crops of a clip that share the coefficients of their filters."""

_RIDGE = 1e-3
_SIDE = 8
_DECIBEL = 10.0 / np.log(10.0)
_ERROR_FLOOR = 0.1
_RATIO_MAX = 3.0


@dataclass(frozen=True)
class Sample:
    """A crop for training.

    Attributes:
        frames: the decoded frame, the one before and the one after, both aligned to it.
        features: of Y, U and V: float32 [n, samples], the terms of their filters but for proposals.
        targets: likewise [samples], what the filters are to add.
        levels: of the three. errors: mean squared errors of the planes Y, U, V of the whole decoded frame.
        kind: as of RestoreNet.
    """

    frames: tuple[Planes, Planes, Planes]
    features: tuple[Array, Array, Array]
    targets: tuple[Array, Array, Array]
    levels: tuple[float, float, float]
    errors: tuple[float, float, float]
    kind: tuple[float, float]


@dataclass(frozen=True)
class Batch:
    """Samples as tensors, GROUP of a clip after each other: frames three of (N, 24, h, w), features of Y, U and V
    (N, n, samples), targets (N, samples), the rest (N, .)."""

    frames: tuple[Tensor, Tensor, Tensor]
    features: list[Tensor]
    targets: list[Tensor]
    levels: Tensor
    errors: Tensor
    kind: Tensor


def collate(samples: Sequence[Sample]) -> Batch:
    """A batch of samples of one size."""

    def packed(planes: Sequence[Planes]) -> Tensor:
        return pack(*(torch.from_numpy(np.stack([p[i] for p in planes])).float()[:, None] for i in range(3)))

    def values(name: str) -> Tensor:
        return torch.tensor([getattr(sample, name) for sample in samples], dtype=torch.float32)

    def by_plane(name: str) -> list[Tensor]:
        return [torch.from_numpy(np.stack([getattr(sample, name)[i] for sample in samples])) for i in range(3)]

    before, after = (packed([s.frames[i] for s in samples]) for i in (1, 2))
    return Batch((packed([s.frames[0] for s in samples]), before, after), by_plane("features"), by_plane("targets"),
                 values("levels"), values("errors"), values("kind"))


def make_sample(frames: tuple[Planes, Planes, Planes], further: tuple[Planes, Planes], original: Planes,
                levels: tuple[float, float, float], errors: tuple[float, float, float],
                kind: tuple[float, float]) -> Sample:
    """A sample with the terms of its filters. The sides of the planes are multiples of 8. ``further``: see Views."""
    views = Views(*frames, index_of_level(levels[0]), None, further)
    features, targets = [], []
    for i, plane in enumerate(original):
        side = block_side(i)
        every = views.features(i, np.arange(plane.size // side**2, dtype=np.int32))
        order = np.repeat(views.places(i)[views.orientations.ravel()], side**2, 0).T
        features.append(np.take_along_axis(every, order, 0))
        difference = plane.astype(np.float32) - frames[0][i]
        targets.append(blocks_first(torch.from_numpy(difference)[None], side)[0].numpy())
    return Sample(frames, (features[0], features[1], features[2]), (targets[0], targets[1], targets[2]), levels, errors,
                  kind)


def blocks_first(x: Tensor, side: int) -> Tensor:
    """(..., h, w) -> (..., h * w), block after block."""
    *head, h, w = x.shape
    return x.reshape(*head, h // side, side, w // side, side).transpose(-3, -2).reshape(*head, h * w)


class Crops:
    """Random crops of decoded copies.

    Args:
        copies: of one cache.
        crop: (height, width) in luma samples, multiples of 8.

    Raises UsageError if no clip is large enough.
    """

    def __init__(self, copies: Sequence[DecodedStore], crop: tuple[int, int]) -> None:
        if any(side < _SIDE or side % _SIDE for side in crop):
            raise UsageError(f"crop sides must be multiples of {_SIDE}, not {crop}")
        self._copies, self._crop = copies, crop
        clips = copies[0].store.manifest.clips
        self._fits = [i for i, c in enumerate(clips) if c.height >= crop[0] and c.width >= crop[1]]
        if not self._fits:
            raise UsageError(f"none of {len(clips)} clips holds {crop[1]}x{crop[0]}")
        weights = np.sqrt([clips[i].n_frames * clips[i].height * clips[i].width for i in self._fits])
        self._cumulative = np.cumsum(weights)

    def group(self, rng: np.random.Generator, size: int) -> list[Sample]:
        """Crops of random frames of one clip in one copy, all mirrored and reversed in time or not, at random."""
        copy = self._copies[int(rng.integers(len(self._copies)))]
        pick, reverse, mirror_y, mirror_x = rng.random(4).tolist()
        flips = tuple(slice(None, None, -1 if value < 0.5 else 1) for value in (mirror_y, mirror_x))
        clip = self._clip(pick)
        return [self._sample(copy, clip, rng, reverse < 0.5, flips) for _ in range(size)]

    def _sample(self, copy: DecodedStore, clip: int, rng: np.random.Generator, reverse: bool,
                flips: tuple[slice, ...]) -> Sample:
        top, left, no_before, no_after = rng.random(4).tolist()
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
        further = [frame if not 0 <= number < info.n_frames else
                   aligned(frame, _cut(copy.planes(clip), number, where), level) for number in (t - 2, t + 2)]
        if reverse:
            frames[1:], levels[1:], further = frames[:0:-1], levels[:0:-1], further[::-1]

        def mirrored(planes: Planes) -> Planes:
            y, u, v = (np.ascontiguousarray(plane[flips]) for plane in planes)
            return y, u, v

        y, u, v = copy.errors(clip)[t].tolist()
        return make_sample((mirrored(frames[0]), mirrored(frames[1]), mirrored(frames[2])),
                           (mirrored(further[0]), mirrored(further[1])),
                           mirrored(_cut(copy.store.planes(clip), t, where)), (levels[0], levels[1], levels[2]),
                           (y, u, v), (float(t == 0), float(copy.codec in AV1_CODECS)))

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


def restore_loss(net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Change of the frames' 6:1:1 PSNR, in dB and negated, if each crop stood for its frame: to the first order.

    The filters of each group of crops have the coefficients that suit it best. At this optimum the loss does not change
    with them, so gradients go through the proposals alone.
    """
    proposals = unpack_proposals(net(*batch.frames, batch.levels, batch.kind))
    with torch.autocast("cpu", enabled=False):
        gains = [_filter_gains(plane, proposal, batch) for plane, proposal in enumerate(proposals)]
    weights = batch.errors.new_tensor(PLANE_WEIGHTS)
    loss, alone = (-_DECIBEL * (torch.stack(parts, 1).clamp(-_RATIO_MAX, _RATIO_MAX) * weights).sum(1).mean()
                   for parts in zip(*gains, strict=True))
    return loss, {"gain_db": -float(loss.detach()), "filters_db": -float(alone)}


def _filter_gains(plane: int, proposal: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Gains of samples (N,), relative to their frames' errors; and those without proposals.

    ``proposal``: (N, k, h, w).
    """
    features, target = batch.features[plane], batch.targets[plane]
    units = [chroma_unit(level) if plane else level for level in batch.levels[:, 0].tolist()]
    unit = target.new_tensor(units)[:, None, None]
    own = blocks_first(proposal.float(), block_side(plane))
    terms = torch.cat((features, own, *(own.clamp(-part * unit, part * unit) for part in (NARROW, WIDE))), 1)
    error = batch.errors[:, plane] + _ERROR_FLOOR
    before = target.square().mean(1)
    with torch.no_grad():
        products, goals = torch.bmm(terms, terms.transpose(1, 2)), torch.bmm(terms, target[..., None])
        coefficients = _best_coefficients(products, goals, error)
        n = features.shape[1]
        few = _best_coefficients(products[:, :n, :n], goals[:, :n], error)
        alone = (2 * few * goals[:, :n] - few * (products[:, :n, :n] @ few)).sum((1, 2)) / target.shape[1]
    after = (target - torch.bmm(coefficients.transpose(1, 2), terms)[:, 0]).square().mean(1)
    return (before - after) / error, alone / error


def _best_coefficients(products: Tensor, goals: Tensor, error: Tensor) -> Tensor:
    """(N, n, 1): the same for all samples of a group. ``products``: (N, n, n). ``goals``: (N, n, 1)."""
    size = min(GROUP, len(error))
    a, b = ((x / error[:, None, None]).unflatten(0, (-1, size)).sum(1).double() for x in (products, goals))
    ridge = _RIDGE * a.diagonal(dim1=1, dim2=2) + 1e-9
    return torch.linalg.solve(a + torch.diag_embed(ridge), b).float().repeat_interleave(size, 0)


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
        crops, size = Crops(self._copies, stage.crop), min(GROUP, stage.batch)
        if stage.batch % size:
            raise UsageError(f"a batch of {stage.batch} is not a number of groups of {size} crops")

        def make(step: int) -> Batch:
            rng = np.random.default_rng((self.recipe.seed, index, step))
            return collate([sample for _ in range(stage.batch // size) for sample in crops.group(rng, size)])

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
