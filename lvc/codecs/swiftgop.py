"""swift with B frames: groups of 2, 4 or 8 frames of which the last comes first, then those halfway between.

A P frame refers to the P or I frame n frames before, n = 1, 2, 4 or 8. The n - 1 frames in between follow: the one in
the middle, then those of the earlier half by the same rule, then those of the later half. Each refers to the decoded
frames on both sides of it, which are equally far away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lvc.bitstream import StreamHeader
from lvc.codecs.hevc_intra import HevcIntra
from lvc.codecs.picture import check_size
from lvc.codecs.scenecut import Places, SceneCuts
from lvc.codecs.schedule import frame_quality, intra_qp
from lvc.codecs.swiftcoding import InterCoder
from lvc.codecs.swiftframe import WINDOW, Planes, pad_to_blocks
from lvc.codecs.swiftstate import SEARCH_LAGRANGIAN, InterState, Picture, intra_preset, quantizer_passes
from lvc.entropy.symbols import ReadSymbols, WriteSymbols
from lvc.errors import CorruptStreamError, LvcError, UsageError
from lvc.ops.blockdct import quantizer_step
from lvc.ops.blockmotion import search
from lvc.types import MAX_QUALITY, EncodeOptions, Frame, Packet, PacketKind, VideoInfo
from lvc.weights import SwiftWeights

LENGTHS = (1, 2, 4, 8)
"""Of groups, in frames; a P frame's payload starts with the place of its group's in this tuple."""

_P_QUALITY = 9
_B_QUALITY = (1, -3, -7)
"""Qualities relative to the one asked for: of P frames that B frames follow, and of B frames by their level."""

_FLOOR = 0.05
"""Of the error by which lengths are compared, in steps a sample: what is smaller takes no bits."""

_WORTH = (1.0, 0.92, 0.88, 0.85)
"""What errors in groups of these lengths cost, relatively: the finer P frame serves all the frames around it."""


@dataclass(frozen=True)
class Between:
    """A B frame of a group, by places in it.

    Attributes:
        place: its own. past, future: of what it refers to. guide: which of the two was coded later.
        level: 0 for the frame in the middle of the group, 1 for those in the middles of its halves, ...
    """

    place: int
    past: int
    future: int
    guide: int
    level: int


def between(length: int) -> list[Between]:
    """The B frames of a group in the order of coding; places are 0 (of the frame before the group) to ``length``."""
    def halves(past: int, future: int, guide: int, level: int) -> Iterator[Between]:
        if future - past < 2:
            return
        middle = (past + future) // 2
        yield Between(middle, past, future, guide, level)
        yield from halves(past, middle, middle, level + 1)
        yield from halves(middle, future, middle, level + 1)

    return list(halves(0, length, length, 0))


def best_length(frames: Sequence[Planes], quality: int, threads: int = 1) -> int:
    """Length of the groups for these frames, the first of which is coded already, by a quick search in them.

    The number of the others is a multiple of what is given back.
    """
    n, step = len(frames) - 1, quantizer_step(quality) / 16
    luma = [planes[0] for planes in frames]

    def error(place: int, past: int, future: int | None = None) -> float:
        second = None if future is None else (luma[future], None)
        found = search(luma[place], luma[past], SEARCH_LAGRANGIAN * step, second=second, window=WINDOW, effort=0,
                       threads=threads)
        return float(np.maximum(found.satd - 64 * _FLOOR * step, 0).sum())

    def cost(k: int) -> float:
        length, total = LENGTHS[k], 0.0
        for start in range(0, n, length):
            total += error(start + length, start)
            total += sum(error(start + b.place, start + b.past, start + b.future) for b in between(length))
        return total * _WORTH[k]

    fitting = [k for k, length in enumerate(LENGTHS) if n % length == 0]
    return LENGTHS[min(reversed(fitting), key=cost)]


class SwiftGopEncoder:
    """Frames in their order in, packets in the order of coding out.

    Args:
        bframes: at most so many B frames in a row: 1, 3 or 7.
        scenecut: whether frames that begin another scene are I frames.
    """

    rate_control = None

    def __init__(self, weights: SwiftWeights, video: VideoInfo, options: EncodeOptions, effort: int,
                 bframes: int, scenecut: bool = True) -> None:
        if options.bitrate is not None:
            raise UsageError("swift: with B frames there is no rate control; ask for a quality, or for bframes=0")
        self._threads = options.threads or torch.get_num_threads()
        self._state = InterState(InterCoder(weights.model, self._threads, quantizer_passes(effort)), video)
        self._hevc = HevcIntra(intra_preset(effort))
        self._options, self._effort, self._most = options, effort, bframes + 1
        self.codec_data = bytes([LENGTHS.index(self._most)])
        self._waiting: list[tuple[int, Planes]] = []
        self._former: Planes | None = None
        self._places = Places(options.intra_period, SceneCuts(self._threads) if scenecut else None)

    @torch.inference_mode()
    def push(self, frame: Frame) -> list[Packet]:
        """Take a frame. Raises UsageError if it is not of the video's size."""
        check_size(frame, self._state.video)
        if self._places(frame.y) == 0:
            return [*self.flush(), self._intra(frame)]
        self._waiting.append((frame.pts, pad_to_blocks(frame.planes)))
        return self._groups(self._most) if len(self._waiting) == self._most else []

    @torch.inference_mode()
    def flush(self) -> list[Packet]:
        """The frames that wait for others."""
        packets = []
        for length in reversed(LENGTHS):
            if length <= len(self._waiting):
                packets += self._groups(length)
        return packets

    def _intra(self, frame: Frame) -> Packet:
        state, quality = self._state, self._options.quality
        payload = self._hevc.encode(frame, intra_qp(quality, self._options.intra_period))
        state.intra(self._hevc.decode(payload, frame.width, frame.height))
        self._former = pad_to_blocks(frame.planes)
        return Packet(PacketKind.INTRA, payload, frame.pts, quality)

    def _groups(self, count: int) -> list[Packet]:
        """Code the first frames that wait, in groups of one length."""
        frames, self._waiting = self._waiting[:count], self._waiting[count:]
        assert self._former is not None
        length = best_length([self._former, *(planes for _, planes in frames)], self._options.quality, self._threads)
        self._former = frames[-1][1]
        packets = []
        for start in range(0, count, length):
            packets += self._group(frames[start : start + length])
        return packets

    def _group(self, frames: Sequence[tuple[int, Planes]]) -> list[Packet]:
        state, asked = self._state, self._options.quality
        length = len(frames)
        pictures = {0: state.picture}
        pts, current = frames[-1]
        quality = frame_quality(asked, state.place + 1) if length == 1 else _within(asked + _P_QUALITY)
        coder = WriteSymbols()
        state.inter(coder, quality, current, state.search(current, quality, self._effort, self._threads),
                    try_sizes=self._effort > 0)
        packets = [Packet(PacketKind.INTER, bytes([LENGTHS.index(length)]) + coder.finish(), pts, quality)]
        pictures[length] = state.picture
        for b in between(length):
            pts, current = frames[b.place - 1]
            quality = _within(asked + _B_QUALITY[b.level])
            sources = pictures[b.past], pictures[b.future], pictures[b.guide]
            motion = state.search_between(current, *sources, quality, self._effort, self._threads)
            coder = WriteSymbols()
            pictures[b.place] = state.between(coder, quality, *sources, current, motion, try_sizes=self._effort > 0)
            packets.append(Packet(PacketKind.INTER, coder.finish(), pts, quality))
        return packets


