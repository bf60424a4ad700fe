"""lvc: learned video compression with a real bitstream.

>>> import lvc
>>> lvc.encode("in.mp4", "out.lvc", codec="dvc-lite", quality=32)  # doctest: +SKIP
>>> lvc.decode("out.lvc", "out.mp4")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lvc.api import decode, encode, open_codec, open_stream, probe
    from lvc.errors import LvcError
    from lvc.types import EncodeOptions, Frame, VideoInfo

    __version__: str

__all__ = ["EncodeOptions", "Frame", "LvcError", "VideoInfo", "__version__", "decode", "encode", "open_codec",
           "open_stream", "probe"]

_HOMES = {
    "EncodeOptions": "lvc.types", "Frame": "lvc.types", "LvcError": "lvc.errors", "VideoInfo": "lvc.types",
    "decode": "lvc.api", "encode": "lvc.api", "open_codec": "lvc.api", "open_stream": "lvc.api",
    "probe": "lvc.api",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: ``import lvc`` costs next to nothing."""
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            value: Any = version("lvc")
        except PackageNotFoundError:  # a source tree that was never installed
            value = "0+unknown"
    elif name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'lvc' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
