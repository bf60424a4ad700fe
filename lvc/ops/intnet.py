"""Integer layers for inference: what lvc.ops.integer computes with torch, on bytes, in C++. Works on numpy.

Activations are uint8 or int8, channels last: (h, w, channels), or (n, channels) for a list of positions. Sums are
int32, so every result is that of :class:`lvc.ops.integer.IntConv2d` to the last bit, whatever the instruction set
and the number of threads. The environment variable ``LVC_SIMD`` (scalar, avx2, avx512 or amx) names other kernels than
the fastest that the machine has.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lvc import _nets
from lvc.ops.integer import IntConv2d

kernels = _nets
"""Everything of the extension module, for the models and codecs that are made of it."""

Bytes = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.int32]

_LEVELS = ("amx", "avx512", "avx2", "scalar")


def simd_levels() -> tuple[str, ...]:
    """The instruction sets that this machine has kernels for, best first; the last one is "scalar"."""
    return tuple(name for name in _LEVELS if _nets.has_simd(name))


def default_simd() -> str:
    """What ``LVC_SIMD`` names, if there are such kernels here, or else "auto"."""
    name = os.environ.get("LVC_SIMD", "")
    return name if name in simd_levels() else "auto"


@dataclass(frozen=True)
class Part:
    """A convolution of a layer and where its inputs come from.

    Attributes:
        convolution: holds weights, their unit, clamp and the largest magnitude of an input.
        sources: channels of each array that it reads, in the order of its input channels; all, if empty.
        signed: whether inputs are int8.
        multiplier: of its results, 1..256, after its clamp.
    """

    convolution: IntConv2d
    sources: tuple[int, ...] = ()
    signed: bool = False
    multiplier: int = 1

    @torch.no_grad()
    def native(self) -> tuple[Any, ...]:
        """As lvc._nets takes it."""
        conv = self.convolution
        if not conv.rounding:
            raise ValueError("a layer that computes with real numbers has no integers")
        weight, bias = conv.integers()
        channels = weight.shape[1] // conv.kernel_size**2
        x_max = min(conv.x_max, 127 if self.signed else 255)
        return (conv.kernel_size, self.signed, x_max, list(self.sources or (channels,)),
                weight.to(torch.int8).numpy(), bias.to(torch.int32).numpy(), int(conv.shift), int(conv.low),
                int(conv.high), self.multiplier)


class IntLayer:
    """clamp(sum of convolutions [+ offset] [+ residual], low, high), with the weights as they are now.

    Args:
        parts: the convolutions; each is requantized and clamped as by itself before they are added up.
        low, high: clamp of the sum; results are uint8 where they fit, or else int16.
        simd: kernels to use (see :func:`simd_levels`); the result is the same.

    Attributes:
        native: the layer of the extension module.

    Raises:
        ValueError: what cannot be carried out exactly.
    """

    def __init__(self, parts: Sequence[Part], low: int, high: int, simd: str | None = None) -> None:
        self._simd = default_simd() if simd is None else simd
        if self._simd != "auto" and self._simd not in simd_levels():
            raise ValueError(f"simd must be auto or one of {', '.join(simd_levels())} here, not {simd!r}")
        native = [part.native() for part in parts]
        self.outputs = len(native[0][4])
        self.dtype: type[np.uint8] | type[np.int16] = np.uint8 if low >= 0 and high <= 255 else np.int16
        self.native = _nets.Layer(self.outputs, native, low, high, self.dtype is np.int16)

    @classmethod
    def of(cls, convolution: IntConv2d, *, signed: bool = False, low: int | None = None,
           high: int | None = None, sources: tuple[int, ...] = (), simd: str | None = None) -> IntLayer:
        """A single convolution; limits other than its own are for a sum with an offset."""
        return cls([Part(convolution, sources, signed)], int(convolution.low) if low is None else low,
                   int(convolution.high) if high is None else high, simd)

    def __call__(self, *sources: tuple[npt.NDArray[Any], int], positions: Positions | None = None,
                 offset: npt.NDArray[np.int32] | None = None, residual: Bytes | None = None,
                 wanted: npt.NDArray[np.bool_] | None = None, planar: bool = False,
                 threads: int = 1) -> npt.NDArray[Any]:
        """Compute the layer.

        Args:
            sources: for each source of each part its array, (h, w, channels) or (n, channels), and the first
                channel to read.
            positions: linear positions y * w + x to compute; all, if None.
            offset: (outputs,), added to the sum.
            residual: uint8, of the results' shape, added to the sum.
            wanted: bool (h, w), instead of positions: where to compute; results are zero elsewhere.
            planar: channels first in the result.

        Returns:
            (h, w, outputs), or (n, outputs) for positions; (outputs, ...) if planar.
        """
        return self.native.run(sources, positions, offset, residual, wanted, planar, threads, self._simd)
