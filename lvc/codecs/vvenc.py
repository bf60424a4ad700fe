"""VVenC through an ffmpeg executable: PyAV's libavcodec has a decoder of H.266, but no encoder."""

from __future__ import annotations

import numpy as np

from lvc.codecs import annexb
from lvc.codecs.external_options import Settings
from lvc.codecs.external_process import ProcessEncoder
from lvc.types import Plane, VideoInfo

_AUD = 20
_IDR = (7, 8)


class VvencEncoder(ProcessEncoder):
    """VVenC. Access units come in a transport stream, which keeps their times."""

    name = "vvenc"
    # VVenC works on 10 bits: 8-bit samples times four, which decoding undoes
    pixel_format = "yuv420p10le"
    container = "mpegts"

    def arguments(self, settings: Settings, video: VideoInfo, threads: int) -> list[str]:
        """As of ProcessEncoder."""
        return ["-c:v", "libvvenc", *(part for key, value in settings.options.items()
                                      for part in (f"-{key}", value)),
                "-vvenc-params", _with_range(settings, video.color.full_range).joined(),
                "-muxdelay", "0", "-muxpreload", "0"]

    def samples(self, plane: Plane) -> bytes:
        """As of ProcessEncoder."""
        return (plane.astype("<u2") << np.uint16(2)).tobytes()

    def finish(self, data: bytes, key: bool) -> tuple[bytes, bool]:
        """As of ProcessEncoder."""
        units = [unit for unit in annexb.split_units(data) if annexb.h266_type(unit) != _AUD]
        return annexb.join_units(units), any(annexb.h266_type(unit) in _IDR for unit in units)

    def usage_error(self, line: str) -> str | None:
        """As of ProcessEncoder."""
        return line.rstrip(".") if line.startswith(("Unknown vvenc option", "Invalid vvenc value")) else None


def _with_range(settings: Settings, full: bool) -> Settings:
    """libavcodec's wrapper of VVenC hands the other colour tags on, but not the range."""
    return Settings(settings.options, {"range": "full" if full else "limited", **settings.library})