def _within(quality: int) -> int:
    return min(MAX_QUALITY, max(0, quality))


class SwiftGopDecoder:
    """Packets in the order of coding in, frames in their order out."""

    def __init__(self, weights: SwiftWeights, header: StreamHeader) -> None:
        (longest,) = header.codec_data
        self._lengths = LENGTHS[: longest + 1]
        self._state = InterState(InterCoder(weights.model, torch.get_num_threads()), header.video)
        self._hevc = HevcIntra()
        self._todo: list[Between] = []
        self._pictures: dict[int, Picture] = {}
        self._done: dict[int, Frame] = {}
        self._next = 0

    @torch.inference_mode()
    def push(self, packet: Packet) -> list[Frame]:
        """Decode a packet. Raises CorruptStreamError on a payload that cannot be right."""
        try:
            if not 0 <= packet.quality <= MAX_QUALITY:
                raise CorruptStreamError(f"quality {packet.quality} is above {MAX_QUALITY}")
            if packet.kind == PacketKind.INTRA:
                return self._intra(packet)
            if self._state.reference is None:
                raise CorruptStreamError("an inter frame without the intra frame that it needs")
            self._inter(packet)
        except LvcError:
            self._state.reference = None
            self._todo.clear()
            self._done.clear()
            raise
        return self._ready()

    def _intra(self, packet: Packet) -> list[Frame]:
        state = self._state
        if self._todo:
            raise CorruptStreamError(f"an intra frame where {len(self._todo)} B frames are missing")
        state.intra(self._hevc.decode(packet.payload, state.video.width, state.video.height))
        return [state.frame(packet.pts)]

    def _inter(self, packet: Packet) -> None:
        state = self._state
        if self._todo:
            b = self._todo.pop(0)
            coder = ReadSymbols(packet.payload)
            sources = self._pictures[b.past], self._pictures[b.future], self._pictures[b.guide]
            self._pictures[b.place] = picture = state.between(coder, packet.quality, *sources)
            coder.close()
            self._done[b.place] = state.shown(picture, packet.pts)
            return
        if not packet.payload or packet.payload[0] >= len(self._lengths):
            raise CorruptStreamError(f"a group of frames starts with {packet.payload[:1].hex() or 'nothing'}")
        length = self._lengths[packet.payload[0]]
        self._pictures = {0: state.picture}
        coder = ReadSymbols(packet.payload[1:])
        state.inter(coder, packet.quality)
        coder.close()
        self._pictures[length] = state.picture
        self._done, self._next = {length: state.frame(packet.pts)}, 1
        self._todo = between(length)

    def _ready(self) -> list[Frame]:
        """Frames that no earlier one is missing for."""
        frames = []
        while self._next in self._done:
            frames.append(self._done.pop(self._next))
            self._next += 1
        return frames

    def flush(self) -> list[Frame]:
        """What a stream that ends too early leaves: frames whose predecessors are missing."""
        frames = [self._done[place] for place in sorted(self._done)]
        self._done.clear()
        return frames
