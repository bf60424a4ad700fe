"""``lvc info``."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lvc.api import StreamInfo

PARTIAL = 3


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("info", help="tell what an lvc file holds",
                                 description="Tell what an lvc file holds, and check it, without decoding. "
                                             f"The exit code is {PARTIAL} if it is damaged.")
    parser.add_argument("input", metavar="FILE", help="lvc file")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    from lvc.api import probe

    info = probe(args.input)
    if args.json:
        print(json.dumps(info.to_dict(), indent=2))
    else:
        _print(args.input, info)
        for lost in info.damage:
            print(f"lvc: damage: {lost}", file=sys.stderr)
    return PARTIAL if info.damage else 0


def _print(name: str, info: StreamInfo) -> None:
    video = info.video
    weights = f", weights {info.weights_digest.hex()}" if info.weights_digest else ""
    period = "first frame only" if info.intra_period == -1 else f"every {info.intra_period} frames"
    low, high = info.quality
    color = video.color
    rows = {
        "file": f"{name}, {info.bytes} bytes",
        "codec": f"{info.codec}{weights}",
        "video": f"{video.width}x{video.height}, {float(video.frame_rate):.3f} fps, {info.duration:.3f} s",
        "color": f"primaries {color.primaries}, transfer {color.transfer}, matrix {color.matrix}, "
                 f"{'full' if color.full_range else 'limited'} range",
        "frames": f"{info.frames}, of these {info.intra_frames} intra ({period})",
        "quality": f"{low}" if low == high else f"{low} to {high}",
        "rate": f"{info.kbps:.1f} kbit/s, {info.bpp:.4f} bpp",
        "bytes": f"intra {info.intra_bytes}, inter {info.inter_bytes}, audio and such {info.side_bytes}, "
                 f"overhead {info.overhead_bytes}",
        "state": "damaged" if info.damage else "complete",
    }
    if video.rotation:
        rows["rotation"] = f"{video.rotation} degrees clockwise"
    for key, value in rows.items():
        print(f"{key + ':':<10}{value}")
