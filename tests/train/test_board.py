"""What a training shows: scalars and pictures for TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import lvc.train.loop as loop
from lvc.models import CONFIGS, ModelConfig
from lvc.ops.picture import picture_space
from lvc.train.board import Board
from lvc.train.cache import prepare
from lvc.train.illustrate import flow_key, flow_pictures, illustrate, to_rgb
from lvc.train.loop import Trainer
from lvc.train.losses import Pictures
from lvc.train.recipe import Recipe, Stage
from lvc.types import Frame

SMALL: dict[str, Any] = {"crop": (32, 32), "batch": 1, "warmup": 0}


def hue(pixel: torch.Tensor) -> torch.Tensor:
    """Direction in the plane of colours."""
    rgb = pixel.float()
    return torch.atan2(3**0.5 * (rgb[1] - rgb[2]), 2 * rgb[0] - rgb[1] - rgb[2])


def test_colours_tell_direction_and_length() -> None:
    size = 33
    key = flow_key(size)
    assert (key.dtype, key.shape) == (torch.uint8, (3, size, size))
    assert key[:, size // 2, size // 2].min() > 250  # no motion is white
    assert key[:, 0, 0].tolist() == [255, 255, 255]  # nothing outside of the circle
    places = [(size // 2, size - 1), (size - 1, size // 2), (size // 2, 0), (0, size // 2)]  # right, down, left, up
    hues = [float(hue(key[:, y, x])) for y, x in places]
    gaps = [abs(np.angle(np.exp(1j * (a - b)))) for i, a in enumerate(hues) for b in hues[:i]]
    assert min(gaps) > 0.5

    right, left, slow = (torch.full((2, 4, 4), 0.0) for _ in range(3))
    right[0], left[0], slow[0] = 8.0, -8.0, 2.0
    picture = flow_pictures([right, left, slow], (16, 8))
    assert picture.shape == (3, 16, 24)
    assert abs(float(hue(picture[:, 0, 0])) - hues[0]) < 0.2
    assert abs(float(hue(picture[:, 0, 8])) - hues[2]) < 0.2
    # The same direction, a quarter of the length: nearer to white.
    assert abs(float(hue(picture[:, 0, 16])) - hues[0]) < 0.3
    assert picture[:, 0, 16].min() > picture[:, 0, 0].min() + 50


def test_pictures_are_shown_in_their_colours() -> None:
    space = picture_space("yuv420")
    uv = torch.tensor([90.0, 240.0])[None, :, None, None].expand(2, 2, 2, 2)
    rgb = to_rgb(space, space.pack(torch.full((2, 1, 4, 4), 81.0), uv))
    assert rgb.shape == (3, 4, 4)
    np.testing.assert_allclose(rgb.flatten(1).float().mean(1), [255, 0, 0], atol=2)


@pytest.mark.parametrize(("kind", "frames"), [("me", 3), ("rd", 5)])
def test_what_is_shown_of_an_inter_model(tiny_config: ModelConfig, make_models: Any, textured_frames: Any, kind: str,
                                         frames: int) -> None:
    inter, intra = make_models(tiny_config)
    clip: list[Frame] = textured_frames(2, 64, 64)
    pictures = Pictures.of_batch({n: torch.from_numpy(np.stack([getattr(f, n) for f in clip]))[None] for n in "yuv"})
    quality = torch.tensor([40])
    state = torch.random.get_rng_state()
    shown = illustrate(inter, kind, pictures, pictures.pack(inter.space, 0), quality)
    assert torch.equal(torch.random.get_rng_state(), state)  # looking changes nothing
    assert shown["frames"].shape == (3, 64, frames * 64)
    assert shown["errors"].shape == (3, 64, (frames - 2) * 64)
    assert shown["flow"].shape == (3, 64, (1 if kind == "me" else 2) * 64)
    assert torch.equal(shown["frames"][..., :64], to_rgb(inter.space, pictures.pack(inter.space, 1)))
    if kind == "rd":  # the decoded picture is nearest to the source, and its errors nearest to grey
        errors = (shown["errors"].float() - 128).abs().mean((0, 1)).reshape(-1, 64).mean(1)
        assert errors.argmin() == 2
    assert illustrate(intra, "rd", pictures, None, quality)["frames"].shape == (3, 64, 2 * 64)


def test_a_training_fills_the_board(textured_frames: Any, write_video: Any, tiny_config: ModelConfig, tmp_path: Path,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONFIGS, "tiny", tiny_config)
    monkeypatch.setattr(loop, "LOG_STEPS", 1)
    prepare([write_video(tmp_path / "clip.mkv", textured_frames(3, 48, 48))], tmp_path / "cache", progress=False)
    plan = Recipe("run", "tiny", (Stage("pairs", motion="network", steps=2, **SMALL),
                                  Stage("single", model="intra", frames=1, steps=1, **SMALL)), autocast="")
    figures = {"bd_rate_yuv": 12.5, "psnr_y": [30.0, 35.0], "bd_rate_y": None}
    Trainer(plan, tmp_path / "cache", tmp_path / "run", lambda trainer: figures).run()
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    scalars = set(events.Tags()["scalars"])
    assert {f"train/{name}" for name in ("loss", "bpp_motion", "bpp_residual", "psnr", "psnr_prediction",
                                         "psnr_warped", "grad_norm", "lr", "step_seconds", "data_share")} <= scalars
    assert {"validation/bd_rate_yuv", "validation/psnr_y_0", "validation/psnr_y_1"} <= scalars
    assert "validation/bd_rate_y" not in scalars
    assert [(e.step, e.value) for e in events.Scalars("validation/psnr_y_1")] == [(2, 35.0), (3, 35.0)]
    assert [e.step for e in events.Scalars("train/bpp_motion")] == [1, 2]
    assert set(events.Tags()["images"]) == {"flow/key", "pairs/frames", "pairs/errors", "pairs/flow", "single/frames",
                                            "single/errors"}
    frames = events.Images("pairs/frames")[0]
    assert (frames.width, frames.height) == (5 * 32, 32)
    assert 0 <= events.Scalars("train/data_share")[0].value <= 1


def test_what_is_done_again_is_logged_once(tmp_path: Path) -> None:
    for start in (0, 2):
        board = Board(tmp_path, start)
        for step in range(start + 1, start + 4):
            board.log("train", "s", step, 0.0, {"loss": 10.0 * start + step})
        board.close()
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert len(lines) == 5
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 1.0), (2, 2.0), (3, 23.0), (4, 24.0),
                                                                        (5, 25.0)]
