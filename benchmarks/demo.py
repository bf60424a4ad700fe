"""``make demo``: dvc-lite beside x265 on a short clip, measured from real files.

Encodes the clip with both codecs at four rate points each, decodes every file in a process of its own,
prints a table and BD-rates, and writes rd.png and side_by_side.png.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from bdrate import compare
from benchlib.evaluate import Job, evaluate
from benchlib.pictures import describe
from benchlib.results import METRICS, curves_of, save_results, short_name
from benchlib.specs import BenchmarkError, SequenceSpec, expand
from plot import draw
from tqdm import tqdm

from lvc import Frame, LvcError
from lvc.metrics import frame_to_rgb

ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT / "demo" / "cups_640x360.mkv"
TEST = "dvc-lite@quality=4,16,28,40"
ANCHOR = "x265:preset=veryfast,tune=zerolatency@crf=22,27,32,37"

Picture = npt.NDArray[np.uint8]


def measure(job: Job, shown: int) -> tuple[dict[str, Any], Picture, Picture]:
    """A record, and one frame of source and decoded file as RGB."""
    kept: list[tuple[Frame, Frame]] = []

    def keep(index: int, source: Frame, decoded: Frame) -> None:
        if index == shown:
            kept.append((source, decoded))

    record = evaluate(job, on_frame=keep)
    if not kept:
        raise BenchmarkError(f"{job.sequence.name} has no frame {shown}")
    color = describe(job.sequence).color
    source, decoded = (frame_to_rgb(frame, color) for frame in kept[0])
    return record, source, decoded


def table(records: Sequence[dict[str, Any]]) -> str:
    """The figures of every point."""
    names = [short_name(record["codec"]) for record in records]
    width = max(map(len, names))
    lines = [f"{'codec':{width}}  {'point':>10}  {'bytes':>8}  {'bpp':>7}  {'RGB dB':>7}  {'YUV dB':>7}  "
             f"{'MS-SSIM':>7}  {'enc fps':>7}  {'dec fps':>7}"]
    for name, record in zip(names, records, strict=True):
        mean = record["mean"]
        point = " ".join(next(iter(record["point"].items())))
        similarity = "n/a" if mean["ms_ssim"] is None else f"{mean['ms_ssim']:.4f}"
        lines.append(f"{name:{width}}  {point:>10}  {record['file_bytes']:8d}  {record['bpp']:7.4f}  "
                     f"{mean['psnr_rgb']:7.2f}  {mean['psnr_yuv']:7.2f}  {similarity:>7}  "
                     f"{record['encode']['fps']:7.2f}  {record['decode']['fps']:7.2f}")
    return "\n".join(lines)


def side_by_side(out: Path, panels: Sequence[tuple[str, Picture]]) -> None:
    """Pictures beside each other, one image pixel a picture pixel, a title above each."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    height, width = panels[0][1].shape[:2]
    dpi, title = 100, 40
    figure = plt.figure(figsize=(len(panels) * width / dpi, (height + title) / dpi), dpi=dpi)
    for index, (text, picture) in enumerate(panels):
        axis = figure.add_axes((index / len(panels), 0, 1 / len(panels), height / (height + title)))
        axis.imshow(picture, interpolation="nearest")
        axis.set_axis_off()
        figure.text((index + 0.5) / len(panels), 1 - 0.5 * title / (height + title), text,
                    ha="center", va="center", fontsize=11)
    figure.savefig(out, dpi=dpi)
    plt.close(figure)


def closest_pair(test: Sequence[dict[str, Any]], anchor: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """Indices of the two points whose file sizes differ least (as a ratio)."""
    pairs = [(i, j) for i in range(len(test)) for j in range(len(anchor))]
    return min(pairs, key=lambda p: abs(np.log(test[p[0]]["file_bytes"] / anchor[p[1]]["file_bytes"])))


def run(arguments: argparse.Namespace) -> int:
    sequence = SequenceSpec(arguments.clip.stem, arguments.clip)
    points = {"test": expand([arguments.test]), "anchor": expand([arguments.anchor])}
    total = sum(map(len, points.values()))
    measured: dict[str, list[tuple[dict[str, Any], Picture, Picture]]] = {"test": [], "anchor": []}
    with tqdm(total=total, unit="file", disable=not sys.stderr.isatty(), dynamic_ncols=True) as bar:
        for role, group in points.items():
            for point in group:
                bar.set_postfix_str(point.codec_string)
                job = Job(sequence, point, arguments.intra_period, arguments.frames)
                measured[role].append(measure(job, shown=arguments.frames // 2))
                bar.update()
    records = {role: [record for record, _, _ in group] for role, group in measured.items()}
    everything = [*records["test"], *records["anchor"]]
    first = everything[0]
    print(f"{arguments.clip.name}, {first['sequence']['width']}x{first['sequence']['height']}, "
          f"{first['sequence']['frames']} frames, intra period {arguments.intra_period}, "
          f"{first['machine']['cores']} cores of {first['machine']['cpu']}\n")
    print(table(everything))
    test, anchor = curves_of(everything)
    print(f"\nBD-rate of {short_name(test.codec)} against {short_name(anchor.codec)} "
          "(difference in file size at equal quality):")
    for metric in ("rgb", "yuv", "ms-ssim"):
        comparison = compare(anchor, test, metric)
        value = "n/a" if comparison.percent is None else (
            f"{comparison.percent:+.1f} %, common range {100 * (comparison.overlap or 0):.0f} %")
        note = f" ({comparison.note})" if comparison.note else ""
        print(f"  {METRICS[metric][1]:20}  {value}{note}")
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    save_results(out / "results.json", everything)
    draw([test, anchor], "yuv", out / "rd.png")
    i, j = closest_pair(records["test"], records["anchor"])
    panels = [("source", measured["test"][i][1])]
    for record, _, picture in (measured["test"][i], measured["anchor"][j]):
        panels.append((f"{short_name(record['codec'])}, {record['file_bytes'] / 1000:.1f} kB", picture))
    side_by_side(out / "side_by_side.png", panels)
    print(f"\nwritten: rd.png, side_by_side.png and results.json in {out}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="demo.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clip", type=Path, default=CLIP)
    parser.add_argument("--test", default=TEST, help=f"default {TEST}")
    parser.add_argument("--anchor", default=ANCHOR, help=f"default {ANCHOR}")
    parser.add_argument("--frames", type=int, default=24, help="default 24")
    parser.add_argument("--intra-period", type=int, default=12, help="default 12")
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="default demo-out")
    try:
        return run(parser.parse_args(argv))
    except LvcError as error:
        print(f"demo.py: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
