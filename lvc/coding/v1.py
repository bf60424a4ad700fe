"""The range coder of format version 1, to decode old streams. New ones are made by :mod:`lvc.coding.coder`.

Its bytes are specified by :mod:`lvc.coding.reference_v1`.
"""

from __future__ import annotations

from typing import Any

from lvc import _C
from lvc.coding.coder import Decoder
from lvc.coding.tables import CdfTables


class DecoderV1(Decoder):
    """As :class:`~lvc.coding.coder.Decoder`, for streams of one 64-bit state under the stored tables.

    Args:
        data: bytes-like; copied.
        tables: what pulls use that name no other tables.
    """

    __slots__ = ()

    _bad_layout = "entropy-coded data starts with an impossible state"

    def _open(self, data: Any) -> _C.DecoderV1:
        return _C.DecoderV1(data)

    def _native_tables(self, tables: CdfTables) -> _C.TablesV1:
        return tables.native_v1
