"""Making recordings (lvc.train.swiftdata): swift's encoder in a closed loop over the clips of a cache."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm import tqdm

from lvc import __version__
from lvc.codecs.hevc_intra import HevcIntra
from lvc.codecs.schedule import CASCADE, frame_quality, intra_qp
from lvc.codecs.swiftcoding import InterCoder, PredictedFrame, first_guess
from lvc.codecs.swiftframe import Planes, Sizes, pad_to_blocks, size_map
from lvc.codecs.swiftstate import InterFrame, InterState, quantizer_passes
from lvc.entropy.distributions import TableDistribution
from lvc.entropy.symbols import Integers
from lvc.errors import VideoError
from lvc.models.swift import AUX, SwiftContext
from lvc.models.swiftinference import FrameContext, Symbols
from lvc.models.swiftmodel import SwiftModel
from lvc.models.swiftmotion import Bools, CompoundContext, SwiftMotion
from lvc.models.swiftsizes import SwiftSizes
from lvc.ops.blockdct import COEFFICIENTS
from lvc.ops.blockmotion import Field, field_shape
from lvc.train.cache import Clip, FrameStore, write_json
from lvc.train.recipe import Stage
from lvc.train.swiftdata import (
    CHANNELS,
    NOT_CODED,
    RECORD_VERSION,
    MotionLayout,
    RecordedClip,
    Recording,
    index_of,
    pack_frame,
)
from lvc.types import Frame, VideoInfo

Rows = dict[str, list[npt.NDArray[np.void]]]


class _Probe(nn.Module):
    """Stands in for a network: keeps its inputs, gives zeros."""

    def __init__(self, recorder: RowRecorder, name: str, outputs: int) -> None:
        super().__init__()
        self._begin, self._name, self._outputs = recorder.begin, name, outputs

    def forward(self, x: Tensor) -> Tensor:
        self._begin(self._name, x)
        return torch.zeros(len(x), self._outputs, *x.shape[2:])


class RowRecorder:
    """Codes by models whose networks are replaced, and keeps what those would see and what is coded.

    A symbol coder (lvc.entropy.symbols) that also hears what the networks' stand-ins are asked. Which symbols
    belong to which output is seen from the order of the calls; what the model adds to outputs, from the indices,
    as all outputs are zero.

    Args:
        references: of a P frame, 1 or 2.
    """

    def __init__(self, references: int) -> None:
        self.motion, self.sizes = SwiftMotion(references=references), SwiftSizes()
        self._names: dict[int, str] = {}
        for model in (self.motion, self.sizes):
            self._names.update((id(module), name) for name, module in model.named_modules()
                               if isinstance(module, TableDistribution))
            for name, network in list(model.named_children()):
                if isinstance(network, nn.Sequential):
                    setattr(model, name, _Probe(self, name, len(next(network[-1].parameters()))))
        self.layouts: dict[str, MotionLayout] = {}
        self._asked: list[tuple[str, Tensor, list[tuple[str, float, Tensor]]]] = []
        # One square is enough to have every network asked, which tells the layouts.
        field, square = np.zeros((2, 4, 4), np.int16), np.full((4, 4), 32, np.uint8)
        compound = CompoundContext(field, square, field, np.zeros((4, 4), np.int64), None, 2, 0)
        context = FrameContext(*(np.zeros((4, 4, n), np.uint8) for n in (COEFFICIENTS, COEFFICIENTS, AUX)), 0)
        self.code(field, square, 0, None, None)
        if references > 1:
            self.code_compound(np.zeros((4, 4), np.bool_), compound)
        self.code_sizes(square, context, square, None)
        self.take()

    def code(self, field: Field, squares: Sizes, quality: int, former: Field | None,
             former_squares: Sizes | None) -> None:
        """Motion, as of SwiftMotion."""
        self.motion(self, field, squares, squares.shape, quality, former, former_squares)

    def code_compound(self, compound: Bools, context: CompoundContext) -> None:
        """The flags of the second reference, as of SwiftMotion.code_compound."""
        self.motion.code_compound(self, compound, context)

    def code_sizes(self, sizes: Sizes, context: FrameContext, squares: Sizes, former: Sizes | None) -> None:
        """Transform sizes, as of SwiftSizes. ``context``: if all were 8x8; ``squares``: of motion."""
        parts = (torch.from_numpy(part).permute(2, 0, 1)[None].float()
                 for part in (context.prediction, context.former, context.aux))
        self.sizes(self, size_map(sizes), SwiftContext(*parts, torch.tensor([context.quality])), size_map(squares),
                   None if former is None else size_map(former))

    def begin(self, name: str, inputs: Tensor) -> None:
        """A network is asked: inputs (1, F, h, w)."""
        self._asked.append((name, inputs.flatten(2), []))

    def symbols(self, value: Tensor | None, index: Tensor, mask: Tensor,
                distribution: TableDistribution) -> Tensor:
        """As of lvc.entropy.symbols.SymbolCoder."""
        assert value is not None
        kept = torch.where(mask, value, float(NOT_CODED)).flatten(2)
        self._asked[-1][2].append((self._names[id(distribution)], float(index.flatten()[0]), kept))
        return value * mask

    def take(self) -> Rows:
        """Rows of each network for what was coded since the last call; those that stand for nothing are left out."""
        rows: Rows = {}
        for name, inputs, calls in self._asked:
            symbols = torch.cat([kept[0] for *_, kept in calls]).numpy().T
            layout = self._layout(name, inputs.shape[1], calls)
            row = np.empty(len(symbols), layout.row)
            row["inputs"] = inputs[0].numpy().T
            row["symbols"] = np.clip(symbols, NOT_CODED, -NOT_CODED - 1)
            rows.setdefault(name, []).append(row[(row["symbols"] != NOT_CODED).any(1)])
        self._asked.clear()
        return rows

    def _layout(self, name: str, inputs: int, calls: list[tuple[str, float, Tensor]]) -> MotionLayout:
        coded: list[tuple[str, int]] = []
        for distribution, _, kept in calls:
            if coded and coded[-1][0] == distribution:
                coded[-1] = (distribution, coded[-1][1] + kept.shape[1])
            else:
                coded.append((distribution, kept.shape[1]))
        layout = MotionLayout(inputs, calls[0][1], tuple(coded))
        if self.layouts.setdefault(name, layout) != layout or len({offset for _, offset, _ in calls}) != 1:
            raise ValueError(f"the network {name} codes in several ways")
        return layout


def identity_of(store: FrameStore, model: SwiftModel, stage: Stage, seed: tuple[int, int]) -> dict[str, Any]:
    """What a recording depends on. ``seed``: of the recipe, and the number of the stage."""
    networks = hashlib.sha256(model.config.to_json().encode())
    for name, value in sorted(model.state_dict().items()):
        networks.update(name.encode())
        networks.update(value.contiguous().numpy().tobytes())
    return {"version": RECORD_VERSION, "lvc": __version__, "cache": store.manifest.cache_id,
            "seed": list(seed), "frames": stage.frames, "qualities": list(stage.qualities),
            "quantizer": stage.quantizer, "effort": stage.effort, "networks": networks.hexdigest()[:16]}


class _NoCoder:
    """A coder (lvc.entropy.symbols.DirectCoder) that codes nothing."""

    def code(self, values: Integers | None, index: npt.NDArray[np.uint8], distribution: TableDistribution) -> Integers:
        assert values is not None
        return values


class _RoundingCoder(InterCoder):
    """Asks no network but the filter: any transform sizes, symbols by plain rounding."""

    def __init__(self, model: SwiftModel, rng: np.random.Generator) -> None:
        super().__init__(model)
        self._rng = rng

    def choose_sizes(self, frame: PredictedFrame, current: Planes, motion_sizes: Sizes,
                     former: Sizes | None) -> Sizes:
        return random_sizes(self._rng, motion_sizes.shape)

    def choose(self, coefficients: npt.NDArray[np.float32],
               context: FrameContext) -> tuple[Symbols, npt.NDArray[np.float32]]:
        return first_guess(coefficients), np.zeros(coefficients.shape[:2], np.float32)


class _Encoder:
    """Codes clips and keeps what there is to learn; one for each thread."""

    def __init__(self, store: FrameStore, model: SwiftModel, stage: Stage, seed: tuple[int, int]) -> None:
        self.store, self.model, self.stage, self.seed = store, model, stage, seed
        self.hevc = HevcIntra("ultrafast")
        self.rows = RowRecorder(model.config.references)

    def quality(self, rng: np.random.Generator) -> int:
        low, high = self.stage.qualities
        return int(rng.integers(low, high + 1))

    @torch.inference_mode()
    def clip(self, number: int, frames: npt.NDArray[np.uint8]) -> tuple[int, Rows]:
        """Code a clip into ``frames`` [n, h, w, 586]; returns its quality and the rows of its motion."""
        rng = np.random.default_rng((*self.seed, number))
        base = self.quality(rng)
        planes = self.store.planes(number)
        first = int(rng.integers(len(planes[0]) - len(frames)))
        order = list(range(first, first + len(frames) + 1))
        flips = tuple(-1 if flip else 1 for flip in rng.random(3) < 0.5)
        source = [tuple(np.ascontiguousarray(p[at, :: flips[1], :: flips[2]]) for p in planes)
                  for at in order[:: flips[0]]]
        start = Frame(*source[0])
        passes = quantizer_passes(self.stage.effort)
        coder = (InterCoder(self.model, passes=passes) if self.stage.quantizer == "rdo"
                 else _RoundingCoder(self.model, rng))
        state = InterState(coder, VideoInfo(start.width, start.height))
        state.intra(self.hevc.decode(self.hevc.encode(start, intra_qp(base, -1)), start.width, start.height))
        state.place = int(rng.integers(len(CASCADE)))  # clips are short, and all places of the cascade must be met
        rows: Rows = {name: [] for name in self.rows.layouts}
        for place, current in enumerate(map(pad_to_blocks, source[1:])):
            quality = frame_quality(base, state.place + 1)
            former = copy.copy(state)
            coded = state.inter(_NoCoder(), quality, current, state.search(current, quality, self.stage.effort))
            frames[place] = pack_frame(coded.residual, current)
            for name, more in self._rows(former, state, coded).items():
                rows[name] += more
        return base, rows

    def _rows(self, former: InterState, state: InterState, coded: InterFrame) -> Rows:
        """What motion and sizes are coded by, between two states."""
        residual = coded.residual
        assert former.reference is not None
        assert state.field is not None
        assert state.sizes is not None
        assert residual.reference.sizes is not None
        self.rows.code(state.field, state.sizes, residual.context.quality, former.field, former.sizes)
        if coded.compound is not None:
            self.rows.code_compound(*coded.compound)
        self.rows.code_sizes(residual.reference.sizes, residual.fixed_context, state.sizes, former.reference.sizes)
        return self.rows.take()


def random_sizes(rng: np.random.Generator, shape: tuple[int, int]) -> Sizes:
    """Transforms (h, w) that no network has chosen: half of the squares one transform, by chance."""
    sizes = np.full(shape, 8, np.uint8)
    for size in (16, 32):
        f = size // 8
        rows, columns = (n // f for n in shape)
        join = (rng.random((rows, columns)) < 0.5).repeat(f, 0).repeat(f, 1)
        sizes[: rows * f, : columns * f][join] = size
    return sizes


def record(cache: Path, folder: Path, model: SwiftModel, stage: Stage, seed: tuple[int, int], *,
           workers: int | None = None, progress: bool = True) -> Recording:
    """Record the clips of a cache; if that is done already, nothing is done, and a stopped run goes on.

    What each clip gives depends on seed, stage, networks and the clip alone, not on the number of workers.

    Args:
        cache: prepared cache folder (lvc.train.cache).
        folder: of the recording. Another one that is there is overwritten.
        model: the networks to encode with, in evaluation mode.
        stage: of kind "record"; says how many frames, which qualities, how symbols are chosen.
        seed: of the recipe, and the number of the stage.
        workers: threads, a clip each; by default as many as torch uses.

    Raises:
        VideoError: no prepared cache, or the recording cannot be written.
    """
    store = FrameStore(cache)
    identity = identity_of(store, model, stage, seed)
    try:
        done = Recording(folder)
        if done.identity == identity:
            return done
    except VideoError:
        pass
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the clips are the parallel part
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _Writer(store, folder, identity, stage, model.config.references).run(
            lambda: _Encoder(store, model, stage, seed), workers or threads, progress)
    except OSError as error:
        raise VideoError(f"cannot write the recording {folder}: {error}") from error
    finally:
        torch.set_num_threads(threads)
    return Recording(folder)


class _Writer:
    """The files of a recording on their way, and a journal of the clips that are in them."""

    def __init__(self, store: FrameStore, folder: Path, identity: dict[str, Any], stage: Stage,
                 references: int) -> None:
        self.folder, self.identity = folder, identity
        self.motion = RowRecorder(references).layouts
        self.journal = folder / "recording.part.jsonl"
        self.shapes, self.offsets, total = [], [], 0
        for clip in store.manifest.clips:
            self.shapes.append(_shape(clip, stage))
            self.offsets.append(total)
            total += int(np.prod(self.shapes[-1], dtype=np.int64))
        self.total = total

    def part(self, name: str) -> Path:
        return self.folder / f"{name}.bin.part"

    def run(self, make_encoder: Any, workers: int, progress: bool) -> None:
        # Whatever was there is of no use any more, and too large to keep meanwhile.
        for name in ("recording.json", *(f"{name}.bin" for name in ("frames", *self.motion))):
            (self.folder / name).unlink(missing_ok=True)
        clips = self._resume()
        local = threading.local()

        def one(number: int) -> tuple[int, int, Rows]:
            if not hasattr(local, "encoder"):  # it holds buffers
                local.encoder = make_encoder()
            frames = np.memmap(self.part("frames"), np.uint8, "r+", self.offsets[number], self.shapes[number])
            quality, rows = local.encoder.clip(number, frames)
            frames.flush()  # before the journal says that the clip is there
            return number, quality, rows

        todo = sorted(set(range(len(self.shapes))) - {c.clip for c in clips})
        with (open(self.journal, "a", encoding="utf-8") as log, ThreadPoolExecutor(workers) as pool,
              tqdm(total=sum(s[0] for s in self.shapes), initial=sum(c.n_frames for c in clips),
                   desc="recording", unit="frame", disable=not progress) as bar):
            try:
                for future in as_completed(pool.submit(one, number) for number in todo):
                    clips.append(clip := self._append(*future.result()))
                    log.write(json.dumps([clip.clip, clip.quality, clip.rows]) + "\n")
                    log.flush()
                    bar.update(clip.n_frames)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        for name in ("frames", *self.motion):
            os.replace(self.part(name), self.folder / f"{name}.bin")
        write_json(self.folder / "recording.json", index_of(self.identity, self.motion, clips))
        self.journal.unlink()

    def _clip(self, number: int, quality: int, rows: dict[str, tuple[int, int]]) -> RecordedClip:
        n, h, w, _ = self.shapes[number]
        return RecordedClip(number, h, w, n, quality, self.offsets[number], rows)

    def _append(self, number: int, quality: int, rows: Rows) -> RecordedClip:
        places = {}
        for name, parts in rows.items():
            row = self.motion[name].row
            with open(self.part(name), "ab") as file:
                places[name] = (file.tell() // row.itemsize, sum(map(len, parts)))
                for part in parts:
                    file.write(part.tobytes())
        return self._clip(number, quality, places)

    def _resume(self) -> list[RecordedClip]:
        """The clips that a stopped run has finished; starts empty files and journal where there was none."""
        clips = list(self._finished())
        if not clips:
            with open(self.part("frames"), "wb") as file:
                file.truncate(self.total)
            self.journal.write_text(json.dumps(self.identity) + "\n", encoding="utf-8")
        for name, layout in self.motion.items():
            rows = sum(c.rows[name][1] for c in clips)
            with open(self.part(name), "r+b" if clips else "wb") as file:
                file.truncate(rows * layout.row.itemsize)  # drop rows that the journal does not have
        return clips

    def _finished(self) -> Iterator[RecordedClip]:
        try:
            lines = self.journal.read_text(encoding="utf-8").split("\n")
            if json.loads(lines[0]) != self.identity or self.part("frames").stat().st_size != self.total:
                return
        except (OSError, ValueError):
            return
        for line in lines[1:-1]:  # what follows the last line end may be half a line
            number, quality, rows = json.loads(line)
            yield self._clip(number, quality, {name: (first, n) for name, (first, n) in rows.items()})


def _shape(clip: Clip, stage: Stage) -> tuple[int, int, int, int]:
    """(coded frames, rows, columns, channels) of what a clip gives."""
    _, h, w = field_shape(clip.height, clip.width)
    return min(stage.frames, clip.n_frames) - 1, h, w, CHANNELS
