"""Progress bars on terminals."""

from __future__ import annotations

import sys
from types import TracebackType

from tqdm import tqdm

from lvc.api import Progress


class ProgressBar:
    """A bar with frames a second, bitrate and time left; nothing at all unless stderr is a terminal.

    Args:
        title: stands before the bar.
        quiet: show nothing on terminals, either.
    """

    def __init__(self, title: str, quiet: bool) -> None:
        self._bar = tqdm(desc=title, unit="frame", disable=quiet or not sys.stderr.isatty(), leave=False,
                         dynamic_ncols=True, file=sys.stderr)

    def __call__(self, progress: Progress) -> None:
        """To be called after every frame."""
        if self._bar.disable:
            return
        self._bar.total = progress.total
        kbps = 8e-3 * progress.bytes / max(progress.video_seconds, 1e-9)
        self._bar.set_postfix_str(f"{kbps:.0f} kbit/s", refresh=False)
        self._bar.update(progress.frames - self._bar.n)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._bar.close()


def warn(message: str) -> None:
    """Print a warning above the bar."""
    tqdm.write(f"lvc: warning: {message}", file=sys.stderr)


def ignore(message: str) -> None:
    """Take a warning and keep silent."""
