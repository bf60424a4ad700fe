"""Everything of a file that is not its video: audio, subtitles, attachments, cover art, chapters and tags.

They are remuxed, never re-encoded. The side file is Matroska. Matroska holds no negative time, so where a
source has some, all times are shifted, and a tag tells by how much (``SHIFT_TAG``).
"""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from lvc.errors import VideoError
from lvc.video.base import PathLike, Warner, WarningHook, one_line
from lvc.video.reader import ATTACHED_PICTURE, disposition, open_input, video_stream
from lvc.video.remux import (
    PLACEHOLDER,
    SHIFT_TAG,
    START_TAG,
    Copier,
    container_format,
    demux,
    kept_tags,
    label,
    moved_chapters,
    open_output,
    output_shift,
    seconds,
    set_tags,
    with_dts,
)

_EARLY_PACKETS = 256  # packets looked at to find the earliest time


def extract_side(path: PathLike, out_path: PathLike, *, until: Fraction | float | None = None,
                 on_warning: WarningHook | None = None) -> bool:
    """Copy all but the video (audio, subtitles, attachments, cover art, chapters, tags) to a Matroska file.

    Args:
        path: a media file; a folder, raw YUV or y4m has nothing of this kind.
        out_path: written, and replaced if it exists; not made if there is nothing to keep.
        until: leave out packets from this time on, in seconds on the clock of the source; for a video that is
            cut short. None keeps all.
        on_warning: takes each warning, one line (a stream that Matroska cannot hold).

    Returns:
        False if there is nothing to keep; tags that muxers write about themselves do not count.

    Raises:
        VideoError: the source cannot be read, or the file not be written.
    """
    source_path, target_path = Path(path), Path(out_path)
    if source_path.is_dir() or source_path.suffix.lower() in (".yuv", ".i420", ".y4m"):
        return False
    warn = Warner(source_path, on_warning)
    kept = False
    with open_input(source_path) as source:
        try:
            kept = _extract(source, target_path, warn, None if until is None else Fraction(until))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            reason = one_line(error)
            raise VideoError(f"cannot keep what goes with the video of {source_path}: {reason}") from error
        finally:
            if not kept:
                target_path.unlink(missing_ok=True)
    return kept


def _extract(source: av.container.InputContainer, path: Path, warn: Warner, until: Fraction | None) -> bool:
    tags, chapters = kept_tags(source.metadata), source.chapters()
    main = video_stream(source)
    for stream in source.streams.video:
        cover = bool(disposition(stream) & ATTACHED_PICTURE)
        if main is not None and stream.index != main.index and not cover:
            warn(f"{label(stream)} is lost: one video stream is coded only")
    with open_output(path, "matroska") as output:
        copier = Copier(source, output, warn)
        if not (copier.tracks or copier.n_attached or copier.covers or tags or chapters):
            return False
        packets = demux(source, set(copier.tracks) | copier.covers)
        early: list[av.Packet[Any]] = []
        for packet in packets:
            if packet.stream.index in copier.covers:
                copier.cover(packet)
            elif packet.stream.index in copier.tracks:
                early.append(packet)
            if len(early) >= _EARLY_PACKETS:
                break
        for index in sorted(copier.covers):
            warn(f"cover art (stream {index}) is lost: it does not come at the beginning of the file")
        shift = _side_shift(early, chapters)
        output.metadata.update(tags)
        if shift:
            output.metadata[SHIFT_TAG] = str(int(shift * 1000))
        output.set_chapters(moved_chapters(chapters, shift))
        _tag_starts(copier, early, shift)
        if copier.tracks:
            output.start_encoding()
        else:
            _add_placeholder(output)
        for packet in _chain(early, packets):
            track = copier.tracks.get(packet.stream.index)
            time = seconds(packet)
            if track is not None and (until is None or time is None or time < until):
                output.mux(track.packets(packet, shift))
    return True


def _side_shift(early: list[av.Packet[Any]], chapters: list[Any]) -> Fraction:
    """Whole milliseconds that lift the earliest time to 0; 0 if none is below."""
    times = [stamp * Fraction(p.time_base) for p in early for stamp in (p.pts, p.dts) if stamp is not None]
    times += [chapter["start"] * Fraction(chapter["time_base"]) for chapter in chapters]
    return Fraction(math.ceil(-min([Fraction(0), *times]) * 1000), 1000)


def _tag_starts(copier: Copier, early: list[av.Packet[Any]], shift: Fraction) -> None:
    """Note the exact start of each audio stream, which Matroska will round to a millisecond."""
    for packet in reversed(early):
        track = copier.tracks[packet.stream.index]
        if track.target.type == "audio" and packet.pts is not None:
            track.target.metadata[START_TAG] = str(packet.pts * Fraction(packet.time_base) + shift)


def _chain(early: list[av.Packet[Any]], rest: Iterator[av.Packet[Any]]) -> Iterator[av.Packet[Any]]:
    early.reverse()
    while early:  # each is let go of as it is written
        yield early.pop()
    yield from rest


