"""Entropy coding: integer CDF tables and a range coder (rANS) over them. Needs numpy, not torch.

    tables = gaussian_tables(np.geomspace(0.11, 64, 64))       # once, when weights are made
    encoder = RangeEncoder()
    encoder.push(tables, symbols, index)                       # as often as wanted
    data = encoder.finish()
    decoder = RangeDecoder(data)
    symbols = decoder.pull(tables, index)                      # the same calls in the same order
    decoder.close()                                            # raises if anything was wrong

The bytes are specified by :mod:`lvc.coding.reference`.
"""

from lvc.coding.builders import factorized_tables, gaussian_tables, pmf_to_cdf
from lvc.coding.coder import RangeDecoder, RangeEncoder, code_length
from lvc.coding.tables import CdfTables

__all__ = [
    "CdfTables",
    "RangeDecoder",
    "RangeEncoder",
    "code_length",
    "factorized_tables",
    "gaussian_tables",
    "pmf_to_cdf",
]
