"""Real video in and out: files through FFmpeg (PyAV), y4m, raw YUV and PNG folders. Never imports torch."""

from lvc.video.base import VideoSink, VideoSource, VideoWarning
from lvc.video.reader import open_video
from lvc.video.side import extract_side, merge_side
from lvc.video.writer import open_sink

__all__ = ["VideoSink", "VideoSource", "VideoWarning", "extract_side", "merge_side", "open_sink",
           "open_video"]
