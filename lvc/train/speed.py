"""How fast batches are made: what must not be slower than the training step that takes them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lvc.errors import UsageError
from lvc.train.data import ClipDataset, batches
from lvc.train.recipe import load_recipe


def _rate(stream: Iterator[Any], size: int, seconds: float) -> float:
    """Samples a second of a stream of batches, the first of which is not counted."""
    if seconds <= 0:
        raise UsageError(f"the time to measure must be above 0 seconds, not {seconds}")
    next(stream)
    start, n = time.perf_counter(), 0
    while n == 0 or time.perf_counter() - start < seconds:
        next(stream)
        n += size
    return n / (time.perf_counter() - start)


def crops_a_second(cache: str | Path, crop: tuple[int, int], frames: int, batch: int, workers: int = 1,
                   seconds: float = 5.0) -> float:
    """Samples a second of plain crops (lvc.train.data), ``crop`` as (height, width)."""
    stream = batches(ClipDataset(cache, crop=crop, length=frames), batch, 0, workers)
    return _rate(stream, batch, seconds)


def stages_a_second(recipe: str, cache: str | Path, workers: int = 1,
                    seconds: float = 5.0) -> list[tuple[str, float, int]]:
    """(name, samples a second, batch size) of each stage of a recipe of the dvc family.

    With everything that a stage's batches need: crops, motion, coded first frames.

    Raises:
        UsageError: the recipe is of another family, or the cache has nothing that suits it.
        VideoError: the cache, or the motion that the recipe needs, is missing.
    """
    from lvc.train.dvctask import DvcTask

    plan = load_recipe(recipe)
    if plan.family != "dvc":
        raise UsageError(f"recipe {recipe} is not of the dvc family")
    task = DvcTask(plan, Path(cache), workers=workers)
    return [(stage.name, _rate(task.stream(stage, i, 0), stage.batch, seconds), stage.batch)
            for i, stage in enumerate(plan.stages)]
