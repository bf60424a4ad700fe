"""Swift as a whole: the networks that a stream depends on."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from torch import nn

from lvc.models.swift import SwiftEntropy
from lvc.models.swiftfilter import SwiftFilter
from lvc.models.swiftmotion import SwiftMotion
from lvc.models.swiftsizes import SwiftSizes


@dataclass(frozen=True)
class SwiftConfig:
    """Sizes of the networks: channels inside each, and 3x3 layers of the filter (0: no filter).

    And how many frames a P frame refers to, 1 or 2.
    """

    name: str = "swift"
    entropy_width: int = 64
    motion_width: int = 48
    sizes_width: int = 32
    filter_width: int = 48
    filter_layers: int = 3
    references: int = 2

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> SwiftConfig:
        """The inverse of to_json. Raises ValueError or TypeError on what is not a configuration."""
        return cls(**json.loads(text))


class SwiftModel(nn.Module):
    """The probabilities of residual, motion and transform sizes, and the in-loop filter."""

    filter: SwiftFilter | None

    def __init__(self, config: SwiftConfig) -> None:
        super().__init__()
        self.config = config
        self.entropy = SwiftEntropy(config.entropy_width)
        self.motion = SwiftMotion(config.motion_width, config.references)
        self.sizes = SwiftSizes(config.sizes_width)
        self.filter = SwiftFilter(config.filter_width, config.filter_layers) if config.filter_layers else None
