"""One HTML page out of results: curves, BD-rates, speed, single frames, pictures; opens without a server.

    python benchmarks/report.py runs/results.json --sequences FOLDER --out runs/report.html

RD plots of each sequence and their mean, a table of BD-rates with a column an anchor, speed against BD-rate (by
the times of the results, or of --speed where they have none), the quality of every frame, and, if --sequences names
the sources (as for run.py), parts of decoded frames side by side. For these the streams are made once more; decoded
frames are kept in a cache.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchlib.pictures import sha256_of
from benchlib.results import load_results, write_atomically
from benchlib.specs import BenchmarkError, SequenceSpec, load_sequences
from reportlib.crops import CropSet, crop_set
from reportlib.data import ReportData
from reportlib.page import render
from speedlib.tables import load_speed
from tqdm import tqdm

from lvc import LvcError
from lvc.metrics.rdcurves import RDCurve, load_curves

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = ROOT / "benchmarks" / "published"
DEFAULT_CACHE = ROOT / "runs" / "report-cache"


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="report.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="JSON files of run.py")
    result.add_argument("--out", type=Path, required=True, metavar="HTML")
    result.add_argument("--title", default="Rate and distortion of video codecs")
    result.add_argument("--codecs", nargs="+", default=[], metavar="CODEC",
                        help="only these (parts of names)")
    result.add_argument("--anchors", nargs="+", default=[], metavar="CODEC",
                        help="columns of the BD-rate table, the main one first "
                             "(default: codecs without weights)")
    result.add_argument("--sequences", nargs="+", default=[], metavar="FILE|FOLDER|TOML",
                        help="sources, for pictures of decoded frames")
    result.add_argument("--frame", type=int, metavar="N", help="frame to show (default: the middle one)")
    result.add_argument("--speed", nargs="+", type=Path, default=[], metavar="JSON", help="files of speed.py")
    result.add_argument("--published", nargs="*", type=Path, metavar="JSON",
                        help="published curves to draw beside the means (default: those of the data set, if "
                             "all sequences are of one; none: give no file)")
    result.add_argument("--cache", type=Path, default=DEFAULT_CACHE, metavar="FOLDER")
    return result


def take_pictures(data: ReportData, sources: Sequence[SequenceSpec], cache: Path,
                  frame: int | None) -> dict[tuple[int, str], CropSet]:
    """Parts of decoded frames for every intra period and sequence of which the source is there.

    Raises:
        BenchmarkError: no source is one of the sequences, by content.
    """
    found: dict[tuple[int, str], CropSet] = {}
    by_content = {sha256_of(source.path): source for source in sources}
    digests = {record["sequence"]["name"]: record["sequence"]["sha256"] for record in data.records}
    jobs = [(period, sequence) for period in data.periods for sequence in data.sequences(period)]
    jobs = [(period, sequence) for period, sequence in jobs if digests[sequence] in by_content]
    if not jobs:
        raise BenchmarkError(f"none of the sources is a sequence of the results "
                             f"({', '.join(data.sequences())})")
    with tqdm(total=len(jobs), unit="set", disable=not sys.stderr.isatty(), dynamic_ncols=True) as bar:
        for period, sequence in jobs:
            found[period, sequence] = crop_set(
                by_content[digests[sequence]], data.like_rate(period, sequence), cache, frame=frame,
                on_progress=lambda codec, name=sequence: bar.set_postfix_str(f"{name} {codec}"))
            bar.update()
    return found


def published_curves(data: ReportData, files: Sequence[Path] | None) -> list[RDCurve]:
    """Published means over the data set that all sequences are of, or of the files that are named."""
    if files is None:
        sets = {record["sequence"].get("dataset", "") for record in data.records}
        path = PUBLISHED / f"{sets.pop()}.json" if len(sets) == 1 else None
        files = [path] if path is not None and path.is_file() else []
    return [curve for curve in load_curves(files) if curve.origin == "published" and not curve.sequence]


def run(arguments: argparse.Namespace) -> int:
    data = ReportData(load_results(arguments.results), arguments.anchors, arguments.codecs)
    pictures: dict[tuple[int, str], CropSet] = {}
    if arguments.sequences:
        sources = load_sequences(arguments.sequences)
        pictures = take_pictures(data, sources, arguments.cache, arguments.frame)
    page = render(data, title=arguments.title, published=published_curves(data, arguments.published),
                  pictures=pictures, speed=[load_speed(path) for path in arguments.speed])
    write_atomically(arguments.out, page)
    print(f"{arguments.out}: {len(page.encode()) / 1e6:.1f} MB")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    try:
        return run(parser().parse_args(argv))
    except LvcError as error:
        print(f"report.py: error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"report.py: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
