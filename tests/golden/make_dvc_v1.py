"""Makes dvc_v1.safetensors beside this file: a tiny untrained model of the dvc family.

dvc_v1_hevc.lvc, dvc_v1_learned.lvc and dvc_v1.npz, streams and decoded frames of version 1.0 of the format, were made
with these weights by the first version of the entropy coder, whose encoder is gone. They cannot be made again; every
later version must decode them. make_dvc_v2.py makes those of the present coder.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from lvc.weights import save_weights

HERE = Path(__file__).parent


def _fixtures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lvc_test_fixtures", HERE.parent / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Write the weights."""
    fixtures = _fixtures()
    models = fixtures.seeded_models(fixtures.small_config())
    save_weights(HERE / "dvc_v1.safetensors", *models, {"note": "golden, never trained"})


if __name__ == "__main__":
    main()