def _add_placeholder(output: av.container.OutputContainer) -> None:
    """A Matroska file without any packet cannot be opened again: give it one sample of silence."""
    stream: Any = output.add_stream("pcm_u8", rate=8000, layout="mono")
    stream.metadata["title"] = PLACEHOLDER
    silence = av.AudioFrame("u8", "mono", 1)
    silence.planes[0].update(b"\x80" * silence.planes[0].buffer_size)
    silence.sample_rate = 8000
    silence.pts = 0
    output.mux(stream.encode(silence))
    output.mux(stream.encode(None))


class SideMuxer:
    """Feeds a side file into an output beside its video packets, in order of time.

    Made before the output's header is written; then :meth:`start` once, :meth:`pump` before each video
    packet, :meth:`finish` at the end.

    Args:
        side: a file that :func:`extract_side` made.
        output: a container of PyAV, open for writing.
        warn: takes warnings of streams that the container cannot hold.
    """

    def __init__(self, side: Path, output: av.container.OutputContainer, warn: Warner) -> None:
        self._output = output
        self._input = open_input(side)
        try:
            self._shift = -Fraction(int(self._input.metadata.get(SHIFT_TAG, "0")), 1000)
            self._copier = Copier(self._input, output, warn)
            if self._copier.covers:
                for packet in demux(self._input, set(self._copier.covers)):
                    self._copier.cover(packet)
                    if not self._copier.covers:
                        break
                self._input.close()  # reading the cover may have gone past other packets
                self._input = open_input(side)
            self._packets = demux(self._input, set(self._copier.tracks))
            self._next = next(self._packets, None)
            set_tags(output, kept_tags(self._input.metadata), warn)
        except (av.error.FFmpegError, ValueError) as error:
            self._input.close()
            raise VideoError(f"cannot read {side}: {one_line(error)}") from error
        except BaseException:
            self._input.close()
            raise

    @property
    def first_time(self) -> Fraction | None:
        """Seconds of the first packet on the clock of the source; None if there is no packet."""
        time = None if self._next is None else seconds(self._next)
        return None if time is None else time + self._shift

    def start(self, shift: Fraction) -> None:
        """All times move by ``shift`` seconds. Sets the chapters: call before the header is written."""
        self._shift += shift
        self._output.set_chapters(moved_chapters(self._input.chapters(), self._shift))
        self._output.mux(self._copier.late)

    def pump(self, until: Fraction) -> None:
        """Mux what comes before ``until`` (seconds in the output)."""
        while self._next is not None:
            time = seconds(self._next)
            if time is not None and time + self._shift >= until:
                return
            track = self._copier.tracks[self._next.stream.index]
            self._output.mux(track.packets(self._next, self._shift))
            self._next = next(self._packets, None)

    def finish(self) -> None:
        """Mux all that is left, and close the side file."""
        self.pump(Fraction(1 << 62))
        self.close()

    def close(self) -> None:
        """Close the side file."""
        self._next = None
        self._input.close()


def merge_side(video_path: PathLike, side_path: PathLike, out_path: PathLike, *,
               on_warning: WarningHook | None = None) -> None:
    """Remux the video of one file and all of a side file into ``out_path`` (.mp4, .m4v, .mov, .mkv).

    Packets are copied as they are, and interleaved by decoding time. Streams that the container cannot hold
    are left out with a warning. ``out_path`` appears when it is complete.

    Raises:
        VideoError: a file that cannot be read or written, or an unknown suffix.
    """
    video, side, target = Path(video_path), Path(side_path), Path(out_path)
    kind = container_format(target)
    if kind is None:
        raise VideoError(f"cannot write {target}: audio and video go together into .mp4, .mov or .mkv only")
    warn = Warner(target, on_warning)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with open_input(video) as source, open_output(temporary, kind) as output:
            _merge(source, side, output, warn, video)
        os.replace(temporary, target)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"cannot write {target}: {one_line(error)}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _merge(source: av.container.InputContainer, side: Path, output: av.container.OutputContainer,
           warn: Warner, name: Path) -> None:
    stream = video_stream(source)
    if stream is None:
        raise VideoError(f"cannot read {name}: it has no video stream")
    target = output.add_stream_from_template(stream, opaque=True)
    target.metadata.update(kept_tags(stream.metadata))
    muxer = SideMuxer(side, output, warn)
    try:
        shift: Fraction | None = None
        for packet in with_dts(demux(source, {stream.index})):
            base = Fraction(packet.time_base)
            if shift is None:
                shift = output_shift(output.format.name, (packet.pts or 0) * base, muxer.first_time)
                muxer.start(shift)
            ticks = round(shift / base)
            packet.dts = (packet.dts or 0) + ticks
            packet.pts = (packet.pts or 0) + ticks
            muxer.pump(packet.dts * base)
            packet.stream = target
            output.mux(packet)
        muxer.finish()
    finally:
        muxer.close()
