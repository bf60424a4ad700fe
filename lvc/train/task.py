"""What the training loop asks of a family of models: its models, batches, losses and weights files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import Tensor, nn

from lvc.codecs.base import Codec
from lvc.train.recipe import Stage

BETAS = (0.9, 0.999)
"""Of AdamW, usually."""

State = dict[str, dict[str, Tensor]]
"""Parameters and buffers of each model by name."""

T = TypeVar("T")


class Task(Protocol):
    """One family of models. The loop knows stages, steps, checkpoints and averages; a task knows the rest.

    Whatever depends on chance is a function of the recipe's seed, the stage and the step, so that a resumed
    run repeats what an uninterrupted one does.

    Attributes:
        betas: of AdamW.
    """

    betas: tuple[float, float]

    def build(self) -> nn.ModuleDict:
        """The models by the names that stages have for them, as the recipe starts them."""
        ...

    def lr_factor(self, stage: Stage, name: str) -> float:
        """Learning rate of a parameter (name within the trained part) relative to the stage's."""
        ...

    def record(self, stage: Stage, index: int, averaged: State) -> dict[str, float]:
        """Do a stage of kind "record", number ``index``, with the averaged models. Returns figures to log.

        What was recorded before under the same conditions is not done again.
        """
        ...

    def ready(self) -> bool:
        """Whether the data for training stages is there."""
        ...

    def begin(self, models: nn.ModuleDict, stage: Stage, index: int) -> None:
        """Called before the first step of stage number ``index``; may set the models to a better start."""
        ...

    def stream(self, stage: Stage, index: int, start: int) -> Iterator[Any]:
        """Endless batches of stage number ``index`` from step ``start`` on.

        Raises UsageError if the data has nothing that suits the stage.
        """
        ...

    def loss(self, models: nn.ModuleDict, stage: Stage, batch: Any) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch (a scalar), and figures for the log."""
        ...

    def can_validate(self, stages: Sequence[Stage]) -> bool:
        """Whether the codec as a whole says anything after these stages."""
        ...

    def write(self, averaged: State, path: Path, metadata: dict[str, str]) -> Codec:
        """Write the models to a weights file; returns the codec that uses it."""
        ...

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps for the task: JSON values."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of state."""
        ...


@runtime_checkable
class Illustrated(Protocol):
    """A task that has something to show."""

    def illustrate(self, models: nn.ModuleDict, stage: Stage, batch: Any) -> dict[str, Tensor]:
        """Pictures for the log by name, uint8 (3, H, W), of the first sample of a batch."""
        ...


def ahead(make: Callable[[int], T], start: int, depth: int = 2, workers: int = 1) -> Iterator[T]:
    """make(start), make(start + 1), ... in order; ``workers`` background threads keep ``depth`` of them ready.

    With more than one worker, calls of ``make`` overlap, and ``depth`` is at least one more than they are.
    """
    depth = max(depth, workers + 1)
    with ThreadPoolExecutor(workers, thread_name_prefix="lvc-batch") as pool:
        ready = [pool.submit(make, start + i) for i in range(depth)]
        step = start + depth
        try:
            while True:
                ready.append(pool.submit(make, step))
                step += 1
                yield ready.pop(0).result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def unfreeze(models: nn.Module) -> None:
    """Drop the frozen integer tables of exported weights, so that training moves them again."""
    for module in models.modules():
        frozen = getattr(module, "frozen", None)
        if isinstance(frozen, Tensor):
            module.frozen = frozen[:0]
