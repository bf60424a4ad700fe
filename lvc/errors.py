"""The exception tree of lvc. Everything that lvc raises on purpose is an :class:`LvcError`."""

from __future__ import annotations


class LvcError(Exception):
    """Base class of every error that lvc raises on purpose; its text is one line, meant for a user."""


class UsageError(LvcError, ValueError):
    """An argument, option or codec string that makes no sense."""


class VideoError(LvcError):
    """A source that cannot be read, or an output that cannot be written."""


class CodecError(LvcError):
    """A codec that is unknown, not available on this machine, or that failed while it worked."""


class WeightsError(LvcError):
    """Weights that are missing, damaged, or not the ones that a stream was made with."""


class BitstreamError(LvcError):
    """A stream that breaks the format.

    Args:
        message: what is wrong.
        packet: number of the packet concerned (0 is the first after the header), None if it is none.
        offset: byte offset in the file where the trouble was noticed, None if unknown.
    """

    def __init__(self, message: str, *, packet: int | None = None, offset: int | None = None) -> None:
        self.packet = packet
        self.offset = offset
        where = []
        if packet is not None:
            where.append(f"packet {packet}")
        if offset is not None:
            where.append(f"byte offset {offset}")
        super().__init__(f"{message} ({', '.join(where)})" if where else message)


class NotLvcError(BitstreamError):
    """The file does not start with the lvc magic number."""


class UnsupportedVersionError(BitstreamError):
    """The stream is of a format version that this library does not know (a newer lvc made it)."""


class CorruptStreamError(BitstreamError):
    """A checksum, a length or a symbol that cannot be right."""


class TruncatedStreamError(CorruptStreamError):
    """The stream ends before its closing packet."""
