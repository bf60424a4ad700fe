"""The generated parts of FORMAT.md. ``python -m lvc.bitstream.tables`` writes them into the file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from lvc.bitstream.fields import number_text
from lvc.bitstream.layout import FIRST_SKIPPABLE_TYPE, LIMITS, STRUCTS, AnchorType, CodecId, PixelFormat
from lvc.errors import UsageError

FORMAT_FILE = Path(__file__).with_name("FORMAT.md")

_CODECS = {
    CodecId.X264: ("`x264`", "H.264/AVC"),
    CodecId.X265: ("`x265`", "H.265/HEVC"),
    CodecId.SVT_AV1: ("`svt-av1`", "AV1"),
    CodecId.VVENC: ("`vvenc`", "H.266/VVC"),
    CodecId.LIBAOM: ("`libaom`", "AV1"),
    CodecId.X265_PACKED: ("`x265-packed`", "H.265/HEVC packed, see Payloads of codec 6"),
    CodecId.DVC: ("`dvc`", "learned, see Payloads of codecs 16 and 17"),
    CodecId.DVC_LITE: ("`dvc-lite`", "learned, see Payloads of codecs 16 and 17"),
    CodecId.SWIFT: ("`swift`", "learned, see Payloads of codec 18"),
    CodecId.RESTORE: ("`restore`", "those of a base codec, see Payloads of codec 19"),
    CodecId.STSR: ("`stsr`", "those of a base codec, see Payloads of codec 20"),
    CodecId.DVC_LITE_MSSSIM: ("`dvc-lite-msssim`", "learned, see Payloads of codecs 16 and 17"),
}
_TYPES = {
    AnchorType.INTRA: "intra: a frame that decoding can start at",
    AnchorType.SIDE: "side: a piece of the carried Matroska file",
    AnchorType.END: "end: the closing packet",
}
_MARK = re.compile(r"(<!-- generated: ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def generated() -> dict[str, str]:
    """All generated tables, Markdown by name."""
    tables = {struct.name: struct.table() for struct in STRUCTS}
    limits = [(f"`{name}`", number_text(value), text) for name, value, text in LIMITS]
    tables["limits"] = _table(("Limit", "Value", "Of"), limits)
    tables["codec ids"] = _table(("Id", "Codec", "Payloads"), [(str(int(i)), *_CODECS[i]) for i in CodecId])
    formats = [(str(int(i)), i.name.lower()) for i in PixelFormat]
    tables["pixel formats"] = _table(("Value", "Name"), formats)
    types = [(str(int(i)), _TYPES[i]) for i in AnchorType]
    types.append((f"others below {FIRST_SKIPPABLE_TYPE}", "not assigned; a reader that meets one stops"))
    types.append((f"{FIRST_SKIPPABLE_TYPE} .. 127", "not assigned; a reader that meets one skips it"))
    tables["packet types"] = _table(("Type", "Packet"), types)
    return tables


def fill(text: str, tables: Mapping[str, str]) -> str:
    """The text with every marked table replaced.

    Raises:
        UsageError: a table without its mark, or a mark without its table, or one of them twice.
    """
    found = [match[2] for match in _MARK.finditer(text)]
    if sorted(found) != sorted(tables):
        raise UsageError(f"marks {sorted(found)} and tables {sorted(tables)} differ")
    return _MARK.sub(lambda match: f"{match[1]}{tables[match[2]]}\n{match[3]}", text)


def main() -> None:
    FORMAT_FILE.write_text(fill(FORMAT_FILE.read_text(encoding="utf-8"), generated()), encoding="utf-8")


if __name__ == "__main__":
    main()
