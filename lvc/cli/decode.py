"""``lvc decode``."""

from __future__ import annotations

import argparse
import sys
from typing import Any

PARTIAL = 3


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "decode", help="decode an lvc file",
        description="Decode an lvc file. Of a damaged one, what can be decoded is written, what is lost is "
                    f"told, and the exit code is {PARTIAL}.")
    parser.add_argument("input", metavar="IN", help="lvc file")
    parser.add_argument("output", metavar="OUT",
                        help=".mp4 or .mov (H.264), .mkv (lossless), .y4m, .yuv, or a folder for PNG files")
    parser.add_argument("--strict", action="store_true", help="fail at the first damage and write nothing")
    parser.add_argument("--weights", metavar="FILE",
                        help="weights of your own, where the file was not made with those of the package")
    parser.add_argument("--no-enhance", action="store_true",
                        help="decode a layered file without enhancement: restore by its base codec alone, stsr by that "
                             "and the classical enhancer")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors and damage")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    from lvc.api import decode
    from lvc.cli.progress import ProgressBar, ignore, warn

    with ProgressBar("decode", args.quiet) as bar:
        report = decode(args.input, args.output, strict=args.strict, weights=args.weights,
                        enhance=not args.no_enhance, progress=bar, on_warning=ignore if args.quiet else warn)
    for lost in report.damage:
        print(f"lvc: damage: {lost}", file=sys.stderr)
    if not args.quiet:
        state = "complete" if report.complete else "damaged"
        print(f"{args.output}: {report.frames} frames, {state}, {report.fps:.1f} fps ({report.codec})")
    return 0 if report.complete else PARTIAL
