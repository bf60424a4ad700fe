"""Makes dvc_v2_hevc.lvc, dvc_v2_learned.lvc and dvc_v2.npz beside this file, with the weights
dvc_v1.safetensors.

They were made once, with version 2 of the entropy coder: streams of both kinds of intra frame, and the
decoded frames. Every later version must decode the streams. Decoded samples may differ by rounding from
machine to machine, symbols may not.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np

import lvc
from lvc.codecs.neural import INTRA_KINDS
from lvc.types import VideoInfo
from lvc.video import open_sink

HERE = Path(__file__).parent


def _fixtures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lvc_test_fixtures", HERE.parent / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Write the three files."""
    fixtures = _fixtures()
    weights = HERE / "dvc_v1.safetensors"
    frames = fixtures.moving_frames(5, 50, 38)
    source = HERE / "source.y4m"
    with open_sink(source, VideoInfo(50, 38)) as sink:
        for frame in frames:
            sink.write(frame)
    arrays = {}
    for kind in INTRA_KINDS:
        stream = HERE / f"dvc_v2_{kind}.lvc"
        codec = f"dvc-lite:intra={kind},weights={weights}"
        lvc.encode(source, stream, codec=codec, quality=50, intra_period=3)
        with lvc.open_stream(stream, weights=weights) as decoded:
            for t, frame in enumerate(decoded):
                for name, plane in zip("yuv", frame.planes, strict=True):
                    arrays[f"{kind}_{t}_{name}"] = plane
    np.savez_compressed(HERE / "dvc_v2.npz", **arrays)
    source.unlink()


if __name__ == "__main__":
    main()
