"""``lvc train``."""

from __future__ import annotations

import argparse
import sys
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "train", help="train a codec",
        description="Train a codec by a recipe. A training that was stopped goes on where it was.")
    parser.add_argument("recipe", metavar="RECIPE", help="TOML file, or name of a recipe that ships with lvc")
    parser.add_argument("--data", action="append", default=[], metavar="PATH",
                        help="video, or folder of videos, to train on; may be repeated")
    parser.add_argument("--val", action="append", default=[], metavar="PATH",
                        help="video, or folder of videos, to validate on; may be repeated")
    parser.add_argument("--runs", default="runs", metavar="FOLDER", help="for caches, checkpoints and logs")
    parser.add_argument("--threads", type=int, default=0, metavar="N",
                        help="0 (default): as many as torch takes")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    from lvc.errors import UsageError

    try:
        from lvc.train import train

        weights = train(args.recipe, data=args.data, val=args.val, runs=args.runs, threads=args.threads)
    except ModuleNotFoundError as error:
        raise UsageError(f"training needs the package {error.name}: pip install 'lvc[train]'") from error
    print(f"weights: {weights}", file=sys.stdout)
    return 0
