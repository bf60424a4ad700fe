"""``python -m lvc.train.restoreprior WEIGHTS``: what the filters' coefficients are likely to be, by training clips.

To be run when a network of restore is trained: coefficients depend on what it proposes. Each clip is a group of frames;
its coefficients are those that its encoder would choose if there were no rounding, at an average rate. Means are those
of all clips together at first, then clips and tables follow each other.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from lvc.codecs.restore import AV1_CODECS
from lvc.enhance.adaptive import CHROMA_PROPOSALS, COEFFICIENT, LUMA_PROPOSALS, MAX_COEFFICIENT, PARTITIONS, WAYS
from lvc.enhance.adaptivefit import PooledPlane, normal_equations, relaxed, worth_of_error
from lvc.enhance.levels import index_of_level
from lvc.enhance.prior import FilterPrior, situation, spread_of
from lvc.enhance.restorer import Restorer
from lvc.enhance.seen import Seen, Windows
from lvc.errors import LvcError
from lvc.train.restoredata import DecodedStore, make_decoded
from lvc.train.restoretask import BASES
from lvc.types import Frame
from lvc.weights import load_restore_weights, save_restore_weights
from lvc.weights.files import read

Array = npt.NDArray[Any]

BITS_PER_SAMPLE = 0.1
"""Of luma, that a clip is taken to have in its base stream."""

_ROUNDS = 6
_LEAST_DEVIATION = 1.0


@dataclass(frozen=True, eq=False)
class Group:
    """A plane of a clip: by partition (products, goals), and what a unit of its error is worth in bits."""

    parts: list[tuple[Array, Array]]
    worth: float


def clip_planes(copy: DecodedStore, clip: int, frames: int, restorer: Restorer) -> tuple[list[PooledPlane], float]:
    """Y, U and V of the first frames of a clip, and the bits that they are taken to have."""
    decoded, original = copy.planes(clip), copy.store.planes(clip)
    count = min(frames, len(decoded[0]))
    pictures = [Frame(*(np.ascontiguousarray(plane[t]) for plane in decoded), t) for t in range(count)]
    indices = [index_of_level(float(error) ** 0.5) for error in copy.errors(clip)[:count, 0]]
    windows = Windows()
    complete = [w for t, picture in enumerate(pictures) for w in windows.push(Seen(picture, indices[t], t == 0))]
    normals = []
    for t, window in enumerate([*complete, *windows.flush()]):
        normals.append(normal_equations(restorer(window), (original[0][t], original[1][t], original[2][t]), t))
    return [PooledPlane(normals, plane) for plane in range(3)], BITS_PER_SAMPLE * decoded[0][0].size * count


def without_proposals(part: tuple[Array, Array], plane: int) -> tuple[Array, Array]:
    """Normal equations of the filters alone."""
    products, goals = part[0].copy(), part[1].copy()
    keep = goals.shape[1] - WAYS * (CHROMA_PROPOSALS if plane else LUMA_PROPOSALS)
    products[:, keep:], products[:, :, keep:], goals[:, keep:] = 0.0, 0.0, 0.0
    return products, goals


def fit_tables(prior: FilterPrior, where: int, plane: int, partition: int, groups: Sequence[Group]) -> None:
    """Set the tables of a situation, a plane and a partition."""
    mean, spread = prior.of(where, plane, partition)  # views: written to
    center = np.zeros(mean.shape)
    deviation = np.full(mean.shape, 0.1 * COEFFICIENT)
    for number in range(_ROUNDS):
        if number == 0:
            products, goals = (np.sum([group.parts[partition][i] for group in groups], 0) for i in range(2))
            center = relaxed(products, goals, 1e3 * len(groups), center, deviation)
            continue
        away = np.array([relaxed(*group.parts[partition], group.worth, center, deviation) for group in groups])
        center = center + away.mean(0)
        deviation = np.sqrt(np.mean(np.square(away - away.mean(0)), 0) + _LEAST_DEVIATION**2)
    mean[:] = np.clip(np.round(center), -MAX_COEFFICIENT, MAX_COEFFICIENT)
    spread[:] = spread_of(deviation)


def fit_prior(prior: FilterPrior, copies: Sequence[DecodedStore], restorers: dict[bool, Restorer], clips: int,
              frames: int) -> None:
    """Set all tables. ``restorers``: with the network, by whether the base codec is AV1."""
    for av1 in (False, True):
        own = [copy for copy in copies if (copy.codec in AV1_CODECS) == av1]
        found: list[list[Group]] = [[], [], []]
        alone: list[list[Group]] = [[], [], []]
        every = np.linspace(0, len(own[0].store.manifest.clips) - 1, clips).round().astype(int) if own else ()
        for number, clip in enumerate(tqdm(every, desc="AV1" if av1 else "others", unit="clip")):
            planes, bits = clip_planes(own[number % len(own)], int(clip), frames, restorers[av1])
            for plane, pooled in enumerate(planes):
                worth = worth_of_error(bits, plane, len(pooled))
                parts = [pooled.shared(partition) for partition in range(len(PARTITIONS))]
                found[plane].append(Group(parts, worth))
                alone[plane].append(Group([without_proposals(part, plane) for part in parts], worth))
        for plane in range(3):
            for partition in range(len(PARTITIONS)):
                for network, groups in ((True, found), (False, alone)):
                    if groups[plane]:
                        fit_tables(prior, situation(av1, network), plane, partition, groups[plane])


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit the tables of a weights file anew, in place; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lvc.train.restoreprior", description=__doc__)
    parser.add_argument("weights", type=Path, help="a file of weights of restore; changed")
    parser.add_argument("--data", type=Path, required=True, help="the prepared cache of training clips")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where trainings keep their decoded copies")
    parser.add_argument("--clips", type=int, default=150, help="clips of each kind of base codec")
    parser.add_argument("--frames", type=int, default=12, help="frames of a clip")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    try:
        loaded = load_restore_weights(given.weights)
        folder = given.runs / "restore" / "decoded"
        copies = [DecodedStore(given.data, make_decoded(given.data, folder, spec)) for spec in BASES]
        restorers = {av1: Restorer(loaded.net, av1) for av1 in (False, True)}
        fit_prior(loaded.net.prior, copies, restorers, given.clips, given.frames)
        metadata = {key: value for key, value in read(given.weights)[0].items() if key != "config"}
        digest = save_restore_weights(given.weights, loaded.net, metadata)
    except LvcError as error:
        print(f"restoreprior: error: {error}", file=sys.stderr)
        return 1
    print(f"{given.weights}: {digest.hex()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
