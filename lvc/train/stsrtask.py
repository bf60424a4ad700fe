"""Training of SRFI on what base decoders and the classical enhancer give for training clips (lvc.train.restoredata)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lvc.codecs.registry import ConfiguredCodec
from lvc.codecs.restore import AV1_CODECS
from lvc.codecs.stsr import StsrCodec
from lvc.enhance.levels import index_of_level, level_of_index
from lvc.enhance.restore import STRIDE, pack, plane_means, units
from lvc.enhance.srfi import CONFIGS, Srfi, SrfiConfig
from lvc.errors import UsageError
from lvc.train.copiestask import CopiesTask
from lvc.train.recipe import Recipe, Stage
from lvc.train.restoredata import BaseSpec, DecodedStore
from lvc.train.restoretask import PLANE_WEIGHTS
from lvc.train.task import State, ahead
from lvc.weights import StsrWeights, load_stsr_weights, save_stsr_weights

_X265, _AV1 = (20.0, 38.0), (30.0, 60.0)

BASES = (BaseSpec("x265", "medium", _X265, 1, kt=2), BaseSpec("x265", "medium", _X265, 2, kt=2, ks=2.0),
         BaseSpec("x265", "medium", _X265, 3, ks=1.5), BaseSpec("x265", "medium", _X265, 4, ks=2.0),
         BaseSpec("svt-av1", "8", _AV1, 5, kt=2), BaseSpec("svt-av1", "8", _AV1, 6, kt=2, ks=2.0))
"""Decoded copies that are trained on. The text has crf 20 to 35; where reduction pays, rates are lower still."""

VALIDATION = {"base": "x265", "preset": "medium", "kt": "2"}
"""Parameters of the codec strings that validation measures."""

_CHARBONNIER = 1e-3 * 255
_FLOW_FACTOR = 2.5e-5 / 2e-4
_ERROR_FLOOR = 0.1

Array = npt.NDArray[Any]
Stack = tuple[Array, Array, Array]
"""Frames in a row: Y [T, H, W], U and V [T, H / 2, W / 2]."""


@dataclass(frozen=True)
class Sample:
    """A crop of a clip, base frames and those between them in order.

    Attributes:
        plain: as the classical enhancer gives them. original: what was coded.
        kt: 2 where every second one is of the base stream, else 1.
        levels, intra: of the base frames. av1: whether the base codec is. ks: by how much frames were reduced.
    """

    plain: Stack
    original: Stack
    kt: int
    levels: tuple[float, ...]
    intra: tuple[bool, ...]
    av1: bool
    ks: float


@dataclass(frozen=True)
class Batch:
    """Arguments of Srfi; and what it should give: originals (N, T, 24, h, w), between (N, T - 1 or 0, 24, h, w)."""

    arguments: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
    originals: Tensor
    between: Tensor


def squared_errors(x: Tensor, original: Tensor) -> Tensor:
    """Mean squared errors of the planes, (N, 3), of packed frames."""
    return plane_means((x - original).square().mean((2, 3)))


def collate(samples: Sequence[Sample]) -> Batch:
    """A batch of samples of one size and kt."""
    kt = samples[0].kt

    def packed(stacks: Sequence[Stack]) -> tuple[Tensor, Tensor]:
        planes = [torch.from_numpy(np.stack([s[i] for s in stacks])).float() for i in range(3)]
        n, t = planes[0].shape[:2]
        frames = pack(*(plane.flatten(0, 1)[:, None] for plane in planes))
        frames = frames.reshape(n, t, *frames.shape[1:])
        return frames[:, ::kt], frames[:, 1::2] if kt == 2 else frames[:, :0]

    plain, middles = packed([s.plain for s in samples])
    originals, between = packed([s.original for s in samples])
    kinds = torch.tensor([[(float(first), float(s.av1)) for first in s.intra] for s in samples])
    levels, scales = torch.tensor([s.levels for s in samples]), torch.tensor([s.ks for s in samples])
    return Batch((plain, middles, levels, kinds, scales), originals, between)


class Clips:
    """Random crops of decoded copies, each a function of the generator's state.

    Args:
        copies: of one cache.
        crop: (height, width) in luma samples, multiples of 4. frames: of the base stream, in each.

    Raises UsageError if no clip is large and long enough.
    """

    def __init__(self, copies: Sequence[DecodedStore], crop: tuple[int, int], frames: int) -> None:
        if any(side < STRIDE or side % STRIDE for side in crop):
            raise UsageError(f"crop sides must be multiples of {STRIDE}, not {crop}")
        self._copies, self._crop, self._frames = copies, crop, frames
        self._square = crop[0] == crop[1]
        clips = copies[0].store.manifest.clips
        self._fits = {copy.kt: [i for i, c in enumerate(clips) if c.height >= crop[0] and c.width >= crop[1]
                                and c.n_frames > copy.kt * (frames - 1)] for copy in copies}
        for kt, fits in self._fits.items():
            if not fits:
                raise UsageError(f"none of {len(clips)} clips holds {crop[1]}x{crop[0]} in "
                                 f"{kt * (frames - 1) + 1} frames")

    def samples(self, rng: np.random.Generator, count: int) -> list[Sample]:
        """``count`` samples of one kt."""
        kt = self._copies[int(rng.integers(len(self._copies)))].kt
        copies = [copy for copy in self._copies if copy.kt == kt]
        return [self._sample(copies[int(rng.integers(len(copies)))], rng) for _ in range(count)]

    def _sample(self, copy: DecodedStore, rng: np.random.Generator) -> Sample:
        clips, fits, kt = copy.store.manifest.clips, self._fits[copy.kt], copy.kt
        weights = np.sqrt([clips[i].n_frames * clips[i].height * clips[i].width for i in fits])
        clip = fits[int(rng.choice(len(fits), p=weights / weights.sum()))]
        info, length = clips[clip], kt * (self._frames - 1) + 1
        start = kt * int(rng.integers((info.n_frames - length) // kt + 1))
        top, left = (2 * int(rng.integers((whole - side) // 2 + 1))
                     for whole, side in zip((info.height, info.width), self._crop, strict=True))
        reverse, mirror_y, mirror_x, turn = (rng.random(4) < 0.5).tolist()
        turn = turn and self._square

        def cut(planes: Stack) -> Stack:
            stacks = []
            for plane, scale in zip(planes, (1, 2, 2), strict=True):
                rows, columns = (slice(at // scale, (at + side) // scale)
                                 for at, side in zip((top, left), self._crop, strict=True))
                part = plane[start: start + length, rows, columns]
                part = part[::-1 if reverse else 1, ::-1 if mirror_y else 1, ::-1 if mirror_x else 1]
                stacks.append(np.ascontiguousarray(part.swapaxes(1, 2) if turn else part))
            return stacks[0], stacks[1], stacks[2]

        kept = range(start, start + length, kt)
        errors = copy.errors(clip)
        levels = [level_of_index(index_of_level(float(errors[t, 0]) ** 0.5)) for t in kept]
        intra = [t == 0 for t in kept]
        step = -1 if reverse else 1
        return Sample(cut(copy.planes(clip)), cut(copy.store.planes(clip)), kt, tuple(levels[::step]),
                      tuple(intra[::step]), copy.codec in AV1_CODECS, copy.ks)


def stsr_loss(net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Charbonnier distance in units of the frames' errors, so that every rate counts the same; and gains in dB."""
    plain, middles, levels, *_ = batch.arguments
    frames, between = net(*batch.arguments)
    pairs = [(frames, batch.originals, plain, levels)]
    if middles.shape[1]:
        pairs.append((between, batch.between, middles, (levels[:, 1:] + levels[:, :-1]) / 2))
    total, count, figures = frames.new_zeros(()), 0, {}
    for name, (found, original, former, level) in zip(("gain_db", "gain_between_db"), pairs):
        one, two, three = (x.flatten(0, 1) for x in (found, original, former))
        weights = one.new_tensor(PLANE_WEIGHTS)
        distance = ((one - two).square() + _CHARBONNIER**2).sqrt() / units(level.reshape(-1, 1))
        total, count = total + (plane_means(distance.mean((2, 3))) * weights).sum(), count + len(one)
        with torch.no_grad():
            ratio = (squared_errors(three, two) + _ERROR_FLOOR) / (squared_errors(one, two) + _ERROR_FLOOR)
            figures[name] = float((10 * torch.log10(ratio) * weights).sum(1).mean())
    return total / count, figures


