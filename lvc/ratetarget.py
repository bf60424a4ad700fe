"""Sizes to meet: from bytes of a whole file to bits a second of its payloads, and whether it came to that."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from lvc.bitstream import StreamHeader
from lvc.bitstream.writer import SIDE_CHUNK
from lvc.codecs.ratecontrol import TOLERANCE, RateController
from lvc.codecs.rates import payload_bitrate_of_size
from lvc.errors import UsageError, VideoError
from lvc.types import EncodeOptions
from lvc.video import VideoSource, extract_side
from lvc.video.reader import FileSource, open_input, video_stream

_MICROSECONDS = 1_000_000
_SIDE_FRAMING = 24
"""Bytes at most that a piece of side data takes besides itself."""


def options_for_size(options: EncodeOptions, source: VideoSource, header: StreamHeader, size: int,
                     frames: int | None, carries: bool) -> EncodeOptions:
    """``options`` with the bitrate at which the whole file comes out at a size.

    Args:
        options: all but the bitrate.
        source: not read from; its file is opened a second time.
        header: of the stream, less the codec data.
        size: bytes.
        frames: at most so many are going to be coded; None for all.
        carries: whether what the source has besides video goes into the file, too.

    Raises:
        UsageError: the length of the video is not known, or nothing is left for the video.
    """
    n_frames = source.info.n_frames or _count_by_duration(source, frames)
    side_bytes = 0
    if carries:
        # where the video begins is not known yet; nearly all do at zero
        side_bytes = _side_size(source.path, None if frames is None else n_frames / source.info.frame_rate)
    bitrate = payload_bitrate_of_size(size, side_bytes, header, n_frames)
    return replace(options, bitrate=bitrate, target_frames=n_frames)


def missed_target(size: int, kbps: float, bitrate: int | None, target_size: int | None,
                  control: RateController | None) -> str | None:
    """One line on a target that was not met, with the figure that was; None if all is well.

    Args:
        size: bytes of the file.
        kbps: 1000 bits a second of its video.
        bitrate, target_size: what was asked for, bits a second or bytes.
        control: what chose the qualities; None if the encoder did by itself.
    """
    if target_size is not None:
        if 1 - TOLERANCE <= size / target_size <= 1:
            return None
        asked, reached = f"target size of {target_size} bytes", f"{size} bytes"
    elif bitrate is not None:
        if abs(1e3 * kbps / bitrate - 1) <= TOLERANCE:
            return None
        asked, reached = f"bitrate of {bitrate / 1e3:g} kbit/s", f"{kbps:.1f} kbit/s"
    else:
        return None
    bound = None if control is None else control.bound()
    if bound is None:
        return f"the {asked} was not met: it came to {reached}"
    return f"the {asked} cannot be met: quality {bound}, the {'best' if bound else 'lowest'}, comes to {reached}"


def _count_by_duration(source: VideoSource, limit: int | None) -> int:
    """Number of frames, by the duration that the file names."""
    duration = _duration(source.path) if isinstance(source, FileSource) else None
    if duration is None:
        raise UsageError(f"{source.path} does not say how long it is, so no bitrate follows from a target size; "
                         "give a bitrate")
    n_frames = max(1, round(duration * source.info.frame_rate))
    return n_frames if limit is None else min(limit, n_frames)


def _duration(path: Path) -> Fraction | None:
    """Seconds of the video stream, or else of the whole file, which may be longer."""
    with open_input(path) as container:
        stream = video_stream(container)
        if stream is not None and stream.duration and stream.time_base:
            return Fraction(stream.duration * stream.time_base)
        return Fraction(container.duration, _MICROSECONDS) if container.duration else None


def _side_size(path: Path, until: Fraction | None) -> int:
    """Bytes that all but the video will take; warnings are for when it is carried along in earnest."""
    try:
        with tempfile.TemporaryDirectory(prefix="lvc-") as folder:
            side = Path(folder) / "side.mka"
            if not extract_side(path, side, until=until, on_warning=lambda _: None):
                return 0
            size = side.stat().st_size
    except VideoError:
        return 0  # it will be left out then, with a warning
    except OSError as error:
        raise VideoError(f"cannot write temporary files: {error.strerror or error}") from error
    return size + _SIDE_FRAMING * (size // SIDE_CHUNK + 1)
