"""swift behind the common interface: block motion and block transform, learned probabilities, all integer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from lvc.bitstream import CodecId, StreamHeader
from lvc.codecs.hevc_intra import HevcIntra
from lvc.codecs.neural import hevc_qp
from lvc.codecs.swiftframe import WINDOW, Planes, Reference, pad_to_blocks, predict_frame
from lvc.codecs.swiftquant import choose_symbols
from lvc.entropy.symbols import ReadSymbols, SymbolCoder, WriteSymbols
from lvc.errors import CorruptStreamError, LvcError, UsageError, WeightsError
from lvc.models.swiftmotion import VECTOR_MAX
from lvc.ops.blockdct import quantizer_step
from lvc.ops.blockmotion import BLOCK, MAX_EFFORT, BlockMotion, Field, search
from lvc.types import MAX_QUALITY, EncodeOptions, Frame, Packet, PacketKind, VideoInfo
from lvc.weights import SwiftWeights, load_swift_weights

SEARCH_LAGRANGIAN = 0.37
"""SATD a bit of motion is worth, relative to the quantization step (see lvc.ops.blockmotion.search)."""

CASCADE = (5, -1, 1, -1)
"""Qualities of the P frames relative to the one asked for, by the place in the group of pictures modulo 4: what
every fourth frame gets is worth more than it costs, since the following ones are predicted from it."""

_EFFORT = 2


class SwiftCodec:
    """swift with its weights.

    Parameter in a codec string: ``effort=0..3``, how hard the encoder looks for motion.
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


class _State:
    """What a P frame refers to; encoder and decoder hold the same."""

    def __init__(self, weights: SwiftWeights, video: VideoInfo) -> None:
        self.model, self.video = weights.model, video
        self.hevc = HevcIntra()
        self.reference: Reference | None = None
        self.field: Field | None = None
        self.sizes: npt.NDArray[np.uint8] | None = None
        self.shape = -(-video.height // BLOCK), -(-video.width // BLOCK)

    def intra(self, frame: Frame) -> None:
        """An I frame was decoded."""
        self.reference = Reference(pad_to_blocks(frame.planes), None)
        self.field = self.sizes = None

    def inter(self, coder: SymbolCoder, quality: int, current: Planes | None = None,
              motion: BlockMotion | None = None) -> None:
        """Code a P frame: its whole blocks and the motion found for it, or None for both when reading."""
        assert self.reference is not None
        vectors, sizes = (None, None) if motion is None else (
            np.clip(motion.vectors, -VECTOR_MAX, VECTOR_MAX), motion.sizes)
        self.field, self.sizes = self.model.motion(coder, vectors, sizes, self.shape, quality, self.field, self.sizes)
        prediction = predict_frame(self.reference, self.field, quality)
        symbols = None
        if current is not None:
            chosen = choose_symbols(self.model.entropy, prediction.residual(current), prediction.context)
            symbols = chosen[None]
        symbols = self.model.entropy(coder, symbols, prediction.context)[0]
        self.reference = Reference(prediction.reconstruct(symbols, self.model.filter), symbols)

    def frame(self, pts: int) -> Frame:
        """The decoded frame, at the video's size."""
        assert self.reference is not None
        width, height = self.video.chroma_size
        y, u, v = self.reference.planes
        return Frame(y[: self.video.height, : self.video.width].copy(), u[:height, :width].copy(),
                     v[:height, :width].copy(), pts)


class SwiftEncoder:
    """One packet a frame, no delay."""

    codec_data = b""

    def __init__(self, weights: SwiftWeights, video: VideoInfo, options: EncodeOptions, effort: int) -> None:
        self._state = _State(weights, video)
        self._options, self._effort = options, effort
        self._count = 0
        if options.threads:
            torch.set_num_threads(options.threads)

    @torch.inference_mode()
    def push(self, frame: Frame) -> list[Packet]:
        """Code a frame. Raises UsageError if it is not of the video's size."""
        state, quality = self._state, self._options.quality
        video = state.video
        if (frame.width, frame.height) != (video.width, video.height):
            raise UsageError(f"frame of {frame.width}x{frame.height} in a video of {video.width}x{video.height}")
        period = self._options.intra_period
        place = self._count % period if period > 0 else self._count
        self._count += 1
        intra = place == 0
        if intra:
            payload = state.hevc.encode(frame, hevc_qp(quality))
            state.intra(state.hevc.decode(payload, frame.width, frame.height))
        else:
            quality = min(MAX_QUALITY, max(0, quality + CASCADE[place % len(CASCADE)]))
            payload = self._inter(frame, quality)
        return [Packet(PacketKind.INTRA if intra else PacketKind.INTER, payload, frame.pts, quality)]

    def _inter(self, frame: Frame, quality: int) -> bytes:
        state = self._state
        assert state.reference is not None
        current = pad_to_blocks(frame.planes)
        lagrangian = SEARCH_LAGRANGIAN * quantizer_step(quality) / 16
        motion = search(current[0], state.reference.planes[0], lagrangian, previous=state.field, window=WINDOW,
                        effort=self._effort, threads=max(1, self._options.threads))
        coder = WriteSymbols()
        state.inter(coder, quality, current, motion)
        return coder.finish()

    def flush(self) -> list[Packet]:
        """Nothing is ever left."""
        return []


class SwiftDecoder:
    """One frame a packet, no delay."""

    def __init__(self, weights: SwiftWeights, video: VideoInfo) -> None:
        self._state = _State(weights, video)

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
