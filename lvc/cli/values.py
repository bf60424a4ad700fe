"""Types of arguments, for argparse."""

from __future__ import annotations

import argparse


def parse_size(text: str) -> tuple[int, int]:
    """``WIDTHxHEIGHT``."""
    width, _, height = text.lower().partition("x")
    try:
        return int(width), int(height)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form WIDTHxHEIGHT") from None


def parse_rate(text: str) -> float:
    """A frame rate, ``25`` or ``30000/1001``."""
    top, _, bottom = text.partition("/")
    try:
        value = float(top) / float(bottom or 1)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"{text!r} is no frame rate") from None
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no frame rate")
    return value
