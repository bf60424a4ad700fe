"""restore: a standard codec, and a network at the decoder that takes coding artefacts out of its pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from lvc.bitstream import CodecId, StreamHeader
from lvc.codecs.base import Codec
from lvc.codecs.layered import Enhancer, LayeredDecoder, LayeredEncoder, Seen, base_header, find_base
from lvc.enhance.restorer import Restorer
from lvc.errors import UsageError, WeightsError
from lvc.types import EncodeOptions, Frame, VideoInfo
from lvc.weights import RestoreWeights, load_restore_weights

AV1_CODECS = ("svt-av1", "libaom")
"""Base codecs whose pictures have been through AV1's own filters; the network is told."""

_BASE = "svt-av1"
_SWITCH = ("on", "off")


class _Restoration:
    """A Restorer as an Enhancer."""

    def __init__(self, weights: RestoreWeights, base: Codec) -> None:
        self._restorer = Restorer(weights.net, base.name in AV1_CODECS)

    def __call__(self, seen: Seen, previous: Seen | None, following: Seen | None) -> Frame:
        levels = (seen.level, previous.level if previous else seen.level, following.level if following else seen.level)
        return self._restorer(seen.frame, previous.frame if previous else None,
                              following.frame if following else None, levels, seen.intra)


class RestoreCodec:
    """restore with its weights.

    Parameters in a codec string: ``base=NAME``, an external codec (default svt-av1); ``enhance=off`` enhances no
    frame, so that the stream decodes to exactly what the base codec gives; all others are the base codec's own:
    ``restore:base=x265,preset=medium,crf=27``. The quality, too, is that of the base codec.
    """

    name = "restore"
    codec_id = int(CodecId.RESTORE)

    def __init__(self, weights: RestoreWeights) -> None:
        self.weights = weights
        self.weights_digest = weights.digest

    def encoder(self, video: VideoInfo, options: EncodeOptions) -> LayeredEncoder:
        """Raises UsageError on parameters that neither this nor the base codec knows."""
        params = dict(options.params)
        base = find_base(params.pop("base", _BASE))
        switch = params.pop("enhance", _SWITCH[0])
        if switch not in _SWITCH:
            raise UsageError(f"restore: enhance must be on or off, not {switch!r}")
        if options.threads:
            torch.set_num_threads(options.threads)
        encoder = base.encoder(video, replace(options, params=params))
        header = StreamHeader(base.codec_id, b"", video, options.intra_period, encoder.codec_data)
        enhancer: Enhancer | None = _Restoration(self.weights, base) if switch == "on" else None
        return LayeredEncoder(base, encoder, base.decoder(header), enhancer)

    def decoder(self, header: StreamHeader) -> LayeredDecoder:
        """Raises CorruptStreamError if the header's codec data makes no sense."""
        base, inner = base_header(header)
        return LayeredDecoder(base.decoder(inner), _Restoration(self.weights, base))


def load_restore(weights: str | None = None) -> RestoreCodec:
    """restore with the weights of the package or those of a safetensors file.

    Raises WeightsError if they are missing, damaged, or of another codec.
    """
    loaded = load_restore_weights("restore" if weights is None else Path(weights))
    if loaded.name != "restore":
        raise WeightsError(f"{weights} holds weights of {loaded.name}, not of restore")
    return RestoreCodec(loaded)
