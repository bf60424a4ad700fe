"""Bitrates and sizes as people write them, and what of them is left for a codec."""

from __future__ import annotations

import io
import math
import re

from lvc.bitstream import StreamHeader, StreamWriter
from lvc.errors import UsageError
from lvc.types import Packet, PacketKind

MIN_BITRATE = 1000
"""Bits a second. Less is a missing unit: no codec here gets there."""

_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([A-Za-z]*)\s*")
_BITRATE_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_SIZE_UNITS = {**_BITRATE_UNITS, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9,
               "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_SAMPLE_PAYLOAD = bytes(1 << 14)
"""Long enough for a length of three bytes, which the next ones up to 2 MiB have, too."""


def parse_bitrate(value: str | float) -> int:
    """Bits a second: a number, or text such as ``500k`` or ``1.5M`` (decimal units).

    Raises:
        UsageError: it is none, or below MIN_BITRATE.
    """
    bitrate = _parse("bitrate", value, _BITRATE_UNITS, "500k or 1.5M, in bits a second")
    if bitrate < MIN_BITRATE:
        raise UsageError(f"bitrate {value} is below {MIN_BITRATE} bits a second (500 kbit/s are written 500k)")
    return bitrate


def parse_target_size(value: str | float) -> int:
    """Bytes: a number, or text such as ``800k``, ``2M`` (decimal units) or ``2MiB`` (binary ones).

    Raises:
        UsageError: it is none, or zero.
    """
    return _parse("target size", value, _SIZE_UNITS, "800k, 2M or 2MiB, in bytes")


def _parse(what: str, value: str | float, units: dict[str, int], example: str) -> int:
    if isinstance(value, str):
        match = _NUMBER.fullmatch(value)
        unit = units.get(match[2].lower()) if match else None
        if match is None or unit is None:
            raise UsageError(f"{what} {value!r} is not of the form {example}")
        number = float(match[1]) * unit
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
    else:
        raise UsageError(f"{what} must be a number or text such as {example}, not {value!r}")
    if not 0.5 <= number <= 1e15:
        raise UsageError(f"{what} must be above zero and below 10**15, not {value}")
    return round(number)


def container_bytes(header: StreamHeader, n_frames: int) -> tuple[int, float]:
    """What the container adds to the payloads of a stream of so many frames.

    Returns:
        (bytes once, mean bytes a frame): header and closing packet; framing, checksum and the index's entry.
    """
    file = io.BytesIO()
    with StreamWriter(file, header) as writer:
        start = writer.offset
        offsets = []
        # the second one has a presentation time like most
        step = round(1 / (header.video.frame_rate * header.video.time_base))
        for kind, pts in ((PacketKind.INTRA, 0), (PacketKind.INTRA, 1 << 20), (PacketKind.INTER, (1 << 20) + step)):
            writer.write_packet(Packet(kind, _SAMPLE_PAYLOAD, pts))
            offsets.append(writer.offset)
    end = len(file.getvalue()) - offsets[-1]
    entry = 8
    intra = offsets[1] - offsets[0] - len(_SAMPLE_PAYLOAD) + entry
    inter = offsets[2] - offsets[1] - len(_SAMPLE_PAYLOAD)
    n_intra = 1 if header.intra_period < 1 else math.ceil(n_frames / header.intra_period)
    return start + end, (n_intra * intra + (n_frames - n_intra) * inter) / n_frames


def payload_bitrate(bitrate: int, header: StreamHeader) -> int:
    """Bits a second of payloads in a stream of a bitrate.

    Raises:
        UsageError: the container alone takes all of it.
    """
    n = 100 * max(1, header.intra_period)
    overhead = 8 * container_bytes(header, n)[1] * float(header.video.frame_rate)
    return _left(bitrate - overhead, f"bitrate {bitrate}", f"{math.ceil(overhead)} bits a second")


def payload_bitrate_of_size(size: int, side_bytes: int, header: StreamHeader, n_frames: int) -> int:
    """Bits a second of payloads in a stream of a size, of which side data takes side_bytes.

    Raises:
        UsageError: the rest is too small for the container alone.
    """
    once, each = container_bytes(header, n_frames)
    taken = side_bytes + once + each * n_frames
    seconds = n_frames / float(header.video.frame_rate)
    # the controller meets its target within a fraction of a per cent, and a size is a limit to most
    return _left(8 * (size - taken) * (1 - SIZE_MARGIN) / seconds, f"target size {size}", f"{math.ceil(taken)} bytes")


SIZE_MARGIN = 0.005
"""Part of a size that is left unused, for the last frame to come out larger than planned."""


def _left(bitrate: float, asked: str, taken: str) -> int:
    if bitrate < 1:
        raise UsageError(f"{asked} leaves nothing for the video: the container, and what goes with it, take {taken}")
    return int(bitrate)
