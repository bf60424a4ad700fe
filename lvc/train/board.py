"""The log of a training: log.jsonl, and the same with pictures for TensorBoard."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lvc.train.illustrate import flow_key

Key = tuple[str, str, float]


class Board:
    """Writes ``log.jsonl`` and a TensorBoard event file in ``folder``; both forget what a resumed run does again.

    Args:
        folder: of the run.
        step: what was logged beyond this step is of steps that were lost, and dropped.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._path = folder / "log.jsonl"
        self._drop(lambda key: key[2] > step)
        self._former = set(map(_key_of, self._lines()))
        # Events are written by a thread, so a step does not wait for the disk.
        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)
        if step == 0:
            self._events.add_image("flow/key", flow_key(), 0)

    def _lines(self) -> list[str]:
        try:
            return self._path.read_text(encoding="utf-8").splitlines(keepends=True)
        except FileNotFoundError:
            return []

    def _drop(self, unwanted: Callable[[Key], bool]) -> None:
        lines = self._lines()
        kept = [line for line in lines if not unwanted(_key_of(line))]
        if len(kept) < len(lines):
            temporary = self._path.with_suffix(".tmp")
            temporary.write_text("".join(kept), encoding="utf-8")
            os.replace(temporary, self._path)

    def log(self, kind: str, stage: str, step: int, minutes: float, figures: Mapping[str, Any]) -> None:
        """Add a record: numbers and lists of numbers by name. ``kind``: "train", "validation" or "record"."""
        own = (kind, stage, step)
        if own in self._former:  # of a life that ended before its next checkpoint
            self._former.remove(own)
            self._drop(lambda key: key == own)
        record = {"kind": kind, "stage": stage, "step": step, "minutes": round(minutes, 3), **figures}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        for name, value in figures.items():
            # The largest quality last; most validations give four.
            for i, number in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(number, int | float):
                    tag = f"{kind}/{name}_{i}" if isinstance(value, list) else f"{kind}/{name}"
                    self._events.add_scalar(tag, number, step)
        if kind == "validation":
            self._events.flush()

    def show(self, pictures: Mapping[str, Tensor], stage: str, step: int) -> None:
        """Add pictures, uint8 (3, H, W), by name."""
        for name, picture in pictures.items():
            self._events.add_image(f"{stage}/{name}", picture, step)
        self._events.flush()

    def close(self) -> None:
        """Write what is left."""
        self._events.close()


def _key_of(line: str) -> Key:
    """Kind, stage and step of a record; a step without end for half a line, as a killed process leaves it."""
    try:
        record = json.loads(line)
        return record["kind"], record["stage"], float(record["step"])
    except (ValueError, KeyError, TypeError):
        return "", "", float("inf")
