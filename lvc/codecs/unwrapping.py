"""A decoder around another one's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lvc.codecs.base import Decoder
from lvc.types import Frame, Packet


@dataclass(frozen=True, slots=True)
class UnwrappingDecoder:
    """A decoder for packets that have more around them than it takes.

    Attributes:
        decoder: what frames come from.
        unwrap: makes a packet what the decoder takes; may raise CorruptStreamError.
    """

    decoder: Decoder
    unwrap: Callable[[Packet], Packet]

    def push(self, packet: Packet) -> list[Frame]:
        """Take one packet. Raises CorruptStreamError."""
        return self.decoder.push(self.unwrap(packet))

    def flush(self) -> list[Frame]:
        """Return all remaining frames."""
        return self.decoder.flush()
