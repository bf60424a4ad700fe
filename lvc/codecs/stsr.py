"""stsr: fewer frames and smaller pictures through a standard codec, the rest brought back at the decoder.

Every frame of the video has a packet. Those in the base stream are as in lvc.codecs.layered; those of the others are
empty, and their quality says in which of the WAYS (lvc.codecs.rebuild) they come back, and which planes are the
network's: ENHANCE_LUMA, ENHANCE_CHROMA and four times the way. Such a packet stands right before the packet of that
neighbour that is decoded later; so a decoder knows of it before both neighbours are there.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lvc.bitstream import CodecId, StreamHeader
from lvc.codecs.base import Codec, Decoder, Encoder
from lvc.codecs.layered import (
    ENHANCE_CHROMA,
    ENHANCE_LUMA,
    Seen,
    bare_packet,
    base_header,
    better_planes,
    find_base,
    layered_data,
    mixed,
    reduction_of,
    squared_errors,
)
from lvc.codecs.picture import check_size
from lvc.codecs.rebuild import WAYS, ClipEnhancer, Clips, Rebuilt
from lvc.codecs.reduction import FILTERING, FILTERS, LINEAR, NETWORK, RESTORE, Reduction
from lvc.codecs.stsradaptive import AUTO, FILTERED_MARGIN, MARGIN, AdaptiveEncoder, other_quality
from lvc.codecs.unwrapping import UnwrappingDecoder
from lvc.enhance.levels import LEVELS, index_of_level, level_of_index
from lvc.errors import CorruptStreamError, UsageError, WeightsError
from lvc.types import EncodeOptions, Frame, Packet, PacketKind, VideoInfo

if TYPE_CHECKING:
    from lvc.codecs.filtered import Filtering
    from lvc.weights import RestoreWeights, StsrWeights

_BASE = "svt-av1"
_FLAGS = ENHANCE_LUMA | ENHANCE_CHROMA
_PLANE_WEIGHTS = (6, 1, 1)
_LEAST_ERROR = 1e-3

_ENHANCERS = {"NoneType": {"off": LINEAR}, "StsrWeights": {"on": NETWORK, "off": LINEAR},
              "RestoreWeights": {"on": RESTORE, "filters": FILTERS, "off": LINEAR}}
"""By the kind of weights: what may be asked for."""

_Errors = tuple[float, float, float]
"""Mean squared ones, of Y, U and V."""


class StsrEncoder:
    """Reduces, codes by the base codec, decodes that again, and tries what a decoder can do with each frame.

    Args:
        base: the base codec. encoder, decoder: of the base stream.
        video: what is pushed. reduction: of the base stream.
        enhancer: the network; None: only the ways of missing frames are chosen.
        threads: of motion search; 0: one for each core.

    Attributes:
        cost: of the frames that a decoder will give, so far: the sum of 6 ln Y + ln U + ln V of their squared errors,
            which falls with their 6:1:1 PSNR.
    """

    def __init__(self, base: Codec, encoder: Encoder, decoder: Decoder, video: VideoInfo, reduction: Reduction,
                 enhancer: ClipEnhancer | None, threads: int = 0) -> None:
        self.codec_data = layered_data(base, bytes(reduction), encoder.codec_data)
        self._encoder, self._decoder, self._reduction, self._video = encoder, decoder, reduction, video
        self.cost = 0.0
        self._threads = threads
        self._clips = Clips(enhancer)
        self._count = 0
        self._skipped: Frame | None = None
        self._coded: int | None = None  # pts of the last frame for the base codec
        self._sources: dict[int, Frame] = {}
        self._neighbours: dict[int, set[int]] = {}  # of a frame that is not coded: those whose packets are to come
        self._arrived = False  # whether the packet of that frame has come
        self._gaps: dict[int, int] = {}
        self._intra: set[int] = set()
        self._held: deque[Packet] = deque()
        self._qualities: dict[int, int] = {}
        self._decoded: Rebuilt | None = None
        self._judged: Rebuilt | None = None

    def push(self, frame: Frame) -> list[Packet]:
        """Take one frame; see Encoder. Raises UsageError on another size, and what the base codec raises."""
        keep = self._count % self._reduction.kt == 0
        self._count += 1
        return self.take(frame, keep)

    def take(self, frame: Frame, keep: bool) -> list[Packet]:
        """The same, with a choice whether it goes into the base stream; the first must, and one of two in a row."""
        check_size(frame, self._video)
        if keep:
            self._code(frame)
        else:
            assert self._skipped is None
            self._skipped = frame
        return self._ready()

    def flush(self) -> list[Packet]:
        """Return all remaining packets. The last frame is always in the base stream."""
        if self._skipped is not None:
            last, self._skipped = self._skipped, None
            self._code(last)
        self._take(self._encoder.flush())
        self._see(self._decoder.flush())
        self._judge(self._clips.flush())
        return self._ready()

    def _code(self, frame: Frame) -> None:
        if self._skipped is not None and self._coded is not None:
            gap = self._skipped.pts
            self._sources[gap] = self._skipped
            self._gaps[self._coded] = gap
            self._neighbours[gap] = {frame.pts} if self._arrived else {self._coded, frame.pts}
        self._skipped, self._coded, self._arrived = None, frame.pts, False
        self._sources[frame.pts] = frame
        self._take(self._encoder.push(self._reduction.picture(frame)))

    def _take(self, packets: Sequence[Packet]) -> None:
        for packet in packets:
            for gap, waiting in list(self._neighbours.items()):
                waiting.discard(packet.pts)
                if not waiting:
                    self._held.append(Packet(PacketKind.INTER, b"", gap))
                    del self._neighbours[gap]
            self._arrived = self._arrived or packet.pts == self._coded
            self._held.append(packet)
            if packet.kind == PacketKind.INTRA:
                self._intra.add(packet.pts)
            self._see(self._decoder.push(packet))

    def _see(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            intra = frame.pts in self._intra
            self._intra.discard(frame.pts)
            picture = Rebuilt(frame, intra, (self._video.width, self._video.height), self._reduction.halves,
                              self._threads)
            error = squared_errors(picture.plain, self._sources[frame.pts])[0]
            picture.level = level_of_index(index_of_level(math.sqrt(error)))
            if self._decoded is not None:
                self._decoded.gap = self._gaps.pop(self._decoded.pts, None)
            self._decoded = picture
            self._judge(self._clips.push(picture))

    def _judge(self, pictures: Sequence[Rebuilt]) -> None:
        for picture in pictures:
            before, self._judged = self._judged, picture
            if before is not None and before.gap is not None:
                self._judge_gap(before, picture)
            if before is not None:
                before.clip = None
            source = self._sources.pop(picture.pts)
            enhanced = None if picture.clip is None else picture.clip.enhanced(picture)
            flags = self._choose(enhanced, squared_errors(picture.plain, source), source)
            self._qualities[picture.pts] = index_of_level(picture.level) * (_FLAGS + 1) + flags

    def _judge_gap(self, before: Rebuilt, after: Rebuilt) -> None:
        assert before.gap is not None
        source = self._sources.pop(before.gap)
        errors = [squared_errors(before.by_way(after, way), source) for way in WAYS]
        way = min(WAYS, key=lambda way: _cost(errors[way]))
        enhanced = None if before.clip is None else before.clip.enhanced(before, gap=True)
        flags = self._choose(enhanced, errors[way], source)
        self._qualities[before.gap] = way * (_FLAGS + 1) + flags

    def _choose(self, enhanced: Frame | None, errors: _Errors, source: Frame) -> int:
        """Flags of the planes that are better enhanced; the frame's cost is taken down."""
        flags = 0
        if enhanced is not None:
            found = squared_errors(enhanced, source)
            flags = better_planes(found, errors)
            y, chroma = (found if flags & bit else errors for bit in (ENHANCE_LUMA, ENHANCE_CHROMA))
            errors = y[0], chroma[1], chroma[2]
        self.cost += _cost(errors)
        return flags

    def _ready(self) -> list[Packet]:
        packets = []
        while self._held and self._held[0].pts in self._qualities:
            packet = self._held.popleft()
            packets.append(replace(packet, quality=self._qualities.pop(packet.pts)))
        return packets


