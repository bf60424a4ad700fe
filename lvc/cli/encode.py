"""``lvc encode``."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    from lvc.cli.values import parse_rate, parse_size

    parser = commands.add_parser("encode", help="encode a video",
                                 description="Encode a video into an lvc file.")
    parser.add_argument("input", metavar="IN", help="video file, raw I420 file, or folder of PNG files")
    parser.add_argument("output", metavar="OUT", help="lvc file to write")
    parser.add_argument("--codec", default="swift", metavar="NAME[:KEY=VALUE,...]",
                        help="codec, see 'lvc codecs' (default: %(default)s)")
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--quality", type=int, metavar="Q",
                        help="0 (smallest file) to 63 (best picture); default 32")
    target.add_argument("--bitrate", metavar="RATE",
                        help="bits a second of the video, such as 500k or 1.5M, in place of a quality")
    target.add_argument("--target-size", metavar="SIZE",
                        help="bytes of the file, such as 800k, 2M or 2MiB, in place of a quality; what is carried "
                             "along besides the video counts")
    parser.add_argument("--intra-period", type=int, default=32, metavar="N",
                        help="an intra frame every N frames, -1: the first only; default %(default)s")
    parser.add_argument("--frames", type=int, metavar="N", help="encode at most N frames")
    parser.add_argument("--size", type=parse_size, metavar="WxH", help="size of raw video")
    parser.add_argument("--frame-rate", type=parse_rate, metavar="FPS", help="of raw video or PNG files")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="0 (default): the codec chooses")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    from lvc.api import encode
    from lvc.cli.progress import ProgressBar, ignore, warn

    with ProgressBar("encode", args.quiet) as bar:
        report = encode(args.input, args.output, codec=args.codec, quality=args.quality,
                        bitrate=args.bitrate, target_size=args.target_size,
                        intra_period=args.intra_period, frames=args.frames, threads=args.threads,
                        size=args.size, frame_rate=args.frame_rate, progress=bar,
                        on_warning=ignore if args.quiet else warn)
    if not args.quiet:
        print(f"{args.output}: {report.frames} frames, {report.bytes} bytes, {report.kbps:.1f} kbit/s, "
              f"{report.bpp:.4f} bpp, {report.fps:.1f} fps ({report.codec})")
    return 0
