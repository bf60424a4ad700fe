"""How fast entropy coders are, and what their streams cost: lvc.coding against those on PyPI.

    python benchmarks/coder.py --out benchmarks/results/coder.json

Writes the JSON and a Markdown page beside it; --page-only measures nothing and writes the page of a JSON that is
there. Peers are CompressAI, torchac, constriction and torch_ans (`pip install 'lvc[bench]'`); one that does not work on
this machine is left out with the reason. All run on one core, in turns.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchlib import environment
from benchlib.results import write_atomically
from coderlib.cases import make_case
from coderlib.measure import WrongSymbols, one_core, sizes, small_streams, speeds
from coderlib.peers import PEERS, own_coders, peer_coders
from coderlib.tables import CASES, page
from coderlib.targets import target_lines
from tqdm import tqdm

import lvc
from lvc.coding import current_kernels, use_kernels

RESULTS = Path(__file__).parent / "results" / "coder.json"


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="coder.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("--symbols", type=int, default=1 << 20, metavar="N", help="timed with (default: 1048576)")
    result.add_argument("--kilobytes", type=int, default=300, metavar="KB",
                        help="size of the streams whose overhead is measured (default: 300)")
    result.add_argument("--streams", type=int, default=60, metavar="N",
                        help="small streams whose size is measured (default: 60)")
    result.add_argument("--rounds", type=int, default=11, metavar="N", help="default: 11")
    result.add_argument("--core", type=int, metavar="N", help="to run on (default: the last one)")
    result.add_argument("--only", nargs="*", choices=PEERS, metavar="PEER",
                        help=f"these of {', '.join(PEERS)} (none: lvc alone; default: all)")
    result.add_argument("--page-only", action="store_true", help="measure nothing: write the page of the JSON anew")
    result.add_argument("--out", type=Path, default=RESULTS, metavar="JSON", help=f"default: {RESULTS.name}")
    return result


def measure(arguments: argparse.Namespace, core: int | None) -> dict[str, Any]:
    """All figures. Raises WrongSymbols if a coder is not lossless."""
    peers, versions, skipped = peer_coders(arguments.only)
    for name, why in skipped.items():
        print(f"{name} is left out: {why}", file=sys.stderr)
    coders = {**own_coders(), **peers}
    cases = [make_case(name, arguments.symbols) for name in CASES]
    bits = {case.name: case.ideal_bits / case.symbols.size for case in cases}
    with tqdm(total=arguments.rounds, desc="speeds", unit="round", file=sys.stderr) as progress:
        rows = speeds(coders, cases, arguments.rounds, progress.update)
    large = [make_case(name, int(8000 * arguments.kilobytes / bits[name]), seed=2) for name in CASES]
    whole = sizes(coders, large)
    small = small_streams(coders, arguments.streams, arguments.rounds)
    return {
        "coder_results": 1, "speeds": rows, "sizes": whole, "small": small, "skipped": skipped,
        "versions": {"lvc": lvc.__version__, **versions}, "machine": environment.machine(),
        "commit": environment.commit(),
        "settings": {"symbols": arguments.symbols, "rounds": arguments.rounds, "core": core, "bits": bits,
                     "kilobytes": arguments.kilobytes},
    }


def load(path: Path) -> dict[str, Any]:
    """Results as they were written. Raises OSError or ValueError."""
    results = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(results, dict) or results.get("coder_results") != 1:
        raise ValueError(f"{path}: not a file of benchmarks/coder.py")
    return results


def write_page(results: dict[str, Any], path: Path) -> None:
    text = page(results, target_lines(results))
    write_atomically(path, text)
    print(text, end="")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    if arguments.page_only:
        try:
            write_page(load(arguments.out), arguments.out.with_suffix(".md"))
        except (OSError, ValueError) as error:
            print(f"coder.py: error: {error}", file=sys.stderr)
            return 1
        return 0
    if min(arguments.symbols, arguments.rounds, arguments.kilobytes, arguments.streams - 1) < 1:
        print("coder.py: error: numbers must be positive, and two streams at least", file=sys.stderr)
        return 2
    before = current_kernels()
    try:
        with one_core(arguments.core) as core:
            results = measure(arguments, core)
    except (WrongSymbols, OSError) as error:
        print(f"coder.py: error: {error}", file=sys.stderr)
        return 1
    finally:
        use_kernels(before)
    write_atomically(arguments.out, json.dumps(results, indent=1) + "\n")
    write_page(results, arguments.out.with_suffix(".md"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
