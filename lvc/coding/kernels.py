"""Which C++ kernels the coder uses. All of them give the same bytes and symbols; they differ in speed."""

from __future__ import annotations

from lvc import _C
from lvc.errors import UsageError


def available_kernels() -> tuple[str, ...]:
    """Names of the kernels that this CPU runs, such as scalar, avx2 and avx512, or neon.

    ``warp`` emulates a warp of a GPU: slow, for tests. The fastest is the last.
    """
    return tuple(_C.available_kernels())


def current_kernels() -> str:
    """The name of the kernels in use: those that the environment variable LVC_SIMD names, or the fastest."""
    return _C.current_kernels()


def use_kernels(name: str | None = None) -> None:
    """Use other kernels from now on, in all threads; the fastest if None.

    Raises:
        UsageError: this CPU does not run kernels of that name.
    """
    if name is not None and not isinstance(name, str):
        raise UsageError(f"kernels are named by a string, not {type(name).__name__}")
    if not _C.use_kernels(name):
        raise UsageError(f"kernels must be one of {', '.join(available_kernels())}, not {name!r}")
