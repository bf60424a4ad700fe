"""Decode damaged streams under AddressSanitizer and UBSan, and count what goes unnoticed.

    python benchmarks/coder_fuzz.py --inputs 10000000

Builds csrc/tests/fuzz_rans.cpp (the C++ compiler is $CXX, or c++), runs it with one seed after the other, and writes
the counts as JSON and as a Markdown page after each. It ends with an error where the program stops: then a kernel
read out of bounds, two kernels disagreed, or a sound stream did not come back.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchlib.results import write_atomically

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "coder-fuzz.json"
FLAGS = ("-std=c++17", "-O1", "-g1", "-fno-sanitize-recover=all", "-fsanitize=address,undefined")
SETTINGS = {"codec": "tables like those of a codec, values drawn from them",
            "extreme": "extreme tables, values mostly rare or escapes"}
DAMAGES = {"flips": "one to three bits flipped", "cuts": "cut off", "random": "random bytes, all or from some place on",
           "splices": "spliced out of two streams", "insertions": "one to eight bytes inserted"}


class FuzzFailure(Exception):
    """The program could not be built, or stopped; the text says how."""


def build(folder: Path) -> Path:
    """The fuzzer, compiled. Raises FuzzFailure."""
    program = folder / "fuzz_rans"
    sources = [ROOT / "csrc" / "tests" / "fuzz_rans.cpp", *sorted((ROOT / "csrc" / "cpu").glob("*.cpp"))]
    command = [os.environ.get("CXX", "c++"), *FLAGS, *map(str, sources), "-o", str(program)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise FuzzFailure(f"no C++ compiler: {error}") from error
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["no message"]
        raise FuzzFailure(f"the fuzzer does not compile: {lines[-1]}")
    return program


def run(program: Path, seed: int, rounds: int, inputs: int) -> dict[str, Any]:
    """What the program printed for one seed. Raises FuzzFailure if it stopped."""
    result = subprocess.run([str(program), str(seed), str(rounds), str(inputs)], capture_output=True, text=True,
                            check=False)
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.strip("= ")] or ["no message"]
        raise FuzzFailure(f"seed {seed} stopped with {result.returncode}: {lines[0]}")
    counts: dict[str, Any] = json.loads(result.stdout)
    return counts


def add(total: dict[str, Any], counts: Mapping[str, Any]) -> None:
    """Add what one seed gave to a total: [inputs, accepted, accepted with CRC] by setting and damage."""
    total["seeds"] = total.get("seeds", 0) + 1
    total["rounds"] = total.get("rounds", 0) + counts["rounds"]
    for setting in SETTINGS:
        of = total.setdefault(setting, {})
        for name in DAMAGES:
            of[name] = [a + b for a, b in zip(of.get(name, [0, 0, 0]), counts[setting][name])]


def inputs_of(total: Mapping[str, Any]) -> int:
    return sum(total[setting][name][0] for setting in SETTINGS for name in DAMAGES if setting in total)


def page(total: Mapping[str, Any]) -> str:
    """The Markdown page."""
    lines = [
        "# Damaged streams", "",
        f"Written by `python benchmarks/coder_fuzz.py`: {inputs_of(total):,} damaged inputs of {total['rounds']:,} "
        f"streams, {total['seeds']} seeds from {total['first_seed']} on, under AddressSanitizer and UBSan. No "
        "crash, no read out of bounds, no hang; all kernels agreed on every input (the emulated "
        "warp on every eighth).", "",
        "Accepted: decoded to the end without an error, but to other symbols. With CRC: those whose CRC-32C, which "
        "packets of the container carry, is that of the sound stream, too.",
    ]
    for setting, what in SETTINGS.items():
        lines += ["", f"**{what[0].upper()}{what[1:]}**", "", "| damage | inputs | accepted | share | with CRC |",
                  "| --- | ---: | ---: | ---: | ---: |"]
        rows = {DAMAGES[name]: total[setting][name] for name in DAMAGES}
        rows["all"] = [sum(column) for column in zip(*rows.values())]
        lines += [f"| {name} | {n:,} | {accepted:,} | {100 * accepted / max(1, n):.4f} % | {crc:,} |"
                  for name, (n, accepted, crc) in rows.items()]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="coder_fuzz.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=1_000_000, metavar="N", help="at least (default: 1000000)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="the first one (default: 1)")
    parser.add_argument("--rounds", type=int, default=400, metavar="N", help="streams a seed (default: 400)")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="JSON", help=f"default: {RESULTS.name}")
    arguments = parser.parse_args(argv)
    if min(arguments.inputs, arguments.seed + 1, arguments.rounds - 1) < 1:
        print("coder_fuzz.py: error: numbers must be positive, and two rounds at least", file=sys.stderr)
        return 2
    total: dict[str, Any] = {"fuzz_results": 1, "first_seed": arguments.seed}
    begin = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="lvc-fuzz-") as folder:
            program = build(Path(folder))
            seed = arguments.seed
            while inputs_of(total) < arguments.inputs:
                add(total, run(program, seed, arguments.rounds, 250))
                seed += 1
                write_atomically(arguments.out, json.dumps(total, indent=1) + "\n")
                write_atomically(arguments.out.with_suffix(".md"), page(total))
                print(f"seed {seed - 1}: {inputs_of(total):,} inputs after {time.monotonic() - begin:.0f} s",
                      file=sys.stderr)
    except FuzzFailure as error:
        print(f"coder_fuzz.py: error: {error}", file=sys.stderr)
        return 1
    print(page(total), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
