"""Results in CompressAI's form: ours written as ``compressai.utils.video.eval_model`` writes its own.

    python benchmarks/compressai_json.py write runs/results.json --out runs/compressai
    python -m compressai.utils.video.plot -f runs/compressai/*.json -m psnr-y -o rd.png
    python benchmarks/compressai_json.py show ssf2020.json
    lvc plot runs/results.json ssf2020.json --rate kbps --metric y --out rd.pdf

``write`` makes a file a codec and intra period with the means over sequences (a list a measure), and beside
it a folder with a file a sequence and point. ``show`` prints what such files hold; ``lvc plot`` draws them.

Of one name but not of one definition: CompressAI's psnr-yuv weighs Y, U and V by 4:1:1 (written so here;
lvc's is 6:1:1), and its RGB measures convert by BT.709 with bicubic chroma, lvc's by the stream's matrix
with repeated chroma samples. So compare RGB measures within one tool only; psnr-y, psnr-u, psnr-v and
bitrate agree.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchlib.results import load_results, write_atomically
from benchlib.specs import BenchmarkError

from lvc import LvcError
from lvc.metrics.rdcurves import RDCurve, load_curves, short_name

DESCRIPTION = "lvc benchmarks/run.py (file size, frames decoded by another process)"


def sequence_results(record: Mapping[str, Any]) -> dict[str, float]:
    """A record's measures by CompressAI's names and definitions, in its order.

    Returns:
        PSNR in dB; psnr-yuv weighs 4:1:1; mse-rgb is the mean over frames of the squared error of 8-bit RGB;
        bitrate in 1000 bits a second. Without ms-ssim-rgb where MS-SSIM is undefined.

    Raises:
        BenchmarkError: the record lacks something.
    """
    try:
        mean, frames = record["mean"], record["per_frame"]["psnr_rgb"]
        results = {"psnr-y": mean["psnr_y"], "psnr-u": mean["psnr_u"], "psnr-v": mean["psnr_v"],
                   "psnr-yuv": (4 * mean["psnr_y"] + mean["psnr_u"] + mean["psnr_v"]) / 6,
                   "ms-ssim-rgb": mean["ms_ssim"],
                   "mse-rgb": sum(255.0**2 / 10 ** (psnr / 10) for psnr in frames) / len(frames),
                   "psnr-rgb": mean["psnr_rgb"], "bitrate": record["kbps"]}
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise BenchmarkError(f"a record lacks {error}") from error
    return {name: value for name, value in results.items() if value is not None}


def source_name(record: Mapping[str, Any]) -> str:
    """Name of the sequence as CompressAI wants raw video called, ``NAME_416x240_50fps``."""
    sequence = record["sequence"]
    size = f"{sequence['width']}x{sequence['height']}"
    name = str(sequence["name"])
    if re.search(rf"_{size}_[\d.]+(fps|Hz)", name):
        return name
    rate = _rate(str(sequence["frame_rate"])) + "fps"
    return f"{name}_{rate}" if name.endswith(f"_{size}") else f"{name}_{size}_{rate}"


def _rate(text: str) -> str:
    top, _, bottom = text.partition("/")
    return f"{float(top) / float(bottom or 1):.2f}".rstrip("0").rstrip(".")


def slug(text: str) -> str:
    """A codec string as part of a file name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")


def write(records: Sequence[Mapping[str, Any]], out: Path) -> list[Path]:
    """Write all files; return those with the means.

    Points that a codec does not have on each of its sequences are in no mean.

    Raises:
        BenchmarkError: a record lacks something, or a codec has no point on all of its sequences.
    """
    groups: dict[tuple[str, int], dict[str, dict[str, Mapping[str, Any]]]] = {}
    for record in records:
        point = "-".join(f"{name}{value}" for name, value in record["point"].items())
        group = groups.setdefault((record["codec"], record["intra_period"]), {})
        group.setdefault(point, {})[source_name(record)] = record
    written = []
    for (codec, period), points in groups.items():
        name = f"{short_name(codec)}, {'one I frame' if period < 0 else f'intra period {period}'}"
        stem = f"{slug(codec)}-ip{'inf' if period < 0 else period}"
        sources = dict.fromkeys(source for by_source in points.values() for source in by_source)
        table: dict[str, list[Any]] = {}
        for point, by_source in points.items():
            results = {}
            for source, record in by_source.items():
                results[source] = sequence_results(record)
                content = {"source": source, "name": name, "description": DESCRIPTION,
                           "results": results[source]}
                _write(out / stem / f"{source}-{stem}-{point}.json", content)
            if set(by_source) != set(sources):
                continue
            shared = [key for key in results[next(iter(sources))] if all(key in r for r in results.values())]
            table.setdefault("q", []).append(f"{stem}-{point}")
            for key in shared:
                column = table.setdefault(key, [])
                column.append(sum(r[key] for r in results.values()) / len(results))
        if not table:
            raise BenchmarkError(f"{name} has no rate point on all of its sequences")
        path = out / f"{stem}.json"
        complete = {key: values for key, values in table.items() if len(values) == len(table["q"])}
        _write(path, {"name": name, "description": DESCRIPTION, "results": complete})
        written.append(path)
    return written


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(content, indent=2))


def show(curves: Sequence[RDCurve]) -> str:
    """What files hold, a line a point."""
    lines = []
    for curve in curves:
        frames = f", {curve.frames} frames" if curve.frames else ""
        lines.append(f"{curve.codec} on {curve.sequence or 'the mean of its sequences'}{frames}")
        for index, point in enumerate(curve.points):
            rates = [f"{values[index]:.{digits}f} {unit}" for unit, values, digits in
                     (("kbps", curve.kbps, 1), ("bpp", curve.bpp, 4)) if values is not None]
            measures = [f"{key} {values[index]:.4f}" for key, values in curve.quality.items()]
            lines.append(f"  {point}: {', '.join(rates + measures)}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="compressai_json.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    writer = commands.add_parser("write", help="results of run.py in CompressAI's form")
    writer.add_argument("results", nargs="+", type=Path, metavar="RESULTS")
    writer.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    reader = commands.add_parser("show", help="print what CompressAI's (or any results) files hold")
    reader.add_argument("files", nargs="+", type=Path, metavar="JSON")
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "show":
            print(show(load_curves(arguments.files)))
        else:
            for path in write(load_results(arguments.results), arguments.out):
                print(path)
    except LvcError as error:
        print(f"compressai_json.py: error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"compressai_json.py: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
