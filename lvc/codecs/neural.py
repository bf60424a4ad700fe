"""Our own codecs behind the common interface: an intra coder, an inter model, and what they refer to."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lvc.bitstream import CodecId, StreamHeader
from lvc.codecs.dvccontext import ContextCoder, ContextReference, after_intra, padded
from lvc.codecs.hevc_intra import HevcIntra
from lvc.codecs.motion import block_flow
from lvc.codecs.neuralsearch import MAX_EFFORT, Search
from lvc.codecs.picture import check_size, shown
from lvc.codecs.ratecontrol import code_frame, rate_controller
from lvc.codecs.scenecut import Places
from lvc.codecs.schedule import frame_quality, hevc_qp, intra_qp, tuning_of
from lvc.entropy import Read, Write
from lvc.entropy.coders import CODER_VERSION
from lvc.entropy.symbols import ReadSymbols, WriteSymbols
from lvc.errors import BitstreamError, CorruptStreamError, UsageError, WeightsError
from lvc.models import ContextInterModel, InterModel
from lvc.ops.blockmotion import Field
from lvc.ops.gains import quantization_step
from lvc.ops.picture import pad_planes
from lvc.ops.warp import resize_flow
from lvc.types import MAX_QUALITY, EncodeOptions, Frame, Packet, PacketKind, VideoInfo
from lvc.weights import Weights, load_weights

INTRA_KINDS = ("hevc", "learned")
"""How I frames are coded; the position is the first byte of codec_data. The second is CODER_VERSION."""

_EFFORTS = tuple(str(effort) for effort in range(MAX_EFFORT + 1))
_PARAMS = {"intra": INTRA_KINDS, "motion": ("classical", "network"), "effort": _EFFORTS}
"""What a codec string may choose; the first is the default."""

_CONTEXT_PARAMS = {"intra": INTRA_KINDS, "effort": ("1", *(effort for effort in _EFFORTS if effort != "1"))}
"""The same where the weights are of the second design (lvc.models.dvccontext)."""

_CODEC_IDS = {"dvc": CodecId.DVC, "dvc-lite": CodecId.DVC_LITE, "dvc-lite-msssim": CodecId.DVC_LITE_MSSSIM}
DEAD_ZONE = 0.06
"""Of the encoder's rounding (lvc.entropy.Write)."""


class NeuralCodec:
    """A codec of the dvc family with its weights.

    Parameters in a codec string: ``intra=hevc`` (x265 intra, the default) or ``intra=learned``;
    ``motion=classical`` (block search, the default) or ``motion=network`` (the model's own estimate);
    ``effort=0..3``, how hard the encoder looks for what to code (lvc.codecs.neuralsearch; default 0). With weights of
    the second design motion is always searched for, and the effort (default 1) is that of lvc.codecs.dvccontext.
    """

    def __init__(self, weights: Weights) -> None:
        if weights.name not in _CODEC_IDS:
            raise WeightsError(f"weights of the configuration {weights.name!r}, which no codec has")
        self.weights = weights
        self.name = weights.name
        self.codec_id = int(_CODEC_IDS[weights.name])
        self.weights_digest = weights.digest

    def encoder(self, video: VideoInfo, options: EncodeOptions) -> NeuralEncoder:
        """Raises UsageError on parameters that this codec does not know."""
        params = _CONTEXT_PARAMS if isinstance(self.weights.inter, ContextInterModel) else _PARAMS
        choice = {name: options.params.get(name, known[0]) for name, known in params.items()}
        for name, value in options.params.items():
            if name not in params:
                raise UsageError(f"{self.name} has no parameter {name!r}; it has: {', '.join(params)}")
            if value not in params[name]:
                raise UsageError(f"{self.name}: {name} must be one of {', '.join(params[name])}, "
                                 f"not {value!r}")
        return NeuralEncoder(self.weights, video, options, choice["intra"], choice.get("motion", ""),
                             int(choice["effort"]))

    def decoder(self, header: StreamHeader) -> NeuralDecoder:
        """Raises CorruptStreamError if the header's codec data makes no sense."""
        data = header.codec_data
        # One byte: from before there was a second entropy coder.
        version = 1 if len(data) == 1 else CODER_VERSION
        if data[1:] not in (b"", bytes([CODER_VERSION])) or not data or data[0] >= len(INTRA_KINDS):
            raise CorruptStreamError(f"{self.name}: codec data {data[:8].hex()!r} in the header is not known")
        if version != CODER_VERSION and isinstance(self.weights.inter, ContextInterModel):
            raise CorruptStreamError(f"{self.name}: codec data of an older stream, but these weights are newer")
        return NeuralDecoder(self.weights, header.video, INTRA_KINDS[data[0]], version)


