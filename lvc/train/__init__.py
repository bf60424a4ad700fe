"""Training: ``lvc train RECIPE`` comes here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lvc.train.recipe import Recipe
    from lvc.train.world import World


def train(recipe: str, *, data: Sequence[str] = (), val: Sequence[str] = (), runs: str = "runs",
          threads: int = 0, workers: int = 1, device: str = "auto", smoke: int = 0) -> Path:
    """Run a recipe from its start, or from where it was stopped, and export the best weights.

    Under torchrun, every process calls this; they share each step's work (lvc.train.world), and the batch of a
    recipe is that of one process.

    Args:
        recipe: a TOML file, or the name of a recipe that ships with lvc.
        data, val: videos or folders of them; they take the place of those in the recipe.
        runs: folder for caches, checkpoints, logs.
        threads: of torch; 0 leaves it alone.
        workers: threads that make batches, where a recipe's data allows more than one.
        device: "cpu", "cuda", or "auto": a GPU if there is one and the recipe can use it.
        smoke: above 0, every stage is so many steps of one small sample long: to see whether a recipe runs.

    Returns:
        Path of the exported weights: those of the best validation, or the last ones without validation.

    Raises:
        UsageError: the recipe, or the data, makes no sense.
        VideoError: the data cannot be read.
    """
    import dataclasses

    import torch

    from lvc.errors import UsageError
    from lvc.train.recipe import load_recipe, smoke_recipe
    from lvc.train.world import World

    plan = load_recipe(recipe)
    plan = dataclasses.replace(plan, data=tuple(data) or plan.data, val=tuple(val) or plan.val)
    if not plan.data:
        raise UsageError("no training data: give --data FOLDER, or data = [...] in the recipe")
    if smoke < 0 or workers < 1:
        raise UsageError("smoke must be at least 0, workers at least 1")
    if smoke:
        plan = smoke_recipe(plan, smoke)
    if plan.family != "dvc":
        if device == "cuda":
            raise UsageError(f"{plan.model} trains on CPUs only")
        device = "cpu"
    if threads:
        torch.set_num_threads(threads)
    world = World.join(device)
    try:
        return _train(plan, Path(runs), world, workers)
    finally:
        world.leave()


def _train(plan: Recipe, runs: Path, world: World, workers: int) -> Path:
    from lvc.train.loop import Trainer
    from lvc.train.validate import Validator

    folder = runs / plan.name
    caches = world.in_turn(lambda: _prepare(plan, runs))
    validator = Validator(plan, caches[1], runs / "anchors") if len(caches) > 1 and world.leads else None
    best = folder / "best.safetensors"

    def validate(trainer: Trainer) -> dict[str, Any]:
        candidate = trainer.task.write(trainer.averaged(), folder / "candidate.safetensors",
                                       {"recipe": plan.name, "step": str(trainer.step)})
        if validator is None or not trainer.may_validate:
            return {}
        figures = validator(candidate)
        score = figures[plan.score]
        if score is not None and score < trainer.best_score:
            trainer.best_score = score
            (folder / "candidate.safetensors").replace(best)
        return figures

    trainer = Trainer(plan, caches[0], folder, validate, world=world, workers=workers)
    trainer.run()
    return best if best.exists() else folder / "candidate.safetensors"


def _prepare(plan: Recipe, runs: Path) -> list[Path]:
    """Caches of the training data and, if there are any, of the validation clips; done once, found later."""
    from lvc.train.flowteacher import prepare_flows

    caches = [_cache(sources, runs) for sources in (plan.data, plan.val) if sources]
    if any(plan.needs_flows(stage) for stage in plan.stages):
        prepare_flows(caches[0])
    return caches


def _cache(sources: Sequence[str], runs: Path) -> Path:
    """A prepared cache folder as it is, or the cache of ``sources`` below ``runs``."""
    import hashlib

    from lvc.train.cache import prepare

    if len(sources) == 1 and (Path(sources[0]) / "manifest.json").exists():
        return Path(sources[0])
    name = hashlib.sha256("\0".join(str(Path(s).resolve()) for s in sources).encode()).hexdigest()[:12]
    folder = runs / "cache" / name
    prepare(sources, folder)
    return folder
