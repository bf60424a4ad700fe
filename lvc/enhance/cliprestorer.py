"""SRFI on clips of whole frames."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lvc.enhance.restorer import pack_frame, unpack_frame
from lvc.enhance.srfi import Srfi
from lvc.ops.bfloat16 import fast_bfloat16
from lvc.types import Frame


class ClipRestorer:
    """Enhances clips: some frames, with some on both sides of them for the recurrence.

    Args:
        net: in evaluation mode.
        av1: whether the base codec is AV1.
        scale: by how much frames were enlarged: 1, 1.5 or 2.
        bfloat16: as of Restorer.
    """

    def __init__(self, net: Srfi, av1: bool, scale: float, bfloat16: bool | None = None) -> None:
        self._net = net.to(memory_format=torch.channels_last)
        self._av1, self._scale = av1, scale
        self._bfloat16 = fast_bfloat16() if bfloat16 is None else bfloat16

    @torch.inference_mode()
    def __call__(self, plain: Sequence[Frame], levels: Sequence[float], intra: Sequence[bool],
                 middles: Sequence[Frame | None], core: range) -> tuple[list[Frame | None], list[Frame | None]]:
        """Frames enhanced.

        Args:
            plain: frames in a row, enlarged. levels: root mean squared luma errors of these. intra: whether they are
                intra frames.
            middles: for each, the frame between it and the next one, if there is one.
            core: the frames that are asked for.

        Returns:
            ``plain`` and ``middles`` enhanced, with the pts they have; None out of ``core``.
        """
        net = self._net
        packed = torch.stack([pack_frame(frame.planes)[0] for frame in plain])[None]
        level = torch.tensor([list(levels)])
        kinds = torch.tensor([[[float(first), float(self._av1)] for first in intra]])
        frames: list[Frame | None] = [None] * len(plain)
        between: list[Frame | None] = [None] * len(plain)
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16):
            hidden = net.conditions(level, kinds, torch.tensor([self._scale]))
            inputs, features = net.propagated(packed, level, hidden)
            for t in core:
                frames[t] = unpack_frame(net.picture(packed[:, t], inputs[t], features[t], level[:, t], hidden[:, t]),
                                         plain[t])
                middle = middles[t]
                if middle is not None:
                    x = net.between(pack_frame(middle.planes), features[t], features[t + 1],
                                    level[:, t: t + 2].mean(1), hidden[:, t: t + 2].mean(1))
                    between[t] = unpack_frame(x, middle)
        return frames, between
