"""The second design of DVC's inter model: motion without loss, and contexts for the residual's probabilities.

As in DVC, motion is coded by an autoencoder, a network refines the motion-compensated prediction, and an autoencoder
with GDN codes the residual, whose distributions follow from side information that is coded first. What is new:

- The motion autoencoder (lvc.models.motionpyramid) is reversible and integer.
- The residual's latents start as the coefficients of 8x8 DCTs, in the order of lvc.ops.blockdct, and are coded by
  lvc.models.swift.SwiftEntropy: side information is how far the coefficients of a place reach, and further context
  the former frame's latents and a prediction.
- That prediction must be the same on every machine, which the decoded pictures, made by networks in floating point,
  are not. So both sides keep a shadow beside them: what the same motion and the same latents decode to in integers,
  without any network (lvc.codecs.dvccontext). It only serves as context.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lvc.models.common import GAMMA_START
from lvc.models.config import ModelConfig
from lvc.models.motionpyramid import MotionPyramid
from lvc.models.swift import SwiftEntropy
from lvc.ops.blockdct import CHROMA_STEP, COEFFICIENTS, LUMA, zigzag
from lvc.ops.blocks import RefinementNet, high_pass, log_step_plane, soft_clip
from lvc.ops.blocksteps import FLAT
from lvc.ops.gains import QualityTable, quantization_step
from lvc.ops.picture import picture_space
from lvc.ops.transforms import AnalysisTransform, SynthesisTransform, start_as_dct

MULTIPLE = 16
"""Frames are padded to multiples of this many luma samples."""


class ResidualAutoencoder(nn.Module):
    """Analysis and synthesis with GDN and gains; starts as a DCT with the quantization steps of lvc.ops.blockdct."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels, layers = picture_space(config.picture).channels, config.residual
        self.analysis = AnalysisTransform(channels, layers, GAMMA_START)
        self.synthesis = SynthesisTransform(channels, layers, GAMMA_START)
        start_as_dct(self.analysis, self.synthesis)
        self.log_gain, self.log_inverse_gain = (QualityTable(layers[-1].channels) for _ in range(2))
        self.start_steps(config)
        order = _order()
        last, first = self.analysis[-1], self.synthesis[0]
        assert isinstance(last, nn.Conv2d)
        assert isinstance(first, nn.Conv2d)
        with torch.no_grad():
            last.weight.copy_(last.weight[order])
            first.weight.copy_(first.weight[:, order])

    @torch.no_grad()
    def start_steps(self, config: ModelConfig) -> None:
        """Let gains be such that symbols count the steps of a configuration, as long as transforms are a DCT."""
        rule = None if config.context is None else config.context.steps
        relative = (FLAT,) * LUMA + (CHROMA_STEP,) * (COEFFICIENTS - LUMA) if rule is None else rule.relative
        steps = torch.tensor(relative, dtype=torch.float32).div(FLAT).log()
        self.log_gain.knots.copy_(-steps.expand_as(self.log_gain.knots))
        self.log_inverse_gain.knots.copy_(steps.expand_as(self.log_gain.knots))

    def latent(self, x: Tensor, quality: Tensor) -> Tensor:
        """Residual in units of the step (N, 6, H, W) -> (N, 96, H / 4, W / 4), to be rounded."""
        return torch.as_tensor(self.analysis(x) * self.log_gain(quality).exp())

    def forward(self, symbols: Tensor, quality: Tensor) -> Tensor:
        """The way back."""
        return torch.as_tensor(self.synthesis(symbols * self.log_inverse_gain(quality).exp()))


class ContextInterModel(nn.Module):
    """The networks of a P frame. lvc.codecs.dvccontext puts them together."""

    multiple = MULTIPLE

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.context is None or config.picture != "yuv420" or not config.dct_start:
            raise ValueError("the second design is for packed 4:2:0 pictures, and starts as a DCT")
        self.config = config
        self.space = picture_space(config.picture)
        c = self.space.channels
        self.motion = MotionPyramid(config.context.motion_width)
        self.refine = RefinementNet(2 * c + 3, c, config.refine, config.fold)
        self.residual = ResidualAutoencoder(config)
        self.entropy = SwiftEntropy(config.context.entropy_width)
        self.loop_filter = RefinementNet(3 * c + 1, c, config.refine, config.fold)

    def prediction(self, warped: Tensor, reference: Tensor, field: Tensor, quality: Tensor,
                   blocks: Tensor | None = None) -> Tensor:
        """The motion-compensated prediction, refined.

        Args:
            warped, reference: pictures (N, 6, H, W), 8-bit scale.
            field: (N, 2, H / 4, W / 4), vectors in quarters of a luma sample.
            quality: (N,).
            blocks: (N, 1, H / 4, W / 4), qualities of the 8x8 blocks where they differ, here and below.
        """
        step = step_plane(quality, blocks)
        flow = field.repeat_interleave(4, 2).repeat_interleave(4, 3) * (0.25 * 0.125)
        detail = soft_clip(torch.cat((high_pass(warped), high_pass(reference)), 1) / step)
        features = torch.cat((detail, flow, log_step_plane(step, warped)), 1)
        return warped + self.refine(features).float() * step

    def latent(self, current: Tensor, prediction: Tensor, quality: Tensor, blocks: Tensor | None = None) -> Tensor:
        """What is to be coded of a picture, given its prediction: (N, 96, H / 4, W / 4), not rounded."""
        step = step_plane(quality, blocks)
        return self.residual.latent((current - prediction) / step, quality)

    def decoded(self, prediction: Tensor, symbols: Tensor, quality: Tensor,
                blocks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The picture before the loop filter, and its residual in units of the step."""
        step = step_plane(quality, blocks)
        residual = self.residual(symbols, quality).float()
        return prediction + residual * step, residual

    def filtered(self, picture: Tensor, prediction: Tensor, residual: Tensor, quality: Tensor,
                 blocks: Tensor | None = None) -> Tensor:
        """The picture after the loop filter."""
        step = step_plane(quality, blocks)
        detail = torch.cat((high_pass(picture) / step, high_pass(prediction) / step, residual), 1)
        features = torch.cat((soft_clip(detail), log_step_plane(step, picture)), 1)
        return picture + self.loop_filter(features).float() * step


def step_plane(quality: Tensor, blocks: Tensor | None) -> Tensor:
    """Quantization steps as a tensor that pictures (N, 6, H, W) can be divided by."""
    if blocks is None:
        return quantization_step(quality)[:, None, None, None]
    return quantization_step(blocks).repeat_interleave(4, 2).repeat_interleave(4, 3)


def _order() -> Tensor:
    """For each coefficient of lvc.ops.blockdct its place among those of lvc.ops.transforms.packed_dct_basis."""
    chroma = [(LUMA + p, LUMA + 16 + p) for p in zigzag(4)]
    return torch.tensor([*zigzag(8), *(place for pair in chroma for place in pair)])
