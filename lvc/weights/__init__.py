"""Trained weights: safetensors files that ship with the package, and how they are read and written.

A file holds the configuration of its models, their parameters and the integer CDF tables that streams are coded
with. A stream names its weights by the first 16 bytes of the SHA-256 of the file, so nothing is decoded with other
weights than it was made with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from lvc.enhance.restore import RestoreConfig, RestoreNet
from lvc.enhance.srfi import Srfi, SrfiConfig
from lvc.errors import WeightsError
from lvc.models import ContextInterModel, InterModel, IntraModel, ModelConfig, inter_model
from lvc.models.swiftmodel import SwiftConfig, SwiftModel
from lvc.shipped import locate, manifest
from lvc.weights.files import DIGEST_BYTES, freeze, read, save, set_state, table_owners

__all__ = ["RestoreWeights", "StsrWeights", "SwiftWeights", "Weights", "freeze", "load_restore_weights",
           "load_stsr_weights", "load_swift_weights", "load_weights", "manifest", "save_restore_weights",
           "save_stsr_weights", "save_swift_weights", "save_weights", "table_owners"]

T = TypeVar("T")


@dataclass(frozen=True)
class _File:
    """Attributes:
        name: of the configuration.
        sha256: of the file, hexadecimal.
    """

    name: str
    sha256: str

    @property
    def digest(self) -> bytes:
        """What streams name the file by: the first 16 bytes of its SHA-256."""
        return bytes.fromhex(self.sha256)[:DIGEST_BYTES]


@dataclass(frozen=True)
class Weights(_File):
    """Models of the dvc family with frozen tables, ready to code.

    Attributes:
        intra: None if the file has no learned intra model.
    """

    config: ModelConfig
    inter: InterModel | ContextInterModel
    intra: IntraModel | None


@dataclass(frozen=True)
class SwiftWeights(_File):
    """Swift with frozen tables, ready to code."""

    model: SwiftModel


@dataclass(frozen=True)
class RestoreWeights(_File):
    """The network of restore, and what its filters' coefficients are likely to be."""

    net: RestoreNet


@dataclass(frozen=True)
class StsrWeights(_File):
    """The network of stsr."""

    net: Srfi


def load_weights(source: str | Path) -> Weights:
    """Load weights of the dvc family by the name they ship under (a string), or from a file (a Path).

    Raises:
        WeightsError: there are none of that name, or the file is damaged or of another family.
    """
    return _load(source, _parse)


def load_swift_weights(source: str | Path) -> SwiftWeights:
    """The same for swift."""
    return _load(source, _parser("swift.", SwiftConfig, SwiftModel, SwiftWeights))


def load_restore_weights(source: str | Path) -> RestoreWeights:
    """The same for restore."""
    return _load(source, _parser("restore.", RestoreConfig, RestoreNet, RestoreWeights))


def load_stsr_weights(source: str | Path) -> StsrWeights:
    """The same for stsr."""
    return _load(source, _parser("stsr.", SrfiConfig, Srfi, StsrWeights))


def _load(source: str | Path, parse: Callable[[Path, str], T]) -> T:
    path, sha256 = locate(source)
    try:
        return parse(path, sha256)
    except Exception as error:  # a changed configuration can fail anywhere in building the models
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"weights {path.name} cannot be used: {reason or type(error).__name__}") from error


def _parse(path: Path, sha256: str) -> Weights:
    metadata, tensors = read(path)
    config = ModelConfig.from_json(metadata["config"])
    inter = inter_model(config)
    set_state(inter, "inter.", tensors)
    intra = None
    if any(key.startswith("intra.") for key in tensors):
        intra = IntraModel(config)
        set_state(intra, "intra.", tensors)
    return Weights(config.name, sha256, config, inter, intra)


def _parser(prefix: str, config: Any, network: Any, weights: Callable[[str, str, Any], T]) -> Callable[[Path, str], T]:
    """How a file of one network is read. ``prefix``: of the names of its tensors."""
    def parse(path: Path, sha256: str) -> T:
        metadata, tensors = read(path)
        made = network(config.from_json(metadata["config"]))
        set_state(made, prefix, tensors)
        return weights(made.config.name, sha256, made)

    return parse


def save_weights(path: Path, inter: InterModel | ContextInterModel, intra: IntraModel | None,
                 metadata: dict[str, str]) -> bytes:
    """Freeze models of the dvc family and write them. Returns the digest of the file (16 bytes).

    ``metadata`` (recipe, figures, ...) goes into the file beside the configuration.
    """
    models: dict[str, nn.Module] = {"inter.": inter}
    if intra is not None:
        models["intra."] = intra
    return save(path, models, {**metadata, "config": inter.config.to_json()})


def save_swift_weights(path: Path, model: SwiftModel, metadata: dict[str, str]) -> bytes:
    """The same for swift."""
    return save(path, {"swift.": model}, {**metadata, "config": model.config.to_json()})


def save_restore_weights(path: Path, net: RestoreNet, metadata: dict[str, str]) -> bytes:
    """The same for restore."""
    return save(path, {"restore.": net}, {**metadata, "config": net.config.to_json()})


def save_stsr_weights(path: Path, net: Srfi, metadata: dict[str, str]) -> bytes:
    """The same for stsr."""
    return save(path, {"stsr.": net}, {**metadata, "config": net.config.to_json()})
