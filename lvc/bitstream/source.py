"""A window that slides over a binary file, seekable or not, and never holds more than what was asked for."""

from __future__ import annotations

import io
from typing import BinaryIO

from lvc.errors import UsageError, VideoError

_CHUNK = 1 << 16
_LARGE_CHUNK = 1 << 20


class ByteSource:
    """Buffered forward reading with look-ahead.

    Memory grows with the bytes that really arrived, not with a length that a stream claims, and a request for
    more than a seekable file still has is refused before anything is read.

    Args:
        file: opened for binary reading; the stream begins at its present position.

    Attributes:
        buffer: the bytes from ``offset`` on that were read so far.
        offset: stream offset of the first byte of the buffer; 0 is where the stream begins.
        size: bytes of the whole stream if the file can tell, else None.
        seekable: whether ``move`` works.

    Raises:
        VideoError: the file cannot be read.
        UsageError: the file was opened as text.
    """

    def __init__(self, file: BinaryIO) -> None:
        if isinstance(file, io.TextIOBase):
            raise UsageError("a stream must be opened for binary reading")
        self._file = file
        # read1 returns what a pipe has at hand; read would wait until the whole chunk has come.
        self._read = getattr(file, "read1", file.read)
        self._base = 0
        self._ended = False
        self.buffer = bytearray()
        self.offset = 0
        self.size: int | None = None
        self.seekable = False
        try:
            self.seekable = bool(getattr(file, "seekable", lambda: False)())
            if self.seekable:
                self._base = file.tell()
                self.size = max(file.seek(0, io.SEEK_END) - self._base, 0)
                file.seek(self._base)
        except (OSError, ValueError) as error:
            raise VideoError(f"the stream cannot be read: {error}") from error

    @property
    def end(self) -> int:
        """Stream offset behind the last byte that is known to exist."""
        return self.size if self.size is not None else self.offset + len(self.buffer)

    def fill(self, size: int) -> bool:
        """Have at least ``size`` bytes in the buffer; False if the stream ends before that."""
        if self.size is not None and self.offset + size > self.size:
            # What remains is still of use to the caller's messages, unless it is large.
            size = min(self.size - self.offset, _CHUNK)
            self._load(size)
            return False
        return self._load(size)

    def _load(self, size: int) -> bool:
        while len(self.buffer) < size and not self._ended:
            want = min(max(size - len(self.buffer), _CHUNK), _LARGE_CHUNK)
            try:
                data = self._read(want)
            except (OSError, ValueError) as error:
                raise VideoError(f"the stream cannot be read: {error}") from error
            if data is None:
                raise VideoError("the stream cannot be read: the file does not block")
            if isinstance(data, str):
                raise UsageError("a stream must be opened for binary reading")
            self._ended = not data
            self.buffer += data
        return len(self.buffer) >= size

    def drop(self, size: int) -> None:
        """Forget the first ``size`` bytes of the buffer."""
        size = min(size, len(self.buffer))
        del self.buffer[:size]
        self.offset += size

    def move(self, offset: int) -> None:
        """Go on at a stream offset. Raises UsageError if the file is not seekable."""
        if not self.seekable:
            raise UsageError("the stream is read from a pipe: it cannot be searched")
        try:
            self._file.seek(self._base + offset)
        except (OSError, ValueError) as error:
            raise VideoError(f"the stream cannot be read: {error}") from error
        self.buffer.clear()
        self.offset = offset
        self._ended = False
