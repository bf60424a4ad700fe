"""The choice of kernels."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lvc.coding import available_kernels, current_kernels, use_kernels
from lvc.errors import UsageError


def test_there_are_always_portable_kernels():
    assert available_kernels()[:2] == ("warp", "scalar")
    assert len(set(available_kernels())) == len(available_kernels())


def test_use_and_reset(kernels):
    assert current_kernels() == kernels
    use_kernels()
    assert current_kernels() == available_kernels()[-1]


def test_unknown_kernels_are_refused():
    before = current_kernels()
    with pytest.raises(UsageError, match=r"kernels must be one of warp, scalar.*not 'mmx'"):
        use_kernels("mmx")
    with pytest.raises(UsageError, match="named by a string"):
        use_kernels(2)
    assert current_kernels() == before


@pytest.mark.parametrize(("name", "expected"), [("scalar", "scalar"), ("", None), ("no such", None)])
def test_environment(name, expected):
    code = "from lvc.coding import *; print(current_kernels())"
    result = subprocess.run([sys.executable, "-c", code], env={**os.environ, "LVC_SIMD": name},
                            capture_output=True, text=True, check=True)
    assert result.stdout.strip() == (expected or available_kernels()[-1])
