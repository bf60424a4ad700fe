"""Training of swift on tiny clips: recordings, what is learned from them, resuming, weights that code video."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import lvc.train.swiftrecord as swiftrecord
from lvc.bitstream import StreamHeader
from lvc.codecs.swift import load_swift
from lvc.entropy.symbols import EstimateSymbols
from lvc.errors import UsageError, VideoError
from lvc.models.swiftmodel import SwiftConfig, SwiftModel
from lvc.models.swiftmotion import SwiftMotion
from lvc.ops.blockdct import forward_dct
from lvc.ops.blockmotion import search
from lvc.train import train
from lvc.train.cache import prepare
from lvc.train.export import export_swift
from lvc.train.loop import Trainer
from lvc.train.recipe import Recipe, Stage, load_recipe
from lvc.train.swiftdata import CHANNELS, Crops, Recording
from lvc.train.swiftlosses import entropy_loss, filter_loss, motion_loss, start_filter
from lvc.train.swiftrecord import MotionRecorder, record
from lvc.train.swifttask import SwiftTask
from lvc.types import EncodeOptions, Frame, VideoInfo

FrameMaker = Callable[..., list[Frame]]
SMALL: dict[str, Any] = {"crop": (32, 40), "batch": 2, "warmup": 2, "lr": 1e-3}
RECORD = Stage("record", kind="record", frames=4, qualities=(30, 50))
PLAN = (RECORD, Stage("entropy", model="entropy", steps=3, **SMALL),
        Stage("motion", model="motion", steps=2, batch=32, warmup=2, lr=1e-3),
        Stage("again", kind="record", frames=3, quantizer="rdo", effort=0),
        Stage("filter", model="filter", steps=2, **SMALL))


def small_model(seed: int = 0) -> SwiftModel:
    torch.manual_seed(seed)
    return SwiftModel(SwiftConfig(entropy_width=8, motion_width=8, filter_width=8, filter_layers=1))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SwiftTask, "config", small_model().config)


@pytest.fixture(scope="module")
def videos(textured_frames: FrameMaker, write_video: Callable[..., Path],
           tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for seed in range(3):
        write_video(folder / f"{seed}.mkv", textured_frames(5, 64, 48, seed=seed, motion=(2 + 2 * seed, 2)))
    return folder


@pytest.fixture(scope="module")
def cache(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    prepare([videos], folder, progress=False)
    return folder


def make(cache: Path, folder: Path, stage: Stage = RECORD, workers: int = 1, model: SwiftModel | None = None,
         seed: tuple[int, int] = (1, 0)) -> Recording:
    return record(cache, folder, (model or small_model()).eval(), stage, seed, workers=workers, progress=False)


@pytest.fixture(scope="module")
def recording(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return make(cache, tmp_path_factory.mktemp("recording"))


def content(made: Recording) -> list[Any]:
    """Everything in a recording, clip by clip, wherever it lies."""
    found: list[Any] = []
    for i, clip in enumerate(made.clips):
        found += [(clip.clip, clip.quality), *(made.frame(i, t).tobytes() for t in range(clip.n_frames))]
        found += [made._motion[name][start : start + n].tobytes() for name, (start, n) in clip.rows.items()]
    return found


def test_recordings_depend_on_seed_and_networks_alone(recording: Recording, cache: Path, tmp_path: Path) -> None:
    assert len(recording.clips) == 3
    assert recording.frame(0, 2).shape == (6, 8, CHANNELS)
    assert all(30 <= c.quality <= 50 for c in recording.clips)
    assert content(make(cache, tmp_path / "a", workers=3)) == content(recording)
    assert content(make(cache, tmp_path / "b", seed=(2, 0))) != content(recording)
    # Rounding asks no network but the filter; rate-distortion optimization does.
    rdo = Stage("rdo", kind="record", frames=4, qualities=(30, 50), quantizer="rdo")
    assert content(make(cache, tmp_path / "c", rdo)) != content(recording)


def test_a_recording_is_made_once_for_its_conditions(cache: Path, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(cache, tmp_path)
    coded: list[int] = []
    inner = swiftrecord._Encoder.clip
    monkeypatch.setattr(swiftrecord._Encoder, "clip", lambda self, number, frames: coded.append(number)
                        or inner(self, number, frames))
    assert make(cache, tmp_path).digest == first.digest
    assert coded == []
    other = make(cache, tmp_path, model=small_model(seed=5))
    assert other.digest != first.digest
    assert sorted(coded) == [0, 1, 2]
    assert not list(tmp_path.glob("*part*"))


def test_a_stopped_recording_goes_on(recording: Recording, cache: Path, tmp_path: Path,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    inner, coded = swiftrecord._Encoder.clip, []

    def clip(self: Any, number: int, frames: Any) -> Any:
        if len(coded) == 2:
            raise KeyboardInterrupt
        coded.append(number)
        return inner(self, number, frames)

    with monkeypatch.context() as patch:
        patch.setattr(swiftrecord._Encoder, "clip", clip)
        with pytest.raises(KeyboardInterrupt):
            make(cache, tmp_path)
    with pytest.raises(VideoError, match="no recording"):
        Recording(tmp_path)
    journal = tmp_path / "recording.part.jsonl"
    finished = journal.read_text().count("\n") - 1
    assert finished in (1, 2)
    with journal.open("a") as file:
        file.write('[2, 3')  # half a line, and rows of a clip that is not in the journal
    with (tmp_path / "vectors.bin.part").open("ab") as file:
        file.write(b"rest of a clip")
    again: list[int] = []
    monkeypatch.setattr(swiftrecord._Encoder, "clip", lambda self, number, frames: again.append(number)
                        or inner(self, number, frames))
    assert content(make(cache, tmp_path)) == content(recording)
    assert len(again) == 3 - finished


@pytest.mark.parametrize("name", ["frames.bin", "vectors.bin", "recording.json"])
def test_damaged_recordings_are_refused(recording: Recording, cache: Path, tmp_path: Path, name: str) -> None:
    make(cache, tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(VideoError, match=r"frames\.bin|vectors|motion files|recording\.json"):
        Recording(tmp_path)
    assert content(make(cache, tmp_path)) == content(recording)


def test_mirrored_coefficients_are_those_of_the_mirrored_picture() -> None:
    rng = np.random.default_rng(0)
    planes = [torch.from_numpy(rng.integers(-255, 256, shape)) for shape in ((16, 24), (8, 12), (8, 12))]
    plain = forward_dct(*planes)
    records = np.zeros((1, 2, 3, CHANNELS), np.uint8)
    for flips in ((True, False), (False, True), (True, True)):
        dims = [i for i in range(2) if flips[i]]
        negative = Crops(records, np.array([0]), np.array([flips]))._negative()[0]
        expected = torch.where(negative, -plain, plain).flip([d + 1 for d in dims])
        assert torch.equal(forward_dct(*(p.flip(dims) for p in planes)), expected)


def whole(recording: Recording, clip: int, frame: int) -> Crops:
    return Crops(recording.frame(clip, frame)[None], np.array([recording.clips[clip].quality]),
                 np.zeros((1, 2), np.bool_))


def test_recorded_contexts_give_the_encoders_bits(cache: Path, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """Symbols, contexts and filter inputs as packed are those that the encoder had."""
    seen: list[Any] = []
    inner = swiftrecord.pack_frame

    def pack(prediction: Any, coefficients: Tensor, symbols: Tensor) -> Any:
        seen.append((prediction, coefficients, symbols))
        return inner(prediction, coefficients, symbols)

    monkeypatch.setattr(swiftrecord, "pack_frame", pack)
    made, model = make(cache, tmp_path), small_model(3).eval()
    torch.nn.init.normal_(model.filter.end.weight, 0.0, 0.1)
    assert len(seen) == 9
    for k, (prediction, coefficients, symbols) in enumerate(seen):
        crops = whole(made, k // 3, k % 3)
        got, context = crops.residual()
        assert torch.equal(got[0], symbols)
        coder = EstimateSymbols(torch.ones(1))
        model.entropy(coder, symbols[None], prediction.context)
        loss, figures = entropy_loss(model.entropy, got, context)
        expected = float(sum(b.sum() for b in coder.bits)) / (64 * 48)
        assert figures["bpp_flags"] + figures["bpp_coefficients"] == pytest.approx(expected, rel=1e-5)
        assert torch.isfinite(loss)
        assert torch.equal(model.filter.correct(crops.filter_input()),
                           model.filter(*prediction.filter_inputs(symbols)))
        difference = (crops.error()[0] - (coefficients - symbols).clamp(-127 / 32, 127 / 32)).abs()
        assert float(difference.max()) <= 1 / 64 + 1e-6


def test_rows_of_motion_cost_what_the_model_codes(textured_frames: FrameMaker) -> None:
    torch.manual_seed(2)
    model = SwiftMotion(8)
    recorder, rows, bits = MotionRecorder(), {}, 0.0
    frames = textured_frames(4, 160, 104, motion=(6, 2))
    field = sizes = None
    for one, other in zip(frames[1:], frames, strict=False):
        found = search(one.y, other.y, 4.0)
        coder = EstimateSymbols(torch.ones(1))
        model(coder, found.vectors, found.sizes, found.sizes.shape, 33, field, sizes)
        bits += float(sum(b.sum() for b in coder.bits))
        for name, more in recorder(found.vectors, found.sizes, 33, field, sizes).items():
            rows.setdefault(name, []).extend(more)
        field, sizes = found.vectors, found.sizes
    batch = {name: (recorder.layouts[name], np.concatenate(parts)) for name, parts in rows.items()}
    assert set(batch) == {"vectors", "splits"}
    loss, figures = motion_loss(model, batch)
    total = sum(figures[f"bits_{name}"] * len(part) for name, (_, part) in batch.items())
    assert total == pytest.approx(bits, rel=1e-5)
    assert figures["loss"] == pytest.approx(bits / max(len(part) for _, part in batch.values()), rel=1e-5)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_crops_are_of_recorded_frames(recording: Recording) -> None:
    crops = recording.crops(np.random.default_rng(0), (16, 24), 40)
    assert crops.records.shape == (40, 2, 3, CHANNELS)
    frames = [recording.frame(i, t) for i, c in enumerate(recording.clips) for t in range(c.n_frames)]
    windows = {f[y : y + 2, x : x + 3].tobytes() for f in frames for y in range(5) for x in range(6)}
    found = set()
    for part, (flip_y, flip_x) in zip(crops.records, crops.mirrored, strict=True):
        back = np.ascontiguousarray(part[:: -1 if flip_y else 1, :: -1 if flip_x else 1]).tobytes()
        assert back in windows
        found.add(back)
    assert len(found) > 20
    assert {tuple(m) for m in crops.mirrored.tolist()} == {(a, b) for a in (True, False) for b in (True, False)}
    with pytest.raises(UsageError, match="64x128"):
        recording.crops(np.random.default_rng(0), (128, 64), 1)


def test_rows_are_drawn_from_all_clips(recording: Recording) -> None:
    for name, n in recording.n_rows.items():
        drawn = recording.rows(name, np.random.default_rng(0), 40 * n)
        assert {row.tobytes() for row in drawn} == {row.tobytes() for row in recording._motion[name]}


def test_every_network_learns(recording: Recording) -> None:
    model, rng = small_model(), np.random.default_rng(0)
    crops = recording.crops(rng, (48, 64), 4)
    rows = {name: (layout, recording.rows(name, rng, 60)) for name, layout in recording.motion.items()}
    for part, loss_of in ((model.entropy, lambda: entropy_loss(model.entropy, *crops.residual())),
                          (model.motion, lambda: motion_loss(model.motion, rows)),
                          (model.filter, lambda: filter_loss(model.filter, crops))):
        optimizer, losses = torch.optim.Adam(part.parameters(), 5e-3), []
        for _ in range(12):
            optimizer.zero_grad()
            loss, figures = loss_of()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(part.parameters(), 0.3)
            optimizer.step()
            losses.append(figures["loss"])
        assert np.mean(losses[-3:]) < 0.97 * losses[0], type(part).__name__


def test_a_filter_starts_from_the_linear_optimum(recording: Recording) -> None:
    model = small_model().filter
    crops = recording.crops(np.random.default_rng(0), (48, 64), 8)
    assert filter_loss(model, crops)[1]["gain"] == 0.0
    start_filter(model, crops)
    assert filter_loss(model, crops)[1]["gain"] > 0.005


def plan(*stages: Stage, **values: Any) -> Recipe:
    return Recipe("run", "swift", stages or PLAN, **{"autocast": "", "clip": 0.3, **values})


def state(trainer: Trainer) -> dict[str, Tensor]:
    return {**{f"model.{k}": v for k, v in trainer.models.state_dict().items()},
            **{f"ema.{k}": v for k, v in trainer.ema.items()}}


@pytest.fixture(scope="module")
def uninterrupted(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SwiftTask, "config", small_model().config)
        trainer = Trainer(plan(), cache, tmp_path_factory.mktemp("whole"))
        trainer.run()
    assert trainer.step == 7
    return state(trainer)


@pytest.mark.parametrize("step", [0, 2, 5])
def test_a_stopped_run_goes_on_bit_for_bit(uninterrupted: dict[str, Tensor], cache: Path, tmp_path: Path, step: int,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a stage, and before the first step of one that follows a recording."""
    first = Trainer(plan(), cache, tmp_path)
    inner = first._train_step

    def step_or_stop(*args: Any) -> dict[str, float]:
        if first.step == step:
            if first.stage_step:
                first.save()
            raise KeyboardInterrupt
        return inner(*args)

    monkeypatch.setattr(first, "_train_step", step_or_stop)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    resumed = Trainer(plan(), cache, tmp_path)
    assert resumed.step == step
    resumed.run()
    got = state(resumed)
    assert got.keys() == uninterrupted.keys()
    assert [k for k, v in uninterrupted.items() if not torch.equal(got[k], v)] == []


