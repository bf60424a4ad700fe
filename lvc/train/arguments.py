"""Arguments of a training, for ``lvc train`` and ``python -m lvc.train``. Loads nothing heavy."""

from __future__ import annotations

import argparse
import os


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to a parser."""
    parser.add_argument("recipe", metavar="RECIPE", help="TOML file, or name of a recipe that ships with lvc")
    parser.add_argument("--data", action="append", default=[], metavar="PATH",
                        help="video, folder of videos or prepared cache to train on; may be repeated")
    parser.add_argument("--val", action="append", default=[], metavar="PATH",
                        help="video, folder of videos or prepared cache to validate on; may be repeated")
    parser.add_argument("--runs", default="runs", metavar="FOLDER", help="for caches, checkpoints and logs")
    parser.add_argument("--threads", type=int, default=0, metavar="N",
                        help="of the computation; 0 (default): as many as torch takes")
    parser.add_argument("--workers", type=int, default=1, metavar="N",
                        help="threads that make batches (default: %(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto",
                        help="default: a GPU if there is one and the recipe can use it")
    parser.add_argument("--smoke", type=int, default=0, metavar="STEPS",
                        help="see whether a recipe runs: each stage for STEPS steps of one small sample")


def run(args: argparse.Namespace) -> int:
    """Train; return the exit code."""
    from lvc.errors import UsageError

    try:
        from lvc.train import train

        weights = train(args.recipe, data=args.data, val=args.val, runs=args.runs, threads=args.threads,
                        workers=args.workers, device=args.device, smoke=args.smoke)
    except ModuleNotFoundError as error:
        raise UsageError(f"training needs the package {error.name}: pip install 'lvc[train]'") from error
    if os.environ.get("RANK", "0") == "0":
        print(f"weights: {weights}")
    return 0
