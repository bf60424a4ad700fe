"""The base stream of a layered stream, or the stream of an external codec, as a file that any player takes."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from lvc.bitstream import CodecId, StreamHeader, StreamReader
from lvc.codecs.base import Codec
from lvc.codecs.external import EXTERNAL
from lvc.codecs.layered import LAYERED, base_header, base_packet
from lvc.codecs.packed import PackedCodec
from lvc.codecs.picture import one_line, to_packet
from lvc.errors import UsageError, VideoError
from lvc.types import Packet, PacketKind

_MUXED = {"x264": "h264", "x265": "hevc", "svt-av1": "av1", "vvenc": "vvc", "libaom": "av1"}
_FORMATS = {".mp4": "mp4", ".mkv": "matroska"}


@dataclass(frozen=True, slots=True)
class ExtractReport:
    """What :func:`extract_base` did.

    Attributes:
        codec: name of the base codec. frames: number of frames. bytes: size of the file.
    """

    codec: str
    frames: int
    bytes: int


def extract_base(src: str | os.PathLike[str], dst: str | os.PathLike[str]) -> ExtractReport:
    """Write the base stream of a layered stream, or the stream of an external codec, into an MP4 or Matroska file.

    The coded pictures are taken as they are, of stsr those of the reduced video. Players that take them show what the
    base codec gives; of a picture that the base codec had to extend (odd sizes, sides below its least) they show all
    that was coded. Audio and tags are not taken over.

    Args:
        src: an lvc file. dst: .mp4 or .mkv; appears under this name when it is complete, and replaces what is there.

    Raises:
        UsageError: ``src`` is of a learned codec, or ``dst`` of another kind.
        VideoError: a file cannot be read or written.
        BitstreamError: ``src`` is damaged: a file that others are to play must be whole.
        WeightsError: ``src`` is packed with weights that this version of lvc does not have.
    """
    source, target = Path(src), Path(dst)
    container = _FORMATS.get(target.suffix.lower())
    if container is None:
        raise UsageError(f"{target}: the base stream goes into .mp4 or .mkv")
    stamps = [packet.pts for packet in _packets(source, packed=True)[2]]
    shift = _delay(stamps)
    codec, header, packets = _packets(source)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    order = sorted(stamps)
    try:
        with av.open(os.fspath(temporary), "w", format=container) as output:
            stream = _add_stream(output, codec, header)
            for number, packet in enumerate(packets):
                item: Any = to_packet(packet.payload)
                item.stream = stream
                item.time_base = header.video.time_base
                item.pts, item.dts = packet.pts, order[number] - shift
                item.is_keyframe = packet.kind == PacketKind.INTRA
                output.mux(item)
        os.replace(temporary, target)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"cannot write {target}: {one_line(error)}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return ExtractReport(codec, len(stamps), target.stat().st_size)


def _base(header: StreamHeader) -> tuple[Codec, StreamHeader]:
    """The codec of the standard stream, packed or not, and the header it would have."""
    if header.codec_id in LAYERED:
        return base_header(header)
    for codec in EXTERNAL:
        if codec.codec_id == header.codec_id:
            return codec, header
    raise UsageError("the stream is of a learned codec: no standard stream is in it")


def _packets(path: Path, *, packed: bool = False) -> tuple[str, StreamHeader, Any]:
    """Name of the codec of the standard stream, its header, and an iterator of its packets, unpacked or not."""
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed by the generator
    except OSError as error:
        raise VideoError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        reader = StreamReader(file, strict=True)
        header = reader.header
        base, inner = _base(header)
        unwrap = base.unwrap(inner) if isinstance(base, PackedCodec) and not packed else None
    except BaseException:
        file.close()
        raise

    def packets() -> Any:
        with file:
            for item in reader:
                if isinstance(item, Packet):
                    own = base_packet(header, item) if header.codec_id in LAYERED else item
                    if own.payload or header.codec_id != CodecId.STSR:
                        yield own if unwrap is None else unwrap(own)

    return (base.base if isinstance(base, PackedCodec) else base).name, inner, packets()


def _delay(stamps: list[int]) -> int:
    """Ticks that decoding times must be ahead of the sorted presentation times, so that none is late."""
    return max((due - pts for due, pts in zip(sorted(stamps), stamps, strict=True)), default=0)


def _add_stream(output: Any, codec: str, header: StreamHeader) -> Any:
    video = header.video
    stream = output.add_mux_stream(_MUXED[codec], rate=video.frame_rate, width=video.width, height=video.height)
    stream.time_base = Fraction(video.time_base)
    return stream
