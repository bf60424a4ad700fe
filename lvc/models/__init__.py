"""Models: pure torch. They know coders, not streams."""

from lvc.models.config import CONFIGS, DVC, DVC_LITE, ModelConfig
from lvc.models.dvc import InterModel
from lvc.models.dvccontext import ContextInterModel
from lvc.models.intra import IntraModel

__all__ = ["CONFIGS", "DVC", "DVC_LITE", "ContextInterModel", "InterModel", "IntraModel", "ModelConfig", "inter_model"]


def inter_model(config: ModelConfig) -> InterModel | ContextInterModel:
    """The inter model of a configuration, of the first or the second design."""
    return InterModel(config) if config.context is None else ContextInterModel(config)
