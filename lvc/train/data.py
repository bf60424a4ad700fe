"""Training samples out of a cache (lvc.train.cache), each a function of its number.

Sample ``i`` of a :class:`ClipDataset` depends on the seed and ``i`` alone. So a training that stops after
step k resumes at step k with the data it would have seen, and needs no state of the loader for that.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from lvc.codecs.motion import FLOW_SCALE
from lvc.errors import UsageError
from lvc.train.cache import Array, FlowStore, FrameStore


class ClipDataset:
    """Random crops of short clips, addressed by sample number: any number from 0 on, there is no epoch.

    Clips are drawn in proportion to the square root of their number of windows (starting frames times crops
    that fit side by side), so that long and large ones count for more but do not drown the rest.

    Args:
        cache_dir: a folder made by :func:`lvc.train.cache.prepare`.
        crop: (height, width) in luma samples; even, with ``flows`` multiples of 4.
        length: frames in a sample.
        seed: another seed gives another sequence of samples.
        flows: also give the flows of :func:`lvc.train.flowteacher.prepare_flows`.
        frame_skip_prob: probability of taking every second frame only (larger motion), where the clip is long
            enough. Default 0.2; 0 with ``flows``, because flows exist for neighbouring frames alone.
        reverse_prob: probability of time reversal.
        flips: flip left-right and up-down, each with probability 1/2.
        exposure: samples brighten or darken evenly from frame to frame, by a factor that each draws from within
            1 +- ``exposure``; the middle frame stays as it is. 0 (default): no such thing.

    Attributes:
        n_clips, n_excluded: clips in use, and clips too small or too short for crop and length.

    Raises:
        UsageError: arguments out of range, or no clip is large and long enough.
        VideoError: the cache, or its flows, are missing or damaged.
    """

    def __init__(self, cache_dir: str | Path, *, crop: tuple[int, int] = (256, 256), length: int = 2,
                 seed: int = 0, flows: bool = False, frame_skip_prob: float | None = None,
                 reverse_prob: float = 0.5, flips: bool = True, exposure: float = 0.0) -> None:
        self._grid = FLOW_SCALE if flows else 2
        if frame_skip_prob is None:
            frame_skip_prob = 0.0 if flows else 0.2
        if min(crop) < 1 or any(side % self._grid for side in crop):
            raise UsageError(f"crop sides must be positive multiples of {self._grid}, not {crop}")
        if length < 1 or not 0 <= seed < 2**64:
            raise UsageError(f"length must be at least 1 and seed in 0..2^64-1, not {length} and {seed}")
        if not (0 <= frame_skip_prob <= 1 and 0 <= reverse_prob <= 1):
            raise UsageError("probabilities must be from 0 to 1")
        if not 0 <= exposure < 1:
            raise UsageError(f"exposure must be from 0 to below 1, not {exposure}")
        if flows and frame_skip_prob > 0:
            raise UsageError("flows exist for neighbouring frames only: frame_skip_prob must be 0 with flows")
        self.crop, self.length, self.seed = crop, length, seed
        self._skip_prob, self._reverse_prob, self._flips = frame_skip_prob, reverse_prob, flips
        self._exposure = exposure
        self.store = FrameStore(cache_dir)
        self._flows = FlowStore(cache_dir, self.store.manifest) if flows else None
        clips = self.store.manifest.clips
        self._usable = [i for i, c in enumerate(clips)
                        if c.height >= crop[0] and c.width >= crop[1] and c.n_frames >= length]
        self.n_clips, self.n_excluded = len(self._usable), len(clips) - len(self._usable)
        if not self._usable:
            raise UsageError(f"none of {len(clips)} clips holds {length} frames of {crop[1]}x{crop[0]}")
        windows = [(clips[i].n_frames - length + 1) * (clips[i].height / crop[0]) * (clips[i].width / crop[1])
                   for i in self._usable]
        self._cumulative = np.cumsum(np.sqrt(windows))

    def __getitem__(self, number: int) -> dict[str, Array]:
        """Sample ``number``: y uint8 [T, H, W], u and v uint8 [T, H/2, W/2], in the range of the source.

        With flows also flow float32 [T-1, 2, H/4, W/4]: entry t predicts frame t+1 out of frame t, in luma
        samples (dx, dy): ``frame[t+1](x) ~ frame[t](x + d)``.
        """
        if number < 0:
            raise IndexError(f"sample numbers start at 0: {number}")
        rng = np.random.Generator(np.random.Philox(key=np.array([self.seed, number], np.uint64)))
        # Always the same number of draws, so that one option does not change what another one picks.
        pick, skip, start, reverse, top, left, flip_x, flip_y, bright = rng.random(9).tolist()
        place = int(np.searchsorted(self._cumulative, pick * self._cumulative[-1], side="right"))
        clip = self._usable[min(place, self.n_clips - 1)]
        n, (height, width) = self.length, self.crop
        info = self.store.manifest.clips[clip]
        step = 2 if skip < self._skip_prob and info.n_frames >= 2 * n - 1 else 1
        t = int(start * (info.n_frames - step * (n - 1)))
        y0 = int(top * ((info.height - height) // self._grid + 1)) * self._grid
        x0 = int(left * ((info.width - width) // self._grid + 1)) * self._grid
        backwards = reverse < self._reverse_prob
        mirror_x, mirror_y = self._flips and flip_x < 0.5, self._flips and flip_y < 0.5

        def cut(a: Array, shrink: int) -> Array:
            a = a[..., y0 // shrink : (y0 + height) // shrink, x0 // shrink : (x0 + width) // shrink]
            return a[:: -1 if backwards else 1, ..., :: -1 if mirror_y else 1, :: -1 if mirror_x else 1]

        sample = {name: np.ascontiguousarray(cut(plane[t : t + step * (n - 1) + 1 : step], shrink))
                  for name, plane, shrink in zip("yuv", self.store.planes(clip), (1, 2, 2), strict=True)}
        if self._exposure:
            gains = (1.0 + self._exposure * (2.0 * bright - 1.0)) ** (np.arange(n) - (n - 1) / 2)
            sample = {name: expose(plane, gains, chroma=name != "y") for name, plane in sample.items()}
        if self._flows is not None:
            flow = cut(self._flows.flows(clip)[t : t + n - 1, int(backwards)], FLOW_SCALE)
            flow = flow.astype(np.float32, "C")
            if mirror_x:
                flow[:, 0] *= -1
            if mirror_y:
                flow[:, 1] *= -1
            sample["flow"] = flow
        return sample


def expose(plane: Array, gains: Array, chroma: bool) -> Array:
    """Planes uint8 [T, H, W] of limited range with brightness and colour multiplied by a gain a frame [T]."""
    black = 128.0 if chroma else 16.0
    bright = (plane.astype(np.float32) - black) * gains.astype(np.float32)[:, None, None] + black
    return np.rint(bright).clip(0, 255).astype(np.uint8)


def batch_of(dataset: ClipDataset, batch_size: int, step: int, rank: int = 0,
             world_size: int = 1) -> dict[str, torch.Tensor]:
    """The batch of one step, as :func:`batches` gives them."""
    first = (step * world_size + rank) * batch_size
    samples = [dataset[i] for i in range(first, first + batch_size)]
    return {name: torch.from_numpy(np.stack([s[name] for s in samples])) for name in samples[0]}


def batches(dataset: ClipDataset, batch_size: int, start_step: int = 0, workers: int = 1, *,
            rank: int = 0, world_size: int = 1) -> Iterator[dict[str, torch.Tensor]]:
    """Endless batches from step ``start_step`` on: step k always holds samples k * batch_size and following.

    With ``world_size`` processes, step k of the whole group holds samples k * batch_size * world_size and
    following, and ``rank`` gets its share of them: together what one process with the large batch gets.
    ``workers`` background threads keep a few batches ready; 0 makes each batch when it is asked for.

    Returns:
        Dicts of tensors: those of the dataset with the batch in front, y uint8 [B, T, H, W] and so on.
    """
    if batch_size < 1 or start_step < 0 or workers < 0 or not 0 <= rank < world_size:
        raise UsageError("batch_size must be at least 1, start_step and workers 0, and rank below world_size")

    def batch(step: int) -> dict[str, torch.Tensor]:
        return batch_of(dataset, batch_size, step, rank, world_size)

    def generate() -> Iterator[dict[str, torch.Tensor]]:
        step = start_step
        if workers == 0:
            while True:
                yield batch(step)
                step += 1
        pool = ThreadPoolExecutor(workers, thread_name_prefix="lvc-data")
        ready: collections.deque[Future[dict[str, torch.Tensor]]] = collections.deque()
        try:
            while True:
                while len(ready) < workers + 2:
                    ready.append(pool.submit(batch, step))
                    step += 1
                yield ready.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    return generate()
