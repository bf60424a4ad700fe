"""Entropy models and the three coders (estimate, write, read) that they are used through."""

from lvc.entropy.coders import Coder, Estimate, Read, Write
from lvc.entropy.models import FactorizedModel, Hyperprior, LatentModel

__all__ = ["Coder", "Estimate", "FactorizedModel", "Hyperprior", "LatentModel", "Read", "Write"]
