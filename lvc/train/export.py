"""Turn checkpoints into weights that ship with the package: ``python -m lvc.train.export``.

    python -m lvc.train.export dvc-lite --inter runs/dvc-lite/checkpoint.pt --intra runs/intra/checkpoint.pt
    python -m lvc.train.export swift --checkpoint runs/swift/checkpoint.pt
    python -m lvc.train.export restore --weights runs/restore/best.safetensors
    python -m lvc.train.export stsr --checkpoint runs/stsr-lite/checkpoint.pt

takes the averaged parameters of each model from its checkpoint, freezes tables and integers, writes
lvc/weights/NAME.safetensors and enters it into lvc/weights/manifest.json. restore's weights are complete after
lvc.train.restoreprior, and taken as they are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import torch

from lvc.enhance.srfi import SrfiConfig
from lvc.errors import LvcError, UsageError
from lvc.models.swiftmodel import SwiftConfig
from lvc.train.recipe import FAMILIES
from lvc.train.stsrtask import write_stsr
from lvc.train.swifttask import write_swift
from lvc.train.validate import write_averaged
from lvc.weights import RestoreWeights, StsrWeights, SwiftWeights, Weights, load_restore_weights, manifest

W = TypeVar("W", SwiftWeights, StsrWeights)
_States = dict[str, dict[str, torch.Tensor]]


def _load(checkpoint: Path) -> dict[str, Any]:
    try:
        return dict(torch.load(checkpoint, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise UsageError(f"{checkpoint} cannot be read: {error}") from error


def averaged_state(checkpoint: Path, model: str) -> dict[str, torch.Tensor]:
    """Averaged (EMA) state of a model ("inter", "entropy", ...) out of a checkpoint of lvc.train.loop."""
    state = _load(checkpoint)
    whole = {**state["models"], **state["ema"]}
    return {key.split(".", 1)[1]: value for key, value in whole.items() if key.startswith(model + ".")}


def export(name: str, inter: Path, intra: Path, folder: Path | None = None) -> Weights:
    """Write NAME.safetensors and its entry in manifest.json, in ``folder`` (default: the package's)."""
    states = {"inter": averaged_state(inter, "inter"), "intra": averaged_state(intra, "intra")}
    path = _home(folder) / f"{name}.safetensors"
    weights = write_averaged(states, name, path)
    _enter(name, path, weights.sha256, folder)
    return weights


def export_swift(checkpoint: Path, folder: Path | None = None) -> SwiftWeights:
    """The same for swift, whose networks are in one checkpoint."""
    return _export("swift", checkpoint, folder, lambda config, states, path: write_swift(
        SwiftConfig.from_json(config), states, path, {}))


def export_restore(weights: Path, folder: Path | None = None) -> RestoreWeights:
    """The same for restore, out of a file of weights that lvc.train.restoreprior has been through."""
    loaded = load_restore_weights(weights)
    path = _home(folder) / "restore.safetensors"
    path.write_bytes(weights.read_bytes())
    _enter("restore", path, loaded.sha256, folder)
    return loaded


def export_stsr(checkpoint: Path, folder: Path | None = None) -> StsrWeights:
    """The same for stsr, of either size."""
    return _export("stsr", checkpoint, folder, lambda config, states, path: write_stsr(
        SrfiConfig.from_json(config), states["stsr"], path, {}))


def _export(name: str, checkpoint: Path, folder: Path | None, write: Callable[[str, _States, Path], W]) -> W:
    config, states = _recorded(checkpoint, name)
    path = _home(folder) / f"{name}.safetensors"
    weights = write(config, states, path)
    _enter(name, path, weights.sha256, folder)
    return weights


def _recorded(checkpoint: Path, family: str) -> tuple[str, _States]:
    """Configuration and averaged states of a family that learns from recordings."""
    task = _load(checkpoint).get("task", {})
    states = {name: averaged_state(checkpoint, name) for name in FAMILIES[family]}
    if "config" not in task or not all(states.values()):
        raise UsageError(f"{checkpoint} is not of a training of {family}")
    return str(task["config"]), states


def _home(folder: Path | None) -> Path:
    return Path(str(resources.files("lvc.weights"))) if folder is None else folder


def _enter(name: str, path: Path, sha256: str, folder: Path | None) -> None:
    entries = manifest() if folder is None else {}
    entries[name] = {"file": path.name, "sha256": sha256, "bytes": path.stat().st_size}
    (path.parent / "manifest.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lvc.train.export", description="Ship trained weights.")
    parser.add_argument("name", help="configuration: dvc-lite, swift, ...")
    parser.add_argument("--inter", type=Path, help="checkpoint of the inter model")
    parser.add_argument("--intra", type=Path, help="checkpoint of the intra model")
    parser.add_argument("--checkpoint", type=Path, help="checkpoint of swift or stsr")
    parser.add_argument("--weights", type=Path, help="file of weights of restore")
    args = parser.parse_args()
    weights: Weights | SwiftWeights | RestoreWeights | StsrWeights
    try:
        one: dict[str, Callable[[Path], SwiftWeights | RestoreWeights | StsrWeights]] = {
            "swift": export_swift, "restore": export_restore, "stsr": export_stsr}
        source = args.weights if args.name == "restore" else args.checkpoint
        given = sum(path is not None for path in (args.inter, args.intra, args.checkpoint, args.weights))
        if args.name in one and source and given == 1:
            weights = one[args.name](source)
        elif args.name not in one and args.inter and args.intra and given == 2:
            weights = export(args.name, args.inter, args.intra)
        else:
            raise UsageError("swift and stsr take --checkpoint, restore --weights, the dvc family --inter and --intra")
    except LvcError as error:
        parser.exit(1, f"export: error: {error}\n")
    print(f"{weights.name}: digest {weights.digest.hex()}")


if __name__ == "__main__":
    main()
