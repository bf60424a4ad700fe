"""Whether computing with bfloat16 is worth it."""

from __future__ import annotations

import torch


def fast_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices by itself, several times faster than float32.

    Where it does not, they are emulated, several times slower. Known of x86 alone; elsewhere it says no.
    """
    asks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(ask is not None and ask() for ask in asks)
