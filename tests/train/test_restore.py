"""Training of the restoration network: decoded copies, samples out of them, the loss, whole runs, export."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from lvc.codecs import get_codec
from lvc.enhance.levels import index_of_level, level_of_index
from lvc.enhance.restore import pack, unpack
from lvc.errors import UsageError, VideoError
from lvc.train import restoretask, train
from lvc.train.cache import FrameStore, prepare
from lvc.train.export import export_restore
from lvc.train.recipe import Recipe, Stage, load_recipe
from lvc.train.restoredata import BaseSpec, DecodedStore, clip_frames, code_clip, make_decoded
from lvc.train.restoretask import Batch, Crops, collate, restore_loss
from lvc.weights import load_restore_weights

SPEC = BaseSpec("x264", "veryfast", (38.0, 44.0), 1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory, textured_frames, write_video):
    folder = tmp_path_factory.mktemp("restore")
    sources = [write_video(folder / f"{seed}.mkv", textured_frames(5, 96, 80, seed=seed)) for seed in (1, 2)]
    prepare(sources, folder / "cache", progress=False)
    return folder / "cache"


@pytest.fixture(scope="module")
def copy(cache, tmp_path_factory):
    folder = make_decoded(cache, tmp_path_factory.mktemp("decoded"), SPEC, progress=False)
    return DecodedStore(cache, folder)


def test_copies_are_what_the_base_decoder_gives(cache, copy):
    store = FrameStore(cache)
    assert copy.codec == "x264"
    assert copy.crf == [SPEC.crf(0), SPEC.crf(1)]
    assert all(38.0 <= crf <= 44.0 for crf in copy.crf)
    for clip in range(2):
        frames = clip_frames(store, clip)
        decoded = code_clip(frames, "x264", {"preset": "veryfast", "crf": f"{copy.crf[clip]:g}"})
        for place, planes in enumerate(copy.planes(clip)):
            assert np.array_equal(planes, [f.planes[place] for f in decoded])
            errors = np.mean((planes.astype(float) - store.planes(clip)[place]) ** 2, (1, 2))
            assert np.allclose(copy.errors(clip)[:, place], errors, rtol=1e-4)
            assert errors.min() > 0.5


def test_copies_are_made_once(cache, copy, tmp_path):
    folder = make_decoded(cache, tmp_path, SPEC, progress=False)
    before = (folder / "decoded.json").stat().st_mtime_ns
    assert make_decoded(cache, tmp_path, SPEC, progress=False) == folder
    assert (folder / "decoded.json").stat().st_mtime_ns == before
    assert make_decoded(cache, tmp_path, dataclasses.replace(SPEC, seed=2), progress=False) != folder
    assert sorted(p.name for p in folder.iterdir()) == ["decoded.json", "errors.npy", "frames.bin"]


def test_copies_of_other_clips_are_refused(cache, tmp_path, textured_frames, write_video):
    folder = make_decoded(cache, tmp_path, SPEC, progress=False)
    prepare([write_video(tmp_path / "a.mkv", textured_frames(3, 64, 64))], tmp_path / "other", progress=False)
    with pytest.raises(VideoError, match="another cache"):
        DecodedStore(tmp_path / "other", folder)
    (folder / "frames.bin").write_bytes(b"short")
    with pytest.raises(VideoError, match="another cache"):
        DecodedStore(cache, folder)
    with pytest.raises(VideoError, match="no decoded copy"):
        DecodedStore(cache, tmp_path)


def test_samples_belong_together(copy):
    crops = Crops([copy], (48, 64))
    worst = max(float(copy.errors(clip)[:, 0].max()) for clip in range(2))
    best = {level_of_index(index_of_level(float(e) ** 0.5)) for clip in range(2) for e in copy.errors(clip)[:, 0]}
    for number in range(30):
        sample = crops.sample(np.random.default_rng(number))
        assert [p.shape for p in sample.original] == [(48, 64), (24, 32), (24, 32)]
        error = np.mean((sample.frames[0][0].astype(float) - sample.original[0]) ** 2)
        assert error < 3 * worst  # not turned or cut otherwise than its original
        assert set(sample.levels) <= best
        assert sample.kind[1] == 0.0
    again = crops.sample(np.random.default_rng(29))
    assert np.array_equal(again.frames[1][0], sample.frames[1][0])
    assert again.levels == sample.levels


def test_crops_that_cannot_be(copy):
    with pytest.raises(UsageError, match="none of 2 clips holds 96x128"):
        Crops([copy], (128, 96))
    with pytest.raises(UsageError, match="multiples of 4"):
        Crops([copy], (46, 64))


class Halve(torch.nn.Module):
    """Takes away half of the error of luma."""

    def __init__(self, original: torch.Tensor) -> None:
        super().__init__()
        self.original = original

    def forward(self, frame: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        y, u, v = unpack(frame)
        return pack((y + unpack(self.original)[0]) / 2, u, v)


def test_loss_is_the_gain_in_decibel():
    original = torch.full((1, 24, 4, 4), 100.0)
    frame = original + 2.0
    batch = Batch((frame, frame, frame), original, torch.full((1, 3), 2.0), torch.tensor([[4.0, 4.0, 4.0]]),
                  torch.zeros(1, 2))
    loss, figures = restore_loss(Halve(original), batch)
    expected = 10 / np.log(10) * 6 / 8 * 3.0 / 4.1  # to the first order: squared errors fall from 4 to 1
    assert float(loss) == pytest.approx(-expected, rel=1e-4)
    assert figures["gain_db"] == pytest.approx(expected, rel=1e-4)


def test_a_new_network_neither_gains_nor_loses(copy):
    batch = collate([Crops([copy], (48, 48)).sample(np.random.default_rng(i)) for i in range(3)])
    net = restoretask.RestoreNet(restoretask.RestoreConfig(width=16, blocks=1))
    assert float(restore_loss(net, batch)[0].detach()) == 0.0


def test_recipe_that_ships():
    recipe = load_recipe("restore")
    assert (recipe.family, recipe.stages[0].kind, recipe.stages[1].model) == ("restore", "record", "restore")


@pytest.mark.parametrize(("stages", "message"), [
    ((Stage("a", model="restore", steps=1, crop=(64, 64)),), "first stage of a training of restore"),
    ((Stage("r", kind="record", frames=7),), "frames has no meaning"),
    ((Stage("r", kind="record"), Stage("a", model="entropy", steps=1)), "model must be one of restore"),
    ((Stage("r", kind="record"), Stage("a", model="restore", steps=1, crop=(60, 64))), "multiples of 8")])
def test_recipes_that_make_no_sense(stages, message):
    with pytest.raises(UsageError, match=message):
        Recipe("x", "restore", stages)


@pytest.fixture
def small(monkeypatch):
    """One quick base codec, and a small network."""
    monkeypatch.setattr(restoretask, "BASES", (SPEC,))
    monkeypatch.setattr(restoretask.RestoreTask, "config", restoretask.RestoreConfig(width=16, blocks=1))


def write_recipe(path, steps: int):
    path.write_text(f"""
