"""The coder of this package inside models of CompressAI.

    from lvc.coding.compressai import replace_coder, restore_coder

    replace_coder(model)                  # every EntropyBottleneck and GaussianConditional in it
    strings = model.compress(x)["strings"]
    x_hat = model.decompress(strings, shape)["x_hat"]
    restore_coder(model)                  # CompressAI's own again

``compress`` and ``decompress`` of the entropy models take and give what they did before, with the model's own
tables, means and scales, but **the strings are those of** :mod:`lvc.coding`, **not CompressAI's**: what was written
with one coder cannot be read with the other. Damaged strings, those of the other coder and those of other tables raise
:class:`~lvc.errors.CorruptStreamError` (nearly always, see :class:`~lvc.coding.coder.Decoder`) instead of giving
wrong symbols. Tables are read from the model's buffers once, and again after ``update()`` or ``load_state_dict()``.

What calls ``compressai.ans`` itself keeps CompressAI's coder for that part: models with an autoregressive context do
so for ``y``, and so may classes of one's own that do not come down to ``EntropyModel.compress``.

This module imports neither torch nor CompressAI: a model that can be given to it has done so.
"""

from __future__ import annotations

import functools
import sys
from typing import Any, TypeVar

import numpy as np

from lvc.coding.coder import Decoder, Encoder
from lvc.coding.tables import CdfTables
from lvc.errors import UsageError

Model = TypeVar("Model")

_BASE = "_lvc_base"
"""Attribute of the classes made here: the class that they replace."""


def replace_coder(model: Model) -> Model:
    """Let every entropy model in a model of CompressAI code with :mod:`lvc.coding`.

    Args:
        model: a ``torch.nn.Module`` with modules of ``compressai.entropy_models`` in it, or one of these. It is
            changed in place; parameters, buffers and the keys of its state stay as they are. Those that were
            replaced before are left alone.

    Returns:
        ``model``.

    Raises:
        UsageError: there is no entropy model in it.
    """
    for module in _entropy_models(model):
        base: Any = type(module)
        if not hasattr(base, _BASE):
            module.__class__ = _derived(base)
    return model


def restore_coder(model: Model) -> Model:
    """Undo :func:`replace_coder`; modules that it did not change are left alone.

    Raises:
        UsageError: there is no entropy model in it.
    """
    for module in _entropy_models(model):
        base = getattr(type(module), _BASE, None)
        if base is not None:
            module.__class__ = base
            module.__dict__.pop("_lvc_tables", None)
    return model


def _entropy_models(model: Any) -> list[Any]:
    # What is not imported yet cannot be in the model.
    package = sys.modules.get("compressai.entropy_models")
    found = []
    if package is not None and callable(getattr(model, "modules", None)):
        found = [module for module in model.modules() if isinstance(module, package.EntropyModel)]
    if not found:
        raise UsageError(f"a {type(model).__name__} holds no entropy model of CompressAI")
    return found


@functools.cache
def _derived(base: Any) -> Any:
    """A class like ``base``, with the two methods of EntropyModel that it inherits replaced.

    Classes such as EntropyBottleneck work out means and indexes and call ``super().compress``; so the new methods
    stand between them and EntropyModel in the order of resolution.
    """
    entropy_model = sys.modules["compressai.entropy_models"].EntropyModel
    mixed = _mixed_in(entropy_model)
    bases = (mixed,) if base is entropy_model else (base, mixed)
    return type(f"{base.__name__}WithLvc", bases, {
        "__doc__": f"{base.__name__} that codes with lvc.coding.",
        "__module__": __name__,
        "__reduce_ex__": _reduce,
        _BASE: base,
    })


@functools.cache
def _mixed_in(entropy_model: Any) -> Any:
    return type("EntropyModelWithLvc", (entropy_model,), {"compress": _compress, "decompress": _decompress})


def _reduce(self: Any, protocol: Any) -> tuple[Any, ...]:
    """For copies and pickles, which find no class by this name in the module."""
    state = dict(self.__getstate__())
    state.pop("_lvc_tables", None)
    return _new, (getattr(type(self), _BASE),), state


def _new(base: Any) -> Any:
    """An empty module of the derived class, for copies and pickles."""
    derived = _derived(base)
    return derived.__new__(derived)


