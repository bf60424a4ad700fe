"""What stands where in an lvc stream: numbers, limits and the declared structures.

FORMAT.md explains them; its tables are made out of this module (``python -m lvc.bitstream.tables``).
"""

from __future__ import annotations

import enum

from lvc.bitstream.fields import Blob, Constant, Field, Integer, Rational, Struct
from lvc.types import MAX_DIMENSION, MAX_QUALITY

FORMAT_VERSION = (1, 0)
"""(major, minor) that this library writes. It reads every minor version of the same major version."""

MAGIC = b"\x89LVC\r\n\x1a\n"
SYNC = b"\xd3LV\xe7"
"""No byte but the first is 0xd3, so that two markers never overlap; 0xd3 is no tag of an inter packet."""

MAX_PAYLOAD = 1 << 26
MAX_BODY = MAX_PAYLOAD + 16
MAX_CODEC_DATA = 1 << 16
MAX_HEADER = 1 << 17
MAX_INDEX_ENTRIES = 1 << 18
MAX_PTS = 1 << 60
MAX_COUNT = (1 << 48) - 1
MAX_STEP = (1 << 32) - 1
SCAN_BUDGET = 1 << 30
FALSE_MARKER_COST = 1 << 12
CRC_BYTES = 4
INTER_TAG = 0x80

LIMITS: tuple[tuple[str, int, str], ...] = (
    ("MAX_DIMENSION", MAX_DIMENSION, "width and height, in luma samples"),
    ("MAX_HEADER", MAX_HEADER, "bytes of the header fields"),
    ("MAX_CODEC_DATA", MAX_CODEC_DATA, "bytes of `codec_data`"),
    ("MAX_PAYLOAD", MAX_PAYLOAD, "bytes of one coded frame or one piece of side data"),
    ("MAX_BODY", MAX_BODY, "bytes of the body of an anchor packet"),
    ("MAX_INDEX_ENTRIES", MAX_INDEX_ENTRIES, "entries of the index"),
    ("MAX_COUNT", MAX_COUNT, "packets, and frames, of one stream"),
    ("MAX_PTS", MAX_PTS, "magnitude of a presentation time, in ticks"),
    ("MAX_STEP", MAX_STEP, "nominal ticks between two frames"),
    ("SCAN_BUDGET", SCAN_BUDGET, "bytes checked in vain at false sync markers before a reader gives up"),
    ("FALSE_MARKER_COST", FALSE_MARKER_COST, "bytes that a false sync marker counts for at least"),
)


class CodecId(enum.IntEnum):
    """Codecs in the header. Append only: a number never changes its meaning, and is never used again."""

    X264 = 1
    X265 = 2
    SVT_AV1 = 3
    VVENC = 4
    LIBAOM = 5
    X265_PACKED = 6
    DVC = 16
    DVC_LITE = 17
    SWIFT = 18
    RESTORE = 19
    STSR = 20
    DVC_LITE_MSSSIM = 21


class PixelFormat(enum.IntEnum):
    """Sample layouts in the header. Append only."""

    YUV420P = 0


class AnchorType(enum.IntEnum):
    """Types of packets that begin with a sync marker. 2 is never used: it is the kind of inter packets."""

    INTRA = 1
    SIDE = 3
    END = 4


FIRST_SKIPPABLE_TYPE = 64
"""Types from this on are skipped by readers that do not know them; lower ones stop such a reader."""

_HUGE = (1 << 62) - 1

PREAMBLE = Struct("preamble", (
    Field("magic", Constant(MAGIC), "what a transfer in text mode, or of seven bits, would damage"),
    Field("major", Integer("u8", 0, 255), "format version; a reader refuses any other than its own"),
    Field("minor", Integer("u8", 0, 255), "raised by additions that older readers may ignore"),
    Field("header_size", Integer("uvarint", 1, MAX_HEADER), "bytes of the header fields that follow"),
))

