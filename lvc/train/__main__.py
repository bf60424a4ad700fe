"""``python -m lvc.train RECIPE``, ``torchrun --nproc-per-node 2 -m lvc.train RECIPE``: as ``lvc train``."""

from __future__ import annotations

import argparse
import sys

from lvc.errors import LvcError, UsageError
from lvc.train.arguments import add_arguments, run


def main() -> int:
    """Train by the arguments of the process; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lvc.train",
                                     description="Train a codec by a recipe; torchrun starts several at once.")
    add_arguments(parser)
    try:
        return run(parser.parse_args())
    except LvcError as error:
        print(f"lvc.train: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1


if __name__ == "__main__":
    sys.exit(main())
