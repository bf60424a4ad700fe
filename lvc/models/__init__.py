"""Models: pure torch. They know coders, not streams."""

from lvc.models.config import CONFIGS, DVC, DVC_LITE, ModelConfig
from lvc.models.dvc import InterModel
from lvc.models.intra import IntraModel

__all__ = ["CONFIGS", "DVC", "DVC_LITE", "InterModel", "IntraModel", "ModelConfig"]
