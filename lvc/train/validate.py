"""Validation by real bytes: weights as they would ship, through the real codec, against x265."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lvc.bitstream import StreamHeader
from lvc.codecs import get_codec
from lvc.codecs.base import Codec
from lvc.errors import UsageError
from lvc.metrics import MS_SSIM_MIN_SIDE, bd_rate, frame_to_rgb, ms_ssim, plane_psnr, psnr_yuv611
from lvc.metrics.rdcurves import ms_ssim_db
from lvc.models import CONFIGS, IntraModel, inter_model
from lvc.train.cache import FrameStore
from lvc.train.recipe import Recipe
from lvc.types import EncodeOptions, Frame, VideoInfo
from lvc.weights import Weights, load_weights, save_weights

PACKET_OVERHEAD = 8
"""Bytes that the container adds to a packet, about; the same for all codecs."""

ANCHOR = "x265"
ANCHOR_PARAMS = {"preset": "veryfast", "tune": "zerolatency"}
ANCHOR_CRFS = (17, 21, 25, 29, 33, 37)


def write_averaged(state: dict[str, dict[str, torch.Tensor]], model: str, path: Path,
                   metadata: dict[str, str] | None = None) -> Weights:
    """Export the (averaged) state of a training to a weights file, and load that file."""
    config = CONFIGS[model]
    inter, intra = inter_model(config), IntraModel(config)
    inter.load_state_dict(state["inter"])
    intra.load_state_dict(state["intra"])
    save_weights(path, inter, intra, metadata or {})
    return load_weights(path)


class Validator:
    """Measures BD-rate against x265 veryfast zerolatency (same intra period) on the first frames of clips.

    Args:
        recipe: gives the number of frames and the qualities; MS-SSIM is measured where it is trained for, on
            clips that are large enough.
        cache: prepared cache of the validation clips.
        folder: the anchor's curves are kept there.
        max_clips: at most so many clips.
        intra_period: for both codecs; the default puts one intra frame in front.
    """

    def __init__(self, recipe: Recipe, cache: Path, folder: Path, max_clips: int = 8,
                 intra_period: int = -1) -> None:
        self.recipe, self.folder, self.intra_period = recipe, folder, intra_period
        self.store = FrameStore(cache)
        self._structure = recipe.score == "bd_rate_ms_ssim"
        clips = [i for i, c in enumerate(self.store.manifest.clips)
                 if not self._structure or min(c.width, c.height) >= MS_SSIM_MIN_SIDE]
        if not clips:
            raise UsageError(f"no validation clip is large enough for MS-SSIM: {MS_SSIM_MIN_SIDE} samples a side")
        self.clips = clips[:max_clips]

    def __call__(self, codec: Codec, **params: str) -> dict[str, Any]:
        """Mean BD-rates (percent) over the clips whose curves overlap, and the mean curve.

        By luma PSNR, 6:1:1 PSNR and, where it is measured, MS-SSIM of the pictures as RGB (in dB).
        """
        columns = dict(enumerate(("y", "yuv", "ms_ssim")[:3 if self._structure else 2], 1))
        rates: dict[str, list[float]] = {f"bd_rate_{name}": [] for name in columns.values()}
        points = []
        for clip in self.clips:
            anchor = self._anchor(clip)
            test = [self._measure(codec, clip, EncodeOptions(q, self.intra_period, params=params))
                    for q in self.recipe.val_qualities]
            points.append(test)
            for column, name in columns.items():
                try:
                    result = bd_rate([p[0] for p in anchor], [p[column] for p in anchor],
                                     [p[0] for p in test], [p[column] for p in test])
                except UsageError:
                    continue  # no overlap, or a curve that is not monotonic: early in a training
                rates[f"bd_rate_{name}"].append(result.percent)
        mean = np.array(points).mean(0)
        names = {"y": "psnr_y", "yuv": "psnr_yuv", "ms_ssim": "ms_ssim_db"}
        return {**{name: float(np.mean(v)) if v else None for name, v in rates.items()},
                "clips": len(rates["bd_rate_yuv"]), "bpp": mean[:, 0].tolist(),
                **{names[name]: mean[:, column].tolist() for column, name in columns.items()}}

    def _frames(self, clip: int) -> Iterator[Frame]:
        y, u, v = self.store.planes(clip)
        for t in range(min(self.recipe.val_frames, len(y))):
            yield Frame(y[t].copy(), u[t].copy(), v[t].copy(), t)

    def _measure(self, codec: Codec, clip: int, options: EncodeOptions) -> tuple[float, ...]:
        """(bpp, Y PSNR, 6:1:1 PSNR, MS-SSIM in dB) of a clip, from real payloads that were decoded again.

        Without MS-SSIM, where it is not wanted.
        """
        info = self.store.manifest.clips[clip]
        video = VideoInfo(info.width, info.height)
        encoder = codec.encoder(video, options)
        decoder = codec.decoder(StreamHeader(codec_id=codec.codec_id, weights_digest=codec.weights_digest,
                                             video=video, intra_period=options.intra_period,
                                             codec_data=encoder.codec_data))
        packets = [p for frame in self._frames(clip) for p in encoder.push(frame)] + encoder.flush()
        decoded = [f for packet in packets for f in decoder.push(packet)] + decoder.flush()
        size = sum(len(p.payload) + PACKET_OVERHEAD for p in packets)
        psnr = np.array([plane_psnr(a, b) for a, b in zip(self._frames(clip), decoded, strict=True)])
        point = (8.0 * size / (info.width * info.height * len(packets)), float(psnr[:, 0].mean()),
                 float(np.mean([psnr_yuv611(*p) for p in psnr])))
        if not self._structure:
            return point
        similarity = [ms_ssim(frame_to_rgb(a), frame_to_rgb(b))
                      for a, b in zip(self._frames(clip), decoded, strict=True)]
        return (*point, ms_ssim_db(float(np.mean(similarity))))

    def _anchor(self, clip: int) -> list[tuple[float, ...]]:
        info = self.store.manifest.clips[clip]
        key = [info.name, info.source_bytes, self.recipe.val_frames, self.intra_period, ANCHOR_PARAMS,
               ANCHOR_CRFS, *(["ms-ssim"] if self._structure else [])]
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        path = self.folder / f"anchor-{name}.json"
        if not path.exists():
            codec = get_codec(ANCHOR)
            points = [self._measure(codec, clip, EncodeOptions(
                0, self.intra_period, 1, params={**ANCHOR_PARAMS, "crf": str(crf)})) for crf in ANCHOR_CRFS]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(points), encoding="utf-8")
        return [tuple(p) for p in json.loads(path.read_text(encoding="utf-8"))]
