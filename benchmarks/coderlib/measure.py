"""Times by the CPU clock of the process, in turns, so that whatever else a machine does hits all coders alike."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from coderlib.cases import Case, make_case
from coderlib.peers import Session, select

SMALL = 500
"""Symbols of a small stream."""
_LEAST_SECONDS = 0.002


class WrongSymbols(Exception):
    """A coder did not give back what it took."""


@contextlib.contextmanager
def one_core(core: int | None) -> Iterator[int | None]:
    """Keep this process on one core, the last one that it may use if None, and torch to one thread.

    Gives the core, None where there is no way to choose.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    chosen = (max(before) if core is None else core) if before else None
    try:
        if chosen is not None:
            os.sched_setaffinity(0, {chosen})
        yield chosen
    finally:
        if before:
            os.sched_setaffinity(0, before)
        torch.set_num_threads(threads)


def clock(function: Callable[[], Any]) -> float:
    """CPU seconds of one call: of as many calls as take two milliseconds, and at least one."""
    calls, spent = 0, 0.0
    while spent < _LEAST_SECONDS:
        begin = time.process_time()
        function()
        spent += time.process_time() - begin
        calls += 1
    return spent / calls


def check(name: str, session: Session, data: bytes) -> None:
    """Raises WrongSymbols unless data decodes to the session's symbols."""
    decoded = np.asarray(session.decode(data)).reshape(session.expected.shape)
    if not np.array_equal(decoded, session.expected):
        raise WrongSymbols(f"{name} did not give back the symbols of {session.case.name}")


def speeds(coders: Mapping[str, Callable[[Case], Session]], cases: list[Case], rounds: int,
           tick: Callable[[], None]) -> list[dict[str, Any]]:
    """A row for each coder and case: seconds of every round, and million symbols a second by their median.

    Raises:
        WrongSymbols: a coder is not lossless.
    """
    sessions = {(name, case.name): make(case) for name, make in coders.items() for case in cases}
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    coded = {}
    for (name, kind), session in sessions.items():
        select(session)
        coded[name, kind] = session.encode()
        check(name, session, coded[name, kind])
        rows[name, kind] = {"coder": name, "case": kind, "symbols": session.expected.size, "encode_s": [],
                            "decode_s": []}
    for _ in range(rounds):
        for key, session in sessions.items():
            select(session)
            rows[key]["encode_s"].append(clock(session.encode))
            rows[key]["decode_s"].append(clock(lambda key=key, session=session: session.decode(coded[key])))
        tick()
    for row in rows.values():
        for side in ("encode", "decode"):
            row[f"{side}_msymbols"] = row["symbols"] / statistics.median(row[f"{side}_s"]) / 1e6
    return list(rows.values())


def sizes(coders: Mapping[str, Callable[[Case], Session]], cases: list[Case]) -> list[dict[str, Any]]:
    """A row for each coder and case: bytes, and the ideal number of them.

    Raises:
        WrongSymbols: a coder is not lossless.
    """
    rows = []
    for case in cases:
        for name, make in coders.items():
            session = make(case)
            select(session)
            data = session.encode()
            check(name, session, data)
            rows.append({"coder": name, "case": case.name, "symbols": case.symbols.size, "bytes": len(data),
                         "ideal_bytes": case.ideal_bits / 8,
                         "clipped": bool((session.expected != case.symbols).any())})
    return rows


def small_streams(coders: Mapping[str, Callable[[Case], Session]], streams: int, rounds: int) -> list[dict[str, Any]]:
    """A row for each coder: microseconds a call and bytes over the ideal, for streams of SMALL symbols.

    Raises:
        WrongSymbols: a coder is not lossless.
    """
    rows: dict[str, dict[str, Any]] = {}
    cases = [make_case("lo" if seed % 2 else "hi", SMALL, seed) for seed in range(streams)]
    for name, make in coders.items():
        over = []
        for case in cases:
            session = make(case)
            select(session)
            data = session.encode()
            check(name, session, data)
            if np.array_equal(session.expected, case.symbols):
                over.append(len(data) - case.ideal_bits / 8)
        rows[name] = {"coder": name, "symbols": SMALL, "streams": len(over), "mean_bytes_over": float(np.mean(over)),
                      "encode_us": [], "decode_us": []}
    sessions = {name: make(cases[1]) for name, make in coders.items()}
    for _ in range(rounds):
        for name, session in sessions.items():
            select(session)
            data = session.encode()
            rows[name]["encode_us"].append(1e6 * clock(session.encode))
            rows[name]["decode_us"].append(1e6 * clock(lambda session=session, data=data: session.decode(data)))
    for row in rows.values():
        for side in ("encode", "decode"):
            row[f"{side}_us"] = statistics.median(row[f"{side}_us"])
    return list(rows.values())