@dataclass
class _FrameCoder:
    """Frames to payloads and back; encoder and decoder differ in the coder alone."""

    weights: Weights
    video: VideoInfo
    intra: str

    def __post_init__(self) -> None:
        if self.intra == "learned" and self.weights.intra is None:
            raise WeightsError(f"the weights of {self.weights.name} have no learned intra model")
        self.tuning = tuning_of(self.weights.config)
        self.hevc = HevcIntra(chroma_qp_offset=self.tuning.chroma_qp_offset, masking=self.tuning.masking)
        self.reference: Frame | None = None
        self.motion: ClassicalMotion | None = None
        self.search: Search | None = None

    def branch(self) -> _FrameCoder:
        """One that can go on from here without changing this one."""
        other = copy.copy(self)
        other.motion = copy.copy(self.motion)
        return other

    def picture(self, frame: Frame, multiple: int) -> Tensor:
        """Frame -> picture tensor (1, C, H, W), padded."""
        y = torch.from_numpy(frame.y.copy()).float()[None, None]
        uv = torch.stack([torch.from_numpy(p.copy()) for p in (frame.u, frame.v)]).float()[None]
        return self.weights.inter.space.pack(*pad_planes(y, uv, multiple))

    def frame(self, picture: Tensor, pts: int) -> Frame:
        """Picture tensor -> 8-bit frame of the video's size."""
        y, uv = self.weights.inter.space.unpack(picture)
        width, height = self.video.chroma_size

        def plane(x: Tensor, h: int, w: int) -> Tensor:
            return x[:h, :w].round().clamp(0, 255).to(torch.uint8).contiguous()

        return Frame(plane(y[0, 0], self.video.height, self.video.width).numpy(),
                     plane(uv[0, 0], height, width).numpy(), plane(uv[0, 1], height, width).numpy(), pts)

    def padded_size(self, multiple: int) -> tuple[int, int]:
        stride = self.weights.inter.space.stride
        h, w = (-(-size // multiple) * multiple for size in (self.video.height, self.video.width))
        return h // stride, w // stride

    def intra_picture(self, coder: Write | Read, frame: Frame | None, quality: int) -> Tensor:
        model = self.weights.intra
        assert model is not None
        current = None if frame is None else self.picture(frame, model.multiple)
        return model(coder, current, torch.tensor([quality]), self.padded_size(model.multiple))

    def refer(self, frame: Frame, exact: bool = False) -> None:
        """An I frame was decoded; ``exact``: the same on every machine."""
        self.reference = frame

    def write_inter(self, frame: Frame, quality: int) -> bytes:
        """Code a P frame."""
        coder = Write(DEAD_ZONE if self.search is None else 0.0)  # a search has rounded already, and knows better
        picture = self.inter_picture(coder, frame, quality)
        payload = coder.finish()
        self.reference = self.frame(picture, frame.pts)
        return payload

    def read_inter(self, packet: Packet, version: int) -> Frame:
        """Decode a P frame."""
        coder = Read(packet.payload, version=version)
        picture = self.inter_picture(coder, None, packet.quality)
        coder.close()
        self.reference = self.frame(picture, packet.pts)
        return self.reference

    def inter_picture(self, coder: Write | Read, frame: Frame | None, quality: int) -> Tensor:
        model = self.weights.inter
        assert isinstance(model, InterModel)
        assert self.reference is not None
        reference = self.picture(self.reference, model.multiple)
        current = flow = None
        if frame is not None:
            current = self.picture(frame, model.multiple)
            if self.motion is not None:
                flow = self.motion(current, reference, quantization_step(torch.tensor(quality)).item())
            if self.search is not None:
                latents = self.search(current, reference, torch.tensor([quality]), flow)
                return model(coder, None, reference, torch.tensor([quality]), latents=latents).picture
        return model(coder, current, reference, torch.tensor([quality]), flow).picture


class _ContextFrameCoder(_FrameCoder):
    """The same with a model of the second design."""

    def __init__(self, weights: Weights, video: VideoInfo, intra: str, threads: int = 1, effort: int = 1) -> None:
        super().__init__(weights, video, intra)
        assert isinstance(weights.inter, ContextInterModel)
        self._coder = ContextCoder(weights.inter, threads, effort)
        self._known: ContextReference | None = None

    def refer(self, frame: Frame, exact: bool = False) -> None:
        self.reference, self._known = frame, after_intra(frame.planes, exact)

    def write_inter(self, frame: Frame, quality: int) -> bytes:
        assert self._known is not None
        coder = WriteSymbols()
        self._known = self._coder.code(coder, self._known, quality, padded(frame.planes))
        payload = coder.finish()
        self._crop(frame.pts)
        return payload

    def read_inter(self, packet: Packet, version: int) -> Frame:
        assert self._known is not None
        coder = ReadSymbols(packet.payload)
        self._known = self._coder.code(coder, self._known, packet.quality)
        coder.close()
        return self._crop(packet.pts)

    def _crop(self, pts: int) -> Frame:
        assert self._known is not None
        self.reference = shown(self._known.planes, self.video, pts)
        return self.reference


def _frame_coder(weights: Weights, video: VideoInfo, intra: str, threads: int, effort: int = 0) -> _FrameCoder:
    if isinstance(weights.inter, ContextInterModel):
        return _ContextFrameCoder(weights, video, intra, threads or torch.get_num_threads(), effort)
    coder = _FrameCoder(weights, video, intra)
    if effort:
        coder.search = Search(weights.inter, (video.height, video.width), effort)
    return coder


class ClassicalMotion:
    """Block search between pictures of a model, at the resolution of its flow."""

    def __init__(self, model: InterModel) -> None:
        self._space, self._scale = model.space, model.config.flow.unshuffle
        self._former: Field | None = None

    def __call__(self, current: Tensor, reference: Tensor, step: float) -> Tensor:
        """Pictures (1, C, H, W), coded with a quantization step -> flow (1, 2, h, w) in luma samples."""
        luma = [self._space.unpack(p)[0][0, 0].round().clamp(0, 255).to(torch.uint8).numpy()
                for p in (current, reference)]
        flow, self._former = block_flow(luma[0], luma[1], step, self._former)
        size = luma[0].shape[0] // self._scale, luma[0].shape[1] // self._scale
        return resize_flow(torch.from_numpy(flow)[None], size, 1.0)


class NeuralEncoder:
    """One packet a frame, no delay.

    Attributes:
        rate_control: chooses the qualities if a bitrate was asked for; else None.
    """

    def __init__(self, weights: Weights, video: VideoInfo, options: EncodeOptions, intra: str,
                 motion: str, effort: int = 0) -> None:
        self._coder = _frame_coder(weights, video, intra, options.threads, effort)
        if isinstance(weights.inter, InterModel) and motion == "classical":
            self._coder.motion = ClassicalMotion(weights.inter)
        self._options = options
        self._cascade = isinstance(weights.inter, ContextInterModel)
        self.rate_control = rate_controller(video, options, self._coder.tuning.cascade) if self._cascade else (
            rate_controller(video, options))
        self._places = Places(options.intra_period)
        self.codec_data = bytes([INTRA_KINDS.index(intra), CODER_VERSION])
        if options.threads:
            torch.set_num_threads(options.threads)

    @torch.no_grad()
    def push(self, frame: Frame) -> list[Packet]:
        """Code a frame. Raises UsageError if it is not of the video's size."""
        before = self._coder
        video = before.video
        check_size(frame, video)
        place = self._places(frame.y)

        def attempt(quality: int) -> Packet:
            self._coder = before.branch()
            return self._code(frame, place, quality)

        time = float(frame.pts * video.time_base)
        return [code_frame(self.rate_control, self._options.quality, place, time, attempt)]

    def _code(self, frame: Frame, place: int, quality: int) -> Packet:
        c = self._coder
        if place:
            quality = frame_quality(quality, place, c.tuning) if self._cascade else quality
            return Packet(PacketKind.INTER, c.write_inter(frame, quality), frame.pts, quality)
        if c.intra == "hevc":
            qp = intra_qp(quality, self._options.intra_period, c.tuning) if self._cascade else hevc_qp(quality)
            payload = c.hevc.encode(frame, qp)
            c.refer(c.hevc.decode(payload, frame.width, frame.height), exact=True)
        else:
            coder = Write(DEAD_ZONE)
            picture = c.intra_picture(coder, frame, quality)
            payload = coder.finish()
            c.refer(c.frame(picture, frame.pts))
        return Packet(PacketKind.INTRA, payload, frame.pts, quality)

    def flush(self) -> list[Packet]:
        """Nothing is ever left."""
        return []


class NeuralDecoder:
    """One frame a packet, no delay."""

    def __init__(self, weights: Weights, video: VideoInfo, intra: str, version: int = CODER_VERSION) -> None:
        self._coder = _frame_coder(weights, video, intra, 0)
        self._version = version

    @torch.inference_mode()
    def push(self, packet: Packet) -> list[Frame]:
        """Decode a packet. Raises CorruptStreamError on a payload that cannot be right."""
        c = self._coder
        intra = packet.kind == PacketKind.INTRA
        if not intra and c.reference is None:
            raise CorruptStreamError("an inter frame without the intra frame that it needs")
        try:
            if not 0 <= packet.quality <= MAX_QUALITY:
                raise CorruptStreamError(f"quality {packet.quality} is above {MAX_QUALITY}")
            if not intra:
                return [c.read_inter(packet, self._version)]
            if c.intra == "hevc":
                frame = c.hevc.decode(packet.payload, c.video.width, c.video.height)
                frame = Frame(frame.y, frame.u, frame.v, packet.pts)
            else:
                coder = Read(packet.payload, version=self._version)
                picture = c.intra_picture(coder, None, packet.quality)
                coder.close()
                frame = c.frame(picture, packet.pts)
        except BitstreamError:
            c.reference = None
            raise
        c.refer(frame, exact=c.intra == "hevc")
        return [frame]

    def flush(self) -> list[Frame]:
        """Nothing is ever left."""
        return []


def load_neural(name: str, weights: str | None = None) -> NeuralCodec:
    """Our codec of that name, with the weights of the package or those of a safetensors file.

    Raises WeightsError if they are missing, damaged, or of another codec.
    """
    loaded = load_weights(name if weights is None else Path(weights))
    if loaded.name != name:
        raise WeightsError(f"{weights} holds weights of {loaded.name}, not of {name}")
    return NeuralCodec(loaded)
