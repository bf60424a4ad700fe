"""``python -m lvc.train.packedprior VIDEOS --out FILE``: what the packer of x265-packed begins with.

Each video goes through x265 at a preset and a crf of its own; all the streams go through one packer, which learns as it
always does, without beginning anew. What it knows at the end is the file. Counts are cut off, so that a new stream soon
counts for more than what was seen in training.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tqdm import tqdm

from lvc.codecs import open_codec
from lvc.codecs.packed import COUNT_LIMIT, WEIGHT_RATE, WEIGHT_UNIT, Side, State, UnsupportedError, trained
from lvc.errors import LvcError
from lvc.types import EncodeOptions
from lvc.video import open_video

FRAMES = 32
MOST_COUNT = 20
"""That slots are taken to have been seen."""

_MOST_SAMPLES = 1 << 26
_CRFS = range(16, 42)
_PRESETS = ["medium"] * 6 + ["veryfast", "slower", "fast"]
_TUNES = [""] * 7 + [",tune=zerolatency"] * 2


@dataclass(frozen=True)
class Job:
    """A video and the codec string it goes through."""

    path: Path
    codec: str


def choose_jobs(paths: Sequence[Path], seed: int) -> list[Job]:
    """A codec string for each video, in random order."""
    rng = random.Random(seed)
    jobs = []
    for path in paths:
        preset, tune, crf = rng.choice(_PRESETS), rng.choice(_TUNES), rng.choice(_CRFS)
        jobs.append(Job(path, f"x265:preset={preset}{tune},crf={crf}"))
    rng.shuffle(jobs)
    return jobs


def access_units(job: Job, frames: int = FRAMES, intra_period: int = FRAMES) -> Iterator[bytes]:
    """Of the first frames of the video, by one thread. Raises LvcError."""
    with open_video(job.path) as video:
        encoder = open_codec(job.codec).encoder(video.info, EncodeOptions(intra_period=intra_period, threads=1))
        for frame in islice(video, frames):
            yield from (packet.payload for packet in encoder.push(frame))
        yield from (packet.payload for packet in encoder.flush())


def learn(side: Side, units: Sequence[bytes]) -> tuple[int, int]:
    """Pack a stream; returns its bytes before and after."""
    side.forget()
    return sum(map(len, units)), sum(len(side.pack(unit)) for unit in units)


def arrays_of(side: Side) -> dict[str, np.ndarray]:
    """As they are stored: uint16, uint8, int16."""
    chance, count, weights = side.arrays()
    seen = count > 1  # what hardly ever came says nothing, and takes room
    units = np.clip(np.round(weights / WEIGHT_UNIT), -(1 << 15), (1 << 15) - 1)
    return {"chance": np.where(seen, chance, 1 << 15).astype(np.uint16),
            "count": np.where(seen, np.minimum(count, MOST_COUNT), 0).astype(np.uint8),
            "weights": units.astype(np.int16)}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code."""
    parser = argparse.ArgumentParser(prog="python -m lvc.train.packedprior",
                                     description="Train the packer of x265-packed.")
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO", help="files, or folders of files")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--go-on", action="store_true", help="begin with what ships")
    args = parser.parse_args(argv)
    paths = [path for given in args.videos for path in (sorted(given.iterdir()) if given.is_dir() else [given])]
    side = Side(trained()[0] if args.go_on else State(), COUNT_LIMIT, WEIGHT_RATE, _MOST_SAMPLES)
    before = after = 0
    jobs = tqdm(choose_jobs(paths, args.seed), unit="video")
    try:
        for job in jobs:
            try:
                sizes = learn(side, list(access_units(job)))
            except UnsupportedError as error:
                print(f"packedprior: {job.path} is left out: {error}", file=sys.stderr)
                continue
            before, after = before + sizes[0], after + sizes[1]
            jobs.set_postfix_str(f"{after / before - 1:+.2%}")
    except LvcError as error:
        print(f"packedprior: {error}", file=sys.stderr)
        return 1
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(arrays_of(side), args.out)
    print(f"{len(paths)} videos, {before} bytes before, {after} after ({after / before - 1:+.2%})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
