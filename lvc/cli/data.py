"""``lvc data``: training data."""

from __future__ import annotations

import argparse
import sys
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command and those below it to the parser."""
    from lvc.cli.values import parse_size

    parser = commands.add_parser("data", help="prepare training data", description="Training data.")
    actions = parser.add_subparsers(metavar="ACTION", dest="action", required=True)

    prepare = actions.add_parser(
        "prepare", help="decode videos and picture sequences into a cache",
        description="Decode videos (any depth of folders) and folders of pictures, such as PNG sequences and the "
                    "septuplets of Vimeo-90k, into a cache that 'lvc train --data' takes. What is there already "
                    "is not done again.")
    prepare.add_argument("sources", nargs="+", metavar="SOURCE", help="video, or folder")
    prepare.add_argument("--out", required=True, metavar="FOLDER", help="the cache")
    prepare.add_argument("--list", action="append", default=[], metavar="FILE",
                         help="take only the clips that the file names, one a line, relative to a source or to its "
                              "folder 'sequences' (sep_trainlist.txt of Vimeo-90k); may be repeated")
    prepare.add_argument("--max-frames", type=int, metavar="N", help="take at most N frames of each clip")
    prepare.add_argument("--flows", action="store_true", help="also search the motion that dvc-lite is taught with")
    prepare.add_argument("--workers", type=int, metavar="N", help="threads (default: one for each core)")
    prepare.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
    prepare.set_defaults(run=run_prepare)

    info = actions.add_parser("info", help="say what a cache holds", description="Say what a cache holds.")
    info.add_argument("cache", metavar="FOLDER")
    info.add_argument("--clips", action="store_true", help="list the clips, and sources that gave none")
    info.set_defaults(run=run_info)

    speed = actions.add_parser(
        "speed", help="measure how fast samples are made",
        description="Measure how fast batches come out of a cache: crops alone, and all that a stage of a recipe "
                    "needs. To be compared with the time of a training step.")
    speed.add_argument("cache", metavar="FOLDER")
    speed.add_argument("--crop", type=parse_size, default=(256, 256), metavar="WxH", help="default: 256x256")
    speed.add_argument("--frames", type=int, default=2, metavar="N", help="of a sample (default: %(default)s)")
    speed.add_argument("--batch", type=int, default=4, metavar="N", help="samples (default: %(default)s)")
    speed.add_argument("--workers", type=int, default=1, metavar="N", help="threads (default: %(default)s)")
    speed.add_argument("--seconds", type=float, default=5.0, metavar="S", help="for each (default: %(default)s)")
    speed.add_argument("--recipe", metavar="RECIPE", help="also the batches of this recipe's stages")
    speed.set_defaults(run=run_speed)


def run_prepare(args: argparse.Namespace) -> int:
    """``lvc data prepare``; returns the exit code."""
    import warnings

    from lvc.train.cache import prepare, read_clip_list

    names = [name for path in args.list for name in read_clip_list(path)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        manifest = prepare(args.sources, args.out, max_frames=args.max_frames, names=names, workers=args.workers,
                           progress=not args.quiet and sys.stderr.isatty())
    if args.flows:
        from lvc.train.flowteacher import prepare_flows

        prepare_flows(args.out, workers=args.workers, progress=not args.quiet and sys.stderr.isatty())
    if not args.quiet:
        for warning in caught:
            print(f"lvc: warning: {warning.message}", file=sys.stderr)
        print(_summary(args.out, manifest))
    return 0


def run_info(args: argparse.Namespace) -> int:
    """``lvc data info``; returns the exit code."""
    from lvc.train.cache import load_manifest

    manifest = load_manifest(args.cache)
    if args.clips:
        for clip in manifest.clips:
            print(f"{clip.name}  {clip.width}x{clip.height}  {clip.n_frames} frames")
        for source in manifest.skipped:
            print(f"{source.name}  skipped: {source.reason}")
    print(_summary(args.cache, manifest))
    return 0


def run_speed(args: argparse.Namespace) -> int:
    """``lvc data speed``; returns the exit code."""
    from lvc.train.speed import crops_a_second, stages_a_second

    width, height = args.crop
    rate = crops_a_second(args.cache, (height, width), args.frames, args.batch, args.workers, args.seconds)
    megabytes = rate * args.frames * width * height * 1.5e-6
    print(f"crops {width}x{height}, {args.frames} frames: {rate:.1f} samples/s ({megabytes:.0f} MB/s), "
          f"{1e3 * args.batch / rate:.1f} ms a batch of {args.batch}, {args.workers} thread(s)")
    if args.recipe:
        for name, stage_rate, batch in stages_a_second(args.recipe, args.cache, args.workers, args.seconds):
            print(f"stage {name}: {stage_rate:.1f} samples/s, {1e3 * batch / stage_rate:.1f} ms a batch of {batch}")
    return 0


def _summary(path: str, manifest: Any) -> str:
    skipped = f", {len(manifest.skipped)} sources skipped" if manifest.skipped else ""
    return (f"{path}: {len(manifest.clips)} clips, {manifest.n_frames} frames, {manifest.total_bytes / 1e6:.1f} MB"
            f"{skipped}")
