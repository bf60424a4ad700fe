"""Copying streams from one container into another with PyAV: what fits where, tags, and times."""

from __future__ import annotations

import contextlib
import html
import io
import math
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from lvc.video.base import Warner, one_line
from lvc.video.reader import ATTACHED_PICTURE, disposition, ffmpeg_url

SHIFT_TAG = "LVC_TIME_SHIFT"
"""Container tag: milliseconds that were added to all times of the side file."""

START_TAG = "LVC_START"
"""Tag of an audio stream: the exact time of its first packet in the side file, in seconds."""

PLACEHOLDER = "lvc placeholder"
"""Title of the stream that a side file has if it has no other."""

_COVER_NAMES = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png"),
                "bmp": ("cover.bmp", "image/bmp"), "webp": ("cover.webp", "image/webp")}
_MP4_COVERS = ("mjpeg", "png", "bmp")

# Tags that muxers and encoders write about themselves, not what a user said about the video.
_OWN_TAGS = frozenset((
    "major_brand", "minor_version", "compatible_brands", "encoder", "duration", "bps", "number_of_bytes",
    "number_of_frames", "handler_name", "vendor_id", "sample_aspect_ratio", SHIFT_TAG.lower(),
    START_TAG.lower()))

# The tags that FFmpeg's MP4 muxer has a place for; it drops all others without a word.
_MP4_TAGS = frozenset((
    "title", "artist", "album_artist", "composer", "album", "date", "comment", "genre", "copyright",
    "grouping", "lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords",
    "episode_sort", "season_number", "media_type", "hd_video", "compilation", "gapless_playback", "track",
    "disc", "creation_time", "sort_name", "sort_artist", "sort_album", "sort_album_artist",
    "sort_composer", "sort_show", "location"))

