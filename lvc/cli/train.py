"""``lvc train``."""

from __future__ import annotations

from typing import Any

from lvc.train.arguments import add_arguments, run


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "train", help="train a codec",
        description="Train a codec by a recipe. A training that was stopped goes on where it was. For several "
                    "processes or machines: torchrun --nproc-per-node N -m lvc.train, with the same arguments.")
    add_arguments(parser)
    parser.set_defaults(run=run)
