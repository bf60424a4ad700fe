"""Training of the restoration network: decoded copies, samples out of them, the loss, whole runs, export."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from lvc.codecs import get_codec
from lvc.enhance.adaptive import CHROMA_PROPOSALS, LUMA_PROPOSALS, N_CHROMA, N_LUMA, WAYS, Views
from lvc.enhance.levels import index_of_level, level_of_index
from lvc.enhance.restore import PROPOSED, RestoreConfig, RestoreNet
from lvc.errors import UsageError, VideoError, WeightsError
from lvc.train import restoretask, train
from lvc.train.cache import FrameStore, prepare
from lvc.train.export import export_restore
from lvc.train.recipe import Recipe, Stage, load_recipe
from lvc.train.restoredata import BaseSpec, DecodedStore, clip_frames, code_clip, make_decoded
from lvc.train.restoretask import Batch, Crops, RestoreTask, Sample, blocks_first, collate, make_sample, restore_loss
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


KEPT = (N_LUMA - WAYS * LUMA_PROPOSALS, *[N_CHROMA - WAYS * CHROMA_PROPOSALS] * 2)
"""Terms of filters without proposals."""


def test_groups_belong_together(copy):
    crops = Crops([copy], (48, 64))
    rows = [[tuple(row) for row in copy.errors(clip).tolist()] for clip in range(2)]
    seen = set()
    for number in range(20):
        group = crops.group(np.random.default_rng(number), 5)
        (clip,) = (k for k in range(2) if all(sample.errors in rows[k] for sample in group))
        seen.add(clip)
        assert len({sample.features[0].tobytes() for sample in group}) > 2  # not all of one place and frame
        for sample in group:
            first = sample.errors == rows[clip][0]
            assert sample.kind == (float(first), 0.0)
            assert sample.levels[0] == level_of_index(index_of_level(sample.errors[0] ** 0.5))
            for planes in sample.frames:
                assert [plane.shape for plane in planes] == [(48, 64), (24, 32), (24, 32)]
            for plane, size in enumerate((48 * 64, 24 * 32, 24 * 32)):
                assert sample.features[plane].shape == (KEPT[plane], size)
                # not turned or cut otherwise than its original
                assert np.mean(sample.targets[plane] ** 2) < 3 * sample.errors[plane] + 1
    assert seen == {0, 1}
    again = crops.group(np.random.default_rng(19), 5)
    assert all(np.array_equal(a.features[1], b.features[1]) for a, b in zip(group, again, strict=True))
    assert [sample.levels for sample in again] == [sample.levels for sample in group]


def test_crops_that_cannot_be(copy):
    with pytest.raises(UsageError, match="none of 2 clips holds 96x128"):
        Crops([copy], (128, 96))
    with pytest.raises(UsageError, match="multiples of 8"):
        Crops([copy], (44, 64))


def random_sample(seed: int, flat: bool = False) -> Sample:
    rng = np.random.default_rng(seed)
    shapes = ((24, 32), (12, 16), (12, 16))
    original = tuple(rng.integers(80, 120, shape, dtype=np.uint8) for shape in shapes)
    frames = tuple(tuple(np.full_like(plane, 100) if flat else plane + rng.integers(-4, 5, plane.shape).astype(np.uint8)
                         for plane in original) for _ in range(5))
    errors = tuple(float(np.mean((a.astype(float) - b) ** 2)) for a, b in zip(frames[0], original, strict=True))
    return make_sample(frames[:3], frames[3:], original, (level_of_index(6),) * 3, errors, (0.0, 1.0))


def test_samples_hold_what_filters_see():
    """Targets and terms of a sample stand at the same place."""
    rng = np.random.default_rng(2)
    frame, before, after, early, late, original = (tuple(rng.integers(0, 256, shape, dtype=np.uint8) for shape in (
        (24, 32), (12, 16), (12, 16))) for _ in range(6))
    sample = make_sample((frame, before, after), (early, late), original, (level_of_index(7), 1.0, 2.0),
                         (1.0, 2.0, 3.0), (0.0, 1.0))
    views = Views(frame, before, after, 7, None, (early, late))
    for plane, side in enumerate((8, 4, 4)):
        features = views.features(plane, np.arange(12, dtype=np.int32))
        order = views.places(plane)[views.orientations.ravel()]  # by block
        by_block = features.reshape(len(features), 12, -1)
        assert np.array_equal(sample.features[plane].reshape(by_block.shape),
                              np.stack([by_block[own, i] for i, own in enumerate(order)], 1))
        difference = original[plane].astype(float) - frame[plane]
        for number, block in enumerate(sample.targets[plane].reshape(12, side, side)):
            row, col = divmod(number, 4)
            assert np.array_equal(block, difference[side * row : side * (row + 1), side * col : side * (col + 1)])
    assert (sample.levels[1:], sample.errors, sample.kind) == ((1.0, 2.0), (1.0, 2.0, 3.0), (0.0, 1.0))
    assert all(np.array_equal(a, b) for a, b in zip(sample.frames[2], after, strict=True))


class Hint(torch.nn.Module):
    """Proposes a third of the error of luma, and nothing for chroma."""

    def __init__(self, batch: Batch) -> None:
        super().__init__()
        self.share = torch.nn.Parameter(torch.tensor(1 / 3))
        rows = torch.arange(24 * 32).reshape(24, 32)
        order = blocks_first(rows, 8)
        targets = torch.zeros(len(batch.targets[0]), 24 * 32)
        targets[:, order] = batch.targets[0]
        self.luma = torch.nn.functional.pixel_unshuffle(targets.reshape(-1, 1, 24, 32), 4)

    def forward(self, frame: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        out = frame.new_zeros(len(frame), PROPOSED, *frame.shape[2:])
        out[:, 16:32] = self.share * self.luma  # the second of the three
        return out


def test_loss_is_the_gain_in_decibel():
    batch = collate([random_sample(seed, flat=True) for seed in range(4)])
    loss, figures = restore_loss(Hint(batch), batch)
    # flat frames have nothing to filter; what is proposed takes the whole error of luma away, to the first order
    ratio = batch.targets[0].square().mean(1) / (batch.errors[:, 0] + 0.1)
    expected = float(10 / np.log(10) * 6 / 8 * ratio.mean())
    assert float(loss.detach()) == pytest.approx(-expected, rel=5e-3)
    assert figures["gain_db"] == -float(loss.detach())
    assert figures["filters_db"] == pytest.approx(0.0, abs=1e-4)


def test_each_group_has_filters_of_its_own():
    samples = [random_sample(seed) for seed in range(8)]
    net = RestoreNet(RestoreConfig(width=8, blocks=1))
    with torch.no_grad():
        both, one, two = (float(restore_loss(net, collate(part))[0]) for part in (samples, samples[:4], samples[4:]))
        mixed = float(restore_loss(net, collate(samples[::2] + samples[1::2]))[0])
        alone = np.mean([float(restore_loss(net, collate([sample]))[0]) for sample in samples])
    assert both == pytest.approx((one + two) / 2, rel=1e-5)
    assert abs(mixed - both) > 1e-3
    assert alone < both - 0.05  # more filters gain more


def test_gradients_reach_the_network(copy):
    """They are those of the loss with the best filters, which change with what is proposed."""
    torch.manual_seed(1)
    net = RestoreNet(RestoreConfig(width=8, blocks=1))
    batch = collate(Crops([copy], (48, 48)).group(np.random.default_rng(3), 4))
    restore_loss(net, batch)[0].backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        assert bool(parameter.grad.any()) != name.startswith("condition."), name  # whose output starts at zero
    step = 0.02 * torch.nn.functional.normalize(net.end.weight.grad.flatten(), dim=0).view_as(net.end.weight)
    found = []
    with torch.no_grad():
        for sign in (1, -2):
            net.end.weight += sign * step
            found.append(float(restore_loss(net, batch)[0]))
    slope = (found[0] - found[1]) / 0.04
    assert slope > 0.02
    assert slope == pytest.approx(float(net.end.weight.grad.norm()), rel=0.1)


def test_proposals_do_not_harm(copy):
    """Filters leave those of a new network alone, but for what happens to fit."""
    net = RestoreNet(RestoreConfig(width=16, blocks=1))
    for seed in range(3):
        batch = collate(Crops([copy], (48, 48)).group(np.random.default_rng(seed), 4))
        with torch.no_grad():
            _, figures = restore_loss(net, batch)
        assert figures["filters_db"] > 0.05
        assert figures["filters_db"] - 0.01 < figures["gain_db"] < figures["filters_db"] + 0.5


@pytest.mark.parametrize("size", [1, 3, 4, 8, 11])
def test_batches_are_whole_groups(copy, tmp_path, size):
    """Also the single sample that a recipe in small has."""
    recipe = Recipe("x", "restore", (Stage("r", kind="record"), Stage("s", model="restore", steps=1, crop=(16, 24))))
    task = RestoreTask(recipe, tmp_path, tmp_path)
    task._copies = [copy]
    stage = dataclasses.replace(recipe.stages[1], batch=size)
    if size == 11:
        with pytest.raises(UsageError, match="batch of 11 is not a number of groups of 4"):
            task.stream(stage, 1, 0)
        return
    batch = next(task.stream(stage, 1, 0))
    assert batch.frames[0].shape == (size, 24, 4, 6)
    assert [part.shape for part in batch.features] == [(size, k, n) for k, n in zip(KEPT, (384, 96, 96), strict=True)]
    assert torch.isfinite(restore_loss(RestoreNet(RestoreConfig(width=8, blocks=1)), batch)[0])


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
    exported = export_restore(weights, tmp_path)
    assert exported.net.config.width == 16
    loaded = load_restore_weights(tmp_path / "restore.safetensors")
    assert loaded.sha256 == exported.sha256
    entry = json.loads((tmp_path / "manifest.json").read_text())["restore"]
    assert entry["sha256"] == exported.sha256


def test_weights_of_another_kind(stsr_path, tmp_path):
    with pytest.raises(WeightsError):
        export_restore(stsr_path, tmp_path)
    assert not (tmp_path / "restore.safetensors").exists()
