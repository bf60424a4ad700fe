"""Which weights ship with the package, and where they lie. Loads no torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from lvc.errors import WeightsError

_FOLDER = Path(__file__).parent / "weights"


def manifest() -> dict[str, dict[str, Any]]:
    """Weights that ship with the package: name -> {"file", "sha256", ...}."""
    text = (_FOLDER / "manifest.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def locate(source: str | Path) -> tuple[Path, str]:
    """The file of weights that ship under a name (a string), or a file (a Path); and its SHA-256.

    Raises:
        WeightsError: there are none of that name, or the file cannot be read or is not the one that shipped.
    """
    if isinstance(source, Path):
        path, expected = source, None
    else:
        entry = manifest().get(source)
        if entry is None:
            raise WeightsError(f"no weights named {source} ship with this version of lvc "
                               f"(there are: {', '.join(manifest()) or 'none'})")
        path, expected = _FOLDER / entry["file"], entry["sha256"]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"weights {path.name} cannot be read: {error.strerror}") from error
    sha256 = hashlib.sha256(data).hexdigest()
    if expected is not None and sha256 != expected:
        raise WeightsError(f"weights {path.name} are damaged: SHA-256 {sha256[:16]}, not {expected[:16]}")
    return path, sha256
