"""CRC-32C (Castagnoli), as in RFC 3720, by the google-crc32c package."""

from __future__ import annotations

import google_crc32c


def crc32c(data: bytes, start: int = 0) -> int:
    """CRC-32C of ``data``, going on from ``start`` (the CRC-32C of what comes before it), 0..2**32-1."""
    return int(google_crc32c.extend(start, data))
