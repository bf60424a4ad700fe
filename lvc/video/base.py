"""What every source and sink of frames has in common; numpy only."""

from __future__ import annotations

import os
import re
import secrets
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from lvc.errors import UsageError, VideoError
from lvc.types import Frame, VideoInfo

PathLike = str | os.PathLike[str]
WarningHook = Callable[[str], None]


class VideoWarning(UserWarning):
    """Something of the source or of the output could not be kept as it was; the text is one line."""


class Warner:
    """Hands each distinct warning out once, to a callback or to :func:`warnings.warn`.

    Args:
        name: the file concerned; put before every message.
        hook: takes the message; None means ``warnings.warn(message, VideoWarning)``.
    """

    def __init__(self, name: PathLike, hook: WarningHook | None = None) -> None:
        self.name = os.fspath(name)
        self.hook = hook
        self._seen: set[str] = set()

    def __call__(self, message: str) -> None:
        if message in self._seen:
            return
        self._seen.add(message)
        text = f"{self.name}: {message}"
        if self.hook is not None:
            self.hook(text)
        else:
            warnings.warn(text, VideoWarning, stacklevel=3)


class VideoSource(ABC):
    """Frames of one video, in presentation order, read as they are asked for.

    An iterator (one pass) and a context manager. Memory does not grow with the length of the video.

    Attributes:
        info: what is known of the video; ``info.n_frames`` is a hint only.
        path: where it comes from.
    """

    info: VideoInfo

    def __init__(self, path: Path, frames: int | None, warn: Warner) -> None:
        if frames is not None and frames < 1:
            raise UsageError(f"frames must be at least 1, not {frames}")
        self.path = path
        self.warn = warn
        self.n_read = 0
        self._limit = frames
        self._pictures: Iterator[Frame] | None = None
        self._closed = False

    @abstractmethod
    def _read(self) -> Iterator[Frame]:
        """Give all frames of the file; pts strictly increasing."""

    @abstractmethod
    def _release(self) -> None:
        """Close what is open."""

    def _hint(self, n_frames: int | None) -> int | None:
        """The number of frames to expect, given the file's own idea of it and the caller's limit."""
        if n_frames is None or n_frames <= 0:
            return None
        return n_frames if self._limit is None else min(n_frames, self._limit)

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        """The next frame. Raises VideoError if the file is damaged or its picture size changes."""
        if self._closed or (self._limit is not None and self.n_read >= self._limit):
            raise StopIteration
        if self._pictures is None:
            self._pictures = self._read()
        frame = next(self._pictures)
        self.n_read += 1
        return frame

    def close(self) -> None:
        """Let go of the file; further frames are not given. May be called more than once."""
        if not self._closed:
            self._closed = True
            self._pictures = None
            self._release()

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


class VideoSink(ABC):
    """Takes frames and makes a video file (or a folder of pictures) of them.

    The output appears under its final name in :meth:`close` only; until then it has a temporary name beside
    it. :meth:`abort`, or an exception inside ``with``, removes it.

    Attributes:
        info: what the video shall be.
        path: final name.
        n_written: frames written so far.
    """

    def __init__(self, path: Path, info: VideoInfo, overwrite: bool, warn: Warner) -> None:
        self.path = path
        self.info = info
        self.warn = warn
        self.n_written = 0
        self._last_pts: int | None = None
        self._open = True
        parent = path.absolute().parent
        if not parent.is_dir():
            raise VideoError(f"cannot write {path}: folder {parent} does not exist")
        if not overwrite and os.path.lexists(path):
            raise VideoError(f"cannot write {path}: it exists already")
        self.temporary = parent / f".{path.name}.{secrets.token_hex(4)}.part"

    @abstractmethod
    def _write(self, frame: Frame) -> None:
        """Take a frame whose size and pts are right."""

    @abstractmethod
    def _finish(self) -> None:
        """Complete the temporary file and move it to its final name."""

    @abstractmethod
    def _discard(self) -> None:
        """Remove all that was written. Must not fail if there is nothing."""

    def write(self, frame: Frame) -> None:
        """Append a frame of the size that ``info`` says, with a pts above that of the frame before.

        Raises VideoError on another size, a pts that does not increase, or when writing fails (disk full).
        """
        if not self._open:
            raise VideoError(f"cannot write {self.path}: it is closed already")
        if (frame.width, frame.height) != (self.info.width, self.info.height):
            raise VideoError(f"cannot write {self.path}: a frame of {frame.width}x{frame.height} in a video "
                             f"of {self.info.width}x{self.info.height}")
        if self._last_pts is not None and frame.pts <= self._last_pts:
            raise VideoError(f"cannot write {self.path}: pts {frame.pts} does not follow {self._last_pts}")
        try:
            self._write(frame)
        except OSError as error:
            raise self._failure(error) from error
        self._last_pts = frame.pts
        self.n_written += 1

    def close(self) -> None:
        """Complete the file and give it its final name. Raises VideoError if no frame was written."""
        if not self._open:
            return
        if self.n_written == 0:
            self.abort()
            raise VideoError(f"cannot write {self.path}: there is no frame")
        try:
            self._finish()
        except OSError as error:
            self.abort()
            raise self._failure(error) from error
        except BaseException:
            self.abort()
            raise
        self._open = False

    def abort(self) -> None:
        """Give up: remove what was written; a file that had the final name before stays as it was."""
        if self._open:
            self._open = False
            self._discard()

    def _failure(self, error: OSError) -> VideoError:
        return VideoError(f"cannot write {self.path}: {one_line(error)}")

    def __enter__(self) -> VideoSink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def one_line(error: BaseException) -> str:
    """What an exception of the system or of FFmpeg says, without its number and file name, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts ``img2.png`` before ``img10.png``."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part.lower())
            for part in re.split(r"([0-9]+)", name) if part]


def check_readable(path: Path) -> None:
    """Raise VideoError, naming the cause, unless ``path`` is a file with something in it that may be read."""
    try:
        if path.is_dir():
            raise VideoError(f"{path} is a folder, not a file")
        with open(path, "rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise VideoError(f"cannot read {path}: {one_line(error)}") from error
    if empty:
        raise VideoError(f"cannot read {path}: the file is empty")
