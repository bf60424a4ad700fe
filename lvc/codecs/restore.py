"""restore: a standard codec, and behind its decoder filters and a network that take coding artefacts out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from lvc.bitstream import CodecId, StreamHeader
from lvc.codecs.base import Codec
from lvc.codecs.filtered import FilteredDecoder, FilteredEncoder, Filtering
from lvc.codecs.layered import base_header, find_base, layered_data, mode_of
from lvc.enhance.prior import situation
from lvc.enhance.restorer import Restorer
from lvc.errors import UsageError, WeightsError
from lvc.types import EncodeOptions, VideoInfo
from lvc.weights import RestoreWeights, load_restore_weights

AV1_CODECS = ("svt-av1", "libaom")
"""Base codecs whose pictures have been through AV1's own filters; the network is told."""

_BASE = "svt-av1"
_FILTERS, _NETWORK = range(2)
_ENHANCERS = {"on": _NETWORK, "filters": _FILTERS, "off": None}


class RestoreCodec:
    """restore with its weights.

    Parameters in a codec string: ``base=NAME``, an external codec (default svt-av1); ``enhance=filters`` does without
    the network, which takes most of the time, ``enhance=off`` enhances nothing, so that the stream decodes to exactly
    what the base codec gives (default ``on``); all others are the base codec's own:
    ``restore:base=x265,preset=medium,crf=27``. The quality, too, is that of the base codec.
    """

    name = "restore"
    codec_id = int(CodecId.RESTORE)

    def __init__(self, weights: RestoreWeights) -> None:
        self.weights = weights
        self.weights_digest = weights.digest

    def encoder(self, video: VideoInfo, options: EncodeOptions) -> FilteredEncoder:
        """Raises UsageError on parameters that neither this nor the base codec knows."""
        params = dict(options.params)
        base = find_base(params.pop("base", _BASE))
        asked = params.pop("enhance", "on")
        if asked not in _ENHANCERS:
            raise UsageError(f"restore: enhance must be {', '.join(_ENHANCERS)}, not {asked!r}")
        if options.threads:
            torch.set_num_threads(options.threads)
        encoder = base.encoder(video, replace(options, params=params))
        header = StreamHeader(base.codec_id, b"", video, options.intra_period, encoder.codec_data)
        mode = _ENHANCERS[asked]
        data = layered_data(base, bytes([_FILTERS if mode is None else mode]), encoder.codec_data)
        return FilteredEncoder(encoder, base.decoder(header), data,
                               None if mode is None else filtering_of(self.weights, base, mode == _NETWORK))

    def decoder(self, header: StreamHeader) -> FilteredDecoder:
        """Raises CorruptStreamError if the header's codec data makes no sense."""
        base, inner = base_header(header)
        filtering = filtering_of(self.weights, base, mode_of(header) == _NETWORK)
        return FilteredDecoder(base.decoder(inner), filtering, torch.get_num_threads())


def filtering_of(weights: RestoreWeights, base: Codec, network: bool) -> Filtering:
    """The filters behind a base codec, with the network of the weights or without it."""
    av1 = base.name in AV1_CODECS
    return Filtering(Restorer(weights.net if network else None, av1), weights.net.prior, situation(av1, network))


def load_restore(weights: str | None = None) -> RestoreCodec:
    """restore with the weights of the package or those of a safetensors file.

    Raises WeightsError if they are missing, damaged, or of another codec.
    """
    loaded = load_restore_weights("restore" if weights is None else Path(weights))
    if loaded.name != "restore":
        raise WeightsError(f"{weights} holds weights of {loaded.name}, not of restore")
    return RestoreCodec(loaded)
