"""What libraries do to the priority of this process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

_TASKS = "/proc/self/task"
"""One entry a thread, on Linux."""


@contextlib.contextmanager
def ordinary_threads() -> Iterator[None]:
    """Threads keep their scheduling, and new ones get that of the caller, whatever the body does to them.

    SVT-AV1, when it is opened by root, as in most containers, makes its threads and the caller real-time ones of the
    highest priority, for good: from then on nothing else on their processors gets more than crumbs, not even the
    kernel.
    """
    if not os.path.isdir(_TASKS):
        yield
        return
    before = {thread: _scheduling(thread) for thread in _threads()}
    own = _scheduling(0)
    try:
        yield
    finally:
        for thread in _threads():
            wanted = before.get(thread, own)
            if wanted is not None and _scheduling(thread) not in (wanted, None):
                with contextlib.suppress(OSError):  # it has ended, or only root may
                    os.sched_setscheduler(thread, wanted[0], os.sched_param(wanted[1]))


def _threads() -> list[int]:
    return [int(name) for name in os.listdir(_TASKS)]


def _scheduling(thread: int) -> tuple[int, int] | None:
    """Policy and priority of a thread, 0: the caller; None: it has ended."""
    try:
        return os.sched_getscheduler(thread), os.sched_getparam(thread).sched_priority
    except OSError:
        return None
