"""x264, x265, SVT-AV1, VVenC and libaom behind the interface of lvc's own codecs.

Payloads are access units in decoding order: Annex B (H.264, H.265, H.266) or OBUs (AV1, without temporal
delimiters), with parameter sets in every intra packet, so that decoding can start at any of them. Packets
are INTRA at IDR and key frames only. What encoders write for others than the decoder (version strings,
delimiters) is left out: it would count against them.

Codec strings take ``preset``, ``tune``, ``crf`` or ``qp``, ``keyint``; every other parameter goes to the
library itself (``x265:preset=veryfast,tune=zerolatency,bframes=0``). libaom's preset is its ``cpu-used``.
With a bitrate, the encoder's own average bitrate mode is used (one pass). Without one, crf and qp, quality
0..63 is mapped linearly: x264 and x265 to crf 48..5, SVT-AV1 and libaom to crf 63..8, VVenC to qp 57..10.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lvc.bitstream import CodecId, StreamHeader
from lvc.codecs import annexb
from lvc.codecs.av_codec import AvDecoder, AvEncoder
from lvc.codecs.base import Codec, Decoder, Encoder
from lvc.codecs.external_options import (
    Settings,
    libaom_settings,
    svt_av1_settings,
    vvenc_settings,
    x264_settings,
    x265_settings,
)
from lvc.codecs.external_process import ProcessEncoder
from lvc.codecs.libaom import LibaomEncoder
from lvc.codecs.packed import NAME, PackedCodec
from lvc.codecs.vvenc import VvencEncoder
from lvc.types import EncodeOptions, VideoInfo

_H264_IDR = 5
_H264_SEI = 6
_SEI_USER_DATA = 5
_H265_IDR = (19, 20)


class X264Encoder(AvEncoder):
    """x264. The version string it puts before the first picture (700 bytes) is left out."""

    def _finish(self, data: bytes, key: bool) -> tuple[bytes, bool]:
        units = [unit for unit in annexb.split_units(data)
                 if not (annexb.h264_type(unit) == _H264_SEI and unit[1:2] == bytes((_SEI_USER_DATA,)))]
        return annexb.join_units(units), any(annexb.h264_type(unit) == _H264_IDR for unit in units)


class X265Encoder(AvEncoder):
    """x265."""

    def _finish(self, data: bytes, key: bool) -> tuple[bytes, bool]:
        return data, any(annexb.h265_type(unit) in _H265_IDR for unit in annexb.split_units(data))


class SvtAv1Encoder(AvEncoder):
    """SVT-AV1. Temporal delimiters are left out, as Matroska and MP4 do."""

    def _finish(self, data: bytes, key: bool) -> tuple[bytes, bool]:
        return data.removeprefix(b"\x12\x00"), key


@dataclass(slots=True)
class AvCodec:
    """A codec of which libavcodec has the encoder and the decoder. Implements lvc.codecs.base.Codec."""

    name: str
    codec_id: int
    encoder_class: type[AvEncoder]
    encoder_library: str
    params_option: str
    settings: Callable[[EncodeOptions], Settings]
    decoder_library: str
    minimum: int
    weights_digest: bytes = b""

    def encoder(self, video: VideoInfo, options: EncodeOptions) -> Encoder:
        """An encoder. Raises UsageError on parameters it does not take, CodecError if it is not available."""
        return self.encoder_class(self.name, self.encoder_library, self.params_option, self.settings(options),
                                  self.minimum, video, options.quality, options.threads)

    def decoder(self, header: StreamHeader) -> Decoder:
        """A decoder. Raises CodecError if it is not available."""
        return AvDecoder(self.name, self.decoder_library, self.minimum, header.video)


@dataclass(slots=True)
class ProcessCodec:
    """A codec whose encoder is in the ffmpeg executable of imageio-ffmpeg only, and whose decoder is in
    libavcodec. Implements lvc.codecs.base.Codec.
    """

    name: str
    codec_id: int
    encoder_class: type[ProcessEncoder]
    settings: Callable[[EncodeOptions], Settings]
    decoder_library: str
    minimum: int
    weights_digest: bytes = b""

    def encoder(self, video: VideoInfo, options: EncodeOptions) -> Encoder:
        """An encoder. Raises UsageError on parameters it does not take, CodecError if it is not available."""
        return self.encoder_class(self.settings(options), self.minimum, video, options.quality,
                                  options.threads)

    def decoder(self, header: StreamHeader) -> Decoder:
        """A decoder. Raises CodecError if it is not available."""
        return AvDecoder(self.name, self.decoder_library, self.minimum, header.video)


# on less than 64x64, cutree of x265 4.1 with SIMD writes beyond its buffers (48x32 crashes)
_X265 = AvCodec("x265", CodecId.X265, X265Encoder, "libx265", "x265-params", x265_settings, "hevc", 64)

EXTERNAL: tuple[Codec, ...] = (
    AvCodec("x264", CodecId.X264, X264Encoder, "libx264", "x264-params", x264_settings, "h264", 16),
    _X265,
    # below 64x64 SVT-AV1 switches off what it is good at, and with it its rate control
    AvCodec("svt-av1", CodecId.SVT_AV1, SvtAv1Encoder, "libsvtav1", "svtav1-params", svt_av1_settings,
            "libdav1d", 64),
    ProcessCodec("vvenc", CodecId.VVENC, VvencEncoder, vvenc_settings, "vvc", 32),
    ProcessCodec("libaom", CodecId.LIBAOM, LibaomEncoder, libaom_settings, "libdav1d", 16),
    PackedCodec(_X265, NAME, CodecId.X265_PACKED),
)
"""All external codecs."""
