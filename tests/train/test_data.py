"""The training cache, its flows, and samples that depend on their number alone."""

from __future__ import annotations

import itertools
import json
import os
import warnings
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

from lvc.errors import UsageError, VideoError
from lvc.train import flowteacher
from lvc.train.cache import FlowStore, FrameStore, load_manifest, prepare
from lvc.train.data import ClipDataset, batches
from lvc.train.flowteacher import prepare_flows

Array = npt.NDArray[np.uint8]
MOTION = (3, 2)
"""(dx, dy) that the content of a moving clip travels per frame."""


def texture(rng: np.random.Generator, height: int, width: int) -> Array:
    """Smooth noise: something that flow can follow."""
    noise = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), 2.0)
    return np.clip(128 + noise * 40 / noise.std(), 0, 255).astype(np.uint8)


def moving_planes(seed: int, n: int, height: int, width: int) -> list[list[Array]]:
    """Frames of [y, u, v]; luma moves by MOTION a frame, chroma is noise of its own."""
    rng = np.random.default_rng(seed)
    dx, dy = MOTION
    big = texture(rng, height + dy * n, width + dx * n)
    ch, cw = (height + 1) // 2, (width + 1) // 2
    return [[big[dy * (n - t) :, dx * (n - t) :][:height, :width],
             *rng.integers(0, 256, (2, ch, cw), dtype=np.uint8)] for t in range(n)]


