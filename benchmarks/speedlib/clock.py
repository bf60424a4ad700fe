"""Where the time of an encode or decode goes, by stage, without changes to the code that is measured.

Public methods are wrapped from outside while a clock runs, and torch's global module hooks tell when a part
of a model begins and ends. Stages nest (entropy coding within an autoencoder): seconds count for the
innermost alone, so that the stages add up to the whole. It takes some microseconds a call, of some dozen
calls a frame.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from benchlib.specs import BenchmarkError

STAGES = ("motion", "networks", "prediction and filters", "entropy coding", "I frames", "codec", "IO",
          "loading")
"""``networks``: all but those of motion estimation and of filters. ``codec`` is what a codec does outside the other
stages: all of it, where it is no model of ours. ``loading`` is that of weights, once a file."""

_SEAMS = (
    ("IO", "lvc.video.base", "VideoSource", ("__next__",)),
    ("IO", "lvc.video.base", "VideoSink", ("write", "close")),
    ("IO", "lvc.bitstream", "StreamWriter", ("write_packet", "write_side", "close")),
    ("IO", "lvc.bitstream", "StreamReader", ("__next__",)),
    ("IO", "lvc.stream", "DecodedStream", ("save_side",)),
    ("loading", "lvc.api", "", ("open_codec",)),
    ("loading", "lvc.stream", "", ("codec_for_header",)),
)
_INTRA_SEAMS = (("I frames", "lvc.codecs.hevc_intra", "HevcIntra", ("encode", "decode")),)
_NEURAL_SEAMS = (
    ("motion", "lvc.codecs.neural", "ClassicalMotion", ("__call__",)),
    ("entropy coding", "lvc.entropy", "Write", ()),
    ("entropy coding", "lvc.entropy", "Read", ()),
)
_SYMBOL_SEAMS = (
    ("entropy coding", "lvc.entropy.symbols", "WriteSymbols", ()),
    ("entropy coding", "lvc.entropy.symbols", "ReadSymbols", ()),
)
_CONTEXT_SEAMS = (
    ("motion", "lvc.codecs.dvccontext", "", ("search",)),
    ("prediction and filters", "lvc.codecs.dvccontext", "", ("predict", "reconstruct")),
    ("prediction and filters", "lvc.models.dvccontext", "ContextInterModel", ("prediction", "filtered")),
    ("networks", "lvc.models.dvccontext", "ContextInterModel", ("latent", "decoded")),
    ("networks", "lvc.models.motionpyramid", "MotionPyramid", ("forward",)),
    ("networks", "lvc.models.swiftinference", "EntropyInference", ("code", "indices")),
    *_SYMBOL_SEAMS,
)
_SWIFT_SEAMS = (
    ("motion", "lvc.codecs.swiftstate", "", ("search",)),
    ("motion", "lvc.codecs.swiftgop", "", ("search",)),
    ("prediction and filters", "lvc.codecs.swiftcoding", "", ("predict", "forward_dct", "reconstruct")),
    ("prediction and filters", "lvc.models.swiftinference", "FilterInference", ("__call__",)),
    *(("networks", "lvc.models.swiftinference", name, ("code",))
      for name in ("EntropyInference", "SizesInference", "MotionInference")),
    *_SYMBOL_SEAMS,
)
_PARTS = {"motion_estimation": "motion", "motion": "networks", "residual": "networks",
          "refine": "prediction and filters", "loop_filter": "prediction and filters"}


class StageClock:
    """Seconds by stage, in the thread that made the clock; other threads are not timed."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stack: list[str] = []
        self._since = 0.0
        self._thread = threading.get_ident()

    def enter(self, stage: str) -> None:
        self._settle()
        self._stack.append(stage)

    def leave(self) -> None:
        self._settle()
        self._stack.pop()

    def _settle(self) -> None:
        now = time.perf_counter()
        if self._stack:
            stage = self._stack[-1]
            self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now

    def wrap(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        """A function that does the same and is timed."""

        @functools.wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            if threading.get_ident() != self._thread:
                return function(*arguments, **options)
            self.enter(stage)
            try:
                return function(*arguments, **options)
            finally:
                self.leave()

        return timed


class _Timed:
    """An encoder or decoder of which push and flush are timed."""

    def __init__(self, coder: Any, clock: StageClock) -> None:
        self._coder = coder
        self.push = clock.wrap(coder.push, "codec")
        self.flush = clock.wrap(coder.flush, "codec")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coder, name)


@contextmanager
def timed(clock: StageClock, codec: Any) -> Iterator[None]:
    """Time what lvc does within the block.

    Args:
        clock: is added to.
        codec: what ``lvc.open_codec`` gave; its class is wrapped.

    Raises:
        BenchmarkError: lvc has another structure than this module knows.
    """
    undo: list[Callable[[], None]] = []

    def patch(owner: Any, name: str, new: Any) -> None:
        # a class may inherit what is wrapped; then undoing means taking it away again
        own = name in vars(owner)
        old = getattr(owner, name)
        setattr(owner, name, new)
        undo.append((lambda: setattr(owner, name, old)) if own else (lambda: delattr(owner, name)))

    try:
        inner = getattr(codec, "codec", codec)
        for name in ("encoder", "decoder"):
            make = clock.wrap(getattr(type(inner), name), "codec")
            patch(type(inner), name, lambda *a, _make=make, **k: _Timed(_make(*a, **k), clock))
        learned = bool(inner.weights_digest)
        own = _own_seams(inner) if learned else ()
        for stage, module, owner_name, methods in (*_SEAMS, *(_INTRA_SEAMS if learned else ()), *own):
            owner = import_module(module)
            if owner_name:
                owner = getattr(owner, owner_name, None)
            names = methods or tuple(n for n, v in vars(owner or object).items()
                                     if callable(v) and (n == "__init__" or not n.startswith("_")))
            for name in names:
                if not callable(getattr(owner, name, None)):
                    raise BenchmarkError(f"speed.py knows no {module} {owner_name} {name}: lvc has changed")
                patch(owner, name, clock.wrap(getattr(owner, name), stage))
        if own is _NEURAL_SEAMS:
            undo += _hook_models(clock)
        yield
    finally:
        for step in reversed(undo):
            step()


def _own_seams(codec: Any) -> tuple[tuple[str, str, str, tuple[str, ...]], ...]:
    """Of a learned codec."""
    from lvc.models.dvccontext import ContextInterModel

    if codec.name == "swift":
        return _SWIFT_SEAMS
    return _CONTEXT_SEAMS if isinstance(getattr(codec.weights, "inter", None), ContextInterModel) else _NEURAL_SEAMS


def _hook_models(clock: StageClock) -> list[Callable[[], None]]:
    """Time the parts of whichever model runs: the children of the module that was called from outside."""
    from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

    outermost: list[Any] = []
    parts: dict[int, str] = {}
    running: list[Any] = []

    def before(module: Any, arguments: Any) -> None:
        if not outermost:
            outermost.append(module)
            parts.clear()
            parts.update({id(child): _PARTS.get(name, "networks")
                          for name, child in module.named_children()})
        elif id(module) in parts and not running:
            running.append(module)
            clock.enter(parts[id(module)])

    def after(module: Any, arguments: Any, output: Any) -> None:
        if running and running[-1] is module:
            running.pop()
            clock.leave()
        elif outermost and outermost[0] is module:
            outermost.pop()

    handles = (register_module_forward_pre_hook(before), register_module_forward_hook(after))
    return [handle.remove for handle in handles]
