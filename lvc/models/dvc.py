"""The inter model of DVC (Lu et al., CVPR 2019), one code path for training, writing and reading."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lvc.entropy import Coder, Estimate
from lvc.models.common import LatentCodec
from lvc.models.config import ModelConfig
from lvc.ops.blocks import PyramidFlow, RefinementNet, high_pass, log_step_plane, soft_clip
from lvc.ops.gains import quantization_step
from lvc.ops.picture import picture_space
from lvc.ops.warp import resize_flow


@dataclass
class InterOutput:
    """What coding one P frame gives; pictures in the model's picture space, flows in luma samples.

    Attributes:
        picture: the reconstruction (not rounded to 8 bits).
        prediction: motion-compensated prediction; ``warped``: before the refinement network.
        flow_hat: coded motion. flow: the encoder's estimate, None when reading.
        motion_bits: (N,) bits of the motion where the coder is an Estimate, else None.
    """

    picture: Tensor
    prediction: Tensor
    warped: Tensor
    flow_hat: Tensor
    flow: Tensor | None
    motion_bits: Tensor | None


@dataclass
class Latents:
    """Latents of one P frame (N, channels, h, w); the one that is None comes from the analysis transform."""

    motion: Tensor | None = None
    residual: Tensor | None = None


class InterModel(nn.Module):
    """Motion estimation, motion autoencoder, motion compensation, residual autoencoder, loop filter."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.space = picture_space(config.picture)
        c = self.space.channels
        flow = config.flow
        self.motion_estimation = PyramidFlow(flow.levels, flow.kernel, flow.widths, flow.unshuffle)
        self.motion = LatentCodec(2, config.motion, config.motion_entropy, config.dct_start)
        self.refine = RefinementNet(2 * c + 3, c, config.refine, config.fold)
        self.residual = LatentCodec(c, config.residual, config.residual_entropy, config.dct_start)
        self.loop_filter = (RefinementNet(3 * c + 1, c, config.refine, config.fold)
                            if config.loop_filter else None)

    @property
    def multiple(self) -> int:
        """Frames are padded to multiples of this many luma samples."""
        return max(self.motion.multiple * self.config.flow.unshuffle,
                   self.residual.multiple * self.space.stride,
                   self.config.flow.unshuffle * 2 ** (self.config.flow.levels - 1),
                   4 * self.config.fold * self.space.stride)

    def forward(self, coder: Coder, current: Tensor | None, reference: Tensor, quality: Tensor,
                flow: Tensor | None = None, latents: Latents | None = None) -> InterOutput:
        """Code one P frame.

        Args:
            coder: Estimate, Write or Read.
            current: (N, channels, H, W) picture to code, 8-bit scale; None when reading.
            reference: (N, channels, H, W) the former decoded picture.
            quality: (N,) 0..63.
            flow: motion to code instead of the network's estimate, (N, 2, H * stride / unshuffle, ...).
            latents: an encoder's own choice of what is coded; with a latent for the motion, no motion is needed.
        """
        chosen = latents or Latents()
        stride, unshuffle = self.space.stride, self.config.flow.unshuffle
        height, width = reference.shape[2] * stride, reference.shape[3] * stride
        step = quantization_step(quality)[:, None, None, None]
        if current is not None and flow is None and chosen.motion is None:
            flow = self.motion_estimation(self._luma(current), self._luma(reference))
        motion_step = self.motion_step(quality)
        with torch.autocast(reference.device.type, enabled=False):  # bfloat16 holds no sub-pixel motion
            flow_hat = self.motion(coder, None if flow is None else flow / motion_step, quality,
                                   (height // unshuffle, width // unshuffle), chosen.motion) * motion_step
        motion_bits = torch.as_tensor(coder.bits) if isinstance(coder, Estimate) else None
        warped = self.space.warp(reference, flow_hat)
        prediction = warped + self._refinement(warped, reference, flow_hat, step)
        residual = None if current is None else (current - prediction) / step
        residual_hat = self.residual(coder, residual, quality, (reference.shape[2], reference.shape[3]),
                                     chosen.residual)
        picture = prediction + residual_hat.float() * step
        if self.loop_filter is not None:
            detail = torch.cat((high_pass(picture) / step, high_pass(prediction) / step, residual_hat), 1)
            features = torch.cat((soft_clip(detail), log_step_plane(step, picture)), 1)
            picture = picture + self.loop_filter(features).float() * step
        return InterOutput(picture, prediction, warped, flow_hat, flow, motion_bits)

    def motion_step(self, quality: Tensor) -> Tensor:
        """Quantization step of the motion (N, 1, 1, 1), in luma samples (see ModelConfig.motion_step)."""
        step = quantization_step(quality)[:, None, None, None]
        return self.config.motion_step * (step / 3.0).sqrt()

    def _refinement(self, warped: Tensor, reference: Tensor, flow: Tensor, step: Tensor) -> Tensor:
        flow_plane = resize_flow(flow, (warped.shape[2], warped.shape[3]), 0.125)
        detail = soft_clip(torch.cat((high_pass(warped), high_pass(reference)), 1) / step)
        features = torch.cat((detail, flow_plane, log_step_plane(step, warped)), 1)
        return self.refine(features).float() * step

    def _luma(self, picture: Tensor) -> Tensor:
        return self.space.unpack(picture)[0]
