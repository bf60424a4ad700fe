"""Trained weights: safetensors files that ship with the package, and how they are read and written.

A file holds the configuration of its models, their parameters (float16, but for biases of integer layers),
and the integer CDF tables that streams are coded with. A stream names its weights by the first 16 bytes of
the SHA-256 of the file, so nothing is decoded with other weights than it was made with.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from lvc.coding import CdfTables
from lvc.entropy import FactorizedModel, Hyperprior
from lvc.errors import WeightsError
from lvc.models import InterModel, IntraModel, ModelConfig
from lvc.ops.integer import EXACT_LIMIT, WEIGHT_SHIFT, IntConv2d
from lvc.types import MAX_QUALITY

DIGEST_BYTES = 16


@dataclass(frozen=True)
class Weights:
    """Models with frozen tables, ready to code.

    Attributes:
        name: of the configuration.
        sha256: of the file, hexadecimal.
        intra: None if the file has no learned intra model.
    """

    name: str
    sha256: str
    config: ModelConfig
    inter: InterModel
    intra: IntraModel | None

    @property
    def digest(self) -> bytes:
        """What streams name the file by: the first 16 bytes of its SHA-256."""
        return bytes.fromhex(self.sha256)[:DIGEST_BYTES]


def manifest() -> dict[str, dict[str, Any]]:
    """Weights that ship with the package: name -> {"file", "sha256", ...}."""
    text = (resources.files("lvc.weights") / "manifest.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def load_weights(source: str | Path) -> Weights:
    """Load weights by the name they ship under (a string), or from a file (a Path).

    Raises:
        WeightsError: there are none of that name, or the file is damaged.
    """
    if isinstance(source, Path):
        path, expected = source, None
    else:
        entry = manifest().get(source)
        if entry is None:
            raise WeightsError(f"no weights named {source} ship with this version of lvc "
                               f"(there are: {', '.join(manifest()) or 'none'})")
        path, expected = Path(str(resources.files("lvc.weights") / entry["file"])), entry["sha256"]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"weights {path.name} cannot be read: {error.strerror}") from error
    sha256 = hashlib.sha256(data).hexdigest()
    if expected is not None and sha256 != expected:
        raise WeightsError(f"weights {path.name} are damaged: SHA-256 {sha256[:16]}, not {expected[:16]}")
    try:
        return _parse(path, sha256)
    except Exception as error:  # a changed configuration can fail anywhere in building the models
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"weights {path.name} cannot be used: {reason or type(error).__name__}") from error


def _parse(path: Path, sha256: str) -> Weights:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    config = ModelConfig.from_json(metadata["config"])
    inter = InterModel(config)
    _set_state(inter, "inter.", tensors)
    intra = None
    if any(key.startswith("intra.") for key in tensors):
        intra = IntraModel(config)
        _set_state(intra, "intra.", tensors)
    return Weights(config.name, sha256, config, inter, intra)


def _set_state(model: nn.Module, prefix: str, tensors: dict[str, Tensor]) -> None:
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
    _check_exact(model)


def _check_exact(model: nn.Module) -> None:
    """What the entropy decoder depends on must be integer, and its sums exact. Raises ValueError if not."""
    for name, module in model.named_modules():
        if isinstance(module, IntConv2d) and not module.largest_sum() < EXACT_LIMIT:
            raise ValueError(f"sums in {name} are not exact in float32")
        if isinstance(module, Hyperprior):
            shape, expected = tuple(module.base_index.frozen.shape), (MAX_QUALITY + 1, module.channels)
            if shape != expected or module.base_index.frozen.is_floating_point():
                raise ValueError(f"{name} has a table of indices of shape {shape}, not {expected}")


def table_owners(model: nn.Module) -> dict[str, FactorizedModel | Hyperprior]:
    """The entropy models of a model by name; a hyperprior speaks for the factorized model inside it."""
    owners: dict[str, FactorizedModel | Hyperprior] = {}
    for name, module in model.named_modules():
        inside = any(name.startswith(owner + ".") for owner in owners)
        if isinstance(module, FactorizedModel | Hyperprior) and not inside:
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
            module.weight.copy_(weight * 2.0**-WEIGHT_SHIFT)
            module.bias.copy_(bias * 2.0**-WEIGHT_SHIFT)
    exact = _integer_biases(model)
    for name, parameter in model.named_parameters():
        if name not in exact:
            parameter.copy_(parameter.half())
    for owner in table_owners(model).values():
        owner.freeze()


def _integer_biases(model: nn.Module) -> set[str]:
    """Names of the parameters that float16 might not hold exactly."""
    return {f"{name}.bias" for name, module in model.named_modules() if isinstance(module, IntConv2d)}


def save_weights(path: Path, inter: InterModel, intra: IntraModel | None,
                 metadata: dict[str, str]) -> bytes:
    """Freeze the models (see :func:`freeze`) and write them. Returns the digest of the file (16 bytes).

    ``metadata`` (recipe, figures, ...) goes into the file beside the configuration.
    """
    tensors: dict[str, Tensor] = {}
    for prefix, model in (("inter.", inter), ("intra.", intra)):
        if model is None:
            continue
        freeze(model)
        half_keys = {name for name, _ in model.named_parameters()} - _integer_biases(model)
        for key, value in model.state_dict().items():
            tensors[prefix + key] = (value.half() if key in half_keys else value).contiguous()
        for name, owner in table_owners(model).items():
            for table, cdf in owner.tables().items():
                for array, values in cdf.arrays().items():
                    tensors[f"{prefix}{name}.tables.{table}.{array}"] = torch.from_numpy(values.copy())
    data = _sorted_head(save_safetensors(tensors, {**metadata, "config": inter.config.to_json()}))
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
