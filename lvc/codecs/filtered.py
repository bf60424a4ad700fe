"""Filters behind a decoder, whose coefficients come with the stream: encoder and decoder.

The two bits of a packet's quality that lvc.codecs.layered speaks of are FILTERED, and COEFFICIENTS: the coefficients of
the frames from this one on, in presentation order, stand before the payload of the base codec (see
lvc.codecs.layered.split_payload). Coefficients are those of a group of at most GROUP frames, and never outlast a group
of pictures.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lvc.codecs.base import Decoder, Encoder
from lvc.codecs.layered import (
    CHOICES,
    COEFFICIENTS,
    FILTERED,
    GAP_WAYS,
    bare_packet,
    join_payload,
    split_payload,
    squared_errors,
)
from lvc.enhance.adaptivefit import Normal, fit, normal_equations
from lvc.enhance.coefficients import Coefficients
from lvc.enhance.levels import LEVELS, index_of_level
from lvc.enhance.prior import FilterPrior
from lvc.enhance.restorer import Restorer
from lvc.enhance.seen import Seen, Window, Windows
from lvc.errors import CorruptStreamError
from lvc.types import Frame, Packet, PacketKind

GROUP = 64
"""Most frames that share coefficients."""

_MAX_FALL = 4


@dataclass(frozen=True, slots=True)
class Filtering:
    """What filters need on both sides.

    Attributes:
        restorer: makes ready what they see.
        prior, where: what their coefficients cost (see lvc.enhance.prior).
    """

    restorer: Restorer
    prior: FilterPrior
    where: int


class FilteredEncoder:
    """Codes by the base codec, decodes that again, and finds the best filters for each group of frames.

    A packet waits until the group of its frame is complete. Frames do not: what is kept of them are their normal
    equations.

    Args:
        encoder, decoder: of the base stream.
        codec_data: of the whole stream.
        filtering: None filters nothing.
        gaps: whether packets without payload stand for frames that are not in the base stream (stsr).
    """

    def __init__(self, encoder: Encoder, decoder: Decoder, codec_data: bytes, filtering: Filtering | None,
                 gaps: bool = False) -> None:
        self.codec_data = codec_data
        self._encoder, self._decoder, self._filtering = encoder, decoder, filtering
        self._gaps, self._last = gaps, LEVELS - 1
        self._ways: dict[int, int] = {}
        self._uppers: dict[int, int] = {}
        self._sources: dict[int, Frame] = {}
        self._held: deque[Packet] = deque()
        self._intra: set[int] = set()
        self._sizes: dict[int, int] = {}
        self._windows = Windows()
        self._group: list[tuple[Seen, Normal | None]] = []
        self._judged: dict[int, tuple[int, bytes]] = {}

    def push(self, frame: Frame) -> list[Packet]:
        """Take one frame; see Encoder. Raises what the base codec raises."""
        packets = self._encoder.push(frame)
        self._sources[frame.pts] = frame
        self._take(packets)
        return self._ready()

    def flush(self) -> list[Packet]:
        """Return all remaining packets."""
        self._take(self._encoder.flush())
        self._see(self._decoder.flush())
        self._judge(self._windows.flush())
        self._close()
        return self._ready()

    def _take(self, packets: Sequence[Packet]) -> None:
        for packet in packets:
            self._held.append(packet)
            self._sizes[packet.pts] = len(packet.payload)
            if packet.kind == PacketKind.INTRA:
                self._intra.add(packet.pts)
            if self._gaps and not packet.payload:
                self._ways[packet.pts] = packet.quality // CHOICES
            self._see(self._decoder.push(packet))

    def _see(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            error = squared_errors(frame, self._sources[frame.pts])[0]
            intra = frame.pts in self._intra
            self._intra.discard(frame.pts)
            self._judge(self._windows.push(Seen(frame, self._index(frame.pts, math.sqrt(error)), intra)))

    def _index(self, pts: int, error: float) -> int:
        """That of the frame's level as the packet can tell it."""
        index = index_of_level(error)
        way = self._ways.pop(pts, None)
        if way is None:
            self._last = self._uppers[pts] = index
            return index
        fall = min(max(self._last - index, 0), _MAX_FALL)
        self._uppers[pts] = way + GAP_WAYS * fall
        return max(self._last - fall, 0)

    def _judge(self, windows: Sequence[Window]) -> None:
        for window in windows:
            _, _, seen, _, _ = window
            if seen.intra or len(self._group) == GROUP:
                self._close()
            source, normal = self._sources.pop(seen.frame.pts), None
            if self._filtering is not None:
                normal = normal_equations(self._filtering.restorer(window), source.planes, len(self._group))
            self._group.append((seen, normal))

    def _close(self) -> None:
        """Find the filters of the group, and begin another one."""
        group, self._group = self._group, []
        bits = 8.0 * sum(self._sizes.pop(seen.frame.pts) for seen, _ in group)
        wanted, coefficients = [False] * len(group), b""
        normals = [normal for _, normal in group if normal is not None]
        if self._filtering is not None and normals:
            found, wanted = fit(normals, bits, self._filtering.prior, self._filtering.where)
            if any(wanted):
                coefficients = found.to_bytes(self._filtering.prior, self._filtering.where)
        for number, ((seen, _), filtered) in enumerate(zip(group, wanted, strict=True)):
            own = coefficients if number == 0 else b""
            quality = self._uppers.pop(seen.frame.pts) * CHOICES + FILTERED * filtered + COEFFICIENTS * bool(own)
            self._judged[seen.frame.pts] = quality, own

    def _ready(self) -> list[Packet]:
        packets = []
        while self._held and self._held[0].pts in self._judged:
            packet = self._held.popleft()
            quality, coefficients = self._judged.pop(packet.pts)
            packets.append(join_payload(replace(packet, quality=quality), coefficients))
        return packets


