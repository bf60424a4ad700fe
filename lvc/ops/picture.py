"""Picture spaces: what a network sees of an 8-bit YUV 4:2:0 frame.

``Packed420`` keeps the samples as they are: the luma plane is unshuffled to four channels at half
resolution, beside U and V, so nothing is resampled and nothing is lost. ``Rgb444`` is what the papers use.
Both hold values on the 8-bit scale (0..255).
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from lvc.ops.warp import backward_warp, resize_flow


class PictureSpace(Protocol):
    """``channels`` of the tensor at 1/``stride`` of luma resolution."""

    channels: int
    stride: int

    def pack(self, y: Tensor, uv: Tensor) -> Tensor:
        """Planes (N, 1, H, W) and (N, 2, H/2, W/2) -> picture (N, channels, H/stride, W/stride)."""
        ...

    def unpack(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse of pack."""
        ...

    def warp(self, picture: Tensor, flow: Tensor) -> Tensor:
        """Motion-compensate by a flow (N, 2, h, w) of any resolution, in luma samples."""
        ...


class Packed420:
    """Luma unshuffled by 2 (4 channels), U, V: (N, 6, H/2, W/2)."""

    channels = 6
    stride = 2

    def pack(self, y: Tensor, uv: Tensor) -> Tensor:
        return torch.cat((F.pixel_unshuffle(y, 2), uv), 1)

    def unpack(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        return F.pixel_shuffle(picture[:, :4], 2), picture[:, 4:]

    def warp(self, picture: Tensor, flow: Tensor) -> Tensor:
        y, uv = self.unpack(picture)
        y = backward_warp(y, resize_flow(flow, (y.shape[2], y.shape[3]), 1.0))
        uv = backward_warp(uv, resize_flow(flow, (uv.shape[2], uv.shape[3]), 0.5))
        return self.pack(y, uv)


class Rgb444:
    """RGB at full resolution: (N, 3, H, W), by BT.601 limited range whatever the stream says.

    The matrix only turns the colour axes for the network; the way back is its inverse, so it need not be
    the one that a display uses.
    """

    channels = 3
    stride = 1

    _YUV_TO_RGB = ((1.1643836, 0.0, 1.5960268), (1.1643836, -0.3917623, -0.8129676),
                   (1.1643836, 2.0172321, 0.0))

    def pack(self, y: Tensor, uv: Tensor) -> Tensor:
        # Nearest, not bilinear: the mean in unpack is its exact inverse, so chroma of the reference is not
        # blurred again with every frame.
        uv = F.interpolate(uv, size=y.shape[-2:], mode="nearest")
        yuv = torch.cat((y - 16.0, uv - 128.0), 1)
        return torch.einsum("rc,nchw->nrhw", y.new_tensor(self._YUV_TO_RGB), yuv)

    def unpack(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        inverse = torch.linalg.inv(torch.tensor(self._YUV_TO_RGB, dtype=torch.float64)).to(picture)
        yuv = torch.einsum("rc,nchw->nrhw", inverse, picture)
        return yuv[:, :1] + 16.0, F.avg_pool2d(yuv[:, 1:], 2) + 128.0

    def warp(self, picture: Tensor, flow: Tensor) -> Tensor:
        return backward_warp(picture, resize_flow(flow, (picture.shape[2], picture.shape[3]), 1.0))


def picture_space(name: str) -> PictureSpace:
    """The picture space of a configuration: "yuv420" or "rgb"."""
    return {"yuv420": Packed420, "rgb": Rgb444}[name]()


def pad_planes(y: Tensor, uv: Tensor, multiple: int) -> tuple[Tensor, Tensor]:
    """Pad planes at the right and bottom by edge replication, luma to a multiple of ``multiple``.

    Args:
        y: (N, 1, H, W), any H and W.
        uv: (N, 2, (H + 1) // 2, (W + 1) // 2).
    """
    h, w = y.shape[-2:]
    ph, pw = -h % multiple, -w % multiple
    ch, cw = uv.shape[-2:]
    return (F.pad(y, (0, pw, 0, ph), mode="replicate"),
            F.pad(uv, (0, (w + pw) // 2 - cw, 0, (h + ph) // 2 - ch), mode="replicate"))
