"""Training of stsr's network: copies of reduced clips, samples, the loss, a whole run, export."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from lvc.bitstream import StreamHeader
from lvc.codecs import get_codec
from lvc.codecs.stsr import StsrCodec
from lvc.enhance.restore import pack
from lvc.enhance.srfi import CONFIGS, Srfi, SrfiConfig
from lvc.errors import UsageError
from lvc.train import stsrtask, train
from lvc.train.cache import FrameStore, prepare
from lvc.train.export import export_stsr
from lvc.train.recipe import Recipe, Stage, load_recipe
from lvc.train.restoredata import BaseSpec, DecodedStore, _identity, clip_frames, kept_frames, make_decoded
from lvc.train.stsrtask import Clips, collate, stsr_loss
from lvc.types import EncodeOptions, VideoInfo

TINY = SrfiConfig("stsr-lite", width=8, blocks=1, tail=1, groups=2, flow_levels=2, flow_kernel=3, flow_widths=(8,))
SPECS = (BaseSpec("x265", "ultrafast", (34.0, 38.0), 1, kt=2), BaseSpec("x265", "ultrafast", (20.0, 24.0), 2, ks=2.0),
         BaseSpec("x265", "ultrafast", (20.0, 24.0), 3, kt=2, ks=1.5))


@pytest.fixture(scope="module")
def cache(tmp_path_factory, textured_frames, write_video):
    folder = tmp_path_factory.mktemp("stsr")
    sources = [write_video(folder / f"{seed}.mkv", textured_frames(8, 96, 80, seed=seed)) for seed in (1, 2)]
    prepare(sources, folder / "cache", progress=False)
    return folder / "cache"


@pytest.fixture(scope="module")
def copies(cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("decoded")
    return [DecodedStore(cache, make_decoded(cache, folder, spec, progress=False)) for spec in SPECS]


@pytest.mark.parametrize("number", range(3))
def test_copies_are_what_the_decoder_gives(cache, copies, number):
    copy, spec, codec = copies[number], SPECS[number], StsrCodec()
    assert (copy.kt, copy.ks) == (spec.kt, spec.ks)
    for clip in range(2):
        frames, video = clip_frames(FrameStore(cache), clip), VideoInfo(96, 80)
        params = {"base": "x265", "preset": "ultrafast", "crf": f"{spec.crf(clip):g}", "kt": str(spec.kt),
                  "ks": f"{spec.ks:g}"}
        encoder = codec.encoder(video, EncodeOptions(intra_period=-1, threads=1, params=params))
        packets = [p for f in frames for p in encoder.push(f)] + encoder.flush()
        decoder = codec.decoder(StreamHeader(codec.codec_id, b"", video, -1, encoder.codec_data))
        result = [f for p in packets for f in decoder.push(p)] + decoder.flush()
        by_motion = {p.pts for p in packets if not p.payload and p.quality == 0}
        assert bool(by_motion) == (spec.kt == 2)
        for t, frame in enumerate(result):
            if t in kept_frames(8, spec.kt) or t in by_motion:
                for plane, expected in zip(copy.planes(clip), frame.planes, strict=True):
                    assert np.array_equal(plane[t], expected)


def test_kept_frames():
    assert kept_frames(1, 2) == [0]
    assert kept_frames(2, 2) == [0, 1]
    assert kept_frames(5, 2) == [0, 2, 4]
    assert kept_frames(6, 2) == [0, 2, 4, 5]
    assert kept_frames(3, 1) == [0, 1, 2]


def test_copies_without_reduction_keep_their_names():
    assert _identity("id", BaseSpec("x265", "medium", (1.0, 2.0), 3)) == {
        "version": 1, "cache": "id", "codec": "x265", "preset": "medium", "crfs": [1.0, 2.0], "seed": 3}
    assert _identity("id", SPECS[1])["ks"] == 2.0
    with pytest.raises(UsageError, match="kt 3"):
        BaseSpec("x265", "medium", (1.0, 2.0), kt=3)


def test_samples_are_crops_of_both(copies):
    clips = Clips(copies, (48, 48), 3)
    kinds = set()
    for seed in range(12):
        samples = clips.samples(np.random.default_rng(seed), 2)
        assert samples[0].kt == samples[1].kt
        for sample in samples:
            kinds.add((sample.kt, sample.ks))
            length = 5 if sample.kt == 2 else 3
            for stack in (sample.plain, sample.original):
                assert [plane.shape for plane in stack] == [(length, 48, 48), (length, 24, 24), (length, 24, 24)]
            assert len(sample.levels) == len(sample.intra) == 3
            # the two are the same place at the same time
            error = np.mean((sample.plain[0].astype(float) - sample.original[0]) ** 2)
            moved = np.mean((sample.plain[0][1:].astype(float) - sample.original[0][:-1]) ** 2)
            assert error < 0.7 * moved
    assert kinds == {(2, 1.0), (1, 2.0), (2, 1.5)}
    again = clips.samples(np.random.default_rng(0), 2)[0]
    assert np.array_equal(again.plain[0], clips.samples(np.random.default_rng(0), 2)[0].plain[0])
    for crop, frames, message in (((50, 48), 3, "multiples of 4"), ((128, 48), 3, "none of 2 clips"),
                                  ((48, 48), 5, "none of 2 clips holds 48x48 in 9 frames")):
        with pytest.raises(UsageError, match=message):
            Clips(copies, crop, frames)


def test_batches_and_loss(copies):
    clips = Clips([copies[0]], (48, 64), 3)
    samples = clips.samples(np.random.default_rng(4), 2)
    batch = collate(samples)
    plain, middles, levels, kinds, scales = batch.arguments
    assert plain.shape == batch.originals.shape == (2, 3, 24, 12, 16)
    assert middles.shape == batch.between.shape == (2, 2, 24, 12, 16)
    assert (levels.shape, kinds.shape, scales.tolist()) == ((2, 3), (2, 3, 2), [1.0, 1.0])
    y, u, v = (torch.from_numpy(p[3]).float()[None, None] for p in samples[1].plain)
    assert torch.equal(middles[1, 1], pack(y, u, v)[0])
    loss, figures = stsr_loss(Srfi(TINY), batch)
    assert figures == {"gain_db": 0.0, "gain_between_db": 0.0}

    class Half(torch.nn.Module):
        """Halves every error: 6 dB, but for the floor."""

        def forward(self, plain, middles, *rest):
            return (plain + batch.originals) / 2, (middles + batch.between) / 2

    better, figures = stsr_loss(Half(), batch)
    assert 0.4 * float(loss) < float(better) < 0.62 * float(loss)
    assert 4.0 < figures["gain_db"] < 6.03
    assert 4.0 < figures["gain_between_db"] < 6.03
    alone = collate(Clips([copies[1]], (48, 48), 2).samples(np.random.default_rng(0), 1))
    assert alone.arguments[1].shape[1] == 0
    assert stsr_loss(Srfi(TINY), alone)[1] == {"gain_db": 0.0}


def test_recipe_that_ships():
    recipe = load_recipe("stsr-lite")
    assert (recipe.family, recipe.model, recipe.stages[1].model) == ("stsr", "stsr-lite", "stsr")
    assert (recipe.stages[1].crop, recipe.stages[1].lr) == ((128, 128), 2e-4)
    task = stsrtask.StsrTask(recipe, None, None)
    assert task.betas == (0.9, 0.99)
    names = [name for name, _ in task.build()["stsr"].named_parameters()]
    rates = {name.split(".")[0]: task.lr_factor(recipe.stages[1], name) * recipe.stages[1].lr for name in names}
    assert rates.pop("flow") == pytest.approx(2.5e-5)
    assert set(rates.values()) == {2e-4}


@pytest.mark.parametrize(("stages", "message"), [
    ((Stage("a", model="stsr", steps=1, crop=(64, 64)),), "first stage of a training of stsr"),
    ((Stage("r", kind="record", frames=7),), "frames has no meaning"),
    ((Stage("r", kind="record"), Stage("a", model="restore", steps=1)), "model must be one of stsr")])
def test_recipes_that_make_no_sense(stages, message):
    for model in ("stsr", "stsr-lite"):
        with pytest.raises(UsageError, match=message):
            Recipe("x", model, stages)


def test_a_run_learns_exports_and_codes(monkeypatch, cache, tmp_path):
    monkeypatch.setattr(stsrtask, "BASES", SPECS[:2])
    monkeypatch.setitem(CONFIGS, "stsr-lite", TINY)
    recipe = tmp_path / "r.toml"
    recipe.write_text("""
