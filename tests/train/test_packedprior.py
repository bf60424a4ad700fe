"""Training what the packer of x265-packed begins with."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file

from lvc.codecs.packed import COUNT_LIMIT, WEIGHT_RATE, WEIGHT_UNIT, Side, State
from lvc.train import packedprior
from lvc.train.packedprior import Job, access_units, choose_jobs, learn, main


@pytest.fixture(scope="module")
def videos(tmp_path_factory, textured_frames, write_video):
    folder = tmp_path_factory.mktemp("videos")
    for number in range(3):
        frames = textured_frames(6 + number, 128 + 16 * number, 96)
        write_video(folder / f"{number}.mkv", frames)
    return folder


def packed_size(state, units):
    return learn(Side(state, COUNT_LIMIT, WEIGHT_RATE, 1 << 20), units)


def test_a_trained_state_packs_better(videos, tmp_path, capsys):
    """Than an untrained one, a stream that was not among those of the training."""
    out = tmp_path / "new" / "state.safetensors"
    assert main([str(videos / "0.mkv"), str(videos / "1.mkv"), "--out", str(out), "--seed", "3"]) == 0
    assert "2 videos" in capsys.readouterr().out
    arrays = load_file(out)
    assert {name: array.dtype for name, array in arrays.items()} == {
        "chance": np.uint16, "count": np.uint8, "weights": np.int16}
    assert arrays["count"].max() == packedprior.MOST_COUNT
    state = State(arrays["chance"], arrays["count"], arrays["weights"].astype(np.int32) * WEIGHT_UNIT)
    units = list(access_units(Job(videos / "2.mkv", "x265:crf=30")))
    assert len(units) == 8
    before, after = packed_size(state, units)
    assert before == sum(map(len, units))
    assert after < 0.98 * packed_size(State(), units)[1]


def test_jobs_are_the_same_for_a_seed(tmp_path):
    paths = [tmp_path / str(n) for n in range(40)]
    jobs = choose_jobs(paths, 5)
    assert jobs == choose_jobs(paths, 5)
    assert jobs != choose_jobs(paths, 6)
    assert {job.path for job in jobs} == set(paths)
    assert len({job.codec for job in jobs}) > 20


def test_a_file_that_is_no_video(tmp_path, capsys):
    (tmp_path / "a.mkv").write_bytes(b"no video")
    assert main([str(tmp_path / "a.mkv"), "--out", str(tmp_path / "out")]) == 1
    assert "a.mkv" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
