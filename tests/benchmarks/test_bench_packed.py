"""benchmarks/packed.py: one small run."""

from __future__ import annotations

import re

import packed


def test_a_real_run(clip, capsys):
    """The tables hold together: means of one clip are its figures, shares add up."""
    assert packed.main([str(clip), "--crf", "26", "34", "--frames", "4"]) == 0
    printed = capsys.readouterr().out
    row, mean = (line for line in printed.splitlines() if line.startswith(("| texture", "| mean")))
    shares = re.findall(r"[-+][\d.]+%", row)
    assert len(shares) == 2
    assert re.findall(r"[-+][\d.]+%", mean) == shares
    before, after = (int(text) for text in re.search(r"(\d+) -> (\d+)", row).groups())
    assert after < before
    elements = re.findall(r"^\| [\w ]+ \| ([\d.]+)% \|", printed, re.M)
    assert sum(map(float, elements)) > 99
    assert re.search(r"million bins, \d+ ns", printed)
