"""A small learned intra model: the autoencoder of the residual, on the picture itself, and a loop filter."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lvc.entropy import Coder
from lvc.models.common import LatentCodec
from lvc.models.config import ModelConfig
from lvc.ops.blocks import RefinementNet, high_pass, soft_clip
from lvc.ops.gains import quantization_step
from lvc.ops.picture import picture_space


class IntraModel(nn.Module):
    """Hyperprior image model (Balle et al. 2018) with the transforms and gains of the inter model."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.space = picture_space(config.picture)
        c = self.space.channels
        self.picture = LatentCodec(c, config.intra, config.intra_entropy, config.dct_start)
        self.loop_filter = RefinementNet(c + 1, c, config.refine, config.fold) if config.loop_filter else None

    @property
    def multiple(self) -> int:
        """Frames are padded to multiples of this many luma samples."""
        return max(self.picture.multiple * self.space.stride, 4 * self.config.fold * self.space.stride)

    def forward(self, coder: Coder, current: Tensor | None, quality: Tensor, size: tuple[int, int]) -> Tensor:
        """Code one picture (N, channels, *size), 8-bit scale, None when reading; returns the decoded one."""
        step = quantization_step(quality)[:, None, None, None]
        scaled = None if current is None else (current - 128.0) / step
        picture = self.picture(coder, scaled, quality, size).float() * step + 128.0
        if self.loop_filter is not None:
            detail = soft_clip(high_pass(picture) / step)
            level = (torch.log2(step) - 4.0).expand(-1, 1, *size)
            picture = picture + self.loop_filter(torch.cat((detail, level), 1)).float() * step
        return picture
