"""Makes dvc_v2_hevc.lvc, dvc_v2_learned.lvc and dvc_v2.npz beside this file, with the weights
dvc_v1.safetensors.

The weights, a tiny untrained model, and dvc_v1_hevc.lvc, dvc_v1_learned.lvc and dvc_v1.npz are older: they were made by
the first version of the entropy coder, whose encoder is gone, and before layers had units of their own. They cannot be
made again; every later version must decode them.

The files of this script were made once, with version 2 of the entropy coder: streams of both kinds of intra frame, and
the decoded frames. Every later version must decode the streams. Decoded samples may differ by rounding from machine to
machine, symbols may not.

    python -m tests.golden.make_dvc_v2        # in the root of the repository
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import lvc
from lvc.codecs.neural import INTRA_KINDS
from lvc.types import VideoInfo
from lvc.video import open_sink
from tests import conftest as fixtures

HERE = Path(__file__).parent


def main() -> None:
    """Write the three files."""
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
