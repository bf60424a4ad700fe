"""Multi-scale structural similarity (Wang, Simoncelli and Bovik, Asilomar 2003) by pytorch-msssim."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lvc.errors import UsageError

MS_SSIM_MIN_SIDE = 161
"""Shortest side, in pixels, that MS-SSIM is defined for: four halvings must leave more than the 11-pixel
window has on either side."""


def ms_ssim(reference: npt.NDArray[np.uint8], decoded: npt.NDArray[np.uint8]) -> float:
    """MS-SSIM of two 8-bit pictures: five scales, 11x11 Gaussian window, data range 255.

    Args:
        reference, decoded: uint8, equal shapes (height, width) or (height, width, channels). Channels are
            measured by themselves and averaged; learned-codec papers give the value of RGB
            (:func:`lvc.metrics.frame_to_rgb`).

    Returns:
        0 to 1.

    Raises:
        UsageError: other dtypes or shapes, or a side of less than MS_SSIM_MIN_SIDE pixels.
    """
    if reference.dtype != np.uint8 or decoded.dtype != np.uint8:
        raise UsageError(f"MS-SSIM wants uint8 arrays, not {reference.dtype} and {decoded.dtype}")
    if reference.shape != decoded.shape:
        raise UsageError(f"pictures differ in shape: {reference.shape} and {decoded.shape}")
    if reference.ndim not in (2, 3):
        raise UsageError(f"MS-SSIM wants (height, width) or (height, width, channels), "
                         f"not {reference.ndim} dimensions")
    height, width = reference.shape[:2]
    if min(height, width) < MS_SSIM_MIN_SIDE:
        raise UsageError(f"MS-SSIM needs at least {MS_SSIM_MIN_SIDE} pixels on either side, "
                         f"not {width}x{height}")
    # Here and not above: PSNR and BD-rate users need not wait for torch.
    import torch
    from pytorch_msssim import ms_ssim as torch_ms_ssim

    def tensor(picture: npt.NDArray[np.uint8]) -> torch.Tensor:
        # The strides stay those of a picture (channels last): the filters run three times as fast that way.
        channels_last = picture if picture.ndim == 3 else picture[..., None]
        stacked = torch.from_numpy(np.ascontiguousarray(channels_last[None])).permute(0, 3, 1, 2)
        return stacked.float().contiguous(memory_format=torch.channels_last)

    with torch.no_grad():
        return float(torch_ms_ssim(tensor(reference), tensor(decoded), data_range=255.0))
