"""``lvc extract-base``."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "extract-base", help="take the standard stream out of an lvc file",
        description="Take the standard stream that is in an lvc file of the codecs restore and stsr, or of an external "
                    "codec, as a file that other players take. Nothing is decoded or encoded.")
    parser.add_argument("input", metavar="IN", help="lvc file")
    parser.add_argument("output", metavar="OUT", help=".mp4 or .mkv")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    from lvc.codecs.extract import extract_base

    report = extract_base(args.input, args.output)
    if not args.quiet:
        print(f"{args.output}: {report.frames} frames, {report.bytes} bytes ({report.codec})")
    return 0