def write_video(path: Path, frames: list[list[Array]]) -> None:
    """Lossless (FFV1), so that what the cache holds can be compared to the sample."""
    height, width = frames[0][0].shape
    with av.open(os.fspath(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for planes in frames:
            frame = av.VideoFrame(width, height, "yuv420p")
            for target, source in zip(frame.planes, planes, strict=True):
                rows = np.zeros((source.shape[0], target.line_size), np.uint8)
                rows[:, : source.shape[1]] = source
                target.update(rows.tobytes())
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


CLIPS = {"a.mkv": (0, 7, 96, 128), "b.mkv": (1, 5, 98, 102), "sub/tiny.mkv": (2, 4, 32, 40)}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "clips"
    (folder / "sub").mkdir(parents=True)
    for name, (seed, n, height, width) in CLIPS.items():
        write_video(folder / name, moving_planes(seed, n, height, width))
    return folder


@pytest.fixture(scope="module")
def cache(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    prepare([videos], folder, progress=False)
    prepare_flows(folder, progress=False)
    return folder


def test_cache_holds_the_exact_frames(cache: Path) -> None:
    store = FrameStore(cache)
    assert [c.name for c in store.manifest.clips] == ["clips/" + n for n in CLIPS]
    assert store.manifest == load_manifest(cache)
    assert (cache / "frames.bin").stat().st_size == store.manifest.total_bytes
    for i, (seed, n, height, width) in enumerate(CLIPS.values()):
        for plane, expected in zip(store.planes(i), zip(*moving_planes(seed, n, height, width), strict=True),
                                   strict=True):
            np.testing.assert_array_equal(plane, np.stack(expected))


def test_odd_sizes_are_cropped_and_frames_capped(tmp_path: Path) -> None:
    frames = moving_planes(3, 5, 35, 47)
    write_video(tmp_path / "odd.mkv", frames)
    manifest = prepare([tmp_path / "odd.mkv"], tmp_path / "cache", max_frames=3, progress=False)
    clip = manifest.clips[0]
    assert (clip.name, clip.width, clip.height, clip.n_frames) == ("odd.mkv", 46, 34, 3)
    y, u, v = FrameStore(tmp_path / "cache").planes(0)
    np.testing.assert_array_equal(y[2], frames[2][0][:34, :46])
    np.testing.assert_array_equal(u[2], frames[2][1][:17, :23])
    np.testing.assert_array_equal(v[2], frames[2][2][:17, :23])


def test_second_run_does_nothing_until_a_source_changes(tmp_path: Path) -> None:
    source, out = tmp_path / "x.mkv", tmp_path / "cache"
    write_video(source, moving_planes(0, 3, 32, 32))
    (tmp_path / "bad.mkv").write_bytes(b"no video")
    with pytest.warns(UserWarning, match=r"skipped .*bad\.mkv"):
        first = prepare([tmp_path], out, progress=False)
    inode = (out / "frames.bin").stat().st_ino
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the unreadable source is not even tried again
        assert prepare([tmp_path], out, progress=False) == first
    assert (out / "frames.bin").stat().st_ino == inode
    (tmp_path / "bad.mkv").unlink()
    write_video(source, moving_planes(0, 4, 32, 32))
    second = prepare([tmp_path], out, progress=False)
    assert [c.n_frames for c in second.clips] == [4]
    assert second.skipped == ()
    assert second.cache_id != first.cache_id
    assert [c.n_frames for c in prepare([tmp_path], out, max_frames=2, progress=False).clips] == [2]


def test_unreadable_sources_are_skipped_and_leave_no_bytes(tmp_path: Path) -> None:
    frames = moving_planes(0, 4, 32, 48)
    write_video(tmp_path / "1.mkv", frames)
    (tmp_path / "2.mkv").write_bytes(b"\x00" * 5000)
    write_video(tmp_path / "3.mkv", frames[:1])
    write_video(tmp_path / "4.mkv", frames)
    with pytest.warns(UserWarning, match="skipped") as caught:
        manifest = prepare([tmp_path], tmp_path / "cache", progress=False)
    assert len([w for w in caught if "skipped" in str(w.message)]) == 2
    assert [Path(c.name).name for c in manifest.clips] == ["1.mkv", "4.mkv"]
    assert [Path(s.name).name for s in manifest.skipped] == ["2.mkv", "3.mkv"]
    np.testing.assert_array_equal(FrameStore(tmp_path / "cache").planes(1)[0][3], frames[3][0])


def test_no_clip_at_all_is_an_error_and_keeps_the_old_cache(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "bad").mkdir()
    write_video(tmp_path / "good" / "x.mkv", moving_planes(0, 3, 32, 32))
    (tmp_path / "bad" / "x.mp4").write_bytes(b"nothing")
    manifest = prepare([tmp_path / "good"], tmp_path / "cache", progress=False)
    with pytest.warns(UserWarning, match="skipped"), pytest.raises(VideoError, match="no clip"):
        prepare([tmp_path / "bad"], tmp_path / "cache", progress=False)
    assert load_manifest(tmp_path / "cache") == manifest
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == ["frames.bin", "manifest.json"]
    with pytest.raises(UsageError, match="no such file"):
        prepare([tmp_path / "absent"], tmp_path / "cache")
    with pytest.raises(UsageError, match="max_frames"):
        prepare([tmp_path / "good"], tmp_path / "cache", max_frames=1)


def test_picture_folders_are_clips_in_natural_order(tmp_path: Path) -> None:
    folder = tmp_path / "sequences" / "00001" / "0007"
    folder.mkdir(parents=True)
    for t in range(1, 12):
        with av.open(os.fspath(folder / f"im{t}.png"), "w", format="image2") as container:
            stream = container.add_stream("png", rate=25)
            stream.width, stream.height, stream.pix_fmt = 32, 16, "rgb24"
            frame = av.VideoFrame.from_ndarray(np.full((16, 32, 3), 20 * t, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    manifest = prepare([tmp_path / "sequences"], tmp_path / "cache", max_frames=11, progress=False)
    assert [(c.name, c.n_frames) for c in manifest.clips] == [("sequences/00001/0007", 11)]
    y, u, _ = FrameStore(tmp_path / "cache").planes(0)
    grey = 16 + 20 * np.arange(1, 12) * 219 / 255  # full-range RGB to limited-range luma
    np.testing.assert_allclose(y.mean((1, 2)), grey, atol=1)
    np.testing.assert_allclose(u, 128, atol=1)


def test_damaged_caches_are_noticed(tmp_path: Path) -> None:
    write_video(tmp_path / "x.mkv", moving_planes(0, 3, 32, 32))
    out = tmp_path / "cache"
    with pytest.raises(VideoError, match="not a prepared cache"):
        FrameStore(out)
    prepare([tmp_path / "x.mkv"], out, progress=False)
    with pytest.raises(VideoError, match="prepare_flows"):
        ClipDataset(out, crop=(32, 32), flows=True)
    prepare_flows(out, progress=False)
    meta = json.loads((out / "flows.json").read_text())
    (out / "flows.json").write_text(json.dumps({**meta, "cache_id": "0" * 16}))
    with pytest.raises(VideoError, match="other frames"):
        ClipDataset(out, crop=(32, 32), flows=True)
    os.truncate(out / "frames.bin", 100)
    with pytest.raises(VideoError, match="100 bytes"):
        FrameStore(out)
    for text in ("{", "[]", json.dumps({"version": 99})):
        (out / "manifest.json").write_text(text)
        with pytest.raises(VideoError):
            load_manifest(out)


def test_flows_follow_the_content_in_both_directions(cache: Path) -> None:
    manifest = load_manifest(cache)
    store = FlowStore(cache, manifest)
    assert prepare_flows(cache, progress=False) == sum(c.n_frames - 1 for c in manifest.clips)
    for i in (0, 1):
        flow = store.flows(i)
        assert flow.shape == manifest.clips[i].flow_shape
        assert flow.dtype == np.float16
        inner = flow[..., 4:-4, 4:-4].astype(np.float32)
        # The content moves by +MOTION, so the former frame is found at -MOTION, the next one at +MOTION.
        for direction, sign in ((0, -1), (1, 1)):
            np.testing.assert_allclose(np.median(inner[:, direction], (0, 2, 3)),
                                       sign * np.array(MOTION), atol=0.3)


def test_flows_go_on_where_a_stopped_run_ended(videos: Path, cache: Path, tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    prepare([videos], tmp_path, progress=False)
    estimate, calls = flowteacher.block_flow, itertools.count()

    def fails_in_the_second_clip(*args: object) -> object:
        if next(calls) == 2 * 6 + 3:
            raise OSError("stopped")
        return estimate(*args)

    monkeypatch.setattr(flowteacher, "block_flow", fails_in_the_second_clip)
    with pytest.raises(VideoError, match="stopped"):
        prepare_flows(tmp_path, workers=1, progress=False)
    assert not (tmp_path / "flows.bin").exists()

    calls = itertools.count(1000)
    monkeypatch.setattr(flowteacher, "block_flow", fails_in_the_second_clip)
    prepare_flows(tmp_path, workers=1, progress=False)
    assert next(calls) - 1000 == 2 * (4 + 3)  # not the six pairs of the first clip again
    assert (tmp_path / "flows.bin").read_bytes() == (cache / "flows.bin").read_bytes()
    assert {p.name for p in tmp_path.iterdir()} == {"flows.bin", "flows.json", "frames.bin", "manifest.json"}


def test_samples_depend_on_seed_and_number_alone(cache: Path) -> None:
    forwards = ClipDataset(cache, crop=(64, 80), length=3, seed=7)
    backwards = ClipDataset(cache, crop=(64, 80), length=3, seed=7)
    numbers = [0, 1, 2, 5, 10**9, 2**40]
    expected = [forwards[i] for i in numbers]
    for number, sample in zip(numbers[::-1], expected[::-1], strict=True):
        again = backwards[number]
        for name, shape in (("y", (3, 64, 80)), ("u", (3, 32, 40)), ("v", (3, 32, 40))):
            assert again[name].shape == shape
            assert again[name].dtype == np.uint8
            np.testing.assert_array_equal(again[name], sample[name])
    other = ClipDataset(cache, crop=(64, 80), length=3, seed=8)
    assert not any(np.array_equal(other[i]["y"], forwards[i]["y"]) for i in range(5))
    assert len({forwards[i]["y"].tobytes() for i in range(50)}) > 45


def test_samples_are_cut_out_of_the_clips(cache: Path) -> None:
    """Each sample is in its clip at exactly one place; luma and chroma come from the same place and time."""
    store = FrameStore(cache)
    dataset = ClipDataset(cache, crop=(64, 80), length=3, seed=1, flips=False, frame_skip_prob=0.5)
    # Chroma is noise, so the first samples of a crop's first row tell where it comes from.
    index: dict[bytes, tuple[int, int, int, int]] = {}
    for clip in (0, 1):
        u = store.planes(clip)[1]
        for t, i, j in itertools.product(range(len(u)), range(u.shape[1] - 31), range(u.shape[2] - 39)):
            assert index.setdefault(u[t, i, j : j + 12].tobytes(), (clip, t, i, j)) == (clip, t, i, j)
    seen = set()
    for number in range(60):
        sample = dataset[number]
        places = [index[frame[0, :12].tobytes()] for frame in sample["u"]]
        (clip,), (i,), (j,) = ({place[k] for place in places} for k in (0, 2, 3))
        times = [place[1] for place in places]
        y, u, v = store.planes(clip)
        half = (times, slice(i, i + 32), slice(j, j + 40))
        np.testing.assert_array_equal(sample["y"], y[times, 2 * i : 2 * i + 64, 2 * j : 2 * j + 80])
        np.testing.assert_array_equal(sample["u"], u[half])
        np.testing.assert_array_equal(sample["v"], v[half])
        assert times[2] - times[1] == times[1] - times[0]
        seen.add(times[1] - times[0])
    assert seen == {1, -1, 2, -2}


def test_clips_are_drawn_by_the_root_of_their_windows(tmp_path: Path) -> None:
    for name, n in (("long", 10), ("short", 2)):  # nine and one pairs of frames: three to one
        grey = 200 if name == "long" else 50
        planes = [np.full((16, 16), grey, np.uint8), *np.zeros((2, 8, 8), np.uint8)]
        write_video(tmp_path / f"{name}.mkv", [planes] * n)
    prepare([tmp_path], tmp_path / "cache", progress=False)
    dataset = ClipDataset(tmp_path / "cache", crop=(16, 16), length=2)
    share = np.mean([dataset[i]["y"][0, 0, 0] == 200 for i in range(2000)])
    assert share == pytest.approx(0.75, abs=0.04)


def test_flow_of_a_sample_survives_flips_and_reversal(cache: Path) -> None:
    dataset = ClipDataset(cache, crop=(64, 80), length=3, seed=5, flows=True)
    signs = set()
    for number in range(40):
        sample = dataset[number]
        y, flow = sample["y"].astype(np.float32), sample["flow"]
        assert flow.shape == (2, 2, 16, 20)
        assert flow.dtype == np.float32
        for t in range(2):
            dense = cv2.resize(flow[t].transpose(1, 2, 0), (80, 64), interpolation=cv2.INTER_LINEAR)
            columns, rows = np.meshgrid(np.arange(80, dtype=np.float32), np.arange(64, dtype=np.float32))
            warped = cv2.remap(y[t], columns + dense[..., 0], rows + dense[..., 1], cv2.INTER_LINEAR)
            inner = (slice(8, -8), slice(8, -8))
            assert np.mean((warped - y[t + 1])[inner] ** 2) < 0.05 * np.mean((y[t] - y[t + 1])[inner] ** 2)
        signs.add(tuple(np.sign(np.median(flow, (0, 2, 3))).astype(int).tolist()))
    assert signs == {(-1, -1), (-1, 1), (1, -1), (1, 1)}


def test_exposure_changes_evenly_about_the_middle_frame(cache: Path) -> None:
    plain = ClipDataset(cache, crop=(64, 80), length=3, seed=5, frame_skip_prob=0.0)
    jittered = ClipDataset(cache, crop=(64, 80), length=3, seed=5, frame_skip_prob=0.0, exposure=0.1)
    gains = []
    for number in range(30):
        before, after = plain[number], jittered[number]
        for name in "yuv":
            np.testing.assert_array_equal(before[name][1], after[name][1])
        light = before["y"][2].astype(float) - 16
        unclipped = (after["y"][2] > 0) & (after["y"][2] < 255) & (light > 40)
        gain = np.median((after["y"][2][unclipped] - 16.0) / light[unclipped])
        gains.append(gain)
        assert 0.895 <= gain <= 1.105
        dark = np.rint((before["y"][0].astype(float) - 16) / gain + 16).clip(0, 255)
        assert np.abs(dark - after["y"][0]).max() <= 3
        chroma = np.rint((before["u"][2].astype(float) - 128) * gain + 128).clip(0, 255)
        assert np.abs(chroma - after["u"][2]).max() <= 2
    assert min(gains) < 0.95
    assert max(gains) > 1.05
    with pytest.raises(UsageError, match="exposure"):
        ClipDataset(cache, crop=(32, 32), exposure=-0.1)


def test_small_and_short_clips_are_counted_out(cache: Path) -> None:
    assert (ClipDataset(cache, crop=(96, 96)).n_clips, ClipDataset(cache, crop=(96, 96)).n_excluded) == (2, 1)
    assert ClipDataset(cache, crop=(96, 96), length=6).n_clips == 1
    assert ClipDataset(cache, crop=(32, 32), length=4).n_excluded == 0
    with pytest.raises(UsageError, match="none of 3 clips"):
        ClipDataset(cache, crop=(256, 256))
    with pytest.raises(UsageError, match="neighbouring"):
        ClipDataset(cache, crop=(32, 32), flows=True, frame_skip_prob=0.1)
    for bad in ({"crop": (31, 32)}, {"crop": (0, 32)}, {"crop": (30, 32), "flows": True}, {"length": 0},
                {"seed": -1}, {"reverse_prob": 1.5}):
        with pytest.raises(UsageError):
            ClipDataset(cache, **{"crop": (32, 32), **bad})
    with pytest.raises(IndexError):
        ClipDataset(cache, crop=(32, 32))[-1]


def test_batches_resume_at_any_step(cache: Path) -> None:
    dataset = ClipDataset(cache, crop=(32, 48), length=2, seed=3, flows=True)
    reference = list(itertools.islice(batches(dataset, 4, workers=0), 6))
    for start, workers in ((0, 1), (0, 3), (4, 1), (5, 0)):
        stream = batches(dataset, 4, start, workers)
        for expected, got in zip(reference[start:], stream, strict=False):
            assert got.keys() == expected.keys() == {"y", "u", "v", "flow"}
            assert all(torch.equal(got[name], expected[name]) for name in got)
    assert reference[0]["y"].shape == (4, 2, 32, 48)
    np.testing.assert_array_equal(reference[2]["u"][1], dataset[9]["u"])
    shares = [next(batches(dataset, 2, 3, rank=rank, world_size=2))["y"] for rank in (0, 1)]
    assert torch.equal(torch.cat(shares), reference[3]["y"])
    with pytest.raises(UsageError):
        batches(dataset, 0)
    with pytest.raises(UsageError):
        batches(dataset, 2, rank=2, world_size=2)
