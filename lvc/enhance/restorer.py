"""The restoration network on whole frames."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lvc.enhance.neighbours import Planes, aligned
from lvc.enhance.restore import STRIDE, RestoreNet, pack, unpack
from lvc.types import Frame


def fast_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices natively, several times faster than float32."""
    return bool(torch.cpu._is_avx512_bf16_supported()) or bool(torch.cpu._is_amx_tile_supported())


def pack_frame(planes: Planes) -> Tensor:
    """Planes of any size -> packed frame (1, 24, ceil(H / 4), ceil(W / 4)); edges are repeated."""
    height, width = planes[0].shape
    rows, columns = -(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE

    def padded(plane: np.ndarray, h: int, w: int) -> Tensor:
        if plane.shape != (h, w):
            plane = np.pad(plane, ((0, h - plane.shape[0]), (0, w - plane.shape[1])), mode="edge")
        # numpy arrays of decoders may be read-only
        return torch.from_numpy(np.array(plane, np.float32))[None, None]

    y, u, v = planes
    return pack(padded(y, rows, columns), padded(u, rows // 2, columns // 2), padded(v, rows // 2, columns // 2))


def unpack_frame(x: Tensor, like: Frame) -> Frame:
    """Packed frame -> 8-bit frame of the size and pts of ``like``."""
    planes = []
    for plane, old in zip(unpack(x.round().clamp(0, 255)), like.planes, strict=True):
        planes.append(plane[0, 0, : old.shape[0], : old.shape[1]].to(torch.uint8).contiguous().numpy())
    return Frame(planes[0], planes[1], planes[2], like.pts)


class Restorer:
    """Restores one frame at a time.

    Args:
        net: in evaluation mode.
        av1: whether the base codec is AV1.
        bfloat16: compute the convolutions in bfloat16; None: where that is fast. Pictures differ a little between
            the two (a few samples by 1), as they do between machines.
    """

    def __init__(self, net: RestoreNet, av1: bool, bfloat16: bool | None = None) -> None:
        self._net = net.to(memory_format=torch.channels_last)
        self._av1 = av1
        self._bfloat16 = fast_bfloat16() if bfloat16 is None else bfloat16

    @torch.inference_mode()
    def __call__(self, frame: Frame, previous: Frame | None, following: Frame | None,
                 levels: tuple[float, float, float], intra: bool) -> Frame:
        """The frame restored.

        Args:
            frame: as decoded. previous, following: likewise, of the same size; None where there is none.
            levels: root mean squared luma errors of the three; what is told of a missing frame does not matter.
            intra: whether the frame is an intra frame.
        """
        current = pack_frame(frame.planes)
        others, known = [], [levels[0]]
        for other, level in ((previous, levels[1]), (following, levels[2])):
            if other is None:
                others.append(current)
                known.append(levels[0])
            else:
                others.append(pack_frame(aligned(frame.planes, other.planes, levels[0], torch.get_num_threads())))
                known.append(level)
        kind = torch.tensor([[float(intra), float(self._av1)]])
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16):
            restored = self._net(current, others[0], others[1], torch.tensor([known]), kind)
        return unpack_frame(restored, frame)
