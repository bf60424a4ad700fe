"""Entropy coding: integer CDF tables and an interleaved range coder (rANS) over them. Needs numpy, not torch.

    tables = gaussian_tables(np.geomspace(0.11, 64, 64))       # once
    encoder = Encoder(tables)
    encoder.push(symbols, index)                               # as often as wanted, also with other tables
    data = encoder.finish()
    decoder = Decoder(data, tables)
    symbols = decoder.pull(index)                              # the same calls in the same order
    decoder.close()                                            # raises if anything was wrong

The bytes are specified by :mod:`lvc.coding.reference`; they are the same on every machine. Kernels for
AVX-512, AVX2, NEON and any other CPU are chosen when the program runs; the environment variable ``LVC_SIMD``
or :func:`use_kernels` names others. :mod:`lvc.coding.compressai` puts the coder into models of CompressAI.
"""

from lvc.coding.builders import factorized_tables, gaussian_tables, pmf_to_cdf
from lvc.coding.chunks import decode_chunks, encode_chunks
from lvc.coding.coder import Decoder, Encoder, code_length
from lvc.coding.kernels import available_kernels, current_kernels, use_kernels
from lvc.coding.tables import CdfTables

__all__ = [
    "CdfTables",
    "Decoder",
    "Encoder",
    "available_kernels",
    "code_length",
    "current_kernels",
    "decode_chunks",
    "encode_chunks",
    "factorized_tables",
    "gaussian_tables",
    "pmf_to_cdf",
    "use_kernels",
]