name = "tiny"
model = "restore"
[[stage]]
name = "r"
kind = "record"
[[stage]]
name = "s"
model = "restore"
steps = {steps}
crop = [48, 48]
batch = 4
lr = 2e-3
warmup = 1
""", encoding="utf-8")
    return str(path)


def test_a_run_learns_exports_and_codes(small, cache, tmp_path, textured_frames, info_of):
    weights = train(write_recipe(tmp_path / "r.toml", 60), data=[str(cache)], runs=str(tmp_path), threads=1)
    log = [json.loads(line) for line in (tmp_path / "tiny" / "log.jsonl").read_text().splitlines()]
    gains = [entry["gain_db"] for entry in log if entry["kind"] == "train"]
    assert len(gains) == 3
    assert gains[-1] > 0.02
    codec = get_codec("restore", str(weights))
    assert codec.name == "restore"
    exported = export_restore(tmp_path / "tiny" / "checkpoint.pt", tmp_path)
    assert exported.net.config.width == 16
    loaded = load_restore_weights(tmp_path / "restore.safetensors")
    assert loaded.sha256 == exported.sha256
    entry = json.loads((tmp_path / "manifest.json").read_text())["restore"]
    assert entry["sha256"] == exported.sha256


def test_a_checkpoint_of_another_kind(tmp_path):
    torch.save({"models": {}, "ema": {}}, tmp_path / "c.pt")
    with pytest.raises(UsageError, match="not of a training of restore"):
        export_restore(tmp_path / "c.pt", tmp_path)
