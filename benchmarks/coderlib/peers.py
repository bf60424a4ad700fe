"""The coders, each behind the same two calls: tensor in, bytes out, and back.

A session is made for one case: tables and whatever else is made once are made then. What :meth:`Session.encode` is
timed with starts from tensors in the types that the coder's own interface asks for, and ends with bytes.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from coderlib.cases import SCALES, Case, make_case, peer_cdfs
from lvc.coding import (
    CdfTables,
    Decoder,
    Encoder,
    available_kernels,
    factorized_tables,
    gaussian_tables,
    use_kernels,
)


class Session:
    """One coder and one case.

    Attributes:
        expected: what decoding must give, shape of the case's symbols; other than those if the coder's tables do
            not reach far enough.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.expected = case.symbols

    def encode(self) -> bytes:
        raise NotImplementedError

    def decode(self, data: bytes) -> Any:
        raise NotImplementedError


@functools.cache
def _own_gaussian_tables() -> CdfTables:
    return gaussian_tables(SCALES)


class Lvc(Session):
    """lvc.coding with the kernels that the class attribute names."""

    kernels: str

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        if case.pmf is None:
            self.tables = _own_gaussian_tables()
        else:
            self.tables = factorized_tables(case.pmf, np.full(len(case.pmf), -(case.pmf.shape[1] // 2)))
        self.tables.native()
        self.symbols, self.index = torch.from_numpy(case.symbols), torch.from_numpy(case.index)

    def encode(self) -> bytes:
        encoder = Encoder(self.tables)
        if self.case.pmf is None:
            encoder.push(self.symbols, self.index)
        else:
            encoder.push_channels(self.symbols)
        return encoder.finish()

    def decode(self, data: bytes) -> Any:
        decoder = Decoder(data, self.tables)
        if self.case.pmf is None:
            symbols = decoder.pull(self.index)
        else:
            symbols = decoder.pull_channels(self.symbols.shape)
        decoder.close()
        return symbols


class CompressAI(Session):
    """compress() and decompress() of its entropy models, on symbols in float as a network gives them."""

    def __init__(self, case: Case) -> None:
        from compressai.entropy_models import EntropyBottleneck, GaussianConditional

        super().__init__(case)
        cdfs = peer_cdfs(case)
        if case.pmf is None:
            self.model = GaussianConditional(SCALES.tolist())
            self.index = torch.from_numpy(case.index.astype(np.int32)).reshape(1, 1, -1)
        else:
            self.model = EntropyBottleneck(len(case.pmf))  # its medians are 0
        self.model._quantized_cdf, self.model._cdf_length = cdfs["cdf"], cdfs["length"]
        self.model._offset = cdfs["offset"]
        self.symbols = torch.from_numpy(case.symbols.astype(np.float32)).reshape(
            1, *([1, -1] if case.pmf is None else case.symbols.shape))

    def encode(self) -> bytes:
        arguments = [self.index] if self.case.pmf is None else []
        return bytes(self.model.compress(self.symbols, *arguments)[0])

    def decode(self, data: bytes) -> Any:
        what = self.index if self.case.pmf is None else self.case.symbols.shape[1:]
        return self.model.decompress([data], what)


class Torchac(Session):
    """Tables of 32 entries, one looked up for each symbol, since that is what its interface takes."""

    ENTRIES = 32

    def __init__(self, case: Case) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            import torchac  # compiles itself

        super().__init__(case)
        self.module = torchac
        cdfs = peer_cdfs(case)
        half = self.ENTRIES // 2
        probability = np.zeros((len(cdfs["cdf"]), self.ENTRIES))
        for row, (cdf, length, offset) in enumerate(zip(*(cdfs[name].numpy() for name in ("cdf", "length", "offset")))):
            frequency = np.diff(cdf[:length - 1].astype(np.int64))
            places = np.clip(np.arange(offset, offset + len(frequency)) + half, 0, self.ENTRIES - 1)
            np.add.at(probability[row], places, frequency)
        frequency = np.maximum(1, np.floor(probability / probability.sum(axis=1, keepdims=True)
                                           * (65536 - self.ENTRIES)))
        frequency[np.arange(len(frequency)), frequency.argmax(axis=1)] += 65536 - frequency.sum(axis=1)
        cdf = np.concatenate([np.zeros((len(frequency), 1)), np.cumsum(frequency, axis=1)], axis=1)
        self.cdf = torch.from_numpy(cdf.astype(np.uint16).view(np.int16))
        self.expected = np.clip(case.symbols, -half, half - 1)
        self.symbols = torch.from_numpy((self.expected + half).astype(np.int16).reshape(-1))
        self.index = torch.from_numpy(case.index.astype(np.int64).reshape(-1))

    def encode(self) -> bytes:
        return bytes(self.module.encode_int16_normalized_cdf(self.cdf[self.index], self.symbols))

    def decode(self, data: bytes) -> Any:
        return self.module.decode_int16_normalized_cdf(self.cdf[self.index], data) - self.ENTRIES // 2


class Constriction(Session):
    """Its range coder with its own quantized Gaussians, or a categorical model a channel."""

    REACH = 1000

    def __init__(self, case: Case) -> None:
        import constriction

        super().__init__(case)
        self.queue, model = constriction.stream.queue, constriction.stream.model
        if case.pmf is None:
            self.gaussian = model.QuantizedGaussian(-self.REACH, self.REACH)
        else:
            self.models = [model.Categorical(row.astype(np.float32), perfect=False) for row in case.pmf]
            self.offset = case.pmf.shape[1] // 2
        self.symbols = torch.from_numpy(case.symbols.astype(np.int32))
        self.index = torch.from_numpy(case.index)

    def encode(self) -> bytes:
        coder, symbols = self.queue.RangeEncoder(), self.symbols.numpy()
        if self.case.pmf is None:
            scale = SCALES[self.index.numpy()]
            coder.encode(symbols, self.gaussian, np.zeros_like(scale), scale)
        else:
            for row, model in zip(symbols + self.offset, self.models):
                coder.encode(row, model)
        return bytes(coder.get_compressed().tobytes())

    def decode(self, data: bytes) -> Any:
        coder = self.queue.RangeDecoder(np.frombuffer(data, np.uint32))
        if self.case.pmf is None:
            scale = SCALES[self.index.numpy()]
            return coder.decode(self.gaussian, np.zeros_like(scale), scale)
        size = self.symbols.shape[1]
        return np.stack([coder.decode(model, size) for model in self.models]) - self.offset


class TorchAns(Session):
    """rans64, four states, table lookup of symbols: the fastest of its settings on CPUs."""

    LOOKUP_BITS = 9

    def __init__(self, case: Case) -> None:
        from torch_ans.utils import TorchANSInterface, build_cdf_with_inverse_table

        super().__init__(case)
        cdfs = peer_cdfs(case)
        self.coder = TorchANSInterface(impl="rans64", num_interleaves=4, num_parallel_states=1, freq_precision=16,
                                       inverse_cdf_precision=self.LOOKUP_BITS)
        table = build_cdf_with_inverse_table(cdfs["cdf"], freq_precision=16, table_precision=self.LOOKUP_BITS)
        self.coder.set_cdfs(table, cdfs["length"], cdfs["offset"])
        self.symbols = torch.from_numpy(case.symbols.astype(np.int32)).reshape(1, -1)
        self.index = torch.from_numpy(case.index.astype(np.int32)).reshape(1, -1)

    def encode(self) -> bytes:
        return bytes(self.coder.encode_with_indexes(self.symbols, self.index))

    def decode(self, data: bytes) -> Any:
        return self.coder.decode_with_indexes(data, self.index)


PEERS: dict[str, tuple[str, type[Session]]] = {
    "CompressAI": ("compressai", CompressAI),
    "torchac": ("torchac", Torchac),
    "constriction": ("constriction", Constriction),
    "torch_ans": ("torch_ans", TorchAns),
}
"""By the name shown: the distribution on PyPI, and the session."""


def own_coders() -> dict[str, Callable[[Case], Session]]:
    """lvc.coding once for each of its kernels, the emulated warp left out; the fastest last."""
    return {f"lvc {name}": type(f"Lvc_{name}", (Lvc,), {"kernels": name})
            for name in available_kernels() if name != "warp"}


def peer_coders(only: Sequence[str] | None = None) -> tuple[
        dict[str, Callable[[Case], Session]], dict[str, str], dict[str, str]]:
    """Peers that work on this machine (all, or those named), their versions, and why others do not."""
    coders: dict[str, Callable[[Case], Session]] = {}
    versions, skipped = {}, {}
    for name, (distribution, session) in PEERS.items():
        if only is not None and name not in only:
            continue
        try:
            versions[name] = importlib.metadata.version(distribution)
            trial = session(make_case("lo", 10))
            trial.decode(trial.encode())
        except Exception as error:  # whatever keeps somebody else's package from working
            versions.pop(name, None)
            first = next(iter(str(error).splitlines()), "")
            skipped[name] = f"{type(error).__name__}: {first}"
            continue
        coders[name] = session
    return coders, versions, skipped


def select(session: Session) -> None:
    """Switch to the kernels that a session of lvc is to be measured with."""
    if isinstance(session, Lvc):
        use_kernels(session.kernels)
