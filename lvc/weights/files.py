"""Files of weights: what is the same for every family of models.

Networks are stored as float16, but for biases of integer layers; integer CDF tables and integer tables as they are.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from lvc.coding import CdfTables
from lvc.entropy import Hyperprior
from lvc.errors import WeightsError
from lvc.models.swift import SwiftEntropy
from lvc.ops.gains import QualityTable
from lvc.ops.integer import EXACT_LIMIT, MAX_SHIFT, IntConv2d
from lvc.types import MAX_QUALITY

DIGEST_BYTES = 16


@runtime_checkable
class TableOwner(Protocol):
    """A module that codes with integer tables."""

    def freeze(self) -> None:
        """Make the integer tables out of what was trained."""
        ...

    def tables(self) -> dict[str, CdfTables]: ...

    def set_tables(self, tables: dict[str, CdfTables]) -> None: ...


def read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a safetensors file."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        return metadata, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)


def set_state(model: nn.Module, prefix: str, tensors: dict[str, Tensor]) -> None:
    """Put the tensors of a file into a model, of those the ones under the prefix."""
    own = {key[len(prefix):]: value for key, value in tensors.items() if key.startswith(prefix)}
    tables = {key: value for key, value in own.items() if ".tables." in key}
    state = {key: value.float() if value.dtype == torch.float16 else value
             for key, value in own.items() if key not in tables}
    missing, unexpected = model.load_state_dict(state, strict=False)
    # CompressAI has named the parameters of its densities differently over time; only training needs them.
    if wrong := [key for key in (*missing, *unexpected) if ".density." not in key]:
        raise WeightsError(f"{len(wrong)} parameters are missing or not known, such as {prefix}{wrong[0]}")
    model.eval().requires_grad_(False)
    for name, module in table_owners(model).items():
        arrays: dict[str, dict[str, np.ndarray]] = {}
        start = f"{name}.tables."
        for key, value in tables.items():
            if key.startswith(start):
                table, array = key[len(start):].split(".")
                arrays.setdefault(table, {})[array] = value.numpy()
        module.set_tables({table: CdfTables.from_arrays(parts) for table, parts in arrays.items()})
    check_exact(model)


def check_exact(model: nn.Module) -> None:
    """What the entropy decoder depends on must be integer, and its sums exact. Raises ValueError if not."""
    for name, module in model.named_modules():
        if isinstance(module, IntConv2d):
            if not 0 <= int(module.shift) <= MAX_SHIFT:
                raise ValueError(f"weights of {name} are in units of 2**-{int(module.shift)}")
            if not module.largest_sum() < EXACT_LIMIT:
                raise ValueError(f"sums in {name} are not exact in float32")
        if isinstance(module, Hyperprior):
            _check_table(name, module.base_index, module.channels)
        if isinstance(module, SwiftEntropy):
            for table in (*module.flag_base, module.base_index):
                _check_table(name, table, table.knots.shape[1])


def _check_table(name: str, table: QualityTable, channels: int) -> None:
    shape, expected = tuple(table.frozen.shape), (MAX_QUALITY + 1, channels)
    if shape != expected or table.frozen.is_floating_point():
        raise ValueError(f"{name} has a table of indices of shape {shape}, not {expected}")


def table_owners(model: nn.Module) -> dict[str, TableOwner]:
    """The modules with tables of a model by name; one inside another is spoken for by that."""
    owners: dict[str, TableOwner] = {}
    for name, module in model.named_modules():
        inside = any(name.startswith(owner + ".") for owner in owners)
        if isinstance(module, TableOwner) and not inside:
            owners[name] = module
    return owners


@torch.no_grad()
def freeze(model: nn.Module) -> None:
    """Turn a trained model into what is shipped, in place: integers fixed, the rest as float16 holds it.

    Tables are made last, out of parameters as they are stored: so what is loaded again freezes to the same.
    """
    for module in model.modules():
        if isinstance(module, IntConv2d):
            weight, bias = module.integers()
            scale = 2.0 ** -int(module.shift)
            module.weight.copy_(weight * scale)
            module.bias.copy_(bias * scale)
    exact = _integer_biases(model)
    for name, parameter in model.named_parameters():
        if name not in exact:
            parameter.copy_(parameter.half())
    for owner in table_owners(model).values():
        owner.freeze()


def _integer_biases(model: nn.Module) -> set[str]:
    """Names of the parameters that float16 might not hold exactly."""
    return {f"{name}.bias" for name, module in model.named_modules() if isinstance(module, IntConv2d)}


def save(path: Path, models: dict[str, nn.Module], metadata: dict[str, str]) -> bytes:
    """Freeze models (see :func:`freeze`) and write them, each under its prefix. Returns the file's digest."""
    tensors: dict[str, Tensor] = {}
    for prefix, model in models.items():
        freeze(model)
        half_keys = {name for name, _ in model.named_parameters()} - _integer_biases(model)
        for key, value in model.state_dict().items():
            tensors[prefix + key] = (value.half() if key in half_keys else value).contiguous()
        for name, owner in table_owners(model).items():
            for table, cdf in owner.tables().items():
                for array, values in cdf.arrays().items():
                    tensors[f"{prefix}{name}.tables.{table}.{array}"] = torch.from_numpy(values.copy())
    data = _sorted_head(save_safetensors(tensors, metadata))
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(data)
    temporary.replace(path)
    return hashlib.sha256(data).digest()[:DIGEST_BYTES]


def _sorted_head(data: bytes) -> bytes:
    """Bring the metadata of a safetensors file into order: the library writes it in a random one.

    Without this, equal weights would have another digest every time.
    """
    size = int.from_bytes(data[:8], "little")
    head = json.loads(data[8 : 8 + size])
    head["__metadata__"] = dict(sorted(head["__metadata__"].items()))
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]
