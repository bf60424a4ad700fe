"""Single pictures through HEVC intra (x265, ITU-T H.265), for codecs of ours that want a classical I frame.

BPG, which DVC (arXiv 1812.00101) and OpenDVC take for their I frames, is the same coding in another wrapping.
A coded picture is made of

======  ==========================================================================================
bytes   meaning
======  ==========================================================================================
1       n, length of the next field
n       parameter sets (Annex B), raw deflate (RFC 1951) with the preset dictionary ``_DICTIONARY``
rest    the slice NAL units, Annex B without the first start code
======  ==========================================================================================

Parameter sets of one encoder are nearly always the same, so the dictionary brings them from about 80 down to
a dozen bytes, which is 1 to 3 % of a small picture, while every picture stays decodable on its own.
"""

from __future__ import annotations

import zlib
from fractions import Fraction
from typing import Any

import av
import av.codec

from lvc.codecs.annexb import START, h265_type, split_units
from lvc.codecs.picture import crop_frame, from_av, one_line, pad_frame, padded_size, to_av, to_packet
from lvc.errors import CodecError, CorruptStreamError, UsageError
from lvc.types import MAX_DIMENSION, Frame

MIN_QP = 0
MAX_QP = 51
_MIN_SIZE = 16
_MAX_SETS = 4096

# Normative: a change would make the pictures of older streams undecodable. Parameter sets as x265 4.1 writes
# them for common picture sizes from 3840x2160 to 416x240 (the likelier ones last, as deflate wants it).
_DICTIONARY = bytes.fromhex(
    "00000140010c01ffff0408000003009fa8000003000096ba02400000014201010408000003009fa8000003000096a001e020"
    "021c596ea491a6b9a020000003002000000303210000014401c17052811200000140010c01ffff0408000003009fa8000003"
    "00005aba02400000014201010408000003009fa800000300005aa00200806e7de5ba92469ae68080000003008000000c8400"
    "000140010c01ffff0408000003009fa800000300003cba02400000014201010408000003009fa800000300003ca00e080405"
    "96ea491a6b9a0200000300020000030032100000014201010408000003009fa800000300005aa005a20090596ea491a6b9a0"
    "20000003002000000303210000014201010408000003009fa800000300005aa006b201e1d796ea491a6b9a02000003000200"
    "000300321000000140010c01ffff0408000003009fa800000300003fba02400000014201010408000003009fa80000030000"
    "3fa00502016965ba92469ae68080000003008000000c840000014201010408000003009fa800000300003ca00b08048596ea"
    "491a6b9a0200000300020000030032100000014201010408000003009fa800000300003ca00808040596ea491a6b9a020000"
    "0300020000030032100000014201010408000003009fa800000300005aa0068201e165ba92469ae68080000003008000000c"
    "8400000140010c01ffff0408000003009fa800000300005dba02400000014201010408000003009fa800000300005da00280"
    "802d165ba92469ae6808000003000800000300c84000000140010c01ffff0408000003009fa8000003000078ba0240000001"
    "4201010408000003009fa8000003000078a003c08010e596ea491a6b9a020000030002000003003210000001420101040800"
    "0003009fa800000300003ca00d080f165ba92469ae6808000003000800000300c840"
)


