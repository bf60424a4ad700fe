"""The processes of one training: a single one, or those that torchrun starts on one or more machines.

Each process has its share of every batch. Gradients are averaged (torch's DistributedDataParallel), so all of them
hold the same parameters after every step; process 0 alone writes checkpoints, logs and weights.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lvc.errors import UsageError
from lvc.ops.bfloat16 import fast_bfloat16

T = TypeVar("T")

_CPU = torch.device("cpu")

_PATIENCE = timedelta(hours=6)
"""How long the others wait while process 0 prepares data, records or validates."""


@dataclass(frozen=True)
class World:
    """This process among those of the training; by default it is the only one.

    Attributes:
        rank, size: number of this process, 0..size-1, and how many there are.
        local_rank: number of this process on its machine.
        device: where this process computes.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    device: torch.device = _CPU

    @classmethod
    def join(cls, device: str = "auto") -> World:
        """The world that torchrun's environment variables describe, connected; without them a world of one.

        Args:
            device: "cpu", "cuda" (each process takes the GPU of its local rank), or "auto": GPUs if there are.

        Raises:
            UsageError: an unknown device, no GPU for this process, or processes that do not find each other.
        """
        if device not in ("auto", "cpu", "cuda"):
            raise UsageError(f"the device must be auto, cpu or cuda, not {device!r}")
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        try:
            rank, size, local = (int(os.environ.get(name, default)) for name, default in zip(names, "010"))
        except ValueError:
            raise UsageError(f"{', '.join(names)} must be whole numbers, as torchrun sets them") from None
        gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        if gpu and local >= torch.cuda.device_count():
            raise UsageError(f"no GPU for process {local} of this machine: it has {torch.cuda.device_count()}")
        place = torch.device("cuda", local) if gpu else torch.device("cpu")
        if gpu:
            torch.cuda.set_device(place)
        if size > 1:
            try:
                # Objects and flags go through gloo, gradients on GPUs through NCCL.
                dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=_PATIENCE)
            except (RuntimeError, ValueError) as error:
                raise UsageError(f"the processes of the training do not find each other: {error}") from error
        return cls(rank, size, local, place)

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    @property
    def has_bfloat16(self) -> bool:
        """Whether bfloat16 is faster than float32 where this process computes."""
        return self.device.type != "cpu" or fast_bfloat16()

    def leave(self) -> None:
        """Disconnect."""
        if self.size > 1:
            dist.destroy_process_group()

    def barrier(self) -> None:
        """Wait until all processes are here."""
        self.total(0.0)

    def total(self, value: float) -> float:
        """Sum of the values of all processes."""
        return float(self._sum([value])[0])

    def of_leader(self, value: float) -> float:
        """The value of process 0."""
        return self.total(value if self.leads else 0.0)

    def mean(self, figures: dict[str, float]) -> dict[str, float]:
        """Figures of one step, averaged over the processes, which all have the same names."""
        if self.size == 1:
            return figures
        names = sorted(figures)
        values = self._sum([figures[name] for name in names]) / self.size
        return dict(zip(names, values.tolist(), strict=True))

    def broadcast(self, value: T) -> T:
        """What process 0 has, tensors on the CPU."""
        if self.size == 1:
            return value
        parts: list[Any] = [value if self.leads else None]
        dist.broadcast_object_list(parts, src=0, device=torch.device("cpu"))
        result: T = parts[0]
        return result

    def in_turn(self, work: Callable[[], T]) -> T:
        """Do what makes files, once for each file system: process 0, then one of each machine, then the rest.

        ``work`` must find what it would make and leave it alone.
        """
        turn = 0 if self.leads else 1 if self.local_rank == 0 else 2
        for now in range(3):
            if now == turn:
                result = work()
            self.barrier()
        return result

    def parallel(self, module: nn.Module) -> nn.Module:
        """A module whose gradients are averaged over the processes."""
        if self.size == 1:
            return module
        with warnings.catch_warnings():
            # Newer versions want another name for "broadcast_buffers". Buffers are the same everywhere anyway, and
            # gloo cannot send those of 16 bits.
            warnings.simplefilter("ignore", FutureWarning)
            # A loss of an early stage leaves parts of the model alone.
            return DistributedDataParallel(module, broadcast_buffers=False, find_unused_parameters=True)

    def _sum(self, values: list[float]) -> Tensor:
        tensor = torch.tensor(values, dtype=torch.float64)
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor


def to_device(value: Any, device: torch.device) -> Any:
    """Move the tensors of a batch: tensors, and tuples, lists, dictionaries and dataclasses of them."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {key: to_device(v, device) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_device(v, device) for v in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: to_device(getattr(value, f.name), device) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **parts)
    return value
