"""swift behind the common interface: block motion and block transform, learned probabilities, all integer."""

from __future__ import annotations

import copy
from pathlib import Path

import torch

from lvc.bitstream import CodecId, StreamHeader
from lvc.codecs.hevc_intra import HevcIntra
from lvc.codecs.picture import check_size
from lvc.codecs.ratecontrol import code_frame, rate_controller
from lvc.codecs.scenecut import Places, SceneCuts
from lvc.codecs.schedule import CASCADE, frame_quality, intra_qp
from lvc.codecs.swiftcoding import InterCoder
from lvc.codecs.swiftframe import pad_to_blocks
from lvc.codecs.swiftgop import LENGTHS, SwiftGopDecoder, SwiftGopEncoder
from lvc.codecs.swiftstate import InterState, intra_preset, quantizer_passes
from lvc.entropy.symbols import ReadSymbols, WriteSymbols
from lvc.errors import CorruptStreamError, LvcError, UsageError, WeightsError
from lvc.ops.blockmotion import MAX_EFFORT
from lvc.types import MAX_QUALITY, EncodeOptions, Frame, Packet, PacketKind, VideoInfo
from lvc.weights import SwiftWeights, load_swift_weights

_EFFORT = 2


class SwiftCodec:
    """swift with its weights.

    Parameters in a codec string: ``effort=0..3``, how hard the encoder looks for motion; from 1 on for transforms
    and the modes of I frames, too, and from 2 on for symbols. ``bframes=0``, 1, 3 or 7: at most so many B frames in a
    row (lvc.codecs.swiftgop), which is what packets are delayed by; without them, the default, there is no delay.
    ``scenecut=1`` or 0: whether frames that begin another scene are I frames. The intra period starts over with them.
    """

    name = "swift"
    codec_id = int(CodecId.SWIFT)

    def __init__(self, weights: SwiftWeights) -> None:
        self.weights = weights
        weights.model.eval()  # its integer layers are exact then
        self.weights_digest = weights.digest

    def encoder(self, video: VideoInfo, options: EncodeOptions) -> SwiftEncoder | SwiftGopEncoder:
        """Raises UsageError on parameters that this codec does not know."""
        params = dict(options.params)
        text, bframes = params.pop("effort", str(_EFFORT)), params.pop("bframes", "0")
        cuts = params.pop("scenecut", "1")
        if params:
            raise UsageError(f"swift has no parameter {next(iter(params))!r}; it has: effort, bframes, scenecut")
        if text not in map(str, range(MAX_EFFORT + 1)):
            raise UsageError(f"swift: effort must be a whole number from 0 to {MAX_EFFORT}, not {text!r}")
        known = [str(length - 1) for length in LENGTHS]
        if bframes not in known:
            raise UsageError(f"swift: bframes must be one of {', '.join(known)}, not {bframes!r}")
        if cuts not in ("0", "1"):
            raise UsageError(f"swift: scenecut must be 0 or 1, not {cuts!r}")
        if bframes == "0":
            return SwiftEncoder(self.weights, video, options, int(text), cuts == "1")
        if self.weights.model.config.references < 2:
            raise UsageError("swift: these weights have no second reference, which B frames need")
        return SwiftGopEncoder(self.weights, video, options, int(text), int(bframes), cuts == "1")

    def decoder(self, header: StreamHeader) -> SwiftDecoder | SwiftGopDecoder:
        """Raises CorruptStreamError if the header's codec data makes no sense."""
        data = header.codec_data
        if not data:
            return SwiftDecoder(self.weights, header.video)
        if len(data) > 1 or not 0 < data[0] < len(LENGTHS) or self.weights.model.config.references < 2:
            raise CorruptStreamError(f"swift: codec data {data[:8].hex()!r} in the header is not known")
        return SwiftGopDecoder(self.weights, header)


class SwiftEncoder:
    """One packet a frame, no delay.

    Attributes:
        rate_control: chooses the qualities if a bitrate was asked for; else None.
    """

    codec_data = b""

    def __init__(self, weights: SwiftWeights, video: VideoInfo, options: EncodeOptions, effort: int,
                 scenecut: bool = True) -> None:
        self._threads = options.threads or torch.get_num_threads()
        self._state = InterState(InterCoder(weights.model, self._threads, quantizer_passes(effort)), video)
        self._hevc = HevcIntra(intra_preset(effort))
        self._options, self._effort = options, effort
        self.rate_control = rate_controller(video, options, CASCADE)
        self._places = Places(options.intra_period, SceneCuts(self._threads) if scenecut else None)

    @torch.inference_mode()
    def push(self, frame: Frame) -> list[Packet]:
        """Code a frame. Raises UsageError if it is not of the video's size."""
        before = self._state
        video = before.video
        check_size(frame, video)
        place = self._places(frame.y)

        def attempt(quality: int) -> Packet:
            self._state = copy.copy(before)
            return self._code(frame, place, quality)

        time = float(frame.pts * video.time_base)
        return [code_frame(self.rate_control, self._options.quality, place, time, attempt)]

    def _code(self, frame: Frame, place: int, quality: int) -> Packet:
        state = self._state
        if place == 0:
            payload = self._hevc.encode(frame, intra_qp(quality, self._options.intra_period))
            state.intra(self._hevc.decode(payload, frame.width, frame.height))
            return Packet(PacketKind.INTRA, payload, frame.pts, quality)
        quality = frame_quality(quality, place)
        return Packet(PacketKind.INTER, self._inter(frame, quality), frame.pts, quality)

    def _inter(self, frame: Frame, quality: int) -> bytes:
        current = pad_to_blocks(frame.planes)
        motion = self._state.search(current, quality, self._effort, self._threads)
        coder = WriteSymbols()
        self._state.inter(coder, quality, current, motion, try_sizes=self._effort > 0)
        return coder.finish()

    def flush(self) -> list[Packet]:
        """Nothing is ever left."""
        return []


class SwiftDecoder:
    """One frame a packet, no delay."""

    def __init__(self, weights: SwiftWeights, video: VideoInfo) -> None:
        self._state = InterState(InterCoder(weights.model, torch.get_num_threads()), video)
        self._hevc = HevcIntra()

    @torch.inference_mode()
    def push(self, packet: Packet) -> list[Frame]:
        """Decode a packet. Raises CorruptStreamError on a payload that cannot be right."""
        state = self._state
        try:
            if not 0 <= packet.quality <= MAX_QUALITY:
                raise CorruptStreamError(f"quality {packet.quality} is above {MAX_QUALITY}")
            if packet.kind == PacketKind.INTRA:
                state.intra(self._hevc.decode(packet.payload, state.video.width, state.video.height))
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