class FilteredDecoder:
    """Decodes the base stream and filters what the packets say; two frames later than the base codec.

    Args:
        decoder: of the base stream. filtering, gaps: as the encoder's. threads: of the filters.
    """

    def __init__(self, decoder: Decoder, filtering: Filtering, threads: int = 1, gaps: bool = False) -> None:
        self._decoder, self._filtering, self._threads = decoder, filtering, threads
        self._gaps, self._last = gaps, LEVELS - 1
        self._packets: dict[int, tuple[Packet, bytes]] = {}
        self._wanted: dict[int, tuple[int, bytes]] = {}
        self._coefficients: Coefficients | None = None
        self._windows = Windows()

    def push(self, packet: Packet) -> list[Frame]:
        """Take one packet. Raises CorruptStreamError on a payload or a quality that cannot be right."""
        coefficients, base = split_payload(packet)
        choices = (_MAX_FALL + 1) * GAP_WAYS if self._gaps and not base.payload else LEVELS
        if not 0 <= packet.quality < choices * CHOICES:
            raise CorruptStreamError(f"quality {packet.quality} is above {choices * CHOICES - 1}")
        self._packets[packet.pts] = base, coefficients
        return self._see(self._decoder.push(bare_packet(packet) if self._gaps else base))

    def flush(self) -> list[Frame]:
        """Return all remaining frames."""
        frames = self._see(self._decoder.flush()) + self._filter(self._windows.flush())
        self._packets.clear()
        self._coefficients = None
        return frames

    def _see(self, decoded: Sequence[Frame]) -> list[Frame]:
        frames = []
        for frame in decoded:
            if frame.pts not in self._packets:
                raise CorruptStreamError(f"presentation time {frame.pts} comes twice")
            packet, coefficients = self._packets.pop(frame.pts)
            self._wanted[frame.pts] = packet.quality, coefficients
            intra = packet.kind == PacketKind.INTRA
            frames += self._filter(self._windows.push(Seen(frame, self._index(packet), intra)))
        return frames

    def _index(self, packet: Packet) -> int:
        upper = packet.quality // CHOICES
        if self._gaps and not packet.payload:
            return max(self._last - upper // GAP_WAYS, 0)
        self._last = upper
        return upper

    def _filter(self, windows: Sequence[Window]) -> list[Frame]:
        frames, own = [], self._filtering
        for window in windows:
            _, _, seen, _, _ = window
            frame = seen.frame
            quality, coefficients = self._wanted.pop(frame.pts)
            if seen.intra:
                self._coefficients = None
            if coefficients:
                self._coefficients = Coefficients.from_bytes(coefficients, own.prior, own.where)
            if quality & FILTERED:
                if self._coefficients is None:
                    raise CorruptStreamError(f"the frame at {frame.pts} is to be filtered, but no coefficients came")
                frame = self._coefficients.apply(own.restorer(window), frame.pts, own.prior, own.where,
                                                 self._threads)
            frames.append(frame)
        return frames