class StsrTask(CopiesTask):
    """Trains "stsr" and "stsr-lite". Implements lvc.train.task.Task.

    Args:
        recipe: its model is one of these.
        cache: prepared cache folder.
        folder: for decoded copies.
    """

    betas = (0.9, 0.99)

    def __init__(self, recipe: Recipe, cache: Path, folder: Path) -> None:
        super().__init__(recipe, cache, folder)
        self.config: SrfiConfig = CONFIGS[recipe.model]

    def bases(self) -> Sequence[BaseSpec]:
        return BASES

    def build(self) -> nn.ModuleDict:
        net = Srfi(self.config)
        if self.recipe.init:
            init = load_stsr_weights("stsr" if self.recipe.init == "shipped" else Path(self.recipe.init)).net
            if init.config != self.config:
                raise UsageError(f"{self.recipe.init} holds a network of another size")
            net.load_state_dict(init.state_dict())
        return nn.ModuleDict({"stsr": net.to(memory_format=torch.channels_last)})

    def lr_factor(self, stage: Stage, name: str) -> float:
        return _FLOW_FACTOR if name.startswith("flow.") else 1.0

    def stream(self, stage: Stage, index: int, start: int) -> Iterator[Batch]:
        clips = Clips(self._copies, stage.crop, stage.frames)

        def make(step: int) -> Batch:
            return collate(clips.samples(np.random.default_rng((self.recipe.seed, index, step)), stage.batch))

        return ahead(make, start, 3)

    def loss(self, models: nn.ModuleDict, stage: Stage, batch: Any) -> tuple[Tensor, dict[str, float]]:
        return stsr_loss(models["stsr"], batch)

    def write(self, averaged: State, path: Path, metadata: dict[str, str]) -> ConfiguredCodec:
        return ConfiguredCodec(StsrCodec(write_stsr(self.config, averaged["stsr"], path, metadata)), VALIDATION)


def write_stsr(config: SrfiConfig, averaged: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> StsrWeights:
    """Write the (averaged) state of a training to a weights file, and load that file."""
    net = Srfi(config)
    net.load_state_dict(averaged)
    save_stsr_weights(path, net, metadata)
    return load_stsr_weights(path)
