"""What the inter and the intra model share: autoencoders with quality-dependent gains, entropy models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from lvc.entropy import Coder, FactorizedModel, Hyperprior, LatentModel
from lvc.models.config import EntropyConfig
from lvc.ops.gains import QualityTable
from lvc.ops.transforms import AnalysisTransform, Layer, SynthesisTransform, start_as_dct

GAMMA_START = 1e-4
"""GDN's gamma where autoencoders start as linear transforms: nearly the identity, but not stuck there."""


def entropy_model(channels: int, config: EntropyConfig) -> LatentModel:
    """Build the entropy model of a latent of ``channels`` channels."""
    if config.kind == "factorized":
        return FactorizedModel(channels)
    if config.kind == "hyperprior":
        return Hyperprior(channels, config.z_channels, config.levels, config.width, config.means)
    raise ValueError(f"unknown entropy model {config.kind!r}")


class LatentCodec(nn.Module):
    """Autoencoder, gains that follow the quality, and entropy model: a tensor in, its coded version out.

    With gain vectors one set of weights serves all rates (Cui et al., CVPR 2021): latents are multiplied by a
    learned gain a channel and quality before rounding, and by a learned inverse gain after it.
    """

    def __init__(self, channels: int, layers: Sequence[Layer], entropy: EntropyConfig,
                 dct_start: bool) -> None:
        super().__init__()
        gamma = GAMMA_START if dct_start else 0.1
        self.analysis = AnalysisTransform(channels, layers, gamma)
        self.synthesis = SynthesisTransform(channels, layers, gamma)
        if dct_start:
            start_as_dct(self.analysis, self.synthesis)
        self.stride = 1
        for layer in layers:
            self.stride *= layer.stride
        self.log_gain = QualityTable(layers[-1].channels)
        self.log_inverse_gain = QualityTable(layers[-1].channels)
        self.entropy = entropy_model(layers[-1].channels, entropy)

    @property
    def multiple(self) -> int:
        """Height and width of the input must be multiples of this."""
        return self.stride * self.entropy.downscale

    def latent(self, x: Tensor, quality: Tensor) -> Tensor:
        """x (N, channels, H, W) -> what is rounded and coded, (N, latent channels, H/stride, W/stride)."""
        return cast(Tensor, self.analysis(x) * self.log_gain(quality).exp())

    def forward(self, coder: Coder, x: Tensor | None, quality: Tensor, size: tuple[int, int],
                y: Tensor | None = None) -> Tensor:
        """Code x (N, channels, *size), None when reading; returns its reconstruction.

        An encoder may give a latent ``y`` of its own choice, in which case x is not looked at.
        """
        if y is None and x is not None:
            y = self.latent(x, quality)
        latent_size = (size[0] // self.stride, size[1] // self.stride)
        y_hat = self.entropy(coder, y, quality, latent_size)
        return cast(Tensor, self.synthesis(y_hat * self.log_inverse_gain(quality).exp()))