def test_a_recording_that_is_gone_is_made_again(cache: Path, tmp_path: Path) -> None:
    stages = PLAN[:2]
    Trainer(plan(*stages), cache, tmp_path).run()
    shutil.rmtree(tmp_path / "recording")
    longer = (*stages, Stage("more", model="entropy", steps=1, **SMALL))
    trainer = Trainer(plan(*longer), cache, tmp_path)
    assert trainer.stage_index == 2
    trainer.run()
    assert trainer.step == 4
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert kinds == ["record", "record"]
    assert Recording(tmp_path / "recording").digest == trainer.task.state()["recording"]


TOML = """
name = "small"
model = "swift"
autocast = ""
val_frames = 2
val_qualities = [20, 45]
[[stage]]
name = "record"
kind = "record"
frames = 3
[[stage]]
name = "entropy"
model = "entropy"
steps = 2
crop = [32, 32]
batch = 2
[[stage]]
name = "motion"
model = "motion"
steps = 1
batch = 16
"""


def test_a_recipe_becomes_weights_that_code_video(videos: Path, textured_frames: FrameMaker, tmp_path: Path) -> None:
    """From folders of videos to validated weights, and on from those."""
    path, runs = tmp_path / "small.toml", str(tmp_path / "runs")
    path.write_text(TOML)
    one_clip = str(videos / "0.mkv")
    result = train(str(path), data=[str(videos)], val=[one_clip], runs=runs)
    log = [json.loads(line) for line in (tmp_path / "runs/small/log.jsonl").read_text().splitlines()]
    assert [r["kind"] for r in log] == ["record", "validation"]  # motion alone is not there after "entropy"
    assert log[1]["bpp"][0] < log[1]["bpp"][1]
    assert log[1]["psnr_y"][0] + 5 < log[1]["psnr_y"][1]

    codec, frames = load_swift(str(result)), textured_frames(3, 64, 48)
    encoder = codec.encoder(VideoInfo(64, 48), EncodeOptions(quality=50))
    decoder = codec.decoder(StreamHeader(codec.codec_id, codec.weights_digest, VideoInfo(64, 48), 32, b""))
    decoded = [f for frame in frames for p in encoder.push(frame) for f in decoder.push(p)]
    assert np.mean((decoded[2].y.astype(float) - frames[2].y) ** 2) < 30

    shipped = export_swift(tmp_path / "runs/small/checkpoint.pt", tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_text())["swift"]["sha256"] == shipped.sha256
    same = codec.weights.model.state_dict()
    assert all(torch.equal(value, same[key]) for key, value in shipped.model.state_dict().items())

    more = path.with_name("more.toml")
    more.write_text(TOML.replace('"small"', f'"more"\ninit = "{result}"'))
    with pytest.raises(UsageError, match="no training data"):
        train(str(more), runs=runs)
    cache_folder = next((tmp_path / "runs/cache").iterdir())
    trainer = Trainer(load_recipe(more), cache_folder, tmp_path / "more")
    start = trainer.models["entropy"].get_parameter("base_index.knots")
    assert torch.equal(start, codec.weights.model.entropy.base_index.knots)
    assert len(trainer.models["entropy"].get_buffer("base_index.frozen")) == 0


