"""libaom through an ffmpeg executable: PyAV's libavcodec has decoders of AV1, and SVT-AV1, but not libaom."""

from __future__ import annotations

from lvc.codecs.external_options import Settings
from lvc.codecs.external_process import ProcessEncoder
from lvc.types import VideoInfo

_TEMPORAL_DELIMITER = b"\x12\x00"


class LibaomEncoder(ProcessEncoder):
    """libaom. Temporal units come in IVF, which keeps their times; their delimiters are left out."""

    name = "libaom"
    pixel_format = "yuv420p"
    container = "ivf"

    def arguments(self, settings: Settings, video: VideoInfo, threads: int) -> list[str]:
        """As of ProcessEncoder."""
        options = [part for key, value in settings.options.items() for part in (f"-{key}", value)]
        library = ["-aom-params", settings.joined()] if settings.library else []
        return ["-c:v", "libaom-av1", "-threads", str(threads), *options, *library]

    def finish(self, data: bytes, key: bool) -> tuple[bytes, bool]:
        """As of ProcessEncoder."""
        return data.removeprefix(_TEMPORAL_DELIMITER), key

    def usage_error(self, line: str) -> str | None:
        """As of ProcessEncoder."""
        _, found, reason = line.partition("Additional information: ")
        return reason if found else None
