"""swift behind the common interface: block motion and block transform, learned probabilities, all integer."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from lvc.bitstream import CodecId, StreamHeader
from lvc.codecs.hevc_intra import HevcIntra
from lvc.codecs.neural import hevc_qp
from lvc.codecs.picture import check_size
from lvc.codecs.ratecontrol import code_frame, rate_controller
from lvc.codecs.swiftcoding import InterCoder, Reference
from lvc.codecs.swiftframe import WINDOW, Planes, pad_to_blocks
from lvc.entropy.symbols import DirectCoder, ReadSymbols, WriteSymbols
from lvc.errors import CorruptStreamError, LvcError, UsageError, WeightsError
from lvc.models.swiftmotion import VECTOR_MAX, CompoundContext
from lvc.ops.blockdct import quantizer_step
from lvc.ops.blockmotion import BLOCK, MAX_EFFORT, BlockMotion, Field, Second, chain, disagreement, search
from lvc.types import MAX_QUALITY, EncodeOptions, Frame, Packet, PacketKind, VideoInfo
from lvc.weights import SwiftWeights, load_swift_weights

SEARCH_LAGRANGIAN = 0.37
"""SATD a bit of motion is worth, relative to the quantization step (see lvc.ops.blockmotion.search)."""

CASCADE = (5, -1, 1, -1)
"""Qualities of the P frames relative to the one asked for, by the place in the group of pictures modulo 4: what
every fourth frame gets is worth more than it costs, since the following ones are predicted from it."""

ANCHORS = len(CASCADE)
"""Second references are the I frame and every so many frames from it on: those of the best quality."""

_EFFORT = 2


def frame_quality(quality: int, place: int) -> int:
    """Quality of the P frame at a place 1, 2, ... in its group of pictures."""
    return min(MAX_QUALITY, max(0, quality + CASCADE[place % len(CASCADE)]))


class SwiftCodec:
    """swift with its weights.

    Parameter in a codec string: ``effort=0..3``, how hard the encoder looks for motion; from 1 on, for transforms.
    """

    name = "swift"
    codec_id = int(CodecId.SWIFT)

    def __init__(self, weights: SwiftWeights) -> None:
        self.weights = weights
        weights.model.eval()  # its integer layers are exact then
        self.weights_digest = weights.digest

    def encoder(self, video: VideoInfo, options: EncodeOptions) -> SwiftEncoder:
        """Raises UsageError on parameters that this codec does not know."""
        params = dict(options.params)
        text = params.pop("effort", str(_EFFORT))
        if params:
            raise UsageError(f"swift has no parameter {next(iter(params))!r}; it has: effort")
        if text not in map(str, range(MAX_EFFORT + 1)):
            raise UsageError(f"swift: effort must be a whole number from 0 to {MAX_EFFORT}, not {text!r}")
        return SwiftEncoder(self.weights, video, options, int(text))

    def decoder(self, header: StreamHeader) -> SwiftDecoder:
        """Raises CorruptStreamError if the header's codec data makes no sense."""
        if header.codec_data:
            raise CorruptStreamError(f"swift: codec data {header.codec_data[:8].hex()!r} in the header is not known")
        return SwiftDecoder(self.weights, header.video)


@dataclass
class _Anchor:
    """A second reference: planes of whole blocks, its displacement from the former frame's blocks, its age."""

    planes: Planes
    field: Field
    age: int