class HevcIntra:
    """Codes single pictures with x265 at a constant quantization parameter.

    Every picture has an encoder and a decoder of its own (2 to 4 ms of some 150 ms at 416x240), so that equal
    input gives equal bytes, and nothing a damaged picture does can outlive it. HEVC itself has no checksum:
    damage within the slice data mostly decodes to a wrong picture. So the container's checksum must come
    first.

    Args:
        preset: x265 preset. ``slower`` without psychovisual options is 4 % (BD-rate) ahead of ``medium``, for
            twice its time.
        chroma_qp_offset: -12..12, added to the QP of U and V. -2 is 1 to 2 % better than 0 in PSNR that
            weighs Y:U:V as 6:1:1.
        masking: 0..3. Above 0, QPs rise and fall with the variance of blocks of 16x16 (x265's aq-mode 2, this being
            its strength), and high frequencies are coded coarser than low ones (HEVC's default scaling lists). That
            costs PSNR, and is better by MS-SSIM.

    Raises:
        CodecError: this build of PyAV has no libx265 encoder, or no HEVC decoder.
        UsageError: the offset or the strength is out of range.
    """

    def __init__(self, preset: str = "slower", chroma_qp_offset: int = -2, masking: float = 0.0) -> None:
        if not 0 <= masking <= 3:
            raise UsageError(f"the strength of masking must be from 0 to 3, not {masking}")
        if not -12 <= chroma_qp_offset <= 12:
            raise UsageError(f"chroma QP offset must be from -12 to 12, not {chroma_qp_offset}")
        for name, mode in (("libx265", "w"), ("hevc", "r")):
            try:
                av.codec.Codec(name, mode)  # type: ignore[arg-type]
            except ValueError:
                raise CodecError(f"this build of PyAV has no {name}") from None
        self._preset = preset
        self._params = (
            # psychovisual weights cost PSNR; a second transform depth is most of what intra gains from more
            "psy-rd=0:psy-rdoq=0:tu-intra-depth=2"
            f":cbqpoffs={chroma_qp_offset}:crqpoffs={chroma_qp_offset}"
            # one picture, one slice, one thread; nothing in the stream but parameter sets and slice
            ":keyint=1:ipratio=1:frame-threads=1:pools=none:wpp=0:slices=1"
            ":info=0:aud=0:hrd=0:annexb=1:repeat-headers=1:log-level=-1"
        )
        # x265 knows adaptive QPs under constant rate factors only, which without complexity compression are QPs
        self._rate = "crf={}:qcomp=1" if masking else "qp={}"
        if masking:
            self._params += f":aq-mode=2:aq-strength={masking}:qg-size=16:scaling-list=default"

    def encode(self, frame: Frame, qp: int) -> bytes:
        """Code one picture of any size.

        Args:
            frame: the picture.
            qp: 0 (best) .. 51 (smallest).

        Raises:
            UsageError: qp is out of range.
            CodecError: the encoder failed.
        """
        if not MIN_QP <= qp <= MAX_QP:
            raise UsageError(f"HEVC QP must be from {MIN_QP} to {MAX_QP}, not {qp}")
        padded = pad_frame(frame, padded_size(frame.width, frame.height, 2, _MIN_SIZE))
        context: Any = av.CodecContext.create("libx265", "w")
        context.width, context.height, context.pix_fmt = padded.width, padded.height, "yuv420p"
        context.time_base = Fraction(1, 25)
        context.thread_count = 1
        context.options = {"preset": self._preset, "tune": "zerolatency", "forced-idr": "1",
                           "x265-params": f"{self._rate.format(qp)}:{self._params}"}
        try:
            packets = context.encode(to_av(padded, 0)) + context.encode(None)
        except (av.FFmpegError, ValueError) as error:
            raise CodecError(f"libx265 failed: {one_line(error)}") from error
        return _pack(b"".join(bytes(packet) for packet in packets))

    def decode(self, data: bytes, width: int, height: int) -> Frame:
        """Decode one picture.

        Args:
            data: what :meth:`encode` gave.
            width, height: true size of the picture in luma samples; padding beyond is cut off.

        Returns:
            The picture with pts 0.

        Raises:
            CorruptStreamError: the data cannot be decoded, or gives no picture of that size.
        """
        if not (1 <= width <= MAX_DIMENSION and 1 <= height <= MAX_DIMENSION):
            raise UsageError(f"picture size {width}x{height} is out of range")
        annex_b = _unpack(data)
        size = padded_size(width, height, 2, _MIN_SIZE)
        context: Any = av.CodecContext.create("hevc", "r")
        context.thread_count = 1
        # keeps a damaged size field from taking memory; x265 codes whole units of up to 64x64
        limit = (size[0] + 64) * (size[1] + 64)
        context.options = {"err_detect": "explode", "max_pixels": str(limit)}
        try:
            frames = context.decode(to_packet(annex_b)) + context.decode(None)
        except (av.FFmpegError, ValueError) as error:
            raise CorruptStreamError(f"HEVC picture cannot be decoded: {one_line(error)}") from error
        if len(frames) != 1 or frames[0].is_corrupt:
            raise CorruptStreamError(f"HEVC picture is damaged ({len(frames)} pictures decoded)")
        return crop_frame(from_av(frames[0], size, 0), width, height)


def _pack(annex_b: bytes) -> bytes:
    sets: list[bytes] = []
    slices: list[bytes] = []
    for unit in split_units(annex_b):
        (slices if h265_type(unit) < 32 else sets).append(unit)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY)
    head = deflate.compress(b"".join(START + unit for unit in sets)) + deflate.flush()
    if not slices or len(head) > 255:
        raise CodecError("libx265 failed: no slice, or parameter sets too long to be stored")
    return bytes((len(head),)) + head + START.join(slices)


def _unpack(data: bytes) -> bytes:
    if len(data) < 2 or len(data) <= 1 + data[0]:
        raise CorruptStreamError(f"HEVC picture of {len(data)} bytes is too short")
    inflate = zlib.decompressobj(-15, _DICTIONARY)
    try:
        sets = inflate.decompress(data[1:1 + data[0]], _MAX_SETS)
    except zlib.error as error:
        raise CorruptStreamError(f"HEVC parameter sets cannot be inflated: {error}") from error
    if not inflate.eof or inflate.unused_data:
        raise CorruptStreamError("HEVC parameter sets do not end where they should")
    return sets + START + data[1 + data[0]:]
