"""``lvc codecs``."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("codecs", help="list the codecs", description="List the codecs.")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    from lvc.codecs import codec_names, get_codec
    from lvc.codecs.external import EXTERNAL
    from lvc.errors import LvcError

    for name in codec_names():
        try:
            codec = get_codec(name)
        except LvcError as error:
            print(f"{name:<10} not available: {error}")
            continue
        digest = codec.weights_digest
        kind = f"weights {digest.hex()}" if digest else "external" if codec in EXTERNAL else "needs no weights"
        print(f"{name:<10} {kind}")
    return 0
