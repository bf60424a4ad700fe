"""Compare ways to predict a frame from the one before: PSNR of the prediction and bits of the vectors.

    python benchmarks/motion.py --sequences FOLDER --frames 24 --lagrangian 1 4 16 --effort 1

Every frame is predicted from the original frame before it. "blocks" is the search of lvc.ops.blockmotion for
each window of the compensation (a field that was searched for "none" is applied with the other windows, too);
"dis" is OpenCV's dense inverse search, averaged over 16x16 samples, rounded to a step, brought back to full
resolution bilinearly and applied by bicubic interpolation. The bits of both are estimated by the same
adaptive binary models: they are what a plain adaptive arithmetic coder would write.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from benchlib.pictures import frames_of
from benchlib.specs import load_sequences

from lvc import Frame, LvcError
from lvc.ops.blockmotion import BLOCK, WINDOWS, predict, search
from lvc.ops.warp import backward_warp, resize_flow

TREE = 32
DIS_GRID = 16
DIS_PRESETS = {"fast": cv2.DISOPTICAL_FLOW_PRESET_FAST, "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM}
_HALVE_AT = 256.0


@dataclass
class Row:
    """Means over the predicted frames of one sequence (or over all of them)."""

    sequence: str
    method: str
    setting: str
    psnr: float
    bits: float
    bpp: float
    seconds: float


class VectorBits:
    """Counts what vectors cost by adaptive binary models, which go on from frame to frame."""

    def __init__(self) -> None:
        self._counts: dict[tuple[Any, ...], list[float]] = defaultdict(lambda: [0.5, 0.5])

    def _bit(self, context: tuple[Any, ...], value: bool) -> float:
        counts = self._counts[context]
        bits = -math.log2(counts[value] / sum(counts))
        counts[value] += 1.0
        if sum(counts) > _HALVE_AT:
            counts[:] = [c / 2 for c in counts]
        return bits

    def _component(self, axis: int, size: int, value: int) -> float:
        """Zero or not, then Exp-Golomb with an adaptive prefix and first suffix bit, and the sign."""
        bits = self._bit(("zero", axis, size), value == 0)
        if value == 0:
            return bits
        magnitude = abs(value)
        prefix = magnitude.bit_length() - 1
        bits += 1.0 + sum(self._bit(("prefix", axis, size, i), i < prefix) for i in range(prefix + 1))
        if prefix:
            bits += self._bit(("suffix", axis, prefix), bool(magnitude >> (prefix - 1) & 1)) + prefix - 1
        return bits

    def frame(self, vectors: np.ndarray, sizes: np.ndarray | None) -> float:
        """Bits of a field [2, rows, columns] of integers; ``sizes``, if given, are those of a quad-tree."""
        self._field = vectors.transpose(1, 2, 0).tolist()
        self._known = np.zeros(vectors.shape[1:], bool)
        rows, columns = self._known.shape
        if sizes is None:
            return sum(self._square(r, c, 1, 0) for r in range(rows) for c in range(columns))
        self._sizes = sizes
        n = TREE // BLOCK
        return sum(self._tree(r, c, n) for r in range(0, rows, n) for c in range(0, columns, n))

    def _tree(self, row: int, column: int, n: int) -> float:
        bits = 0.0
        size = n * BLOCK
        if n > 1:
            near = [self._sizes[r, c] for r, c in ((row - 1, column), (row, column - 1)) if r >= 0 and c >= 0]
            split = bool(self._sizes[row, column] < size)
            bits += self._bit(("split", n, sum(bool(s < size) for s in near), len(near)), split)
            if split:
                half, (rows, columns) = n // 2, self._known.shape
                return bits + sum(self._tree(r, c, half) for r in (row, row + half)
                                  for c in (column, column + half) if r < rows and c < columns)
        return bits + self._square(row, column, n, n)

    def _square(self, row: int, column: int, n: int, size: int) -> float:
        rows, columns = self._known.shape
        bottom, right = min(row + n, rows) - 1, min(column + n, columns) - 1
        places = (bottom, column - 1), (row - 1, right), (row - 1, column + n), (row - 1, column - 1)
        near = [tuple(self._field[r][c]) for r, c in places
                if r >= 0 and 0 <= c < columns and self._known[r, c]][:3]
        self._known[row:row + n, column:column + n] = True
        vector = tuple(self._field[row][column])
        candidates = list(dict.fromkeys([*near, (0, 0)]))
        merged = vector in candidates
        bits = self._bit(("merge", size, len(candidates)), merged)
        if merged:
            place = candidates.index(vector)
            return bits + sum(self._bit(("place", size, i), i < place)
                              for i in range(min(place + 1, len(candidates) - 1)))
        three = (near + [(0, 0)] * 3)[:3] if len(near) != 1 else near * 3
        return bits + sum(self._component(axis, size, vector[axis] - sorted(v[axis] for v in three)[1])
                          for axis in (0, 1))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = float(np.mean((a.astype(np.float32) - b.astype(np.float32)) ** 2))
    return 10 * math.log10(255**2 / max(error, 1e-2))


def block_rows(name: str, frames: Sequence[Frame], window: str, lagrangian: float,
               effort: int) -> Iterator[Row]:
    """The search for one window and one Lagrangian, guided by the field before."""
    counter, previous = VectorBits(), None
    applied = WINDOWS if window == "none" else (window,)
    bits, seconds, quality = 0.0, 0.0, dict.fromkeys(applied, 0.0)
    for reference, current in pairwise(frames):
        start = time.process_time()
        motion = search(current.y, reference.y, lagrangian, previous=previous, window=window, effort=effort)
        seconds += time.process_time() - start
        previous = motion.vectors
        bits += counter.frame(motion.vectors.astype(int), motion.sizes)
        for other in applied:
            quality[other] += psnr(predict(reference.planes, motion.vectors, window=other)[0], current.y)
    n = len(frames) - 1
    for other in applied:
        method = f"blocks, effort {effort}, {window}" + (f" as {other}" if other != window else "")
        yield Row(name, method, f"{lagrangian:g}", quality[other] / n, bits / n, bits / n / frames[0].y.size,
                  seconds / n)


def dis_rows(name: str, frames: Sequence[Frame], steps: Sequence[float], preset: str) -> Iterator[Row]:
    """OpenCV's flow on a grid of 16x16 samples, at every step."""
    counters, dis = [VectorBits() for _ in steps], cv2.DISOpticalFlow.create(DIS_PRESETS[preset])
    bits, quality, seconds = [0.0] * len(steps), [0.0] * len(steps), 0.0
    height, width = frames[0].y.shape
    padded = (-(-height // DIS_GRID) * DIS_GRID, -(-width // DIS_GRID) * DIS_GRID)
    for reference, current in pairwise(frames):
        start = time.process_time()
        flow = dis.calc(current.y, reference.y, None)
        flow = cv2.copyMakeBorder(flow, 0, padded[0] - height, 0, padded[1] - width, cv2.BORDER_REPLICATE)
        grid = cv2.resize(flow, (padded[1] // DIS_GRID, padded[0] // DIS_GRID), interpolation=cv2.INTER_AREA)
        seconds += time.process_time() - start
        image = torch.from_numpy(reference.y)[None, None]
        for i, step in enumerate(steps):
            rounded = np.rint(grid.transpose(2, 0, 1) / step)
            bits[i] += counters[i].frame(rounded.astype(int), None)
            dense = resize_flow(torch.from_numpy((rounded * step).astype(np.float32))[None], padded, 1.0)
            warped = backward_warp(image, dense[..., :height, :width]).round().clamp(0, 255)
            quality[i] += psnr(warped[0, 0].numpy(), current.y)
    n = len(frames) - 1
    for i, step in enumerate(steps):
        yield Row(name, f"dis {preset}", f"{step:g}", quality[i] / n, bits[i] / n,
                  bits[i] / n / (height * width), seconds / n)


def means(rows: Sequence[Row]) -> list[Row]:
    """Means over the sequences, one row for each method and setting."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.method, row.setting].append(row)
    return [Row("mean", method, setting, *(sum(getattr(row, field) for row in group) / len(group)
                                           for field in ("psnr", "bits", "bpp", "seconds")))
            for (method, setting), group in groups.items()]


def table(rows: Sequence[Row]) -> str:
    width = max(len(row.method) for row in rows)
    lines = [f"{'method':{width}}  setting    PSNR Y   bits/frame      bpp  ms/frame"]
    lines += [f"{row.method:{width}}  {row.setting:>7}  {row.psnr:8.3f}  {row.bits:11.0f}  {row.bpp:.5f}  "
              f"{1000 * row.seconds:8.1f}" for row in rows]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="motion.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sequences", nargs="+", required=True, metavar="FILE|FOLDER|TOML")
    parser.add_argument("--frames", type=int, default=24, metavar="N", help="use the first N (default 24)")
    parser.add_argument("--lagrangian", type=float, nargs="+", default=[1.0, 4.0, 16.0], metavar="L",
                        help="SATD a bit, for the block search (default 1 4 16)")
    parser.add_argument("--effort", type=int, nargs="+", default=[1], metavar="E", help="default 1")
    parser.add_argument("--windows", nargs="+", choices=WINDOWS, default=list(WINDOWS), help="default: all")
    parser.add_argument("--steps", type=float, nargs="*", default=[0.25, 0.5, 1.0], metavar="S",
                        help="of DIS vectors, in samples (default 0.25 0.5 1); none leaves DIS out")
    parser.add_argument("--preset", choices=DIS_PRESETS, default="medium", help="of DIS (default medium)")
    parser.add_argument("--out", type=Path, metavar="JSON", help="write the rows of every sequence")
    arguments = parser.parse_args(argv)
    rows: list[Row] = []
    try:
        for sequence in load_sequences(arguments.sequences):
            frames = list(frames_of(sequence.path, frames=arguments.frames, size=sequence.size))
            if len(frames) < 2:
                continue
            for effort in arguments.effort:
                for window in arguments.windows:
                    for lagrangian in arguments.lagrangian:
                        rows += block_rows(sequence.name, frames, window, lagrangian, effort)
            if arguments.steps:
                rows += dis_rows(sequence.name, frames, arguments.steps, arguments.preset)
            print(f"{sequence.name}: {len(frames)} frames", file=sys.stderr)
        if not rows:
            raise LvcError("no sequence has two frames or more")
        if arguments.out is not None:
            arguments.out.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
    except LvcError as error:
        print(f"motion.py: error: {error}", file=sys.stderr)
        return 1
    print(table(means(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
