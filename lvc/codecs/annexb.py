"""NAL units of the byte stream format (Annex B of ITU-T H.264, H.265 and H.266)."""

from __future__ import annotations

import re

START = b"\0\0\1"

# A unit never ends in a zero byte, so every zero before a start code belongs to the start code.
_START_CODE = re.compile(rb"\x00{2,}\x01")


def split_units(data: bytes) -> list[bytes]:
    """The NAL units of a byte stream, without their start codes."""
    return [unit for unit in _START_CODE.split(data)[1:] if unit]


def join_units(units: list[bytes]) -> bytes:
    """A byte stream that begins an access unit: the first start code has four bytes, the others three."""
    return b"\0" + b"".join(START + unit for unit in units) if units else b""


def h264_type(unit: bytes) -> int:
    """nal_unit_type of H.264."""
    return unit[0] & 31


def h265_type(unit: bytes) -> int:
    """nal_unit_type of H.265."""
    return unit[0] >> 1 & 63


def h266_type(unit: bytes) -> int:
    """nal_unit_type of H.266."""
    return unit[1] >> 3 if len(unit) > 1 else -1
