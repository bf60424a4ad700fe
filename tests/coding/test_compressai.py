"""The coder inside CompressAI's models: the same latents with it, errors for damage, and the way back."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from compressai.entropy_models import EntropyBottleneck, GaussianConditional
from compressai.models import MeanScaleHyperprior
from torch import nn

from lvc.coding import CdfTables, Decoder
from lvc.coding.compressai import replace_coder, restore_coder
from lvc.errors import CorruptStreamError, UsageError

SCALES = np.geomspace(0.11, 20, 12).tolist()


@pytest.fixture(scope="module")
def gaussian_tables() -> GaussianConditional:
    model = GaussianConditional(SCALES)
    model.update()
    return model


@pytest.fixture
def gaussian(gaussian_tables: GaussianConditional) -> GaussianConditional:
    """GaussianConditional with this coder."""
    return replace_coder(copy.deepcopy(gaussian_tables))


@pytest.fixture
def bottleneck() -> EntropyBottleneck:
    """EntropyBottleneck of five channels, medians that are no integers, with this coder."""
    torch.manual_seed(1)
    model = EntropyBottleneck(5)
    with torch.no_grad():
        model.quantiles[:, 0, 1] += torch.linspace(-1.3, 1.3, 5)
    model.update()
    return replace_coder(model)


def sample(seed: int = 1, shape: tuple[int, ...] = (2, 3, 7, 5)) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs, indexes and means for a GaussianConditional; one value far out, coded as an escape."""
    generator = torch.Generator().manual_seed(seed)
    indexes = torch.randint(len(SCALES), shape, generator=generator, dtype=torch.int32)
    means = torch.randn(shape, generator=generator)
    inputs = means + torch.randn(shape, generator=generator) * torch.tensor(SCALES)[indexes.long()]
    inputs.view(-1)[3] = 5000
    return inputs, indexes, means


@pytest.mark.parametrize("with_means", [False, True])
def test_gaussian_conditional(gaussian, gaussian_tables, with_means):
    inputs, indexes, means = sample()
    given = means if with_means else None
    strings = gaussian.compress(inputs, indexes, given)
    assert [type(string) for string in strings] == [bytes, bytes]
    expected = gaussian_tables.quantize(inputs, "dequantize", given)
    assert torch.equal(gaussian.decompress(strings, indexes, means=given), expected)
    own = gaussian_tables.compress(inputs, indexes, given)
    assert torch.equal(gaussian_tables.decompress(own, indexes, means=given), expected)
    assert sum(map(len, strings)) < sum(map(len, own))


def test_means_of_a_channel(gaussian):
    """Means may have one value for all places, as CompressAI allows."""
    inputs, indexes, _ = sample()
    means = torch.full((2, 3, 1, 1), 0.3)
    strings = gaussian.compress(inputs, indexes, means)
    assert torch.equal(gaussian.decompress(strings, indexes, means=means), torch.round(inputs - means) + means)


def test_dtype_and_kinds_of_index(gaussian):
    inputs, indexes, _ = sample()
    strings = gaussian.compress(inputs, indexes)
    for kind in (torch.uint8, torch.int16, torch.int64):
        assert gaussian.compress(inputs, indexes.to(kind)) == strings
        result = gaussian.decompress(strings, indexes.to(kind), dtype=torch.float64)
        assert result.dtype == torch.float64
        assert torch.equal(result, torch.round(inputs).double())


def test_the_bytes_are_those_of_this_coder(gaussian):
    inputs, indexes, _ = sample(shape=(1, 2, 4))
    (data,) = gaussian.compress(inputs, indexes)
    tables = CdfTables(gaussian.quantized_cdf, gaussian.cdf_length, gaussian.offset, 16)
    decoder = Decoder(data, tables)
    assert np.array_equal(decoder.pull(indexes[0]), torch.round(inputs[0]).int())
    decoder.close()


def test_entropy_bottleneck(bottleneck):
    generator = torch.Generator().manual_seed(2)
    x = 3 * torch.randn((2, 5, 6, 4), generator=generator)
    strings = bottleneck.compress(x)
    decoded = bottleneck.decompress(strings, x.shape[2:])
    plain = restore_coder(copy.deepcopy(bottleneck))
    assert torch.equal(decoded, plain.decompress(plain.compress(x), x.shape[2:]))
    assert (decoded - x).abs().max() <= 0.5


def test_a_whole_model():
    """compress and decompress of a hyperprior model give the same picture with both coders."""
    torch.manual_seed(3)
    model = MeanScaleHyperprior(8, 12).eval()
    with torch.no_grad():
        model.g_a[-1].weight *= 30  # so that untrained latents are more than zeros
    model.update(scale_table=SCALES)
    x = torch.rand((2, 3, 64, 128))
    with torch.no_grad():
        own = model.compress(x)
        expected = model.decompress(**own)["x_hat"]
        keys = list(model.state_dict())
        assert replace_coder(model) is model
        assert list(model.state_dict()) == keys
        coded = model.compress(x)
        assert torch.equal(model.decompress(**coded)["x_hat"], expected)
        assert coded["strings"] != own["strings"]
        with pytest.raises(CorruptStreamError):
            model.decompress(**own)
        restore_coder(model)
        assert model.compress(x)["strings"] == own["strings"]
    assert type(model.gaussian_conditional) is GaussianConditional
    assert type(model.entropy_bottleneck) is EntropyBottleneck


