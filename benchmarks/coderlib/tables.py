"""Markdown out of the rows of benchmarks/coder.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

CASES = ("lo", "hi", "factorized")


def lines_of(table: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, the first row being its head, columns after the first one to the right."""
    head, *body = table
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(row)} |" for row in (head, rule, *body)]


def overhead(row: Mapping[str, Any]) -> str:
    if row["clipped"]:
        return "clipped"
    return f"{100 * (row['bytes'] / row['ideal_bytes'] - 1):.3f}"


def speed_table(results: Mapping[str, Any]) -> list[str]:
    """Msymbols a second, overhead and the cost of small streams, a coder a line."""
    speeds = {(row["coder"], row["case"]): row for row in results["speeds"]}
    sizes = {(row["coder"], row["case"]): row for row in results["sizes"]}
    small = {row["coder"]: row for row in results["small"]}
    table = [["coder", *(f"{case} enc / dec" for case in CASES), "overhead lo / hi / factorized, %",
              "500 symbols: bytes over", "us enc / dec"]]
    for name in small:
        cells = [name]
        for case in CASES:
            row = speeds[name, case]
            cells.append(f"{row['encode_msymbols']:.3g} / {row['decode_msymbols']:.3g}")
        cells.append(" / ".join(overhead(sizes[name, case]) for case in CASES))
        cells.append(f"{small[name]['mean_bytes_over']:.1f}")
        cells.append(f"{small[name]['encode_us']:.0f} / {small[name]['decode_us']:.0f}")
        table.append(cells)
    return lines_of(table)


def ratios(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How many times as fast as CompressAI, and as the best peer besides it, each of our kernels is."""
    speeds = {(row["coder"], row["case"]): row for row in results["speeds"]}
    own = [row["coder"] for row in results["small"] if row["coder"].startswith("lvc ")]
    others = [row["coder"] for row in results["small"] if not row["coder"].startswith(("lvc ", "CompressAI"))]
    found = []
    for name in own:
        for case in CASES:
            for side in ("encode", "decode"):
                key = f"{side}_msymbols"
                speed = speeds[name, case][key]
                compressai = speeds.get(("CompressAI", case))
                found.append({
                    "coder": name, "case": case, "side": side,
                    "compressai": speed / compressai[key] if compressai else None,
                    "best_other": speed / max(speeds[peer, case][key] for peer in others) if others else None,
                })
    return found


def ratio_table(results: Mapping[str, Any]) -> list[str]:
    """The same as Markdown: a line a kernel, CompressAI / best other peer in each cell."""
    def text(value: float | None) -> str:
        return "-" if value is None else f"{value:.3g}x"

    found = {(row["coder"], row["case"], row["side"]): row for row in ratios(results)}
    names = list(dict.fromkeys(coder for coder, _, _ in found))
    table = [["CompressAI / best other peer", *(f"{case} {side}" for case in CASES for side in ("encode", "decode"))]]
    for name in names:
        cells = [found[name, case, side] for case in CASES for side in ("encode", "decode")]
        table.append([name, *(f"{text(cell['compressai'])} / {text(cell['best_other'])}" for cell in cells)])
    return lines_of(table)


def page(results: Mapping[str, Any], targets: Sequence[str] = ()) -> str:
    """The whole of coder.md; ``targets`` are lines for its end."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    settings, machine = results["settings"], results["machine"]
    lines = [
        "# Entropy coders",
        "",
        f"Written by `python benchmarks/coder.py` on {machine['cpu']}, one core; {versions}.",
        f"Medians of {settings['rounds']} rounds, coders in turn, CPU time of the process; {settings['symbols']:,} "
        "symbols, tensor in and bytes out, and back. Speeds in million symbols a second. lo and hi: Gaussians with 64 "
        f"scales at {settings['bits']['lo']:.2f} and {settings['bits']['hi']:.2f} bits a symbol; factorized: 128 "
        f"channels, {settings['bits']['factorized']:.2f} bits. Overhead is over the ideal code length of the model, "
        f"on streams of {settings['kilobytes']} KB.",
        "",
        *speed_table(results),
        "",
        "How many times as fast as peers, in the same run:",
        "",
        *ratio_table(results),
        *targets,
    ]
    for name, reason in results["skipped"].items():
        lines += ["", f"{name} is left out: {reason}."]
    return "\n".join(lines) + "\n"
