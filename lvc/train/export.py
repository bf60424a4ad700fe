"""Turn checkpoints into weights that ship with the package: ``python -m lvc.train.export``.

    python -m lvc.train.export dvc-lite --inter runs/dvc-lite/checkpoint.pt --intra runs/intra/checkpoint.pt

takes the averaged parameters of each model from its checkpoint, freezes tables and integers, writes
lvc/weights/NAME.safetensors and enters it into lvc/weights/manifest.json.
"""

from __future__ import annotations

import argparse
import json
from importlib import resources
from pathlib import Path

import torch

from lvc.errors import LvcError, UsageError
from lvc.train.validate import write_averaged
from lvc.weights import Weights, manifest


def averaged_state(checkpoint: Path, model: str) -> dict[str, torch.Tensor]:
    """Averaged (EMA) state of "inter" or "intra" out of a checkpoint of lvc.train.loop."""
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError) as error:
        raise UsageError(f"{checkpoint} cannot be read: {error}") from error
    whole = {**state["models"], **state["ema"]}
    return {key.split(".", 1)[1]: value for key, value in whole.items() if key.startswith(model + ".")}


def export(name: str, inter: Path, intra: Path, folder: Path | None = None) -> Weights:
    """Write NAME.safetensors and its entry in manifest.json, in ``folder`` (default: the package's)."""
    home = Path(str(resources.files("lvc.weights"))) if folder is None else folder
    states = {"inter": averaged_state(inter, "inter"), "intra": averaged_state(intra, "intra")}
    file = f"{name}.safetensors"
    weights = write_averaged(states, name, home / file)
    entries = manifest() if folder is None else {}
    entries[name] = {"file": file, "sha256": weights.sha256, "bytes": (home / file).stat().st_size}
    (home / "manifest.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    return weights


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lvc.train.export", description="Ship trained weights.")
    parser.add_argument("name", help="configuration, such as dvc-lite")
    parser.add_argument("--inter", type=Path, required=True, help="checkpoint of the inter model")
    parser.add_argument("--intra", type=Path, required=True, help="checkpoint of the intra model")
    args = parser.parse_args()
    try:
        weights = export(args.name, args.inter, args.intra)
    except LvcError as error:
        parser.exit(1, f"export: error: {error}\n")
    print(f"{weights.name}: digest {weights.digest.hex()}")


if __name__ == "__main__":
    main()
