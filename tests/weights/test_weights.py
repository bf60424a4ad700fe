"""Weights files: what is saved comes back, what is damaged is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import lvc.shipped
import lvc.weights.files
from lvc.codecs import packed
from lvc.entropy import Hyperprior, Write
from lvc.errors import WeightsError
from lvc.models import CONFIGS, InterModel, IntraModel, ModelConfig
from lvc.ops.integer import IntConv2d
from lvc.weights import (
    DIGEST_BYTES,
    Weights,
    load_restore_weights,
    load_swift_weights,
    load_weights,
    manifest,
    save_weights,
    table_owners,
)

MakeModels = Callable[..., tuple[InterModel, IntraModel]]


def test_round_trip(
    tiny_path: Path, tiny_weights: Weights, tiny_config: ModelConfig, make_models: MakeModels
) -> None:
    inter, intra = make_models(tiny_config)
    assert tiny_weights.config == tiny_config
    assert tiny_weights.name == tiny_config.name
    assert tiny_weights.digest == hashlib.sha256(tiny_path.read_bytes()).digest()[:DIGEST_BYTES]
    assert tiny_weights.intra is not None
    for saved, loaded in ((inter, tiny_weights.inter), (intra, tiny_weights.intra)):
        assert not loaded.training
        for name, value in saved.named_parameters():
            got = loaded.get_parameter(name)
            assert not got.requires_grad
            if "entropy.decoder" not in name:  # integers: see below
                torch.testing.assert_close(got, value.detach(), rtol=1e-3, atol=1e-6)
        assert all(
            set(owner.tables()) in ({"density"}, {"density", "scales"})
            for owner in table_owners(loaded).values()
        )


def test_integer_layers_are_the_same_after_storage(
    tiny_config: ModelConfig, make_models: MakeModels, tmp_path: Path
) -> None:
    """Float16 holds all that the entropy decoder depends on exactly: indices, means and tables are equal."""
    inter, _ = make_models(tiny_config, seed=5)
    integers = {
        name: module.integers() for name, module in inter.named_modules() if isinstance(module, IntConv2d)
    }
    assert len(integers) == 4
    generator = torch.Generator().manual_seed(0)
    z = {
        name: torch.randint(-15, 16, (1, m.z_channels, 9, 7), generator=generator).float()
        for name, m in inter.named_modules()
        if isinstance(m, Hyperprior)
    }
    quality = torch.tensor([37])
    expected = {name: inter.get_submodule(name).parameters_of(value, quality) for name, value in z.items()}
    save_weights(tmp_path / "w.safetensors", inter, None, {})
    loaded = load_weights(tmp_path / "w.safetensors")
    assert loaded.intra is None
    for name, (weight, bias) in integers.items():
        got_weight, got_bias = loaded.inter.get_submodule(name).integers()
        assert torch.equal(got_weight, weight)
        assert torch.equal(got_bias, bias)
    for name, (index, mean) in expected.items():
        got_index, got_mean = loaded.inter.get_submodule(name).parameters_of(z[name], quality)
        assert torch.equal(got_index, index.detach())
        assert (mean is None) == (got_mean is None)
        assert mean is None or torch.equal(got_mean, mean.detach())
    for a, b in zip(table_owners(inter).values(), table_owners(loaded.inter).values(), strict=True):
        assert a.tables() == b.tables()


def test_loaded_weights_are_saved_to_the_same_bytes(tiny_path: Path, tmp_path: Path) -> None:
    weights = load_weights(tiny_path)
    digest = save_weights(tmp_path / "again.safetensors", weights.inter, weights.intra, {"note": "for tests"})
    assert digest == weights.digest


def test_digest_changes_with_the_content(
    tiny_weights: Weights, tiny_config: ModelConfig, make_models: MakeModels, tmp_path: Path
) -> None:
    path = tmp_path / "w.safetensors"
    digests = {
        tiny_weights.digest,
        save_weights(path, *make_models(tiny_config), {"note": "other"}),
        save_weights(path, *make_models(tiny_config, seed=1), {"note": "for tests"}),
    }
    inter, intra = make_models(tiny_config)
    with torch.no_grad():
        inter.refine.tail.bias[0] += 0.25
    digests.add(save_weights(path, inter, intra, {"note": "for tests"}))
    assert len(digests) == 4
    assert load_weights(path).digest in digests
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_the_file_says_what_it_is(tiny_path: Path, tiny_config: ModelConfig) -> None:
    with safe_open(tiny_path, framework="pt") as file:
        metadata = file.metadata()
        kinds = {key: file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118
    assert metadata["note"] == "for tests"
    assert ModelConfig.from_json(metadata["config"]) == tiny_config
    # Tables and frozen indices are integers in the file: never rebuilt from floats.
    assert all(not v.is_floating_point for k, v in kinds.items() if ".tables." in k or k.endswith("frozen"))
    assert any(".tables.scales.cdf" in k for k in kinds)


def test_unknown_and_missing_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no_such"):
        load_weights("no_such")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_weights(tmp_path / "absent.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(WeightsError, match="cannot be read"):
        load_weights(tmp_path / "folder.safetensors")


def test_every_byte_of_the_head_may_be_damaged(tiny_path: Path, tmp_path: Path) -> None:
    """A changed configuration or tensor list is refused, or it loads; nothing else is ever raised."""
    data, path = tiny_path.read_bytes(), tmp_path / "w.safetensors"
    head = 8 + int.from_bytes(data[:8], "little")
    start = data.index(b"__metadata__")
    errors: list[str] = []
    for place in [*range(12), *range(start, start + 1700, 23), *range(start + 1700, head, 2999)]:
        for flip in (1, 0x10):
            changed = bytearray(data)
            changed[place] ^= flip
            path.write_bytes(changed)
            try:
                load_weights(path)
            except WeightsError as caught:
                errors.append(str(caught))
    assert len(errors) > 60
    assert not any("\n" in text for text in errors)
    for n in (0, 7, 8, 100, head, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:n])
        with pytest.raises(WeightsError):
            load_weights(path)


def test_incomplete_files_are_refused(tiny_path: Path, tmp_path: Path) -> None:
    with safe_open(tiny_path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    path = tmp_path / "w.safetensors"
    for key in (
        "inter.refine.tail.weight",
        "inter.motion.entropy.tables.scales.cdf",
        "intra.picture.entropy.tables.density.lengths",
        "inter.residual.entropy.base_index.frozen",
    ):
        save_file({k: v for k, v in tensors.items() if k != key}, path, metadata)
        with pytest.raises(WeightsError):
            load_weights(path)
    for changed in ({k: v for k, v in metadata.items() if k != "config"}, {**metadata, "config": "{}"}):
        save_file(tensors, path, changed)
        with pytest.raises(WeightsError):
            load_weights(path)
    tables = "inter.motion.entropy.tables.scales.cdf"
    save_file({**tensors, tables: tensors[tables].flip(1)}, path, metadata)
    with pytest.raises(WeightsError):
        load_weights(path)
    frozen = "inter.residual.entropy.base_index.frozen"
    for wrong in (tensors[frozen][:0], tensors[frozen][:10], tensors[frozen][:, :5]):
        save_file({**tensors, frozen: wrong.contiguous()}, path, metadata)
        with pytest.raises(WeightsError):
            load_weights(path)


def test_shipped_weights_are_checked(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"file": str(tiny_path), "sha256": hashlib.sha256(tiny_path.read_bytes()).hexdigest()}
    monkeypatch.setattr(lvc.shipped, "manifest", lambda: {"tiny": entry})
    assert load_weights("tiny").digest.hex() == entry["sha256"][: 2 * DIGEST_BYTES]
    entry["sha256"] = "0" * 64
    with pytest.raises(WeightsError, match="damaged"):
        load_weights("tiny")


def test_manifest_and_files_agree() -> None:
    """What ships is whole, and all that ships is listed."""
    folder = Path(lvc.weights.__file__).parent
    listed = {entry["file"] for entry in manifest().values()}
    assert listed == {path.name for path in folder.glob("*.safetensors")}
    for name, entry in manifest().items():
        assert hashlib.sha256((folder / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
        if name == packed.NAME:
            assert bytes.fromhex(entry["sha256"]).startswith(packed.trained()[1])
            continue
        load = {"swift": load_swift_weights, "restore": load_restore_weights}.get(name, load_weights)
        assert load(name).name == name
        if name in CONFIGS:
            assert load_weights(name).config == CONFIGS[name]
    assert sum(entry["bytes"] for entry in manifest().values()) < 24e6
    assert json.dumps(manifest())


def test_equal_models_write_equal_streams(tiny_path: Path, tiny_weights: Weights) -> None:
    again, streams = load_weights(tiny_path), []
    picture = torch.rand(1, 6, 16, 32, generator=torch.Generator().manual_seed(1)) * 255
    for weights in (tiny_weights, again):
        coder = Write()
        with torch.inference_mode():
            weights.inter(coder, picture, picture.flip(3), torch.tensor([30]))
        streams.append(coder.finish())
    assert streams[0] == streams[1]
