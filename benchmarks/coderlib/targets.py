"""The speeds that the coder was to reach, and what peers say about those measured on another machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coderlib.tables import lines_of, ratios

TARGETS = {
    "lvc scalar": {("lo", "encode"): 300, ("lo", "decode"): 220, ("hi", "encode"): 300, ("hi", "decode"): 130},
    "lvc avx2": {("lo", "encode"): 600, ("lo", "decode"): 600, ("hi", "encode"): 600, ("hi", "decode"): 450},
    "lvc avx512": {("lo", "encode"): 800, ("lo", "decode"): 1200, ("hi", "encode"): 800, ("hi", "decode"): 600},
}
"""Million symbols a second, of issue 3."""
FACTORIZED = {("factorized", "encode"): 200, ("factorized", "decode"): 200}
"""The same for all kernels."""
TIMES = {"compressai": {"encode": 30, "decode": 40}, "best_other": {"encode": 4, "decode": 4}}
"""Multiples of the speed of peers in the same run, of issue 3."""
SIDES = (("lo", "encode"), ("lo", "decode"), ("hi", "encode"), ("hi", "decode"))
THERE = {
    "CompressAI": dict(zip(SIDES, (17.5, 11.8, 16.4, 10.1))),
    "torchac": dict(zip(SIDES, (13.5, 8.7, 8.7, 8.7))),
    "constriction": dict(zip(SIDES, (14.6, 6.4, 24, 8.3))),
    "torch_ans": dict(zip(SIDES, (119, 98, 123, 80))),
}
"""Peers on the machine for which the targets were set, one core of a Zen 4, of issue 3."""


def shares(results: Mapping[str, Any]) -> dict[str, dict[tuple[str, str], float]]:
    """Of each peer that was measured: its speed here over that on the machine of the targets."""
    found: dict[str, dict[tuple[str, str], float]] = {}
    for row in results["speeds"]:
        for (case, side), there in THERE.get(row["coder"], {}).items():
            if row["case"] == case:
                found.setdefault(row["coder"], {})[case, side] = row[f"{side}_msymbols"] / there
    return found


def against_targets(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every figure that has a target: measured, target, and what it would be on the machine of the targets.

    ``fastest`` is of the round that took the least time. ``scaled`` is by what CompressAI loses here, ``least`` by what
    the peer loses that loses least; None where no peer tells.
    """
    speeds = {(row["coder"], row["case"], side): (row[f"{side}_msymbols"], row["symbols"] / min(row[f"{side}_s"]) / 1e6)
              for row in results["speeds"] for side in ("encode", "decode")}
    known, found = shares(results), []
    for coder, targets in TARGETS.items():
        for (case, side), target in {**targets, **FACTORIZED}.items():
            if (coder, case, side) not in speeds:
                continue
            measured, fastest = speeds[coder, case, side]
            of_peers = [share[case, side] for share in known.values() if (case, side) in share]
            share = known.get("CompressAI", {}).get((case, side))
            found.append({"coder": coder, "case": case, "side": side, "measured": measured, "target": target,
                          "fastest": fastest, "scaled": measured / share if share else None,
                          "least": measured / max(of_peers) if of_peers else None})
    return found


def target_lines(results: Mapping[str, Any]) -> list[str]:
    """The part of coder.md on targets; empty if no kernel with a target was measured."""
    rows = against_targets(results)
    if not rows:
        return []
    places = list(dict.fromkeys((row["case"], row["side"]) for row in rows))
    table = [["measured / target (scaled)", *(f"{case} {side}" for case, side in places)]]
    for coder in dict.fromkeys(row["coder"] for row in rows):
        cells = {(row["case"], row["side"]): row for row in rows if row["coder"] == coder}
        table.append([coder, *(_cell(cells[place]) for place in places)])
    missed = [row for row in rows if row["measured"] < row["target"]]
    line = ratio_line(results)
    lines = [*(["", line] if line else []), "", "Against the targets, in million symbols a second:", "",
             *lines_of(table), "",
             f"As measured here, {len(rows) - len(missed)} of {len(rows)} targets are reached"
             + (f"; missed: {_names(missed, 'measured')}. What else goes on at a machine only ever slows a round down; "
                f"in the fastest round of each, missed: {_names(rows, 'fastest')}." if missed else ".")]
    known = shares(results)
    if "CompressAI" in known:
        texts = "; ".join(f"{peer} {', '.join(f'{share[side]:.2f}' for side in SIDES)}"
                          for peer, share in known.items())
        lines += ["", "They were set for another machine, a Zen 4 core. What peers reach here of their speed there (lo "
                  f"encode, lo decode, hi encode, hi decode): {texts}. Scaled are our figures divided by the share of "
                  "CompressAI. That is an estimate: code does not scale alike from one processor to another, as the "
                  "peers show, and nothing of ours was measured there. "
                  f"By CompressAI's share, missed: {_names(rows, 'scaled')}; "
                  f"by that of the peer that loses least: {_names(rows, 'least')}."]
    return lines


def ratio_line(results: Mapping[str, Any]) -> str:
    """Which kernels are as many times as fast as peers as they were to be; empty if there were no such peers."""
    found: dict[str, bool] = {}
    for row in ratios(results):
        for peer, times in TIMES.items():
            if row[peer] is None:
                return ""
            found[row["coder"]] = found.get(row["coder"], True) and row[peer] >= times[row["side"]]
    done, short = ([name.removeprefix("lvc ") for name, all_ in found.items() if all_ is wanted]
                   for wanted in (True, False))
    return ("Aimed at were 30 times CompressAI to encode, 40 to decode, and 4 times the best other peer, everywhere: "
            f"reached by {', '.join(done) or 'none'}" + (f", not by {', '.join(short)}." if short else "."))


def _cell(row: Mapping[str, Any]) -> str:
    mark = "**" if row["measured"] < row["target"] else ""
    scaled = "" if row["scaled"] is None else f" ({row['scaled']:.0f})"
    return f"{mark}{row['measured']:.0f}{mark} / {row['target']}{scaled}"


def _names(rows: list[dict[str, Any]], key: str) -> str:
    """Those below their targets, and by how much."""
    below = [row for row in rows if row[key] is not None and row[key] < row["target"]]
    return ", ".join(f"{row['coder'].removeprefix('lvc ')} {row['case']} {row['side']} "
                     f"({100 * (row[key] / row['target'] - 1):+.1f} %)" for row in below) or "none"
