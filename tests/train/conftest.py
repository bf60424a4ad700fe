"""Tiny clips, a narrow swift to train on them, and recordings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lvc.types import Frame

if TYPE_CHECKING:
    from lvc.models.swiftmodel import SwiftModel
    from lvc.train.swiftdata import Recording


def narrow_swift(seed: int = 0) -> SwiftModel:
    """As training starts it."""
    import torch

    from lvc.models.swiftmodel import SwiftConfig, SwiftModel

    torch.manual_seed(seed)
    return SwiftModel(SwiftConfig(entropy_width=8, motion_width=8, sizes_width=8, filter_width=8, filter_layers=1))


def record_clips(cache: Path, folder: Path, workers: int = 1, model: SwiftModel | None = None,
                 seed: tuple[int, int] = (1, 0), **stage: Any) -> Recording:
    """A recording of three coded frames a clip, by plain rounding, unless the stage says otherwise."""
    from lvc.train.recipe import Stage
    from lvc.train.swiftrecord import record

    values = {"name": "record", "kind": "record", "frames": 4, "qualities": (30, 50), **stage}
    return record(cache, folder, (model or narrow_swift()).eval(), Stage(**values), seed, workers=workers,
                  progress=False)


@pytest.fixture(scope="session")
def small_swift() -> Callable[..., SwiftModel]:
    """The function :func:`narrow_swift`."""
    return narrow_swift


@pytest.fixture(scope="session")
def make_recording() -> Callable[..., Recording]:
    """The function :func:`record_clips`."""
    return record_clips


@pytest.fixture(scope="session")
def swift_videos(textured_frames: Callable[..., list[Frame]], write_video: Callable[..., Path],
                 tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three videos of five frames."""
    folder = tmp_path_factory.mktemp("clips")
    for seed in range(3):
        write_video(folder / f"{seed}.mkv", textured_frames(5, 64, 48, seed=seed, motion=(2 + 2 * seed, 2)))
    return folder


@pytest.fixture(scope="session")
def swift_cache(swift_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared cache of them."""
    from lvc.train.cache import prepare

    folder = tmp_path_factory.mktemp("cache")
    prepare([swift_videos], folder, progress=False)
    return folder


@pytest.fixture(scope="session")
def recording_folder(swift_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of that."""
    folder = tmp_path_factory.mktemp("recording")
    record_clips(swift_cache, folder)
    return folder


@pytest.fixture(scope="session")
def recording(recording_folder: Path) -> Recording:
    """The same, opened."""
    from lvc.train.swiftdata import Recording

    return Recording(recording_folder)
