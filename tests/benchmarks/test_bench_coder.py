"""benchmarks/coder.py and coder_fuzz.py: what is coded, a small run of each, and the pages."""

from __future__ import annotations

import json
import os
from itertools import pairwise

import coder
import coder_fuzz
import numpy as np
import pytest
from coderlib import peers
from coderlib.cases import CHANNELS, make_case, peer_cdfs
from coderlib.measure import WrongSymbols, clock, one_core, sizes
from coderlib.tables import page, ratios
from coderlib.targets import THERE, against_targets, ratio_line, target_lines

from lvc.coding import current_kernels

SMALL = ["--symbols", "3000", "--rounds", "1", "--streams", "2", "--kilobytes", "1"]


@pytest.mark.parametrize(("name", "bits"), [("lo", 0.6), ("hi", 2.5)])
def test_bits_of_the_gaussian_cases(name, bits):
    case = make_case(name, 100_000)
    assert case.ideal_bits / 100_000 == pytest.approx(bits, rel=0.05)
    assert case.symbols.shape == case.index.shape == (100_000,)


def test_the_ideal_is_the_entropy():
    """Symbols are drawn from the distributions that their ideal length is reckoned with."""
    case = make_case("factorized", 400_000)
    assert case.symbols.shape == (CHANNELS, 400_000 // CHANNELS)
    entropy = -(case.pmf * np.log2(np.maximum(case.pmf, 1e-300))).sum(axis=1).mean()
    assert case.ideal_bits / case.symbols.size == pytest.approx(entropy, rel=0.01)
    assert make_case("factorized", 100).symbols.shape == (CHANNELS, 1)


@pytest.mark.parametrize("name", ["lo", "factorized"])
def test_cdfs_of_the_peers_are_of_16_bits(name):
    cdfs = peer_cdfs(make_case(name, 10))
    for row, length in zip(cdfs["cdf"].tolist(), cdfs["length"].tolist()):
        assert row[0] == 0
        assert row[length - 1] == 65536
        assert all(a < b for a, b in pairwise(row[:length]))


def test_a_run_with_one_peer(tmp_path, capsys):
    before, kernels = os.sched_getaffinity(0), current_kernels()
    out = tmp_path / "coder.json"
    assert coder.main([*SMALL, "--only", "CompressAI", "--out", str(out)]) == 0
    assert os.sched_getaffinity(0) == before
    assert current_kernels() == kernels
    results = json.loads(out.read_text())
    names = [row["coder"] for row in results["small"]]
    assert names[0] == "lvc scalar"
    assert names[-1] == "CompressAI"
    assert {(row["coder"], row["case"]) for row in results["speeds"]} == {
        (name, case) for name in names for case in ("lo", "hi", "factorized")}
    assert all(row["encode_msymbols"] > 0 and row["decode_msymbols"] > 0 for row in results["speeds"])
    for row in results["sizes"]:
        assert row["ideal_bytes"] == pytest.approx(1000, rel=0.1)
        assert row["ideal_bytes"] * 0.99 < row["bytes"] < row["ideal_bytes"] * 1.1
    text = out.with_suffix(".md").read_text()
    assert text == capsys.readouterr().out
    assert all(f"| {name} |" in text for name in names)


def test_peers_that_do_not_work_are_left_out_with_the_reason(tmp_path, capsys, monkeypatch):
    class Broken(peers.Session):
        def __init__(self, case):
            raise ImportError("no such compiler\nand a second line")

    monkeypatch.setattr(peers, "PEERS", {"torchac": ("compressai", Broken), "constriction": ("no-such-thing", Broken)})
    out = tmp_path / "coder.json"
    assert coder.main([*SMALL, "--out", str(out)]) == 0
    results = json.loads(out.read_text())
    assert results["skipped"]["torchac"] == "ImportError: no such compiler"
    assert results["skipped"]["constriction"].startswith("PackageNotFoundError")
    assert list(results["versions"]) == ["lvc"]
    captured = capsys.readouterr()
    assert "torchac is left out: ImportError: no such compiler" in captured.err
    assert "torchac is left out: ImportError: no such compiler." in captured.out


class Forgetful(peers.Lvc):
    kernels = "scalar"

    def decode(self, data):
        return np.zeros_like(super().decode(data))


def test_a_coder_that_gives_back_other_symbols_is_an_error(tmp_path, capsys, monkeypatch):
    with pytest.raises(WrongSymbols, match="forgetful did not give back the symbols of lo"):
        sizes({"forgetful": Forgetful}, [make_case("lo", 100)])
    monkeypatch.setattr(coder, "own_coders", lambda: {"forgetful": Forgetful})
    assert coder.main([*SMALL, "--only", "--out", str(tmp_path / "coder.json")]) == 1
    assert "did not give back" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_wrong_numbers(tmp_path, capsys):
    for wrong in (["--rounds", "0"], ["--symbols", "-1"], ["--streams", "1"]):
        assert coder.main([*wrong, "--out", str(tmp_path / "x.json")]) == 2
        assert "must be positive" in capsys.readouterr().err
    assert coder.main([*SMALL, "--core", "99999", "--only", "--out", str(tmp_path / "x.json")]) == 1
    assert "coder.py: error" in capsys.readouterr().err


def test_clock_counts_a_call(monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr("time.process_time", lambda: next(now) * 0.0008)
    calls = []
    assert clock(lambda: calls.append(1)) == pytest.approx(0.0008)
    assert len(calls) == 3


def test_one_core_gives_the_others_back():
    before = os.sched_getaffinity(0)
    with one_core(None) as core:
        assert os.sched_getaffinity(0) == {core}
    assert os.sched_getaffinity(0) == before
    with pytest.raises(ZeroDivisionError), one_core(min(before)):
        raise ZeroDivisionError
    assert os.sched_getaffinity(0) == before


def results_of(speeds: dict[str, tuple[float, float]]) -> dict:
    """Results as coder.py makes them, with one speed to encode and one to decode for all cases; the fastest of three
    rounds is a tenth faster."""
    cases = ("lo", "hi", "factorized")
    return {
        "speeds": [{"coder": name, "case": case, "symbols": 1e6, "encode_msymbols": a, "decode_msymbols": b,
                    "encode_s": [1 / a, 1 / (1.1 * a), 2 / a], "decode_s": [1 / b, 1 / (1.1 * b), 2 / b]}
                   for name, (a, b) in speeds.items() for case in cases],
        "sizes": [{"coder": name, "case": case, "bytes": 1010, "ideal_bytes": 1000, "clipped": name == "torchac"}
                  for name in speeds for case in cases],
        "small": [{"coder": name, "mean_bytes_over": 3.25, "encode_us": 12.4, "decode_us": 9.7} for name in speeds],
        "skipped": {}, "versions": {"lvc": "1"}, "machine": {"cpu": "some CPU"},
        "settings": {"rounds": 3, "symbols": 1000, "bits": dict.fromkeys(cases, 1.0), "kilobytes": 300},
    }


def test_ratios_and_page():
    results = results_of({"lvc avx2": (600, 500), "CompressAI": (20, 10), "torchac": (10, 10), "torch_ans": (100, 50)})
    found = {(row["case"], row["side"]): (row["compressai"], row["best_other"]) for row in ratios(results)}
    assert found["hi", "encode"] == (30, 6)
    assert found["lo", "decode"] == (50, 10)
    text = page(results)
    assert "| lvc avx2 | 600 / 500 | 600 / 500 | 600 / 500 | 1.000 / 1.000 / 1.000 | 3.2 | 12 / 10 |" in text
    assert "| lvc avx2 | 30x / 6x | 50x / 10x |" in text
    assert "clipped / clipped / clipped" in text
    alone = results_of({"lvc scalar": (100, 50)})
    assert "| lvc scalar | - / - |" in page(alone)


def test_targets_are_held_against_what_was_measured_and_scaled():
    """CompressAI at half of its speed on the machine of the targets, torchac at all of it."""
    results = results_of({"lvc avx2": (590, 400), "lvc scalar": (100, 250), "CompressAI": (1, 1), "torchac": (1, 1)})
    for row in results["speeds"]:
        for side in ("encode", "decode"):
            if row["coder"] in THERE and row["case"] != "factorized":
                there = THERE[row["coder"]][row["case"], side]
                row[f"{side}_msymbols"] = there / 2 if row["coder"] == "CompressAI" else there
    rows = {(row["coder"], row["case"], row["side"]): row for row in against_targets(results)}
    assert len(rows) == 12
    row = rows["lvc avx2", "hi", "decode"]
    assert (row["target"], row["measured"], row["scaled"], row["least"]) == pytest.approx((450, 400, 800, 400))
    assert rows["lvc avx2", "factorized", "encode"]["scaled"] is None
    text = "\n".join(target_lines(results))
    assert "| lvc avx2 | **590** / 600 (1180) | **400** / 600 (800) | **590** / 600 (1180) | **400** / 450 (80" in text
    assert "5 of 12 targets are reached; missed: scalar lo encode (-66.7 %), " in text
    assert ("in the fastest round of each, missed: scalar lo encode (-63.3 %), scalar hi encode (-63.3 %), scalar "
            "factorized encode (-45.0 %), avx2 lo decode (-26.7 %), avx2 hi decode (-2.2 %).") in text
    assert "CompressAI 0.50, 0.50, 0.50, 0.50; torchac 1.00, 1.00, 1.00, 1.00." in text
    assert ("By CompressAI's share, missed: scalar lo encode (-33.3 %), scalar hi encode (-33.3 %); by that of the "
            "peer that loses least: scalar lo encode (-66.7 %), ") in text
    assert target_lines(results_of({"CompressAI": (1, 1)})) == []
    alone = "\n".join(target_lines(results_of({"lvc avx512": (2000, 2000)})))
    assert alone.endswith("6 of 6 targets are reached.")


def test_ratios_that_were_aimed_at():
    others = {"CompressAI": (20, 10), "torch_ans": (100, 50)}
    results = results_of({"lvc scalar": (600, 399), "lvc avx2": (600, 400), **others})
    assert ratio_line(results).endswith("everywhere: reached by avx2, not by scalar.")
    assert ratio_line(results_of({"lvc avx2": (600, 400), "CompressAI": (20, 10), "torch_ans": (151, 50)})).endswith(
        "reached by none, not by avx2.")
    assert ratio_line(results_of({"lvc avx2": (600, 400), "CompressAI": (1, 1)})) == ""


def test_the_page_of_results_that_are_there(tmp_path, capsys):
    """What is kept in the repository is what its JSON says; nothing is measured."""
    kept = coder.RESULTS.read_text()
    out = tmp_path / "coder.json"
    out.write_text(kept)
    assert coder.main(["--page-only", "--out", str(out)]) == 0
    assert out.with_suffix(".md").read_text() == coder.RESULTS.with_suffix(".md").read_text()
    assert out.read_text() == kept
    out.write_text("{}")
    for path, message in ((out, "not a file of benchmarks/coder.py"), (tmp_path / "no.json", "No such file")):
        assert coder.main(["--page-only", "--out", str(path)]) == 1
        assert message in capsys.readouterr().err


COUNTS = {"rounds": 10,
          **{setting: {name: [100, 2, 0] for name in coder_fuzz.DAMAGES} for setting in coder_fuzz.SETTINGS}}


def test_fuzz_counts_add_up_over_seeds(tmp_path, capsys, monkeypatch):
    seeds = []

    def run(program, seed, rounds, inputs):
        seeds.append(seed)
        return COUNTS

    monkeypatch.setattr(coder_fuzz, "build", lambda folder: folder / "program")
    monkeypatch.setattr(coder_fuzz, "run", run)
    out = tmp_path / "fuzz.json"
    assert coder_fuzz.main(["--inputs", "2500", "--seed", "7", "--out", str(out)]) == 0
    assert seeds == [7, 8, 9]
    total = json.loads(out.read_text())
    assert total["codec"]["flips"] == [300, 6, 0]
    assert total["rounds"] == 30
    text = out.with_suffix(".md").read_text()
    assert "3,000 damaged inputs of 30 streams, 3 seeds from 7 on" in text
    assert "| all | 1,500 | 30 | 2.0000 % | 0 |" in text


def test_fuzzing_ends_where_the_program_stops(tmp_path, capsys, monkeypatch):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho '=====' >&2\necho 'heap-buffer-overflow' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(coder_fuzz, "build", lambda folder: program)
    assert coder_fuzz.main(["--out", str(tmp_path / "fuzz.json")]) == 1
    assert "seed 1 stopped with 1: heap-buffer-overflow" in capsys.readouterr().err
    assert not (tmp_path / "fuzz.json").exists()
    assert coder_fuzz.main(["--inputs", "0"]) == 2


def test_a_compiler_that_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(coder_fuzz.FuzzFailure, match="no C\\+\\+ compiler"):
        coder_fuzz.build(tmp_path)
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(coder_fuzz.FuzzFailure, match="does not compile"):
        coder_fuzz.build(tmp_path)