class StsrDecoder:
    """Decodes the base stream and brings the video back.

    Args:
        decoder: of the base stream.
        video: what comes out. reduction: of the base stream.
        enhancer: what the encoder tried; None decodes without it, whatever the packets say.
    """

    def __init__(self, decoder: Decoder, video: VideoInfo, reduction: Reduction, enhancer: ClipEnhancer | None) -> None:
        self._decoder, self._video, self._reduction = decoder, video, reduction
        self._clips = Clips(enhancer)
        self._packets: dict[int, tuple[int, bool]] = {}
        self._wanted: dict[int, int] = {}
        self._missing: dict[int, int] = {}
        self._decoded: Rebuilt | None = None
        self._given: Rebuilt | None = None

    def push(self, packet: Packet) -> list[Frame]:
        """Take one packet. Raises CorruptStreamError on a payload or a quality that cannot be right."""
        choices = LEVELS if packet.payload else len(WAYS)
        if not 0 <= packet.quality < choices * (_FLAGS + 1):
            raise CorruptStreamError(f"quality {packet.quality} is above {choices * (_FLAGS + 1) - 1}")
        if self._reduction.enhancer != NETWORK and packet.quality & _FLAGS:
            raise CorruptStreamError(f"quality {packet.quality} asks for a network in a stream without one")
        if not packet.payload:
            if packet.kind == PacketKind.INTRA:
                raise CorruptStreamError("an intra packet is empty")
            self._missing[packet.pts] = packet.quality
            return []
        self._packets[packet.pts] = packet.quality, packet.kind == PacketKind.INTRA
        return self._see(self._decoder.push(packet))

    def flush(self) -> list[Frame]:
        """Return all remaining frames; those that lack a neighbour are not among them."""
        frames = self._see(self._decoder.flush()) + self._give(self._clips.flush())
        self._packets.clear()
        self._missing.clear()
        self._wanted.clear()
        self._decoded = self._given = None
        return frames

    def _see(self, decoded: Sequence[Frame]) -> list[Frame]:
        frames = []
        for frame in decoded:
            before = self._decoded
            if frame.pts not in self._packets or (before is not None and frame.pts <= before.pts):
                raise CorruptStreamError(f"presentation time {frame.pts} comes twice, or too late")
            quality, intra = self._packets.pop(frame.pts)
            self._wanted[frame.pts] = quality & _FLAGS
            picture = Rebuilt(frame, intra, (self._video.width, self._video.height), self._reduction.halves)
            picture.level = level_of_index(quality // (_FLAGS + 1))
            self._decoded = picture
            between = sorted(pts for pts in self._missing if pts < frame.pts)
            if len(between) > 1 or (between and (before is None or between[0] <= before.pts)):
                raise CorruptStreamError(f"the frame at {between[0]} is not alone between two of the base stream")
            if between and before is not None:
                before.gap = between[0]
                self._wanted[before.gap] = self._missing.pop(before.gap)
            frames += self._give(self._clips.push(picture))
        return frames

    def _give(self, pictures: Sequence[Rebuilt]) -> list[Frame]:
        frames = []
        for picture in pictures:
            before, self._given = self._given, picture
            if before is not None and before.gap is not None:
                way, flags = divmod(self._wanted.pop(before.gap), _FLAGS + 1)
                enhanced = before.clip.enhanced(before, gap=True) if flags and before.clip else None
                if flags and before.clip and enhanced is None:
                    raise CorruptStreamError(f"the frame at {before.gap} asks for the network across groups")
                frames.append(mixed(before.by_way(picture, way), enhanced, flags))
            if before is not None:
                before.clip = None
            flags = self._wanted.pop(picture.pts)
            frames.append(mixed(picture.plain, picture.clip.enhanced(picture) if flags and picture.clip else None,
                                flags))
        return frames


class _Network:
    """A ClipRestorer as a ClipEnhancer."""

    core, margin = 8, 2

    def __init__(self, weights: StsrWeights, base: Codec, halves: int) -> None:
        from lvc.codecs.restore import AV1_CODECS
        from lvc.enhance.cliprestorer import ClipRestorer

        self._restorer = ClipRestorer(weights.net, base.name in AV1_CODECS, halves / 2)

    def __call__(self, seen: Sequence[Seen], middles: Sequence[Frame | None],
                 core: range) -> tuple[Sequence[Frame | None], Sequence[Frame | None]]:
        return self._restorer([s.frame for s in seen], [s.level for s in seen], [s.intra for s in seen], middles, core)


class StsrCodec:
    """stsr: with the classical enhancer and restore's filters and network behind it, or with a network of its own.

    Parameters in a codec string: ``base=NAME``, an external codec (default svt-av1); ``kt=1`` or ``2``: every frame or
    every second one and the last are coded; ``kt=auto``: whichever of these is better, for every 16 frames (see
    lvc.codecs.stsradaptive; encoding takes four times as long, and needs a quality, not a bitrate); ``ks=1``, ``1.5``
    or ``2``: pictures are reduced by so much; all others are the base codec's own:
    ``stsr:base=x265,kt=2,ks=2,preset=medium,crf=27``. Its ``keyint`` counts its own frames, the intra period those of
    the video (with ``kt=auto`` its own, too). The quality is that of the base codec. ``enhance=filters`` does without
    the network, ``enhance=off`` without anything but the classical enhancer (default ``on``).

    Args:
        weights: None for the classical enhancer alone.
        digest: without weights, what streams say of theirs: they are decoded by the classical enhancer nevertheless.
    """

    name = "stsr"
    codec_id = int(CodecId.STSR)

    def __init__(self, weights: StsrWeights | RestoreWeights | None = None, digest: bytes = b"") -> None:
        self.weights = weights
        self.weights_digest = digest if weights is None else weights.digest

    def encoder(self, video: VideoInfo, options: EncodeOptions) -> Encoder:
        """Raises UsageError on parameters that neither this nor the base codec knows."""
        params = dict(options.params)
        base = find_base(params.pop("base", _BASE))
        enhancer = self._enhancer(params.pop("enhance", "off" if self.weights is None else "on"))
        kt, ks = params.pop("kt", "1"), params.pop("ks", "1")
        inner = replace(options, params=params)
        if enhancer != LINEAR and options.threads:
            import torch

            torch.set_num_threads(options.threads)
        encoder = self._reducing(base, video, inner, kt, ks, enhancer)
        if enhancer not in FILTERING:
            return encoder
        from lvc.codecs.filtered import FilteredEncoder

        header = StreamHeader(self.codec_id, self.weights_digest, video, options.intra_period, encoder.codec_data)
        bare, reduction = base_header(header)[1], reduction_of(header)
        return FilteredEncoder(encoder, StsrDecoder(base.decoder(bare), video, reduction, None), encoder.codec_data,
                               self._filtering(base, enhancer), gaps=True)

    def _enhancer(self, asked: str) -> int:
        kind = type(self.weights).__name__
        known = _ENHANCERS[kind]
        if asked not in known:
            raise UsageError(f"stsr: enhance must be {', '.join(known)}, not {asked!r}")
        return known[asked]

    def _reducing(self, base: Codec, video: VideoInfo, inner: EncodeOptions, kt: str, ks: str,
                  enhancer: int) -> StsrEncoder | AdaptiveEncoder:
        if kt != AUTO:
            return self._encoder(base, video, inner, Reduction.from_text(kt, ks, enhancer))
        reduction = Reduction.from_text("1", ks, enhancer)
        other = other_quality(inner)
        return AdaptiveEncoder(self._encoder(base, video, inner, reduction),
                               lambda: self._encoder(base, video, inner, reduction),
                               lambda: self._encoder(base, video, other, reduction),
                               FILTERED_MARGIN if enhancer in FILTERING else MARGIN)

    def _encoder(self, base: Codec, video: VideoInfo, options: EncodeOptions, reduction: Reduction) -> StsrEncoder:
        inner, period = reduction.video(video), reduction.intra_period(options.intra_period)
        encoder = base.encoder(inner, replace(options, intra_period=period))
        header = StreamHeader(base.codec_id, b"", inner, period, encoder.codec_data)
        return StsrEncoder(base, encoder, base.decoder(header), video, reduction, self._network(base, reduction),
                           options.threads)

    def decoder(self, header: StreamHeader) -> Decoder:
        """Raises CorruptStreamError if the header's codec data makes no sense."""
        base, inner = base_header(header)
        reduction = reduction_of(header)
        decoder = StsrDecoder(base.decoder(inner), header.video, reduction, self._network(base, reduction))
        if reduction.enhancer not in FILTERING:
            return decoder
        if self.weights is None:
            return UnwrappingDecoder(decoder, bare_packet)
        import torch

        from lvc.codecs.filtered import FilteredDecoder

        return FilteredDecoder(decoder, self._filtering(base, reduction.enhancer), torch.get_num_threads(), gaps=True)

    def _network(self, base: Codec, reduction: Reduction) -> ClipEnhancer | None:
        if self.weights is None or reduction.enhancer != NETWORK:
            return None
        return _Network(cast("StsrWeights", self.weights), base, reduction.halves)

    def _filtering(self, base: Codec, enhancer: int) -> Filtering:
        from lvc.codecs.restore import filtering_of

        return filtering_of(cast("RestoreWeights", self.weights), base, enhancer == RESTORE)


def load_stsr(weights: str | None) -> StsrCodec:
    """stsr with restore's weights of the package, or with those of a safetensors file, of restore or of its own.

    Raises WeightsError if they are missing, damaged, or of another codec.
    """
    from lvc.weights import load_restore_weights, load_stsr_weights

    if weights is None:
        return StsrCodec(load_restore_weights("restore"))
    try:
        return StsrCodec(load_restore_weights(Path(weights)))
    except WeightsError:
        return StsrCodec(load_stsr_weights(Path(weights)))


def needs_weights(header: StreamHeader) -> bool:
    """Whether a stream of stsr has more than the classical enhancer. Raises CorruptStreamError."""
    return reduction_of(header).enhancer != LINEAR


def _cost(errors: _Errors) -> float:
    """Falls with the 6:1:1 PSNR."""
    return sum(weight * math.log(error + _LEAST_ERROR) for weight, error in zip(_PLANE_WEIGHTS, errors, strict=True))
