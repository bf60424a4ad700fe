"""The stream header: reading and writing."""

from __future__ import annotations

from dataclasses import dataclass

from lvc.bitstream.crc import crc32c
from lvc.bitstream.fields import Cursor, FieldError, ShortError
from lvc.bitstream.layout import (
    CRC_BYTES,
    FORMAT_VERSION,
    HEADER,
    MAGIC,
    MAX_CODEC_DATA,
    MAX_STEP,
    PREAMBLE,
    PixelFormat,
)
from lvc.bitstream.source import ByteSource
from lvc.errors import (
    CorruptStreamError,
    NotLvcError,
    TruncatedStreamError,
    UnsupportedVersionError,
    UsageError,
)
from lvc.types import ColorInfo, VideoInfo


@dataclass(frozen=True, slots=True)
class StreamHeader:
    """What stands at the head of every stream.

    Attributes:
        codec_id: codec of the packets, a CodecId or a number that this version does not know (1..2**31-1).
        weights_digest: first 16 bytes of the SHA-256 of the weights file; empty if the codec has none.
        video: the video's properties.
        intra_period: an intra frame every so many frames; -1 means the first only. A hint.
        codec_data: opaque bytes for the codec's decoder, at most 64 KiB.

    Raises:
        UsageError: a digest of another length, too much codec data, an intra period that makes no sense.
    """

    codec_id: int
    weights_digest: bytes
    video: VideoInfo
    intra_period: int
    codec_data: bytes = b""

    def __post_init__(self) -> None:
        if len(self.weights_digest) not in (0, 16):
            raise UsageError(f"a weights digest has 0 or 16 bytes, not {len(self.weights_digest)}")
        if len(self.codec_data) > MAX_CODEC_DATA:
            raise UsageError(f"codec data of {len(self.codec_data)} bytes is over the limit of "
                             f"{MAX_CODEC_DATA}")
        if self.intra_period != -1 and self.intra_period < 1:
            raise UsageError(f"intra period must be -1 or at least 1, not {self.intra_period}")


def nominal_step(video: VideoInfo) -> int:
    """Ticks from one frame to the next at the nominal frame rate, rounded half up, at most MAX_STEP."""
    ticks = 1 / (video.frame_rate * video.time_base)
    return min((2 * ticks.numerator + ticks.denominator) // (2 * ticks.denominator), MAX_STEP)


def pack_header(header: StreamHeader) -> bytes:
    """The header's bytes, magic and CRC included. Raises UsageError on values outside the format's limits."""
    video = header.video
    fields = HEADER.pack({
        "codec_id": header.codec_id,
        "weights_digest": header.weights_digest,
        "width": video.width,
        "height": video.height,
        "frame_rate": video.frame_rate,
        "time_base": video.time_base,
        "pixel_format": PixelFormat.YUV420P,
        "bit_depth": 8,
        "color_primaries": video.color.primaries,
        "color_transfer": video.color.transfer,
        "color_matrix": video.color.matrix,
        "full_range": video.color.full_range,
        "quarter_turns": video.rotation // 90,
        "sample_aspect_ratio": video.sample_aspect_ratio,
        "intra_period": header.intra_period,
        "n_frames_plus_1": 0 if video.n_frames is None else video.n_frames + 1,
        "codec_data": header.codec_data,
    })
    major, minor = FORMAT_VERSION
    data = PREAMBLE.pack({"major": major, "minor": minor, "header_size": len(fields)}) + fields
    return data + crc32c(data).to_bytes(CRC_BYTES, "little")


def unpack_fields(data: bytes, minor: int = FORMAT_VERSION[1]) -> StreamHeader:
    """The header out of its field block (whose CRC was right).

    Args:
        data: the bytes between header size and CRC.
        minor: minor version of the stream; if newer than ours, bytes behind the known fields are ignored.

    Raises:
        CorruptStreamError: a value outside its limits, too few or too many bytes.
        UnsupportedVersionError: a pixel format or bit depth that this version does not know.
    """
    cursor = Cursor(data)
    try:
        values = HEADER.unpack(cursor)
    except FieldError as error:
        raise CorruptStreamError(f"the header is damaged: {error}") from error
    if cursor.left and minor <= FORMAT_VERSION[1]:
        raise CorruptStreamError(f"the header holds {cursor.left} bytes too many")
    if values["pixel_format"] != PixelFormat.YUV420P or values["bit_depth"] != 8:
        raise UnsupportedVersionError(f"pixel format {values['pixel_format']} of {values['bit_depth']} bits "
                                      "is not known to this version of lvc")
    try:
        video = VideoInfo(
            width=values["width"], height=values["height"],
            frame_rate=values["frame_rate"], time_base=values["time_base"],
            color=ColorInfo(values["color_primaries"], values["color_transfer"], values["color_matrix"],
                            bool(values["full_range"])),
            rotation=90 * values["quarter_turns"], sample_aspect_ratio=values["sample_aspect_ratio"],
            n_frames=values["n_frames_plus_1"] - 1 if values["n_frames_plus_1"] else None)
        return StreamHeader(codec_id=values["codec_id"], weights_digest=values["weights_digest"], video=video,
                            intra_period=values["intra_period"], codec_data=values["codec_data"])
    except UsageError as error:
        raise CorruptStreamError(f"the header is damaged: {error}") from error


def _check_magic(source: ByteSource) -> None:
    source.fill(len(MAGIC))
    found = bytes(source.buffer[:len(MAGIC)])
    if found == MAGIC:
        return
    if not found:
        raise NotLvcError("the file is empty", offset=0)
    if MAGIC.startswith(found):
        raise TruncatedStreamError("the stream ends within its magic number", offset=len(found))
    if found[1:4] == MAGIC[1:4]:
        raise NotLvcError("the lvc magic number is damaged, as by a transfer in text mode", offset=0)
    raise NotLvcError("not an lvc file: it does not start with the lvc magic number", offset=0)


def read_header(source: ByteSource) -> tuple[StreamHeader, int]:
    """Read the header from the beginning of the source, and move behind it.

    Returns:
        The header and its CRC, which seeds the CRCs of the packets.

    Raises:
        NotLvcError, UnsupportedVersionError, CorruptStreamError, TruncatedStreamError.
    """
    _check_magic(source)
    cursor = Cursor(source.buffer)
    while True:
        # The version is judged as soon as it is there: nothing behind it is known of another major version.
        if len(source.buffer) > len(MAGIC) and source.buffer[len(MAGIC)] != FORMAT_VERSION[0]:
            found = source.buffer[len(MAGIC)]
            raise UnsupportedVersionError(f"format version {found} is not known to this version of lvc, "
                                          f"which reads version {FORMAT_VERSION[0]}", offset=len(MAGIC))
        try:
            cursor.pos = 0
            preamble = PREAMBLE.unpack(cursor)
            break
        except ShortError as error:
            if not source.fill(len(source.buffer) + 1):
                raise TruncatedStreamError("the stream ends within its header", offset=source.end) from error
        except FieldError as error:
            raise CorruptStreamError(f"the header is damaged: {error}", offset=cursor.pos) from error
    start = cursor.pos
    end = start + preamble["header_size"]
    if not source.fill(end + CRC_BYTES):
        raise TruncatedStreamError("the stream ends within its header", offset=source.end)
    crc = crc32c(bytes(source.buffer[:end]))
    if crc != int.from_bytes(source.buffer[end:end + CRC_BYTES], "little"):
        raise CorruptStreamError("the checksum of the header does not match", offset=0)
    header = unpack_fields(bytes(source.buffer[start:end]), preamble["minor"])
    source.drop(end + CRC_BYTES)
    return header, crc