name = "tiny"
model = "stsr-lite"
val_frames = 3
val_qualities = [20, 40]
[[stage]]
name = "r"
kind = "record"
[[stage]]
name = "s"
model = "stsr"
steps = 40
frames = 2
crop = [48, 48]
batch = 2
lr = 4e-3
warmup = 1
""", encoding="utf-8")
    weights = train(str(recipe), data=[str(cache)], val=[str(cache)], runs=str(tmp_path), threads=1)
    log = [json.loads(line) for line in (tmp_path / "tiny" / "log.jsonl").read_text().splitlines()]
    gains = [entry["gain_db"] for entry in log if entry["kind"] == "train"]
    assert len(gains) == 2
    assert gains[-1] > 0.1
    assert any(entry["kind"] != "train" and "bpp" in entry for entry in log)
    assert get_codec("stsr", str(weights)).weights.net.config == TINY
    exported = export_stsr(tmp_path / "tiny" / "checkpoint.pt", tmp_path)
    entry = json.loads((tmp_path / "manifest.json").read_text())["stsr"]
    assert (entry["sha256"], entry["file"]) == (exported.sha256, "stsr.safetensors")


def test_a_checkpoint_of_another_kind(tmp_path):
    torch.save({"models": {}, "ema": {}}, tmp_path / "c.pt")
    with pytest.raises(UsageError, match="not of a training of stsr"):
        export_stsr(tmp_path / "c.pt", tmp_path)
