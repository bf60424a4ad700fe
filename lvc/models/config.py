"""Configurations of the dvc family. Each is stored with its weights, so that old weights stay usable."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from lvc.ops.blocksteps import StepRule, ms_ssim_rule
from lvc.ops.transforms import Layer


@dataclass(frozen=True)
class FlowConfig:
    """Arguments of ops.blocks.PyramidFlow."""

    levels: int = 5
    kernel: int = 7
    widths: tuple[int, ...] = (32, 64, 32, 16)
    unshuffle: int = 1


@dataclass(frozen=True)
class EntropyConfig:
    """Entropy model of one latent: "factorized", or "hyperprior" with its sizes."""

    kind: str = "hyperprior"
    z_channels: int = 64
    levels: int = 2
    width: int = 56
    means: bool = False


@dataclass(frozen=True)
class ContextConfig:
    """Of the second design (lvc.models.dvccontext).

    Attributes:
        motion_width, entropy_width: channels inside the networks that tell probabilities.
        steps: how quantization steps differ within a frame; None: they do not, but for those of chroma.
    """

    motion_width: int = 48
    entropy_width: int = 64
    steps: StepRule | None = None


@dataclass(frozen=True)
class ModelConfig:
    """An inter model, its intra model, and what they share.

    Attributes:
        picture: "rgb" (4:4:4, the papers') or "yuv420" (packed, see ops.picture).
        motion, residual: layers of the autoencoders.
        motion_entropy, residual_entropy: their entropy models.
        refine: channels of the motion compensation network at its three scales; ``fold`` as there.
        loop_filter: whether a second such network filters the reconstruction (not in DVC).
        dct_start: autoencoders start as orthonormal transforms instead of at random.
        motion_step: quantization step of the motion, relative to half a luma sample (the mean of a 16x16
            block) where the picture's step is 12.
        intra, intra_entropy: the same for the learned intra model.
        context: of the second design of the inter model (lvc.models.dvccontext), or None: the first one
            (lvc.models.dvc). In the second one flow, motion, the entropy models and motion_step say nothing.
    """

    name: str = "dvc"
    picture: str = "rgb"
    flow: FlowConfig = FlowConfig()
    motion: tuple[Layer, ...] = (Layer(2, 3, 128),) * 4
    motion_entropy: EntropyConfig = EntropyConfig()
    residual: tuple[Layer, ...] = (Layer(2, 5, 128),) * 4
    residual_entropy: EntropyConfig = EntropyConfig()
    refine: tuple[int, int, int] = (64, 64, 64)
    fold: int = 1
    loop_filter: bool = False
    dct_start: bool = False
    motion_step: float = 1.0
    intra: tuple[Layer, ...] = (Layer(2, 5, 128),) * 4
    intra_entropy: EntropyConfig = EntropyConfig()
    context: ContextConfig | None = None

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """The inverse of to_json. Raises ValueError or TypeError on what is not a configuration."""
        raw: dict[str, Any] = json.loads(text)
        for key in ("motion", "residual", "intra"):
            raw[key] = tuple(Layer(**layer) for layer in raw[key])
        for key in ("motion_entropy", "residual_entropy", "intra_entropy"):
            raw[key] = EntropyConfig(**raw[key])
        raw["flow"]["widths"] = tuple(raw["flow"]["widths"])
        raw["flow"] = FlowConfig(**raw["flow"])
        raw["refine"] = tuple(raw["refine"])
        if raw.get("context") is not None:
            raw["context"] = _context(**raw["context"])
        return cls(**raw)


def _context(steps: dict[str, Any] | None = None, **raw: Any) -> ContextConfig:
    rule = None if steps is None else StepRule(steps["finest"], tuple(steps["thresholds"]), tuple(steps["relative"]))
    return ContextConfig(**raw, steps=rule)


DVC = ModelConfig()
"""DVC at the size of the paper, as OpenDVC builds it: about 700 kMAC a pixel."""

_LITE_COEFFICIENTS = (Layer(2, 5, 48), Layer(2, 5, 96), Layer(1, 3, 96))

DVC_LITE = ModelConfig(
    name="dvc-lite",
    picture="yuv420",
    residual=_LITE_COEFFICIENTS,
    refine=(48, 64, 64),
    fold=2,
    loop_filter=True,
    dct_start=True,
    intra=_LITE_COEFFICIENTS,
    intra_entropy=EntropyConfig(z_channels=32, levels=3, width=48),
    context=ContextConfig(),
)
"""For two CPU cores: the second design, pictures packed at half resolution."""

DVC_LITE_MSSSIM = dataclasses.replace(
    DVC_LITE, name="dvc-lite-msssim", context=ContextConfig(steps=ms_ssim_rule(strength=0.6, contrast=0.3, chroma=0.6)))
"""The same, with steps that differ within a frame: for MS-SSIM. The rule was chosen on validation clips."""

CONFIGS = {config.name: config for config in (DVC, DVC_LITE, DVC_LITE_MSSSIM)}
"""Configurations by name."""
