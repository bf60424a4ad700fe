"""From the command line of run.py to the points that are to be measured."""

from __future__ import annotations

import argparse
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from benchlib.datasets import dataset_names, find_sequences, load_dataset, prepare
from benchlib.evaluate import Job, command_lines
from benchlib.pictures import count_frames, describe
from benchlib.presets import Conditions, Preset, load_preset, preset_names
from benchlib.specs import BenchmarkError, SequenceSpec, check_names, expand, load_sequences

DEFAULT_PERIODS = (32,)


def jobs_of(arguments: argparse.Namespace) -> list[Job]:
    """All points, by intra period, sequence and codec.

    Raises:
        BenchmarkError: something that is asked for wrongly, or not at all.
    """
    _check(arguments)
    preset = load_preset(arguments.preset) if arguments.preset else None
    sequences = _sequences(arguments)
    pin = arguments.jobs == 1 and not arguments.untimed
    jobs = []
    for sequence in sequences:
        conditions = _conditions(arguments, preset, sequence)
        for period in dict.fromkeys(conditions.intra_periods):
            # Periods that are asked for are for all codecs.
            own = preset.specs(None if arguments.intra_period else period) if preset else ()
            points = expand([*own, *arguments.codecs])
            jobs += [Job(sequence, point, period, conditions.frames, arguments.threads,
                         preset.name if preset else "", pin) for point in points]
    periods = list(dict.fromkeys(job.intra_period for job in jobs))
    return sorted(jobs, key=lambda job: periods.index(job.intra_period))


def _check(arguments: argparse.Namespace) -> None:
    for name, least in (("jobs", 1), ("threads", 0)):
        if getattr(arguments, name) < least:
            raise BenchmarkError(f"--{name} must be at least {least}, not {getattr(arguments, name)}")
    if arguments.frames is not None and arguments.frames < 1:
        raise BenchmarkError(f"--frames must be at least 1, not {arguments.frames}")
    for period in arguments.intra_period or ():
        if period != -1 and period < 1:
            raise BenchmarkError(f"--intra-period must be -1 or at least 1, not {period}")
    if not (arguments.preset or arguments.codecs):
        raise BenchmarkError("nothing to measure: name --codecs, a --preset, or both")
    if not (arguments.sequences or arguments.dataset):
        raise BenchmarkError("nothing to measure on: name --sequences, a --dataset, or both")
    if arguments.out is None and not arguments.dry_run:
        raise BenchmarkError("--out is missing")


def _sequences(arguments: argparse.Namespace) -> list[SequenceSpec]:
    found = load_sequences(arguments.sequences) if arguments.sequences else []
    if arguments.only:
        found = [s for s in found if any(fnmatchcase(s.name, pattern) for pattern in arguments.only)]
    for name, folder in arguments.dataset:
        found += find_sequences(load_dataset(name), Path(folder), arguments.only)
    if not found:
        raise BenchmarkError(f"no sequence is called {' or '.join(arguments.only)}")
    check_names(found)
    if arguments.dry_run:
        return found
    return [prepare(sequence, arguments.cache / "sources") for sequence in found]


def _conditions(arguments: argparse.Namespace, preset: Preset | None, sequence: SequenceSpec) -> Conditions:
    given = preset.conditions(sequence.dataset) if preset else Conditions(None, DEFAULT_PERIODS)
    if arguments.frames is not None:
        given = replace(given, frames=arguments.frames)
    if arguments.intra_period:
        given = replace(given, intra_periods=tuple(arguments.intra_period))
    return given


def pixels_of(job: Job) -> float:
    """Luma pixels that a point codes; a guess where a file does not tell how many frames it has, and 0 where
    it cannot be measured at all.
    """
    try:
        picture = describe(job.sequence)
        counted = count_frames(job.sequence)
    except BenchmarkError:
        return 0.0
    limits = [n for n in (job.frame_limit, counted) if n is not None]
    return float(picture.width * picture.height * (min(limits) if limits else 100))


def listing() -> str:
    """Presets and data sets, with what they are."""
    lines = ["Presets"]
    for name in preset_names():
        preset = load_preset(name)
        lines += [f"  {name}: {preset.title}", *(f"    {line}" for line in preset.about.splitlines())]
        for anchor in preset.anchors:
            lines.append(f"      {anchor.spec}")
            if anchor.command:
                lines.append(f"        {anchor.command}")
    lines += ["", "Data sets"]
    for name in dataset_names():
        dataset = load_dataset(name)
        lines.append(f"  {name}: {dataset.title}; {dataset.source}")
        for sequence in dataset.sequences:
            size = "x".join(map(str, sequence.size or ()))
            lines.append(f"      {sequence.path}, {size}, {sequence.frames} frames, "
                         f"{sequence.frame_rate} fps")
        if dataset.list_file:
            lines.append(f"      for each of the {dataset.entries} entries of {dataset.list_file}")
    return "\n".join(lines)


def commands(jobs: list[Job], preset_name: str | None) -> str:
    """Command lines of all points: lvc's, and those of ffmpeg that a preset gives as the same."""
    anchors = {}
    if preset_name:
        for anchor in load_preset(preset_name).anchors:
            anchors[anchor.spec.partition("@")[0]] = anchor
    lines = []
    for job in jobs:
        lines.append(f"# {job.sequence.name}")
        lines += command_lines(job)
        anchor = anchors.get(job.point.codec)
        if anchor is not None and anchor.command:
            lines.append(f"# as {anchor.command_line(value=job.point.value, intra_period=job.intra_period)}")
    return "\n".join(lines)
