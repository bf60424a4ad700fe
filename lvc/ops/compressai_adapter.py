"""The one place that touches CompressAI: GDN, and the factorized density model for training.

Nothing here decides a bit of the stream: tables are frozen to integers at export (lvc.entropy).
"""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # CompressAI scripts a function at import, which newer torch versions call deprecated.
    warnings.simplefilter("ignore")
    from compressai.entropy_models import EntropyBottleneck
    from compressai.layers import GDN

__all__ = ["GDN", "EntropyBottleneck"]
