"""Speed by stage, out of files that benchmarks/speed.py wrote, for the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchlib.specs import BenchmarkError
from markupsafe import Markup
from speedlib.tables import cost_table, longest, speed_table

from lvc.metrics.rdcurves import short_name
from reportlib.figures import stages_svg


def clip_speeds(files: Sequence[Mapping[str, Any]], pixels: float) -> tuple[dict[tuple[str, str], float], str]:
    """Million pixels a second by codec and part, of the fewest threads and the size nearest to ``pixels``, and where
    they are from; nothing and an empty text without files.

    Raises:
        BenchmarkError: a file that lacks something.
    """
    for content in files:
        try:
            rows = [row for row in content["rows"] if row["width"] and row["height"] and row["threads"]]
            threads = min(row["threads"] for row in rows)
            width, height = min({(row["width"], row["height"]) for row in rows if row["threads"] == threads},
                                key=lambda size: abs(math.log(size[0] * size[1] / pixels)))
            chosen = [row for row in longest(rows)
                      if (row["width"], row["height"], row["threads"]) == (width, height, threads)]
            found = {(row["codec"], part): float(row[part]["mpx_per_second"])
                     for row in chosen for part in ("encode", "decode")}
            return found, (f"one clip, {content['clip']} at {width}x{height}, {threads} "
                           f"thread{'s' * (threads > 1)}, {content['machine']['cpu']}")
        except (KeyError, TypeError, ValueError) as error:
            raise BenchmarkError(f"a file of speed.py lacks {error}") from error
    return {}, ""


def stages_context(files: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What the template shows of files of speed.py; None without files.

    Raises:
        BenchmarkError: a file that lacks something.
    """
    if not files:
        return None
    plots, tables, notes = [], [], []
    try:
        for number, content in enumerate(files):
            rows = content["rows"]
            chosen = longest(rows)
            for codec in dict.fromkeys(row["codec"] for row in chosen if row["learned"]):
                for part in ("encode", "decode"):
                    title = f"{short_name(codec)}, {part}"
                    svg = stages_svg([row for row in chosen if row["codec"] == codec], part,
                                     f"t{number}{len(plots)}", f"Time by stage, {title}")
                    plots.append({"title": title, "svg": Markup(svg)})
            tables.append(dict(zip(("heads", "rows"), speed_table(rows), strict=True)))
            if len({row["frames"] for row in rows}) > 1:
                tables.append(dict(zip(("heads", "rows"), cost_table(rows), strict=True)))
            machine = content["machine"]
            notes.append(f"{content['clip']} scaled to each size, intra period "
                         f"{content['intra_period']}; the "
                         f"fastest of {content['repeat']}, each process bound to as many cores as it has "
                         f"threads; {machine['cpu']}, {machine['cores']} cores.")
    except (KeyError, TypeError, IndexError) as error:
        raise BenchmarkError(f"a file of speed.py lacks {error}") from error
    return {"note": " ".join(dict.fromkeys(notes)), "plots": plots, "tables": tables}
