"""Recordings of swift's encoder on tiny clips: what is in them, and what is learned from them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import lvc.train.swiftrecord as swiftrecord
from lvc.codecs.schedule import CASCADE, frame_quality
from lvc.codecs.swiftcoding import CodedResidual
from lvc.codecs.swiftframe import size_aux, size_map
from lvc.entropy.distributions import TableDistribution
from lvc.entropy.symbols import EstimateSymbols
from lvc.errors import UsageError, VideoError
from lvc.models.swift import AUX, CONTEXT_MAX, SwiftContext
from lvc.models.swiftfilter import SwiftFilter, corrected, from_cells, to_cells
from lvc.models.swiftinference import EntropyInference, FrameContext, SwiftInference
from lvc.models.swiftmodel import SwiftModel
from lvc.models.swiftmotion import CompoundContext, SwiftMotion, go_through_compound
from lvc.models.swiftsizes import SwiftSizes
from lvc.ops.blockdct import COEFFICIENTS, quantizer_step
from lvc.ops.blockmotion import search
from lvc.ops.integer import IntConv2d
from lvc.train.swiftdata import CHANNELS, Crops, Recording
from lvc.train.swiftlosses import entropy_loss, filter_loss, motion_loss
from lvc.train.swiftrecord import RowRecorder, random_sizes
from lvc.types import Frame

FrameMaker = Callable[..., list[Frame]]
MakeSwift = Callable[..., SwiftModel]
MakeRecording = Callable[..., Recording]


def content(made: Recording) -> list[Any]:
    """Everything in a recording, clip by clip, wherever it lies."""
    found: list[Any] = []
    for i, clip in enumerate(made.clips):
        found += [(clip.clip, clip.quality), *(made.frame(i, t).tobytes() for t in range(clip.n_frames))]
        found += [made._motion[name][start : start + n].tobytes() for name, (start, n) in clip.rows.items()]
    return found


def test_recordings_depend_on_seed_and_networks_alone(make_recording: MakeRecording, recording: Recording,
                                                      swift_cache: Path, tmp_path: Path) -> None:
    assert len(recording.clips) == 3
    assert CHANNELS == 586
    assert recording.frame(0, 2).shape == (6, 8, CHANNELS)
    assert all(30 <= c.quality <= 50 for c in recording.clips)
    assert content(make_recording(swift_cache, tmp_path / "a", workers=3)) == content(recording)
    assert content(make_recording(swift_cache, tmp_path / "b", seed=(2, 0))) != content(recording)
    # Rounding asks no network but the filter; rate-distortion optimization does.
    assert content(make_recording(swift_cache, tmp_path / "c", quantizer="rdo")) != content(recording)


def test_a_recording_is_made_once_for_its_conditions(make_recording: MakeRecording, small_swift: MakeSwift,
                                                     swift_cache: Path, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    first = make_recording(swift_cache, tmp_path)
    coded: list[int] = []
    inner = swiftrecord._Encoder.clip
    monkeypatch.setattr(swiftrecord._Encoder, "clip", lambda self, number, frames: coded.append(number)
                        or inner(self, number, frames))
    assert make_recording(swift_cache, tmp_path).digest == first.digest
    assert coded == []
    other = make_recording(swift_cache, tmp_path, model=small_swift(seed=5))
    assert other.digest != first.digest
    assert sorted(coded) == [0, 1, 2]
    assert not list(tmp_path.glob("*part*"))


def test_a_stopped_recording_goes_on(make_recording: MakeRecording, recording: Recording, swift_cache: Path,
                                     tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner, coded = swiftrecord._Encoder.clip, []

    def clip(self: Any, number: int, frames: Any) -> Any:
        if len(coded) == 2:
            raise KeyboardInterrupt
        coded.append(number)
        return inner(self, number, frames)

    with monkeypatch.context() as patch:
        patch.setattr(swiftrecord._Encoder, "clip", clip)
        with pytest.raises(KeyboardInterrupt):
            make_recording(swift_cache, tmp_path)
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
    assert content(make_recording(swift_cache, tmp_path)) == content(recording)
    assert len(again) == 3 - finished


@pytest.mark.parametrize("name", ["frames.bin", "vectors.bin", "joins.bin", "recording.json"])
def test_damaged_recordings_are_refused(recording_folder: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(recording_folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(VideoError, match=r"frames\.bin|vectors|motion files|recording\.json"):
        Recording(tmp_path)


def test_damaged_recordings_are_made_again(make_recording: MakeRecording, recording: Recording, recording_folder: Path,
                                           swift_cache: Path, tmp_path: Path) -> None:
    shutil.copytree(recording_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "joins.bin").write_bytes(b"")
    assert content(make_recording(swift_cache, tmp_path)) == content(recording)


def whole(recording: Recording, clip: int, frame: int) -> Crops:
    return Crops(recording.frame(clip, frame)[None])


@pytest.mark.parametrize("quantizer", ["rounding", "rdo"])
def test_recordings_hold_what_the_encoder_had(make_recording: MakeRecording, small_swift: MakeSwift, swift_cache: Path,
                                              tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quantizer: str) -> None:
    """Symbols, contexts and samples as packed; and the filter gives from them what it gave to the encoder."""
    seen: list[Any] = []
    inner = swiftrecord.pack_frame

    def pack(*args: Any) -> Any:
        seen.append(args)
        return inner(*args)

    monkeypatch.setattr(swiftrecord, "pack_frame", pack)
    model = small_swift(3).eval()
    torch.nn.init.normal_(model.filter.end.weight, 0.0, 0.1)
    made = make_recording(swift_cache, tmp_path, quantizer=quantizer, effort=0, model=model, qualities=(0, 20))
    assert len(seen) == 9
    loop_filter = SwiftInference(model).filter
    for k, (coded, source) in enumerate(seen):
        crops = whole(made, k // 3, k % 3)
        got, context = crops.residual()
        np.testing.assert_array_equal(got[0].permute(1, 2, 0).numpy(), coded.symbols)
        for name in ("prediction", "former", "aux"):
            np.testing.assert_array_equal(getattr(context, name)[0].permute(1, 2, 0).numpy(),
                                          getattr(coded.context, name))
        assert crops.quality.tolist() == context.quality.tolist() == [coded.context.quality]
        for name, planes in (("decoded", coded.decoded), ("predicted", coded.predicted), ("source", source)):
            for plane, want in zip(from_cells(crops.cells(name)), planes, strict=True):
                np.testing.assert_array_equal(plane[0, 0].numpy(), want)
        correction, step = model.filter(crops.filter_input()).detach(), quantizer_step(coded.context.quality)
        aux = size_aux(coded.reference.sizes).transpose(1, 2, 0)
        for plane, want in zip(from_cells(corrected(crops.cells("decoded"), correction, torch.tensor([step]))),
                               loop_filter(coded.decoded, coded.predicted, aux, coded.context.quality, step),
                               strict=True):
            np.testing.assert_array_equal(plane[0, 0].numpy(), want)
        loss, figures = entropy_loss(model.entropy, got, context)
        expected = coded_bits(model, coded) / (64 * 48)
        assert figures["bpp_flags"] + figures["bpp_coefficients"] == pytest.approx(expected, rel=1e-5)
        assert torch.isfinite(loss)
    sizes = {int(size) for coded, _ in seen for size in np.unique(coded.reference.sizes)}
    assert sizes - {8} if quantizer == "rdo" else sizes == {8, 16, 32}


@torch.no_grad()
def coded_bits(model: SwiftModel, coded: CodedResidual) -> float:
    """By the networks in C++: what the symbols cost."""
    bits = 0.0

    class Coder:
        def code(self, values: Any, index: Any, distribution: TableDistribution) -> Any:
            nonlocal bits
            given = torch.from_numpy(np.asarray(values, np.float32)), torch.from_numpy(index.astype(np.float32))
            bits += float(distribution.bits(*given).sum())
            return values

    EntropyInference(model.entropy).code(Coder(), coded.symbols, coded.context)
    return bits


def test_qualities_follow_the_cascade(recording: Recording) -> None:
    """Each frame says its own, around that of its clip; a clip starts anywhere in the cascade."""
    phases = set()
    for i, clip in enumerate(recording.clips):
        got = [int(whole(recording, i, t).quality) for t in range(clip.n_frames)]
        fits = [phase for phase in range(len(CASCADE))
                if got == [frame_quality(clip.quality, phase + 1 + t) for t in range(clip.n_frames)]]
        assert fits
        phases.add(fits[0])
    assert len(phases) > 1
    crops = recording.crops(np.random.default_rng(0), (16, 24), 40)
    assert crops.quality.tolist() == crops.records[:, 1, 2, 2 * 96 + 96].tolist()
    assert len(set(crops.quality.tolist())) > 2


def test_random_sizes_are_trees_within_the_picture() -> None:
    rng, counts = np.random.default_rng(0), dict.fromkeys((8, 16, 32), 0)
    for shape in ((1, 1), (3, 2), (4, 4), (11, 14)) * 20:
        sizes = random_sizes(rng, shape)
        assert sizes.shape == shape
        for size in counts:
            f = size // 8
            where = sizes == size
            counts[size] += int(where.sum())
            inside = where[: shape[0] // f * f, : shape[1] // f * f]
            assert inside.sum() == where.sum()
            counted = inside.reshape(shape[0] // f, f, shape[1] // f, f).sum((1, 3))
            assert set(counted.ravel().tolist()) <= {0, f * f}
    assert all(count > 500 for count in counts.values())


def test_rows_of_motion_cost_what_the_model_codes(textured_frames: FrameMaker) -> None:
    torch.manual_seed(2)
    model = SwiftMotion(8, references=2)
    recorder, rows, bits = RowRecorder(2), {}, 0.0
    frames, rng = textured_frames(4, 160, 104, motion=(6, 2)), np.random.default_rng(0)
    field = sizes = flags = None
    for one, other in zip(frames[1:], frames, strict=False):
        found = search(one.y, other.y, 4.0)
        given = found.vectors, found.sizes
        coder = EstimateSymbols(torch.ones(1))
        model(coder, *given, found.sizes.shape, 33, field, sizes)
        context = CompoundContext(*given, 2 * found.vectors, rng.integers(0, 900, found.sizes.shape), flags, 3, 33)
        flags = go_through_compound(context, lambda ys, xs, _: rng.random(len(ys)) < 0.4)
        model.code_compound(coder, flags, context)
        bits += float(sum(b.sum() for b in coder.bits))
        recorder.code(*given, 33, field, sizes)
        recorder.code_compound(flags, context)
        for name, more in recorder.take().items():
            rows.setdefault(name, []).extend(more)
        field, sizes = given
    batch = {name: (recorder.layouts[name], np.concatenate(parts)) for name, parts in rows.items()}
    assert set(batch) == {"vectors", "splits", "compound"}
    loss, figures = motion_loss(model, batch)
    total = sum(figures[f"bits_{name}"] * len(part) for name, (_, part) in batch.items())
    assert total == pytest.approx(bits, rel=1e-5)
    assert figures["loss"] == pytest.approx(bits / max(len(part) for _, part in batch.values()), rel=1e-5)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_rows_of_sizes_cost_what_the_model_codes() -> None:
    torch.manual_seed(2)
    model, recorder, rng = SwiftSizes(8), RowRecorder(1), np.random.default_rng(0)
    bits, rows, squares, former = 0.0, [], 0, None
    for quality in (10, 40):
        context = FrameContext(*(rng.integers(0, CONTEXT_MAX + 1, (13, 18, n), np.uint8)
                                 for n in (COEFFICIENTS, COEFFICIENTS, AUX)), quality)
        sizes, motion = random_sizes(rng, (13, 18)), random_sizes(rng, (13, 18))
        coder = EstimateSymbols(torch.ones(1))
        parts = (torch.from_numpy(part).permute(2, 0, 1)[None].float()
                 for part in (context.prediction, context.former, context.aux))
        model(coder, size_map(sizes), SwiftContext(*parts, torch.tensor([quality])), size_map(motion),
              None if former is None else size_map(former))
        bits += float(sum(b.sum() for b in coder.bits))
        recorder.code_sizes(sizes, context, motion, former)
        taken = recorder.take()
        assert set(taken) == {"joins"}
        rows += taken["joins"]
        former = sizes
        squares += 3 * 4 + int((sizes[:12:2, :18:2] < 32).sum())
    assert sum(map(len, rows)) == squares
    loss, figures = motion_loss(model, {"joins": (recorder.layouts["joins"], np.concatenate(rows))})
    assert figures["bits_joins"] * squares == pytest.approx(bits, rel=1e-5)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_crops_are_of_recorded_frames(recording: Recording) -> None:
    """They start where the largest transforms do."""
    crops = recording.crops(np.random.default_rng(0), (16, 24), 80)
    assert crops.records.shape == (80, 2, 3, CHANNELS)
    frames = [recording.frame(i, t) for i, c in enumerate(recording.clips) for t in range(c.n_frames)]
    windows = {f[y : y + 2, x : x + 3].tobytes() for f in frames for y in (0, 4) for x in (0, 4)}
    found = {part.tobytes() for part in crops.records}
    assert found <= windows
    assert len(found) > 20
    with pytest.raises(UsageError, match="64x128"):
        recording.crops(np.random.default_rng(0), (128, 64), 1)


def test_rows_are_drawn_from_all_clips(recording: Recording) -> None:
    for name, n in recording.n_rows.items():
        drawn = recording.rows(name, np.random.default_rng(0), 40 * n)
        assert {row.tobytes() for row in drawn} == {row.tobytes() for row in recording._motion[name]}


Loss = Callable[[], tuple[Tensor, dict[str, float]]]


def descend(part: torch.nn.Module, loss_of: Loss, steps: int = 12) -> list[float]:
    """A few steps downhill; the losses."""
    optimizer, losses = torch.optim.Adam(part.parameters(), 5e-3), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss, figures = loss_of()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(part.parameters(), 0.3)
        optimizer.step()
        losses.append(figures["loss"])
    return losses


def test_probabilities_learn(small_swift: MakeSwift, recording: Recording) -> None:
    model, rng = small_swift(), np.random.default_rng(0)
    crops = recording.crops(rng, (48, 64), 4)
    rows = {name: (layout, recording.rows(name, rng, 60)) for name, layout in recording.motion.items()}
    assert set(rows) == {"vectors", "splits", "compound", "joins"}
    sizes = {"joins": rows.pop("joins")}
    for part, loss_of in ((model.entropy, lambda: entropy_loss(model.entropy, *crops.residual())),
                          (model.motion, lambda: motion_loss(model.motion, rows)),
                          (model.sizes, lambda: motion_loss(model.sizes, sizes))):
        losses = descend(part, loss_of)
        assert np.mean(losses[-3:]) < 0.97 * losses[0], type(part).__name__


def set_rounding(model: SwiftFilter, rounding: bool) -> None:
    for layer in model.modules():
        if isinstance(layer, IntConv2d):
            layer.rounding = rounding


def test_a_filter_learns_in_real_numbers_and_is_rounded(recording: Recording) -> None:
    """From no gain: it falls with real numbers; with integers, in units to suit, little of that is lost."""
    torch.manual_seed(0)
    model = SwiftFilter(8, 1)
    crops = recording.crops(np.random.default_rng(0), (48, 64), 8)
    start = filter_loss(model, crops)[1]
    assert start["gain"] == 0.0
    set_rounding(model, False)
    losses = descend(model, lambda: filter_loss(model, crops), 25)
    learned = filter_loss(model, crops)[1]
    assert learned["loss"] < min(losses[0], start["loss"]) - 1e-3
    assert learned["gain"] > 0
    set_rounding(model, True)
    for layer in model.modules():
        if isinstance(layer, IntConv2d):
            layer.calibrate()
    model.eval()
    rounded = filter_loss(model, crops)[1]
    assert rounded["loss"] < start["loss"]
    assert start["loss"] - rounded["loss"] > 0.5 * (start["loss"] - learned["loss"])
    output = model(crops.filter_input())
    assert output.any()
    assert torch.equal(output, output.round())


def test_the_filters_loss_is_what_is_left_of_the_error(recording: Recording) -> None:
    """By numpy: squared error of 6:1:1, in steps, relative to that before; 0.3 as much in empty transforms."""
    model = SwiftFilter(8, 1).eval()
    torch.manual_seed(1)
    torch.nn.init.normal_(model.end.weight, 0.0, 0.1)
    model.end.calibrate()
    crops = recording.crops(np.random.default_rng(0), (32, 32), 3)
    crops.records[0, :, :, 96:192] = 0
    crops.records[1, :2, :2, 96:192] = 0
    correction = model(crops.filter_input()).detach().double().numpy() / 256
    ratios, gains = [], []
    for k, quality in enumerate(crops.quality.tolist()):
        step = quantizer_step(quality) / 16
        error = (crops.cells("source")[k] - crops.cells("decoded")[k]).numpy() / step
        importance = np.empty((8, 8))
        for i, j in np.ndindex(4, 4):
            side = {0: 1, 24: 2, 48: 4}[int(crops.records[k, i, j, 295])]
            y, x = i // side * side, j // side * side
            empty = not crops.records[k, y : y + side, x : x + side, 96:192].any()
            importance[2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = 0.3 if empty else 1.0

        def weighted(e: Any, importance: Any = importance) -> float:
            parts = [float((importance * part**2).mean()) for part in np.split(e, (16, 20))]
            return (6 * parts[0] + parts[1] + parts[2]) / 8

        before, after = weighted(error), weighted(error - correction[k])
        ratios.append(after / (before + 0.02))
        gains.append(10 * np.log10((before + 1e-6) / (after + 1e-6)))
    figures = filter_loss(model, crops)[1]
    assert figures["loss"] == pytest.approx(np.mean(ratios), rel=1e-4)
    assert figures["gain"] == pytest.approx(np.mean(gains), abs=1e-4)
    assert to_cells(*(torch.zeros(1, 1, n, n) for n in (8, 4, 4))).shape == (1, 24, 2, 2)
