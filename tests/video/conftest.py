"""Makes the samples beside the tests importable, and fixtures of the video tests."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvc.video import VideoWarning

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def no_warning() -> Iterator[None]:
    """Fails the test on any VideoWarning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", VideoWarning)
        yield
