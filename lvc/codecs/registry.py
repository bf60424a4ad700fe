"""Codecs by name, by codec string, and by stream header.

Neural codecs are imported when one is asked for, so that external ones work without loading torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lvc.bitstream import CodecId, StreamHeader
from lvc.codecs.base import Codec, Decoder, Encoder
from lvc.codecs.external import EXTERNAL
from lvc.codecs.layered import LAYERED, BaseOnly, base_header
from lvc.codecs.rates import parse_bitrate
from lvc.codecs.stsr import StsrCodec, load_stsr, needs_weights
from lvc.errors import CodecError, UsageError, WeightsError
from lvc.types import EncodeOptions, VideoInfo

_OPTIONS = ("quality", "intra_period", "threads")


def parse_codec_string(text: str) -> tuple[str, dict[str, str]]:
    """Take ``name:key=value,key=value`` apart.

    Returns:
        (name, parameters), without any check whether there is such a codec, or such a parameter.

    Raises:
        UsageError: no name, a parameter that is not ``key=value``, or one that comes twice.
    """
    name, colon, rest = text.strip().partition(":")
    if not name:
        raise UsageError(f"codec {text!r} has no name (it looks like x265:preset=fast,crf=27)")
    params: dict[str, str] = {}
    if colon and not rest:
        raise UsageError(f"codec {text!r}: nothing follows the colon")
    for item in rest.split(",") if rest else ():
        key, equals, value = item.partition("=")
        key, value = key.strip(), value.strip()
        if not key or not equals or not value:
            raise UsageError(f"codec {text!r}: {item!r} is not of the form key=value")
        if key in params:
            raise UsageError(f"codec {text!r}: {key} comes twice")
        params[key] = value
    return name.strip(), params


def codec_names() -> list[str]:
    """Names of all codecs: ours first, then external ones. Loads torch."""
    from lvc.weights import manifest

    external = [codec.name for codec in EXTERNAL]
    own = [name for name in manifest() if name not in external]
    if StsrCodec.name not in own:  # it works without weights, too
        own.append(StsrCodec.name)
    return [*own, *external]


def get_codec(name: str, weights: str | None = None) -> Codec:
    """The codec of a name, with the weights of the package or those of a file.

    Raises:
        CodecError: there is none.
        UsageError: weights for a codec that has none.
        WeightsError: its weights are missing or damaged.
    """
    for codec in EXTERNAL:
        if codec.name == name:
            if weights is not None:
                raise UsageError(f"{name} has no weights")
            return codec
    if name == StsrCodec.name:
        return load_stsr(weights)
    from lvc.codecs.neural import load_neural
    from lvc.codecs.restore import RestoreCodec, load_restore
    from lvc.codecs.swift import SwiftCodec, load_swift

    if weights is None and name not in codec_names():
        raise CodecError(f"unknown codec {name!r} (there are: {', '.join(codec_names())})")
    if name == RestoreCodec.name:
        return load_restore(weights)
    return load_swift(weights) if name == SwiftCodec.name else load_neural(name, weights)


@dataclass(slots=True)
class ConfiguredCodec:
    """A codec with the parameters of a codec string. Implements lvc.codecs.base.Codec.

    The parameters go over those of EncodeOptions; ``quality``, ``intra_period``, ``threads`` and ``bitrate`` are
    options of that name (the last one also as ``500k`` or ``1.5M``).
    """

    codec: Codec
    params: Mapping[str, str]

    @property
    def name(self) -> str:
        """As in codec strings, without parameters."""
        return self.codec.name

    @property
    def codec_id(self) -> int:
        """Number in the bitstream."""
        return self.codec.codec_id

    @property
    def weights_digest(self) -> bytes:
        """As of Codec."""
        return self.codec.weights_digest

    def options(self, options: EncodeOptions) -> EncodeOptions:
        """``options`` with the parameters put over them.

        Raises:
            UsageError: a value that makes no sense, or a bitrate together with another one or with a quality.
        """
        params = {**options.params, **self.params}
        bitrate = options.bitrate
        if "bitrate" in params:
            if bitrate is not None:
                raise UsageError(f"{self.name}: a bitrate or a target size is given besides that of the codec string")
            bitrate = parse_bitrate(params.pop("bitrate"))
        if bitrate is not None and "quality" in params:
            raise UsageError(f"{self.name}: quality and a bitrate exclude each other")
        values: dict[str, int] = {}
        for key in _OPTIONS:
            if key in params:
                text = params.pop(key)
                try:
                    values[key] = int(text)
                except ValueError:
                    raise UsageError(f"{self.name}: {key} must be a whole number, not {text!r}") from None
        return replace(options, quality=values.get("quality", options.quality),
                       intra_period=values.get("intra_period", options.intra_period),
                       threads=values.get("threads", options.threads), params=params, bitrate=bitrate)

    def encoder(self, video: VideoInfo, options: EncodeOptions) -> Encoder:
        """An encoder. Raises UsageError on parameters that the codec does not take."""
        return self.codec.encoder(video, self.options(options))

    def decoder(self, header: StreamHeader) -> Decoder:
        """A decoder for a stream of this codec."""
        return self.codec.decoder(header)


def open_codec(text: str) -> ConfiguredCodec:
    """The codec of a codec string, ``dvc-lite`` or ``x265:preset=veryfast,tune=zerolatency,crf=27``.

    ``weights=FILE`` takes weights of your own: ``dvc-lite:weights=runs/dvc-lite/best.safetensors``.

    Raises:
        UsageError: the string is malformed.
        CodecError: there is no such codec.
        WeightsError: its weights are missing or damaged.
    """
    name, params = parse_codec_string(text)
    return ConfiguredCodec(get_codec(name, params.pop("weights", None)), params)


def codec_name(codec_id: int) -> str:
    """Name of the codec of a number, whether it is available here or not. Raises CodecError if unknown."""
    try:
        return CodecId(codec_id).name.lower().replace("_", "-")
    except ValueError:
        raise CodecError(f"the stream is of codec number {codec_id}, which this version of lvc does not know "
                         "(a newer one may)") from None


def codec_for_header(header: StreamHeader, weights: str | None = None, *, enhance: bool = True) -> Codec:
    """The codec that decodes a stream, with the weights of the package or those of a file.

    With ``enhance`` false, a layered stream is decoded without enhancement, which takes no weights: one of restore by
    its base codec alone, one of stsr by that and the classical enhancer.

    Raises:
        CodecError: its codec is unknown, or not available here.
        WeightsError: these weights are not those the stream was made with.
    """
    if header.codec_id == CodecId.STSR and not (enhance and needs_weights(header)):
        return StsrCodec(digest=header.weights_digest)
    if not enhance and header.codec_id in LAYERED:
        return BaseOnly(base_header(header)[0].name, header.codec_id, header.weights_digest)
    codec = get_codec(codec_name(header.codec_id), weights)
    if codec.weights_digest != header.weights_digest:
        whose = "this version of lvc has" if weights is None else f"{weights} is"
        raise WeightsError(f"the stream was made with weights {_hex(header.weights_digest)} of {codec.name}, "
                           f"{whose} {_hex(codec.weights_digest)}")
    return codec


def _hex(digest: bytes) -> str:
    return digest.hex() or "(none)"