@pytest.mark.parametrize(("stages", "values", "pattern"), [
    ((PLAN[1],), {}, "recording"),
    (PLAN[:1], {"autocast": "bfloat16"}, "autocast"),
    ((RECORD, Stage("x", steps=1)), {}, "entropy, motion, filter"),
    ((RECORD, Stage("x", model="entropy", steps=1, crop=(20, 32))), {}, "multiples of 8"),
    ((RECORD, Stage("x", model="entropy", steps=1, quantizer="rdo")), {}, "quantizer"),
    ((RECORD, Stage("x", model="entropy", steps=1, loss="me")), {}, "loss"),
    ((Stage("x", kind="record", batch=3),), {}, "batch"),
])
def test_mistakes_in_recipes_are_named(stages: tuple[Stage, ...], values: dict[str, Any], pattern: str) -> None:
    with pytest.raises(UsageError, match=pattern):
        plan(*stages, **values)


def test_mistakes_in_stages_are_named(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ends by itself"):
        Stage("x", kind="record", steps=3)
    with pytest.raises(UsageError, match="effort"):
        Stage("x", kind="record", effort=9)
    with pytest.raises(UsageError, match="swift only"):
        Recipe("x", "dvc-lite", (RECORD,))
    with pytest.raises(UsageError, match="effort"):
        Recipe("x", "dvc-lite", (Stage("x", steps=1, effort=2),))
    trainer = Trainer(plan(RECORD, Stage("x", model="entropy", steps=1, crop=(512, 512))), cache, tmp_path)
    with pytest.raises(UsageError, match="512x512"):
        trainer.run()
