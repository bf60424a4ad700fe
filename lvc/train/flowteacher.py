"""Classical motion for the clips of a cache: what the encoder codes, and what a flow network is taught with at first.

The method is the encoder's own (lvc.codecs.motion), kept as float16 at a quarter of the resolution.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lvc.codecs.motion import FLOW_SCALE, LAGRANGIAN, block_flow
from lvc.errors import UsageError, VideoError
from lvc.train.cache import FlowStore, FrameStore, write_json

TEACHER_STEP = 15.0
"""Quantization step that the search's price of bits is made for: a middle quality."""


def prepare_flows(cache_dir: str | Path, *, workers: int | None = None,
                  progress: bool = True) -> int:
    """Compute the flows between all neighbouring frames of a cache, in both directions of time.

    Writes ``flows.bin``, float16, per clip [pairs, direction, (dx, dy), ceil(H/4), ceil(W/4)] as
    :meth:`lvc.train.cache.FlowStore.flows` says, and ``flows.json``. If the flows are there, nothing is done;
    if a run was stopped, the next one goes on after the clips that were finished.

    Args:
        workers: threads (the search works outside Python's lock); by default one for each core.

    Returns:
        The number of pairs of frames.

    Raises:
        UsageError: less than one worker.
        VideoError: no prepared cache, or the flows cannot be computed or written.
    """
    workers = workers if workers is not None else os.cpu_count() or 1
    if workers < 1:
        raise UsageError(f"workers must be at least 1, not {workers}")
    store = FrameStore(cache_dir)
    clips = store.manifest.clips
    pairs = sum(c.n_frames - 1 for c in clips)
    identity = {"cache_id": store.manifest.cache_id, "scale": FLOW_SCALE,
                "lagrangian": LAGRANGIAN * TEACHER_STEP}
    final, meta = store.directory / "flows.bin", store.directory / "flows.json"
    try:
        FlowStore(cache_dir, store.manifest)
        if json.loads(meta.read_text(encoding="utf-8")) == identity:
            return pairs
    except VideoError:
        pass  # missing, or of other frames

    offsets = store.manifest.flow_offsets()
    part, journal = store.directory / "flows.bin.part", store.directory / "flows.part.jsonl"

    def one_clip(index: int) -> int:
        y = store.planes(index)[0]
        out = np.memmap(part, np.float16, "r+", 2 * offsets[index], clips[index].flow_shape)
        for p in range(len(y) - 1):
            out[p, 0] = block_flow(y[p + 1], y[p], TEACHER_STEP)[0]
            out[p, 1] = block_flow(y[p], y[p + 1], TEACHER_STEP)[0]
        out.flush()  # before the journal says that the clip is there
        return index

    try:
        done = _finished_clips(part, journal, identity, 2 * offsets[-1])
        todo = [i for i in range(len(clips)) if i not in done]
        with (open(journal, "a", encoding="utf-8") as log, ThreadPoolExecutor(workers) as pool,
              tqdm(total=pairs, initial=sum(clips[i].n_frames - 1 for i in done), desc="optical flow",
                   unit="pair", disable=not progress) as bar):
            futures = [pool.submit(one_clip, i) for i in todo]
            try:
                for future in as_completed(futures):
                    index = future.result()
                    log.write(f"{index}\n")
                    log.flush()
                    bar.update(clips[index].n_frames - 1)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        meta.unlink(missing_ok=True)
        os.replace(part, final)
        write_json(meta, identity)
        journal.unlink()
    except OSError as e:
        raise VideoError(f"cannot make the flows of {cache_dir}: {e}") from e
    return pairs


def _finished_clips(part: Path, journal: Path, identity: dict[str, object], size: int) -> set[int]:
    """Clips that a stopped run has finished; starts an empty file and journal where there was none."""
    try:
        lines = journal.read_text(encoding="utf-8").split("\n")
        if json.loads(lines[0]) == identity and part.stat().st_size == size:
            # What follows the last line end may be half a number.
            return {int(line) for line in lines[1:-1]}
    except (OSError, ValueError):
        pass
    with open(part, "wb") as file:
        file.truncate(size)
    journal.write_text(json.dumps(identity) + "\n", encoding="utf-8")
    return set()
