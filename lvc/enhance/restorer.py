"""Whole frames for the filters (lvc.enhance.adaptive): neighbours by motion, proposals by the network."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lvc.enhance.adaptive import VALUE, Array, Planes, Views
from lvc.enhance.levels import level_of_index
from lvc.enhance.neighbours import Neighbours
from lvc.enhance.restore import STRIDE, RestoreNet, pack, unpack, unpack_proposals
from lvc.enhance.seen import Window
from lvc.ops.bfloat16 import fast_bfloat16
from lvc.types import Frame


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
    """Makes ready what the filters of a frame see, one frame at a time.

    Args:
        net: in evaluation mode; None: there are no proposals.
        av1: whether the base codec is AV1.
        bfloat16: compute the convolutions in bfloat16; None: where that is fast. Proposals differ a little between
            the two, as they do between machines.
    """

    def __init__(self, net: RestoreNet | None, av1: bool, bfloat16: bool | None = None) -> None:
        self._net = None if net is None else net.to(memory_format=torch.channels_last)
        self._av1 = av1
        self._bfloat16 = fast_bfloat16() if bfloat16 is None else bfloat16
        self._neighbours = Neighbours()

    def __call__(self, window: Window) -> Views:
        """What there is to see of the frame in the middle. Frames are of one size."""
        _, previous, now, following, _ = window
        frame = now.frame.planes
        before, after, *further = self._neighbours(window, torch.get_num_threads())
        known = [now.index if other is None else other.index for other in (now, previous, following)]
        proposals = None if self._net is None else self._propose(self._net, (frame, before, after), known, now.intra)
        return Views(frame, before, after, now.index, proposals, (further[0], further[1]))

    @torch.inference_mode()
    def _propose(self, net: RestoreNet, frames: tuple[Planes, Planes, Planes], indices: list[int],
                 intra: bool) -> tuple[Array, Array, Array]:
        sizes = [plane.shape for plane in frames[0]]
        levels = torch.tensor([[level_of_index(index) for index in indices]])
        kind = torch.tensor([[float(intra), float(self._av1)]])
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16):
            packed = net(*(pack_frame(planes) for planes in frames), levels, kind)
        limit = 255 * VALUE
        values = (packed * VALUE).round_().clamp_(-limit, limit).to(torch.int16)
        y, u, v = (np.ascontiguousarray(planes[0].numpy()[:, :height, :width])
                   for planes, (height, width) in zip(unpack_proposals(values), sizes, strict=True))
        return y, u, v
