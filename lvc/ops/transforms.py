"""Analysis and synthesis transforms of DVC (strided convolutions with GDN), and how they may start.

DVC (Lu et al., CVPR 2019, figures 3 and 4) starts its autoencoders at random. ``start_as_dct`` sets the same
layers so that they begin as an orthonormal transform (Haar steps, turned into a DCT where the last layer has
the width for it) with GDN near the identity: then the codec works at every rate before the first step of
training, and training only improves it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lvc.ops.compressai_adapter import GDN


@dataclass(frozen=True)
class Layer:
    """One convolution of an analysis transform: stride 1 or 2, odd kernel, output channels."""

    stride: int
    kernel: int
    channels: int


class AnalysisTransform(nn.Sequential):
    """Convolutions, GDN after all but the last: (N, in_channels, H, W) -> (N, channels, H/s, W/s)."""

    def __init__(self, in_channels: int, layers: Sequence[Layer], gamma: float = 0.1) -> None:
        modules: list[nn.Module] = []
        for i, layer in enumerate(layers):
            modules.append(nn.Conv2d(in_channels, layer.channels, layer.kernel, layer.stride,
                                     layer.kernel // 2))
            if i < len(layers) - 1:
                modules.append(GDN(layer.channels, gamma_init=gamma))
            in_channels = layer.channels
        super().__init__(*modules)


class SynthesisTransform(nn.Sequential):
    """The mirror image of AnalysisTransform: IGDN before all but the first (transposed) convolution."""

    def __init__(self, out_channels: int, layers: Sequence[Layer], gamma: float = 0.1) -> None:
        modules: list[nn.Module] = []
        for i in reversed(range(len(layers))):
            layer = layers[i]
            channels = layers[i - 1].channels if i else out_channels
            if layer.stride == 1:
                modules.append(nn.Conv2d(layer.channels, channels, layer.kernel, 1, layer.kernel // 2))
            else:
                modules.append(nn.ConvTranspose2d(layer.channels, channels, layer.kernel, layer.stride,
                                                  layer.kernel // 2, output_padding=layer.stride - 1))
            if i:
                modules.append(GDN(channels, inverse=True, gamma_init=gamma))
        super().__init__(*modules)


def dct_matrix(n: int) -> Tensor:
    """Orthonormal DCT-II, (n, n), float64; rows are basis functions in order of frequency."""
    k = torch.arange(n, dtype=torch.float64)
    matrix = torch.cos(math.pi * (k + 0.5) * k[:, None] / n) * math.sqrt(2.0 / n)
    matrix[0] /= math.sqrt(2.0)
    return matrix


def packed_dct_basis() -> Tensor:
    """DCT of an 8x8 luma block and its two 4x4 chroma blocks: (96, 6, 4, 4), orthonormal, over Packed420."""
    luma, chroma = dct_matrix(8), dct_matrix(4)
    basis = torch.zeros(96, 6, 4, 4, dtype=torch.float64)
    luma2d = torch.einsum("ai,bj->abij", luma, luma).reshape(64, 1, 8, 8)
    basis[:64, :4] = nn.functional.pixel_unshuffle(luma2d, 2)
    chroma2d = torch.einsum("ai,bj->abij", chroma, chroma).reshape(16, 4, 4)
    basis[64:80, 4] = chroma2d
    basis[80:96, 5] = chroma2d
    return basis


def _haar(channels: int) -> Tensor:
    """One orthonormal Haar step on each of ``channels`` channels: (4 * channels, channels, 2, 2)."""
    half = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64) / math.sqrt(2.0)
    bands = torch.einsum("ai,bj->abij", half, half).reshape(4, 2, 2)
    eye = torch.eye(channels, dtype=torch.float64)
    return torch.einsum("bij,ck->bckij", bands, eye).reshape(4 * channels, channels, 2, 2)


@torch.no_grad()
def start_as_dct(analysis: AnalysisTransform, synthesis: SynthesisTransform) -> None:
    """Set two stride-2 layers as Haar steps, and a third layer of stride 1 as the step from there to the DCT.

    Channels beyond the orthonormal ones stay as they were on the side of the analysis, and are not read by
    the following layer, so they only join in by training. Raises ValueError where the layers do not fit.
    """
    down = [m for m in analysis if isinstance(m, nn.Conv2d)]
    up = [m for m in synthesis if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)][::-1]
    strides = [m.stride[0] for m in down]
    if strides not in ([2, 2], [2, 2, 1]):
        raise ValueError(f"layers of strides {strides} cannot start as a DCT")
    for m in (*down, *up):
        nn.init.zeros_(m.bias)
    channels = down[0].in_channels
    for conv, deconv in zip(down[:2], up[:2], strict=True):
        haar = _haar(channels)
        middle = conv.kernel_size[0] // 2
        if 4 * channels > conv.out_channels:
            raise ValueError(f"{conv.out_channels} channels are too few for a Haar step on {channels}")
        conv.weight[: 4 * channels] = 0
        conv.weight[:, channels:] = 0
        deconv.weight[:] = 0
        window = slice(middle, middle + 2)
        conv.weight[: 4 * channels, :channels, window, window] = haar.float()
        deconv.weight[: 4 * channels, :channels, window, window] = haar.float()
        channels *= 4
    if strides == [2, 2, 1]:
        if (down[0].in_channels, down[2].out_channels) != (6, 96):
            raise ValueError("the DCT start is for 6 packed channels and 96 coefficients")
        first, second = _haar(6), _haar(24)
        block = torch.zeros(96, 6, 4, 4, dtype=torch.float64)
        for i in range(2):
            for j in range(2):
                block[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = torch.einsum(
                    "oc,cdkl->odkl", second[:, :, i, j], first)
        turn = (packed_dct_basis().flatten(1) @ block.flatten(1).T).float()
        middle = down[2].kernel_size[0] // 2
        down[2].weight[:] = 0
        up[2].weight[:] = 0
        down[2].weight[:, :, middle, middle] = turn
        up[2].weight[:, :, middle, middle] = turn.T