HEADER = Struct("header", (
    Field("codec_id", Integer("uvarint", 1, (1 << 31) - 1), "codec of the payloads, see codec ids"),
    Field("weights_digest", Blob(16, (0, 16)),
          "first 16 bytes of the SHA-256 of the weights file; empty if the codec has none"),
    Field("width", Integer("uvarint", 1, MAX_DIMENSION), "luma samples a line, without padding"),
    Field("height", Integer("uvarint", 1, MAX_DIMENSION), "luma lines, likewise"),
    Field("frame_rate", Rational(1), "nominal frames a second (average if it varies)"),
    Field("time_base", Rational(1), "seconds of one tick of presentation times"),
    Field("pixel_format", Integer("uvarint", 0, 255), "0: planar YUV 4:2:0"),
    Field("bit_depth", Integer("uvarint", 8, 16), "bits a sample; always 8 in version 1.0"),
    Field("color_primaries", Integer("uvarint", 0, 255), "H.273 ColourPrimaries, 2 if not known"),
    Field("color_transfer", Integer("uvarint", 0, 255), "H.273 TransferCharacteristics, 2 if not known"),
    Field("color_matrix", Integer("uvarint", 0, 255), "H.273 MatrixCoefficients, 2 if not known"),
    Field("full_range", Integer("uvarint", 0, 1), "H.273 VideoFullRangeFlag"),
    Field("quarter_turns", Integer("uvarint", 0, 3), "times 90 degrees clockwise that a player turns it"),
    Field("sample_aspect_ratio", Rational(0), "width : height of one sample, 0/1 if unknown"),
    Field("intra_period", Integer("svarint", -1, (1 << 31) - 1),
          "an intra frame every so many frames, -1: the first frame only; 0 is not allowed; a hint"),
    Field("n_frames_plus_1", Integer("uvarint", 0, MAX_COUNT), "frames, plus one; 0 if not known; a hint"),
    Field("codec_data", Blob(MAX_CODEC_DATA), "what the decoder needs beforehand, opaque here"),
))

INTER = Struct("inter packet", (
    Field("tag", Integer("u8", INTER_TAG, INTER_TAG + MAX_QUALITY), "128 + quality"),
    Field("pts_residual", Integer("svarint", -_HUGE - 1, _HUGE),
          "pts, less the pts of the frame packet before it, less the nominal step"),
    Field("length", Integer("uvarint", 0, MAX_PAYLOAD), "bytes of the payload that follows"),
))

ANCHOR = Struct("anchor packet", (
    Field("sync", Constant(SYNC), "sync marker"),
    Field("type", Integer("u8", 0, 127), "see packet types"),
    Field("packet", Integer("uvarint", 0, MAX_COUNT), "number of this packet; the first of the stream is 0"),
    Field("frame", Integer("uvarint", 0, MAX_COUNT), "number of frames (intra and inter) before this one"),
    Field("length", Integer("uvarint", 0, MAX_BODY), "bytes of the body that follows"),
))

INTRA = Struct("intra body", (
    Field("pts", Integer("svarint", -MAX_PTS, MAX_PTS), "presentation time, in ticks"),
    Field("quality", Integer("u8", 0, MAX_QUALITY), "what the frame was coded with"),
))

END = Struct("end body", (
    Field("entries", Integer("uvarint", 0, MAX_INDEX_ENTRIES), "number of index entries that follow"),
))

INDEX_ENTRY = Struct("index entry", (
    Field("packet_delta", Integer("uvarint", 0, MAX_COUNT), "packet number, less that of the entry before"),
    Field("offset_delta", Integer("uvarint", 1, _HUGE), "stream offset of it, less that of the entry before"),
    Field("pts_delta", Integer("svarint", -_HUGE - 1, _HUGE), "pts, less that of the entry before"),
))

TRAILER = Struct("trailer", (
    Field("end_size", Integer("u32", 0, (1 << 32) - 1), "bytes of the end packet, from sync marker to CRC"),
))

STRUCTS = (PREAMBLE, HEADER, INTER, ANCHOR, INTRA, END, INDEX_ENTRY, TRAILER)