def test_new_tables_are_noticed(gaussian):
    """After update() and load_state_dict(), and also where tensors are those of inference mode."""
    inputs, indexes, _ = sample()
    before = gaussian.compress(inputs, indexes)
    state = {key: value.clone() for key, value in gaussian.state_dict().items()}
    gaussian.update_scale_table([2 * scale for scale in SCALES], force=True)
    after = gaussian.compress(inputs, indexes)
    assert after != before
    assert torch.equal(gaussian.decompress(after, indexes), torch.round(inputs))
    gaussian._quantized_cdf = torch.empty_like(state["_quantized_cdf"])
    gaussian.load_state_dict(state)
    assert gaussian.compress(inputs, indexes) == before
    with torch.inference_mode():
        gaussian.update_scale_table([3 * scale for scale in SCALES], force=True)
        third = gaussian.compress(inputs, indexes)
        assert third == gaussian.compress(inputs, indexes)
        cdf = gaussian._quantized_cdf
        cdf[0, -gaussian._offset[0]] += 500  # the value 0 of the narrowest table
        assert gaussian.compress(inputs, indexes) != third


def test_damage_is_an_error(gaussian):
    inputs, indexes, _ = sample()
    strings = gaussian.compress(inputs, indexes)
    for broken in (strings[0][:-1], b"\x01" + strings[0], strings[1]):
        with pytest.raises(CorruptStreamError):
            gaussian.decompress([broken, strings[1]], indexes)


def test_copies_and_pickles(gaussian, bottleneck):
    inputs, indexes, _ = sample()
    strings = gaussian.compress(inputs, indexes)
    both = nn.ModuleList([gaussian, bottleneck])
    file = io.BytesIO()
    torch.save(both, file)
    file.seek(0)
    for again in (copy.deepcopy(both), pickle.loads(pickle.dumps(both)), torch.load(file, weights_only=False)):
        assert again[0].compress(inputs, indexes) == strings
        assert type(again[1]) is type(bottleneck)
        restore_coder(again)
        assert type(again[0]) is GaussianConditional
        assert type(again[1]) is EntropyBottleneck


def test_twice_and_back(gaussian_tables):
    model = copy.deepcopy(gaussian_tables)
    replaced = type(replace_coder(model))
    assert type(replace_coder(model)) is replaced
    assert isinstance(model, GaussianConditional)
    for _ in range(2):
        assert type(restore_coder(model)) is GaussianConditional
    assert not hasattr(model, "_lvc_tables")


class Counting(GaussianConditional):
    """Goes through super(), as EntropyBottleneck does."""

    calls = 0

    def compress(self, *arguments):
        self.calls += 1
        return super().compress(*arguments)


def test_subclasses_that_use_super():
    inputs, indexes, _ = sample()
    model = Counting(SCALES)
    model.update()
    replace_coder(model)
    assert torch.equal(model.decompress(model.compress(inputs, indexes), indexes), torch.round(inputs))
    assert model.calls == 1


WRONG: list[tuple[str, Callable[[GaussianConditional, torch.Tensor, torch.Tensor, list[bytes]], object]]] = [
    ("one shape", lambda model, x, index, strings: model.compress(x, index[:1])),
    ("two dimensions", lambda model, x, index, strings: model.compress(x.view(-1), index.view(-1))),
    ("index must be from 0 to 11", lambda model, x, index, strings: model.compress(x, index + 12)),
    ("index must be from 0 to 11", lambda model, x, index, strings: model.compress(x, index - 5)),
    ("index must be from 0 to 11", lambda model, x, index, strings: model.decompress(strings, index + 256)),
    ("index must hold integers", lambda model, x, index, strings: model.compress(x, index.float())),
    ("list of bytes", lambda model, x, index, strings: model.decompress(strings[0], index)),
    ("two dimensions", lambda model, x, index, strings: model.decompress(strings, index[:, 0, 0, 0])),
    ("1 strings for a batch of 2", lambda model, x, index, strings: model.decompress(strings[:1], index)),
    ("coded data must be bytes", lambda model, x, index, strings: model.decompress([1, 2], index)),
    ("means of the shape", lambda model, x, index, strings: model.decompress(strings, index, means=x[:, :1])),
    ("means of the shape", lambda model, x, index, strings: model.decompress(strings, index, means=x[..., :2])),
]


@pytest.mark.parametrize(("message", "call"), WRONG)
def test_wrong_calls(gaussian, message, call):
    inputs, indexes, _ = sample()
    strings = gaussian.compress(inputs, indexes)
    with pytest.raises(UsageError, match=message):
        call(gaussian, inputs, indexes, strings)


def test_nothing_to_replace():
    for call in (replace_coder, restore_coder):
        for other in (nn.Linear(2, 2), 3, None):
            with pytest.raises(UsageError, match="no entropy model of CompressAI"):
                call(other)


def test_no_tables_yet():
    model = replace_coder(GaussianConditional(SCALES))
    with pytest.raises(UsageError, match="update"):
        model.compress(*sample()[:2])
