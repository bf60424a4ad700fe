"""Weights of swift: what is saved comes back exactly, what is damaged or of another family is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from lvc.errors import WeightsError
from lvc.models.swiftmodel import SwiftConfig, SwiftModel
from lvc.ops.gains import QualityTable
from lvc.ops.integer import IntConv2d
from lvc.weights import SwiftWeights, load_swift_weights, load_weights, save_swift_weights, table_owners
from lvc.weights.files import DIGEST_BYTES

MakeSwift = Callable[..., SwiftModel]


def contents(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        return file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def test_round_trip(swift_path: Path, swift_weights: SwiftWeights, make_swift: MakeSwift) -> None:
    """Every integer that a stream depends on is what it was before the file."""
    model, loaded = make_swift(), swift_weights.model
    integers = {n: m.integers() for n, m in model.named_modules() if isinstance(m, IntConv2d)}
    every = torch.arange(64)
    indices = {n: m.integers(every).detach() for n, m in model.named_modules() if isinstance(m, QualityTable)}
    assert len(integers) > 20
    assert len(indices) == 4
    assert swift_weights.name == "swift"
    assert swift_weights.digest == hashlib.sha256(swift_path.read_bytes()).digest()[:DIGEST_BYTES]
    assert loaded.config == model.config
    assert not any(module.training for module in loaded.modules())
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    for name, pair in integers.items():
        for got, want in zip(loaded.get_submodule(name).integers(), pair, strict=True):
            assert torch.equal(got, want), name
    for name, index in indices.items():
        got = loaded.get_submodule(name).integers(every)
        assert (got - index).abs().max() <= 1, name  # knots are stored as float16 before they are frozen
        assert (got == index).float().mean() > 0.95, name
    assert len({int(m.shift) for m in loaded.modules() if isinstance(m, IntConv2d)}) > 2
    tables = {name: set(owner.tables()) for name, owner in table_owners(loaded).items()}
    assert tables == {"entropy": {"flags", "values"}, "motion": {"flags", "values"}, "sizes": {"flags"},
                      "filter": {"flags"}}


def test_saving_twice_gives_one_digest(
    swift_path: Path, swift_weights: SwiftWeights, make_swift: MakeSwift, tmp_path: Path
) -> None:
    """The same model again, the model that was loaded, and that one once more."""
    path = tmp_path / "w.safetensors"
    assert save_swift_weights(path, make_swift(), {"note": "for tests"}) == swift_weights.digest
    assert path.read_bytes() == swift_path.read_bytes()
    again = load_swift_weights(swift_path)
    for _ in range(2):
        assert save_swift_weights(path, again.model, {"note": "for tests"}) == swift_weights.digest
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]
    assert save_swift_weights(path, make_swift(1), {"note": "for tests"}) != swift_weights.digest
    assert save_swift_weights(path, make_swift(), {"note": "other"}) != swift_weights.digest


def test_tables_are_integers_in_the_file(swift_path: Path, swift_weights: SwiftWeights) -> None:
    metadata, tensors = contents(swift_path)
    assert metadata["note"] == "for tests"
    assert SwiftConfig.from_json(metadata["config"]) == swift_weights.model.config
    tables = [k for k in tensors if ".tables." in k or k.endswith("frozen")]
    assert sum(k.endswith(".cdf") for k in tables) == 6
    assert not any(tensors[k].is_floating_point() for k in tables)


def test_a_model_without_filter(make_swift: MakeSwift, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_swift_weights(path, make_swift(filter_layers=0), {})
    assert load_swift_weights(path).model.filter is None


def test_weights_from_before_layers_had_units(make_swift: MakeSwift, tmp_path: Path) -> None:
    """They count 64ths; nothing about them has changed."""
    path, model = tmp_path / "w.safetensors", make_swift()
    for layer in model.modules():
        if isinstance(layer, IntConv2d):
            layer.shift.fill_(6)
    save_swift_weights(path, model, {})
    metadata, tensors = contents(path)
    old = {key: value for key, value in tensors.items() if not key.endswith(".shift")}
    assert len(tensors) - len(old) > 20
    save_file(old, path, metadata)
    loaded = load_swift_weights(path).model
    for name, layer in model.named_modules():
        if isinstance(layer, IntConv2d):
            again = loaded.get_submodule(name)
            assert int(again.shift) == 6
            for got, want in zip(again.integers(), layer.integers(), strict=True):
                assert torch.equal(got, want), name


def test_families_are_told_apart(swift_path: Path, tiny_path: Path) -> None:
    for load, path in ((load_weights, swift_path), (load_swift_weights, tiny_path)):
        with pytest.raises(WeightsError, match="cannot be used"):
            load(path)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no_such"):
        load_swift_weights("no_such")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_swift_weights(tmp_path / "absent.safetensors")


def test_damaged_heads_are_refused(swift_path: Path, tmp_path: Path) -> None:
    """A changed configuration or tensor list is refused, or it loads; nothing else is ever raised."""
    data, path = swift_path.read_bytes(), tmp_path / "w.safetensors"
    head = 8 + int.from_bytes(data[:8], "little")
    start = data.index(b"__metadata__")
    errors: list[str] = []
    for place in [*range(10), *range(start, start + 240, 11), *range(start + 240, head, 509)]:
        changed = bytearray(data)
        changed[place] ^= 0x11 if place % 2 else 1
        path.write_bytes(changed)
        try:
            load_swift_weights(path)
        except WeightsError as caught:
            errors.append(str(caught))
    assert len(errors) > 25
    assert not any("\n" in text for text in errors)
    for n in (0, 7, 100, head, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:n])
        with pytest.raises(WeightsError):
            load_swift_weights(path)


def test_incomplete_or_inexact_weights_are_refused(swift_path: Path, tmp_path: Path) -> None:
    metadata, tensors = contents(swift_path)
    path = tmp_path / "w.safetensors"

    def refused(changed: dict[str, Tensor], text: dict[str, str] = metadata) -> None:
        save_file(changed, path, text)
        with pytest.raises(WeightsError, match="cannot be used"):
            load_swift_weights(path)

    for key in ("swift.entropy.trunk.0.weight", "swift.filter.end.bias", "swift.motion.tables.values.cdf",
                "swift.entropy.tables.flags.lengths", "swift.entropy.base_index.frozen",
                "swift.motion.distribution.logits"):
        refused({k: v for k, v in tensors.items() if k != key})
    refused({**tensors, "swift.filter.extra.weight": torch.zeros(1)})
    tables = "swift.entropy.tables.values.cdf"
    refused({**tensors, tables: tensors[tables].flip(1)})
    for frozen in ("swift.entropy.base_index.frozen", "swift.entropy.flag_base.1.frozen"):
        for wrong in (tensors[frozen][:0], tensors[frozen][:10], tensors[frozen][:, :2], tensors[frozen].float()):
            refused({**tensors, frozen: wrong.contiguous()})
    for bias in ("swift.entropy.mix.parts.0.bias", "swift.motion.splits.1.bias", "swift.filter.start.bias"):
        for value in (2.0**20, float("nan"), float("inf")):  # sums that are not exact
            refused({**tensors, bias: torch.full_like(tensors[bias], value)})
    shift = "swift.filter.end.shift"
    for wrong in (torch.tensor(-1), torch.tensor(11), torch.tensor(-2000), torch.tensor(2**40), torch.zeros(2).long()):
        refused({**tensors, shift: wrong})
    config = json.loads(metadata["config"])
    for change in ({"depth": 3}, {"filter_layers": 2}, {"entropy_width": 13}, {"motion_width": "8"},
                   {"filter_width": -8}, {"entropy_width": 8.5}):
        refused(tensors, {**metadata, "config": json.dumps({**config, **change})})
    refused(tensors, {k: v for k, v in metadata.items() if k != "config"})
    refused(tensors, {**metadata, "config": "{"})
