"""Training: ``lvc train RECIPE`` comes here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def train(recipe: str, *, data: Sequence[str] = (), val: Sequence[str] = (), runs: str = "runs",
          threads: int = 0) -> Path:
    """Run a recipe from its start, or from where it was stopped, and export the best weights.

    Args:
        recipe: a TOML file, or the name of a recipe that ships with lvc.
        data, val: videos or folders of them; they take the place of those in the recipe.
        runs: folder for caches, checkpoints, logs.
        threads: of torch; 0 leaves it alone.

    Returns:
        Path of the exported weights: those of the best validation, or the last ones without validation.

    Raises:
        UsageError: the recipe, or the data, makes no sense.
        VideoError: the data cannot be read.
    """
    import dataclasses

    import torch

    from lvc.errors import UsageError
    from lvc.train.cache import prepare
    from lvc.train.loop import Trainer
    from lvc.train.recipe import load_recipe
    from lvc.train.validate import Validator

    plan = load_recipe(recipe)
    plan = dataclasses.replace(plan, data=tuple(data) or plan.data, val=tuple(val) or plan.val)
    if not plan.data:
        raise UsageError("no training data: give --data FOLDER, or data = [...] in the recipe")
    if threads:
        torch.set_num_threads(threads)
    folder = Path(runs) / plan.name
    cache = _cache(plan.data, Path(runs), prepare)
    if any(stage.needs_flows for stage in plan.stages):
        from lvc.train.flowteacher import prepare_flows

        prepare_flows(cache)
    validator = None
    if plan.val:
        validator = Validator(plan, _cache(plan.val, Path(runs), prepare), Path(runs) / "anchors")
    best = folder / "best.safetensors"

    def validate(trainer: Trainer) -> dict[str, Any]:
        candidate = trainer.task.write(trainer.averaged(), folder / "candidate.safetensors",
                                       {"recipe": plan.name, "step": str(trainer.step)})
        if validator is None or not trainer.may_validate:
            return {}
        figures = validator(candidate)
        score = figures["bd_rate_yuv"]
        if score is not None and score < trainer.best_score:
            trainer.best_score = score
            (folder / "candidate.safetensors").replace(best)
        return figures

    trainer = Trainer(plan, cache, folder, validate)
    trainer.run()
    return best if best.exists() else folder / "candidate.safetensors"


def _cache(sources: Sequence[str], runs: Path, prepare: Any) -> Path:
    """A prepared cache folder as it is, or the cache of ``sources`` below ``runs``."""
    import hashlib

    if len(sources) == 1 and (Path(sources[0]) / "manifest.json").exists():
        return Path(sources[0])
    name = hashlib.sha256("\0".join(str(Path(s).resolve()) for s in sources).encode()).hexdigest()[:12]
    folder = runs / "cache" / name
    prepare(sources, folder)
    return folder
