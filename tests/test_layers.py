"""Imports run downwards only, and some parts never load torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "lvc"

LAYERS = (("errors",), ("types", "shipped"), ("bitstream", "coding", "video", "ops", "metrics"), ("entropy",),
          ("models", "enhance"), ("weights",), ("codecs",), ("stream", "ratetarget"), ("api",), ("train",), ("cli",))
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
TORCH_FREE = ("errors", "types", "shipped", "bitstream", "coding", "video")
TORCH = ("torch", "torchvision", "compressai", "safetensors", "pytorch_msssim")


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """(absolute module name, line) of every import in a file, also within functions."""
    package = ("lvc", *path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[:len(package) - node.level + 1]) if node.level else ""
            base = ".".join(name for name in (base, node.module) if name)
            for alias in node.names:
                yield f"{base}.{alias.name}", node.lineno


def test_every_part_has_a_level():
    """A new part must be given its place in the list above."""
    parts = {part_of(path) for path in modules()} - {"__init__"}
    assert len(parts) > 10
    assert parts <= set(LEVEL)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downwards(path):
    part = part_of(path)
    if part == "__init__":
        return  # the public face; test_import_lvc holds what it loads
    for name, line in imports(path):
        pieces = name.split(".")
        if pieces[0] != "lvc":
            assert part not in TORCH_FREE or pieces[0] not in TORCH, f"line {line} imports {name}"
            continue
        assert len(pieces) > 1, f"line {line} imports the public face"
        target = pieces[1]
        if target in (part, "_C", "_filters", "_hevc", "_motion", "_nets"):
            allowed = {"_filters": ("enhance",), "_hevc": ("codecs",)}.get(target, ("coding", "ops", "entropy"))
            assert target == part or part in allowed, f"line {line} imports {name}"
            continue
        assert target in LEVEL or target == "__version__", f"line {line} imports {name}"
        if target != "__version__":
            assert LEVEL[target] < LEVEL[part], f"line {line}: {part} imports {name}"


def test_forbidden_pairs():
    """Stated on their own, for they are what the levels are for."""
    found = {(part_of(path), name.split(".")[1]) for path in modules() for name, _ in imports(path)
             if name.startswith("lvc.")}
    assert ("codecs", "bitstream") in found
    for pair in (("models", "bitstream"), ("codecs", "train"), ("bitstream", "video"), ("video", "bitstream"),
                 ("models", "codecs"), ("api", "train")):
        assert pair not in found


def test_the_walk_sees_imports(tmp_path, monkeypatch):
    """The walk itself: plain, from, relative, and inside functions."""
    (tmp_path / "video").mkdir()
    path = tmp_path / "video" / "x.py"
    path.write_text("import torch.nn\nfrom . import base\nfrom ..errors import LvcError\n"
                    "def f():\n    from lvc import api\n")
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert sorted(imports(path)) == [("lvc.api", 5), ("lvc.errors.LvcError", 3), ("lvc.video.base", 2),
                                     ("torch.nn", 1)]


@pytest.mark.parametrize("module", ["lvc", "lvc.errors", "lvc.types", "lvc.bitstream", "lvc.coding",
                                    "lvc.video", "lvc.codecs", "lvc.api", "lvc.cli.main"])
def test_loads_no_torch(module):
    code = f"import sys, {module}; sys.exit(any(name in sys.modules for name in {TORCH}))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_import_lvc_loads_nothing():
    code = "import sys; import lvc; sys.exit(any(name in sys.modules for name in ('numpy', 'av', 'lvc.api')))"
    subprocess.run([sys.executable, "-c", code], check=True)
