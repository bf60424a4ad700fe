"""Encoders leave the priority of the process alone."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

import pytest

from lvc.codecs import get_codec
from lvc.codecs.scheduling import ordinary_threads
from lvc.types import EncodeOptions, Frame, VideoInfo

if sys.platform == "linux":  # elsewhere there is nothing to ask

    def schedulings() -> set[tuple[int, int]]:
        threads = [int(name) for name in os.listdir("/proc/self/task")]
        return {(os.sched_getscheduler(thread), os.sched_getparam(thread).sched_priority) for thread in threads}

    @pytest.mark.parametrize("name", ["svt-av1", "x265"])
    def test_an_encoder_does_not_take_the_machine(name: str, make_frames: Callable[..., list[Frame]]) -> None:
        """SVT-AV1 in the hands of root does, if it is let."""
        own = schedulings()
        encoder = get_codec(name).encoder(VideoInfo(64, 64), EncodeOptions(params={"crf": "40"}))
        assert schedulings() == own
        packets = [packet for frame in make_frames(4, 64, 64) for packet in encoder.push(frame)] + encoder.flush()
        assert len(packets) == 4
        assert schedulings() == own

    def test_threads_old_and_new_are_as_the_caller_was() -> None:
        """With a policy that does not take a root to choose."""
        batch = os.SCHED_BATCH, os.sched_param(0)
        done = threading.Event()

        def work() -> None:
            os.sched_setscheduler(0, *batch)
            started.set()
            done.wait()

        before = os.sched_getscheduler(0)
        started = threading.Event()
        thread = threading.Thread(target=work)
        try:
            with ordinary_threads():
                os.sched_setscheduler(0, *batch)
                thread.start()
                assert started.wait(60)
                assert thread.native_id is not None
                assert os.sched_getscheduler(thread.native_id) == os.SCHED_BATCH
            assert os.sched_getscheduler(0) == os.sched_getscheduler(thread.native_id) == before
        finally:
            os.sched_setscheduler(0, before, os.sched_param(0))
            done.set()
            thread.join()
