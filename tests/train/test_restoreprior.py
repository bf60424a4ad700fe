"""Tables of filter coefficients out of training clips: python -m lvc.train.restoreprior."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lvc.enhance.adaptive import COEFFICIENT, N_LUMA, PARTITIONS
from lvc.enhance.adaptivefit import _quantize, worth_of_error
from lvc.enhance.coefficients import Coefficients, Quantized
from lvc.enhance.prior import MAX_SPREAD, PER_OCTAVE, FilterPrior, situation
from lvc.enhance.restore import RestoreConfig, RestoreNet
from lvc.enhance.restorer import Restorer
from lvc.train import restoreprior
from lvc.train.restoredata import BaseSpec, DecodedStore, make_decoded
from lvc.train.restoreprior import Group, clip_planes, fit_tables, main, without_proposals
from lvc.weights import load_restore_weights, save_restore_weights

SPECS = (BaseSpec("x264", "veryfast", (32.0, 34.0), 1), BaseSpec("x264", "veryfast", (36.0, 38.0), 2))
OTHERS, OTHERS_ALONE = situation(False, True), situation(False, False)


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(1)
    path = tmp_path / "w.safetensors"
    save_restore_weights(path, RestoreNet(RestoreConfig(width=8, blocks=1)), {})
    return path


@pytest.fixture
def run(monkeypatch, swift_cache, tmp_path):
    """Runs the command on six decoded clips of three videos."""
    monkeypatch.setattr(restoreprior, "BASES", SPECS)

    def call(path):
        return main([str(path), "--data", str(swift_cache), "--runs", str(tmp_path), "--clips", "6", "--frames", "4"])

    return call


def pooled(cache, folder, net):
    """(planes, bits) of all clips."""
    copies = [DecodedStore(cache, make_decoded(cache, folder, spec, progress=False)) for spec in SPECS]
    return [clip_planes(copy, clip, 4, Restorer(net, False)) for copy in copies for clip in range(3)]


def costs(clips, prior: FilterPrior, where: int, plane: int, partition: int) -> tuple[float, int]:
    """What coefficients of clips cost beside no filter, in bits, and their bytes."""
    total, size = 0.0, 0
    for planes, bits in clips:
        products, goals = planes[plane].shared(partition)
        if where == OTHERS_ALONE:
            products, goals = without_proposals((products, goals), plane)
        worth = worth_of_error(bits, plane, len(planes[plane]))
        cost, symbols = _quantize(products, goals, worth, *prior.of(where, plane, partition), 1)
        total += cost
        found: list[Quantized | None] = [None] * 3
        if plane:  # U and V go together
            found[1] = found[2] = Quantized(partition, 1, symbols)
        else:
            found[0] = Quantized(partition, 1, symbols)
        size += len(Coefficients((found[0], found[1], found[2])).to_bytes(prior, where))
    return total, size


def test_coefficients_become_cheaper_and_the_network_stays(run, weights, swift_cache, tmp_path, capsys):
    before = load_restore_weights(weights)
    assert run(weights) == 0
    after = load_restore_weights(weights)
    assert capsys.readouterr().out == f"{weights}: {after.digest.hex()}\n"
    assert after.sha256 != before.sha256
    for name, tensor in before.net.state_dict().items():
        assert name.startswith("prior.") or torch.equal(tensor, after.net.state_dict()[name])
    old, new = before.net.prior, after.net.prior
    found: list[float] = []
    clips = pooled(swift_cache, tmp_path / "restore" / "decoded", before.net)
    for plane in range(3):
        for partition in range(len(PARTITIONS)):
            for where in (OTHERS, OTHERS_ALONE)[: 2 if partition == 0 else 1]:
                one, two = (costs(clips, prior, where, plane, partition) for prior in (old, new))
                assert two[0] < one[0]
                assert two[1] < one[1]
                found.append(two[0])
            for where in (situation(True, True), situation(True, False)):  # no base codec was AV1
                for a, b in zip(old.of(where, plane, partition), new.of(where, plane, partition), strict=True):
                    assert np.array_equal(a, b)
            mean, spread = new.of(OTHERS_ALONE, plane, partition)
            count = 3 if plane else 9
            assert mean[:, :-count].any()
            assert not mean[:, -count:].any()  # of proposals that there are not
            assert not spread[:, -count:].any()
            assert new.of(OTHERS, plane, partition)[0][:, -count:].any()
    assert min(found) < -100  # so filters are worth it


def test_again_gives_the_same(run, weights):
    assert run(weights) == 0
    first = weights.read_bytes()
    assert run(weights) == 0
    assert weights.read_bytes() == first


def test_what_cannot_be(run, tmp_path, capsys):
    assert run(tmp_path / "none.safetensors") == 1
    assert "restoreprior: error: weights none.safetensors cannot be read" in capsys.readouterr().err
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    assert run(tmp_path / "bad.safetensors") == 1
    assert "cannot be used" in capsys.readouterr().err
    assert (tmp_path / "bad.safetensors").read_bytes() == b"nothing"


def test_tables_hold_means_and_deviations():
    """Of coefficients that differ from clip to clip in a known way, and that clips leave no doubt about."""
    rng = np.random.default_rng(1)
    mean, deviation = rng.uniform(-0.3, 0.3, N_LUMA), 10.0 ** rng.uniform(-2, -1, N_LUMA)
    groups = []
    for true in mean + deviation * rng.standard_normal((400, N_LUMA)):
        x = rng.standard_normal((N_LUMA, 120))
        products = (x @ x.T)[None]
        groups.append(Group([(products, products @ true)], 1e6))
    prior = FilterPrior()
    fit_tables(prior, 3, 0, 0, groups)
    means, spreads = prior.of(3, 0, 0)
    assert np.abs(means[0] / COEFFICIENT - mean).max() < 0.02
    assert np.abs(spreads[0] - PER_OCTAVE * np.log2(COEFFICIENT * deviation)).max() < 2
    assert spreads.max() <= MAX_SPREAD
    assert (prior.luma_mean != 0).sum() <= N_LUMA  # no other table was touched
