"""The command line: parser, exit codes, errors in one line.

Exit codes: 0 all well, 1 an error (one line on stderr), 2 wrong usage, 3 the output was written, but parts of
the input were damaged, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from lvc.cli import codecs, data, decode, encode, extract, info, plot, train
from lvc.errors import LvcError, UsageError

OK, FAILED, USAGE, PARTIAL, INTERRUPTED = 0, 1, 2, 3, 130


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each sets ``run``, which takes the arguments and returns an exit code."""
    parser = argparse.ArgumentParser(prog="lvc", description="Learned video compression.")
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command")
    for module in (encode, decode, extract, info, plot, data, train, codecs):
        module.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: arguments without the program's name; None takes those of the process.

    Returns:
        The exit code.
    """
    parser = build_parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else USAGE
    if args.version:
        from lvc import __version__

        print(f"lvc {__version__}")
        return OK
    if args.command is None:
        parser.print_usage(sys.stderr)
        return USAGE
    # a task that is told to end cleans up just as one that is interrupted
    main_thread = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, _interrupt) if main_thread else None
    try:
        return int(args.run(args))
    except UsageError as error:
        print(f"lvc: error: {error}", file=sys.stderr)
        return USAGE
    except LvcError as error:
        print(f"lvc: error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("lvc: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # who read our output went away; nothing may be written at exit, either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except MemoryError:
        print("lvc: error: out of memory", file=sys.stderr)
        return FAILED
    finally:
        if main_thread:
            signal.signal(signal.SIGTERM, previous)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
