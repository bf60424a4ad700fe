"""Codecs: ours (neural) and external ones (x264, x265, SVT-AV1, VVenC) behind one interface."""

from lvc.codecs.base import Codec, Decoder, Encoder
from lvc.codecs.registry import (
    ConfiguredCodec,
    codec_for_header,
    codec_name,
    codec_names,
    get_codec,
    open_codec,
    parse_codec_string,
)

__all__ = [
    "Codec",
    "ConfiguredCodec",
    "Decoder",
    "Encoder",
    "codec_for_header",
    "codec_name",
    "codec_names",
    "get_codec",
    "open_codec",
    "parse_codec_string",
]