class _State:
    """What a P frame refers to; encoder and decoder hold the same."""

    def __init__(self, weights: SwiftWeights, video: VideoInfo, threads: int) -> None:
        self.model, self.video = weights.model, video
        self.coder = InterCoder(weights.model, threads)
        self.hevc = HevcIntra()
        self.reference: Reference | None = None
        self.field: Field | None = None
        self.sizes: npt.NDArray[np.uint8] | None = None
        self.anchor: _Anchor | None = None
        self.compound: npt.NDArray[np.bool_] | None = None
        self.place = 0  # of the reference: frames since the I frame
        self.shape = -(-video.height // BLOCK), -(-video.width // BLOCK)

    def intra(self, frame: Frame) -> None:
        """An I frame was decoded."""
        self.reference = Reference(pad_to_blocks(frame.planes))
        self.field = self.sizes = self.anchor = self.compound = None
        self.place = 0

    def inter(self, coder: DirectCoder, quality: int, current: Planes | None = None,
              motion: BlockMotion | None = None, try_sizes: bool = True) -> None:
        """Code a P frame: its whole blocks and the motion found for it, or None for both when reading.

        Without try_sizes, all transforms are 8x8.
        """
        assert self.reference is not None
        vectors, sizes = (None, None) if motion is None else (
            np.clip(motion.vectors, -VECTOR_MAX, VECTOR_MAX), motion.sizes)
        networks = self.coder.networks
        self.field, self.sizes = networks.motion.code(coder, vectors, sizes, self.shape, quality, self.field,
                                                      self.sizes)
        second = self._second(coder, quality, None if motion is None else motion.compound)
        decoded = self.coder.code(coder, self.reference, self.field, self.sizes, quality, second=second,
                                  current=current, try_sizes=try_sizes)
        self._age()
        self.reference = decoded

    def _second(self, coder: DirectCoder, quality: int, compound: npt.NDArray[np.bool_] | None) -> Second | None:
        """Code which squares take the second reference as well; None where there is none."""
        if self.anchor is None:
            return None
        assert self.reference is not None
        assert self.field is not None
        assert self.sizes is not None
        vectors = chain(self.field, self.anchor.field)
        difference = disagreement(self.reference.planes[0], self.field, self.anchor.planes[0], vectors)
        self.compound = self.coder.networks.motion.code_compound(coder, compound, CompoundContext(
            self.field, self.sizes, vectors, difference * 64 // quantizer_step(quality), self.compound,
            self.anchor.age, quality))
        return Second(self.anchor.planes, vectors, self.compound)

    def _age(self) -> None:
        """A frame was decoded: its reference becomes the second one of those to come, or that moves further away."""
        assert self.reference is not None
        assert self.field is not None
        if self.model.config.references > 1:
            if self.place % ANCHORS == 0:
                self.anchor = _Anchor(self.reference.planes, self.field, 2)
            elif self.anchor is not None:
                self.anchor = _Anchor(self.anchor.planes, chain(self.field, self.anchor.field), self.anchor.age + 1)
        self.place += 1

    def frame(self, pts: int) -> Frame:
        """The decoded frame, at the video's size."""
        assert self.reference is not None
        width, height = self.video.chroma_size
        y, u, v = self.reference.planes
        return Frame(y[: self.video.height, : self.video.width].copy(), u[:height, :width].copy(),
                     v[:height, :width].copy(), pts)


class SwiftEncoder:
    """One packet a frame, no delay.

    Attributes:
        rate_control: chooses the qualities if a bitrate was asked for; else None.
    """

    codec_data = b""

    def __init__(self, weights: SwiftWeights, video: VideoInfo, options: EncodeOptions, effort: int) -> None:
        self._threads = options.threads or torch.get_num_threads()
        self._state = _State(weights, video, self._threads)
        self._options, self._effort = options, effort
        self.rate_control = rate_controller(video, options, CASCADE)
        self._count = 0

    @torch.inference_mode()
    def push(self, frame: Frame) -> list[Packet]:
        """Code a frame. Raises UsageError if it is not of the video's size."""
        before = self._state
        video = before.video
        check_size(frame, video)
        period = self._options.intra_period
        place = self._count % period if period > 0 else self._count
        self._count += 1

        def attempt(quality: int) -> Packet:
            # Attributes are replaced, never changed in place, so a shallow copy is a branch of its own.
            self._state = copy.copy(before)
            return self._code(frame, place, quality)

        time = float(frame.pts * video.time_base)
        return [code_frame(self.rate_control, self._options.quality, place, time, attempt)]

    def _code(self, frame: Frame, place: int, quality: int) -> Packet:
        state = self._state
        if place == 0:
            payload = state.hevc.encode(frame, hevc_qp(quality))
            state.intra(state.hevc.decode(payload, frame.width, frame.height))
            return Packet(PacketKind.INTRA, payload, frame.pts, quality)
        quality = frame_quality(quality, place)
        return Packet(PacketKind.INTER, self._inter(frame, quality), frame.pts, quality)

    def _inter(self, frame: Frame, quality: int) -> bytes:
        state = self._state
        assert state.reference is not None
        current = pad_to_blocks(frame.planes)
        lagrangian = SEARCH_LAGRANGIAN * quantizer_step(quality) / 16
        second = None if state.anchor is None else (state.anchor.planes[0], state.anchor.field)
        motion = search(current[0], state.reference.planes[0], lagrangian, previous=state.field, second=second,
                        window=WINDOW, effort=self._effort, threads=self._threads)
        coder = WriteSymbols()
        state.inter(coder, quality, current, motion, try_sizes=self._effort > 0)
        return coder.finish()

    def flush(self) -> list[Packet]:
        """Nothing is ever left."""
        return []


class SwiftDecoder:
    """One frame a packet, no delay."""

    def __init__(self, weights: SwiftWeights, video: VideoInfo) -> None:
        self._state = _State(weights, video, torch.get_num_threads())

    @torch.inference_mode()
    def push(self, packet: Packet) -> list[Frame]:
        """Decode a packet. Raises CorruptStreamError on a payload that cannot be right."""
        state = self._state
        try:
            if not 0 <= packet.quality <= MAX_QUALITY:
                raise CorruptStreamError(f"quality {packet.quality} is above {MAX_QUALITY}")
            if packet.kind == PacketKind.INTRA:
                state.intra(state.hevc.decode(packet.payload, state.video.width, state.video.height))
            else:
                if state.reference is None:
                    raise CorruptStreamError("an inter frame without the intra frame that it needs")
                coder = ReadSymbols(packet.payload)
                state.inter(coder, packet.quality)
                coder.close()
        except LvcError:
            state.reference = None
            raise
        return [state.frame(packet.pts)]

    def flush(self) -> list[Frame]:
        """Nothing is ever left."""
        return []


def load_swift(weights: str | None = None) -> SwiftCodec:
    """swift with the weights of the package or those of a safetensors file.

    Raises WeightsError if they are missing, damaged, or of another codec.
    """
    loaded = load_swift_weights("swift" if weights is None else Path(weights))
    if loaded.name != "swift":
        raise WeightsError(f"{weights} holds weights of {loaded.name}, not of swift")
    return SwiftCodec(loaded)