_FORMATS = {".mkv": "matroska", ".mka": "matroska", ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov"}

# What FFmpeg's encoder of MP4 text asks for; the style is that of players, white on black.
_ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, \
Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, \
MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def container_format(path: Path) -> str | None:
    """FFmpeg's name of the container that a file name's suffix stands for; None if it is not one of ours."""
    return _FORMATS.get(path.suffix.lower())


def open_output(path: Path, container: str) -> av.container.OutputContainer:
    """Open a container for writing. Times go in as they are: :func:`output_shift` made them fit."""
    return av.open(ffmpeg_url(path), "w", format=container, options={"avoid_negative_ts": "disabled"})


def output_shift(container: str, video_start: Fraction, side_start: Fraction | None) -> Fraction:
    """Seconds to add to all times, so that the container can hold them.

    MP4 cannot show video from before time 0 (its edit list would cut it), while audio before it is the
    priming that an encoder put there. Matroska holds no negative time at all.
    """
    lowest = video_start if container != "matroska" or side_start is None else min(video_start, side_start)
    return Fraction(max(0, math.ceil(-lowest * 1000)), 1000)


def kept_tags(tags: dict[str, str]) -> dict[str, str]:
    """The tags that say something about the video, without those that muxers add by themselves."""
    return {key: value for key, value in tags.items()
            if key.lower() not in _OWN_TAGS and not key.upper().startswith("_STATISTICS")}


def set_tags(output: av.container.OutputContainer, tags: dict[str, str], warn: Warner) -> None:
    """Give ``output`` the tags; warn of each that the container has no place for."""
    if output.format.name != "matroska":
        for key in sorted(key for key in tags if key.lower() not in _MP4_TAGS):
            warn(f"the tag {key} is lost: {output.format.name} has no place for it")
        # MP4's names are in lower case, Matroska's often are not.
        tags = {key.lower(): value for key, value in tags.items() if key.lower() in _MP4_TAGS}
    output.metadata.update(tags)


def label(stream: av.stream.Stream) -> str:
    """What a warning calls a stream: "audio stream 1 (aac)"."""
    named: Any = stream if stream.codec_context is None else stream.codec_context
    return f"{stream.type} stream {stream.index} ({getattr(named, 'name', None) or 'unknown codec'})"


def moved_chapters(chapters: list[Any], shift: Fraction) -> list[Any]:
    """Chapters, later by ``shift`` seconds, none before time 0."""
    moved = []
    for chapter in chapters:
        ticks = round(shift / chapter["time_base"])
        start = max(0, chapter["start"] + ticks)
        moved.append({**chapter, "start": start, "end": max(start, chapter["end"] + ticks)})
    return moved


def seconds(packet: av.Packet[Any]) -> Fraction | None:
    """Decoding time of a packet."""
    stamp = packet.dts if packet.dts is not None else packet.pts
    return None if stamp is None else stamp * Fraction(packet.time_base)


def demux(container: av.container.InputContainer, indices: set[int]) -> Iterator[av.Packet[Any]]:
    """Packets of the given streams, without the empty ones that PyAV ends with."""
    streams = [stream for stream in container.streams if stream.index in indices]
    if not streams:
        return
    try:
        for packet in container.demux(streams):
            timed = packet.pts is not None or packet.dts is not None
            if packet.size and (timed or disposition(packet.stream) & ATTACHED_PICTURE):
                yield packet
    except av.error.EOFError:
        return


def with_dts(packets: Iterator[av.Packet[Any]]) -> Iterator[av.Packet[Any]]:
    """Packets that all have a pts and a dts; Matroska leaves the dts of the first ones open."""
    waiting: list[av.Packet[Any]] = []
    for packet in packets:
        if packet.pts is None:
            packet.pts = packet.dts
        if packet.dts is not None:
            yield from _number(waiting, packet.dts)
            waiting = []
            yield packet
        else:
            waiting.append(packet)
    yield from _number(waiting, None)


def _number(packets: list[av.Packet[Any]], following: int | None) -> list[av.Packet[Any]]:
    """Set the latest decoding times that increase, are never above a pts, and stay below ``following``."""
    pts = [packet.pts or 0 for packet in packets]
    ordered = sorted(pts)
    delay = max((a - b for a, b in zip(ordered, pts)), default=0)
    if packets and following is not None:
        delay = max(delay, ordered[-1] - following + 1)
    for packet, time in zip(packets, ordered):
        packet.dts = time - delay
    return packets


def text_of_mov(data: bytes) -> bytes:
    """SubRip text of an MP4 text sample: a 16-bit length, UTF-8, then style boxes (not kept)."""
    return data[2 : 2 + int.from_bytes(data[:2], "big")]


def mov_of_text(data: bytes) -> bytes:
    """An MP4 text sample of SubRip text, without its markup."""
    text = re.sub(r"</?[A-Za-z][^>]*>|\{\\[^}]*\}", "", data.decode("utf-8", "replace"))
    coded = html.unescape(text).encode("utf-8")[:65535]
    return len(coded).to_bytes(2, "big") + coded


class Track:
    """One copied stream. Audio times that Matroska rounded to milliseconds get their precision back."""

    def __init__(self, source: av.stream.Stream, target: av.stream.Stream,
                 convert: Callable[[bytes], bytes] | None = None, *, fill_gaps: bool = False) -> None:
        self.target = target
        self._convert = convert
        self._fill_gaps = fill_gaps
        self._text_end: Fraction | None = None
        self._next: Fraction | None = None
        self._step: Fraction | None = None
        self._start: Fraction | None = None
        context: Any = source.codec_context
        if source.type == "audio" and context is not None:
            size, rate = context.frame_size, context.sample_rate
            if size and size > 1 and rate and source.time_base == Fraction(1, 1000):
                self._step = Fraction(size, rate)
                target.time_base = Fraction(1, rate)
                with contextlib.suppress(ValueError, ZeroDivisionError):
                    self._start = Fraction(source.metadata.get(START_TAG, ""))

    def packets(self, packet: av.Packet[Any], shift: Fraction) -> list[av.Packet[Any]]:
        """What to mux for ``packet``, ``shift`` seconds later than it was."""
        if self._convert is not None:
            return self._text(packet, shift)
        base = Fraction(packet.time_base)
        if self._step is None or packet.pts is None:
            ticks = round(shift / base)
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks
        else:
            time = packet.pts * base + shift
            if self._next is None and self._start is not None:
                self._next = self._start + shift
            if self._next is not None and abs(time - self._next) <= base:
                time = self._next
            self._next = time + self._step
            fine = Fraction(self.target.time_base or base)
            packet.time_base = fine
            packet.pts = packet.dts = round(time / fine)
            packet.duration = round(self._step / fine)
        packet.stream = self.target
        return [packet]

    def _text(self, packet: av.Packet[Any], shift: Fraction) -> list[av.Packet[Any]]:
        assert self._convert is not None
        data = self._convert(bytes(packet))
        start = seconds(packet)
        if start is None or not data.strip(b"\0"):
            return []  # MP4 writes silence as empty samples; Matroska has none
        start += shift
        length = (packet.duration or 0) * Fraction(packet.time_base)
        made = []
        if self._fill_gaps and self._text_end is not None and start > self._text_end:
            made.append(self._text_packet(b"\0\0", self._text_end, start - self._text_end))
        made.append(self._text_packet(data, start, length))
        self._text_end = start + length
        return made

    def _text_packet(self, data: bytes, start: Fraction, length: Fraction) -> av.Packet[Any]:
        packet: av.Packet[Any] = av.Packet(data)
        packet.time_base = Fraction(1, 1000)
        packet.pts = packet.dts = round(start * 1000)
        packet.duration = round(length * 1000)
        packet.stream = self.target
        packet.is_keyframe = True
        return packet


class Copier:
    """Streams of one input to copy into one output; those that it cannot hold are left out, with a warning.

    Text subtitles of MP4 and SubRip, which say the same, become each other as the output asks. The video is
    not copied, cover art is.

    Attributes:
        tracks: by the index of the input stream.
        covers: indices of streams of cover art that :meth:`cover` was not yet given.
        n_attached: attachments made.
        late: packets to mux as soon as the header is written.
    """

    def __init__(self, source: av.container.InputContainer, output: av.container.OutputContainer,
                 warn: Warner) -> None:
        self._output = output
        self._warn = warn
        self._container = output.format.name
        self._matroska = self._container == "matroska"
        self.tracks: dict[int, Track] = {}
        self.covers: set[int] = set()
        self.n_attached = 0
        self.late: list[av.Packet[Any]] = []
        chapters = bool(source.chapters())
        for stream in source.streams:
            if stream.type == "video":
                if disposition(stream) & ATTACHED_PICTURE:
                    self.covers.add(stream.index)
            elif stream.metadata.get("title") == PLACEHOLDER:
                continue
            elif stream.type == "attachment":
                self._attach(stream)
            elif not (chapters and stream.type == "data" and getattr(stream, "name", None) == "bin_data"):
                self._add(stream)  # the exception is the chapter list of MP4, which is read as chapters

    def _attach(self, stream: Any) -> None:
        if not self._matroska:
            self._warn(f"{label(stream)} is lost: {self._container} files hold no attachments")
            return
        self._output.add_attachment(stream.name or f"attachment{stream.index}",
                                    stream.mimetype or "application/octet-stream", stream.data)
        self.n_attached += 1

    def _add(self, stream: av.stream.Stream) -> None:
        name = stream.codec_context.name if stream.codec_context is not None else ""
        text: dict[str, Any] = {}
        try:
            if self._matroska and name == "mov_text":
                target: Any = self._output.add_mux_stream("subrip")
                text = {"convert": text_of_mov}
            elif not self._matroska and name in ("srt", "subrip"):
                target = self._output.add_stream("mov_text")
                target.codec_context.subtitle_header = _ASS_HEADER
                text = {"convert": mov_of_text, "fill_gaps": True}
            else:
                reason = self._unfit(stream)
                if reason is not None:
                    self._warn(f"{label(stream)} is lost: {reason}")
                    return
                target = self._output.add_stream_from_template(stream, opaque=True)
        except (AttributeError, av.error.FFmpegError, ValueError) as error:
            self._warn(f"{label(stream)} is lost: {one_line(error)}")
            return
        target.time_base = Fraction(1, 1000) if text else stream.time_base
        target.metadata.update(kept_tags(stream.metadata))
        target.disposition = disposition(stream)
        self.tracks[stream.index] = Track(stream, target, **text)

    def _unfit(self, stream: av.stream.Stream) -> str | None:
        """Why the output cannot hold the stream; None if it can (tried out in memory)."""
        if self._matroska and stream.type in ("data", "unknown"):
            return "Matroska holds no such data"
        try:
            with av.open(io.BytesIO(), "w", format=self._container) as trial:
                target = trial.add_stream_from_template(stream, opaque=True)
                target.time_base = stream.time_base
                trial.start_encoding()
        except (av.error.FFmpegError, ValueError) as error:
            return one_line(error)
        return None

    def cover(self, packet: av.Packet[Any]) -> None:
        """Keep cover art: an attachment in Matroska, an atom in MP4. Call it before the header is written."""
        stream = packet.stream
        self.covers.discard(stream.index)
        name = stream.codec_context.name
        if self._matroska and name in _COVER_NAMES:
            self._output.add_attachment(*_COVER_NAMES[name], bytes(packet))
            self.n_attached += 1
        elif self._container == "mp4" and name in _MP4_COVERS:
            target = self._output.add_stream_from_template(stream, opaque=True)
            target.disposition = ATTACHED_PICTURE
            packet.stream = target
            packet.pts = packet.dts = 0
            self.late.append(packet)
        else:
            self._warn(f"cover art (stream {stream.index}, {name}) cannot be kept in {self._container}")