def _tables(self: Any) -> CdfTables:
    """The tables of an entropy model, made again if its buffers have changed.

    Buffers are those of before if they are the same tensors, not written since; tensors of inference mode do not
    count what is written, so these are compared.
    """
    buffers = (self._quantized_cdf, self._cdf_length, self._offset)
    if any(buffer.numel() == 0 for buffer in buffers):
        raise UsageError("the entropy model has no tables yet: call update() first")
    versions = [None if buffer.is_inference() else buffer._version for buffer in buffers]
    known = self.__dict__.get("_lvc_tables")
    if known is not None and known[3] == self.entropy_coder_precision:
        before, counts, copies = known[0], known[1], known[2]
        if all(buffer is old and (count == counted if count is not None else buffer.cpu().equal(copy))
               for buffer, old, count, counted, copy in zip(buffers, before, versions, counts, copies)):
            tables: CdfTables = known[4]
            return tables
    copies = tuple(buffer.detach().cpu().clone() for buffer in buffers)
    cdf, length, offset = (copy.numpy() for copy in copies)
    tables = CdfTables(cdf, length, offset, self.entropy_coder_precision)
    # (not a buffer or module, so that it is in no state)
    self.__dict__["_lvc_tables"] = (buffers, versions, copies, self.entropy_coder_precision, tables)
    return tables


def _index_of(indexes: Any) -> np.ndarray[Any, np.dtype[Any]]:
    """Indexes as the coder takes them: uint8 where all fit, which it is fastest with."""
    array: np.ndarray[Any, np.dtype[Any]] = indexes.detach().cpu().contiguous().numpy()
    if array.dtype.kind != "i" or not array.size:
        return array
    # (the bits of all together: one pass that tells both a negative and a large one)
    return array.astype(np.uint8) if 0 <= int(np.bitwise_or.reduce(array, axis=None)) < 256 else array


def _compress(self: Any, inputs: Any, indexes: Any, means: Any = None) -> list[bytes]:
    """Code tensors: one string for each of the batch.

    Args:
        inputs: shape (batch, ...), two dimensions at least; rounded after the means were taken off.
        indexes: integers of the same shape, which table each symbol has.
        means: of a shape that can be subtracted from ``inputs``, or None.

    Raises:
        UsageError: shapes or indexes that do not fit.
    """
    if inputs.dim() < 2:
        raise UsageError(f"inputs must have two dimensions at least, not {inputs.dim()}")
    if inputs.shape != indexes.shape:
        raise UsageError(f"inputs and indexes must have one shape, not {tuple(inputs.shape)} and "
                         f"{tuple(indexes.shape)}")
    tables = _tables(self)
    symbols = self.quantize(inputs, "symbols", means).detach().cpu().contiguous().numpy()
    strings = []
    for values, places in zip(symbols, _index_of(indexes)):
        encoder = Encoder(tables)
        encoder.push(values, places)
        strings.append(encoder.finish())
    return strings


def _decompress(self: Any, strings: Any, indexes: Any, dtype: Any = None, means: Any = None) -> Any:
    """Decode what :func:`_compress` gave.

    Args:
        strings: list or tuple of bytes, one for each of the batch.
        indexes: as they were when the symbols were coded.
        dtype: of the result without means; float32 if None.
        means: added to the symbols, or None.

    Raises:
        UsageError: arguments that do not fit.
        CorruptStreamError: a string that no encoder made with these tables and indexes.
    """
    if not isinstance(strings, (tuple, list)):
        raise UsageError(f"strings must be a list of bytes, not {type(strings).__name__}")
    if indexes.dim() < 2:
        raise UsageError(f"indexes must have two dimensions at least, not {indexes.dim()}")
    if len(strings) != indexes.shape[0]:
        raise UsageError(f"there are {len(strings)} strings for a batch of {indexes.shape[0]}")
    if means is not None and (means.dim() != indexes.dim() or any(
            mean != size and (mean != 1 or axis < 2)
            for axis, (mean, size) in enumerate(zip(means.shape, indexes.shape)))):
        raise UsageError(f"means of the shape {tuple(means.shape)} do not fit indexes of {tuple(indexes.shape)}")
    tables, torch = _tables(self), sys.modules["torch"]
    symbols = torch.empty(indexes.shape, dtype=torch.int32)
    for data, places, target in zip(strings, _index_of(indexes), symbols.numpy()):
        decoder = Decoder(data, tables)
        decoder.pull(places, out=target)
        decoder.close()
    symbols = symbols.to(self._quantized_cdf.device)
    return self.dequantize(symbols, means, torch.float32 if dtype is None else dtype)
