"""What anchors are cached by: what the code does, not how it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchlib import behaviour, environment
from benchlib.evaluate import Job
from benchlib.results import Cache
from benchlib.specs import RatePoint, SequenceSpec

import lvc

X264 = "x264:preset=ultrafast,crf=30"


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Codec strings that were tried, in order."""
    tried: list[str] = []
    code = behaviour._coded
    monkeypatch.setattr(behaviour, "_coded", lambda codec: tried.append(codec) or code(codec))
    return tried


def test_it_is_remembered_until_the_code_changes(cache, computed, monkeypatch):
    first = behaviour.of_codec(X264, cache)
    assert behaviour.of_codec(X264, cache) == first
    assert computed == [X264]
    (path,) = cache.folder.iterdir()
    path.write_text("{")
    assert behaviour.of_codec(X264, cache) == first
    # other source files, the same behaviour
    monkeypatch.setattr(environment, "code_digest", lambda learned: "another")
    assert behaviour.of_codec(X264, cache) == first
    assert computed == [X264] * 3


def test_it_differs_where_files_differ(monkeypatch):
    found = {behaviour._coded(codec) for codec in (X264, "x264:preset=ultrafast,crf=31", "x265:preset=ultrafast")}
    assert len(found) == 3
    encode = lvc.encode

    def longer(source: Path, coded: Path, **options: Any) -> None:
        """Another container: the same video, a byte more."""
        encode(source, coded, **options)
        coded.write_bytes(coded.read_bytes() + b"\0")

    monkeypatch.setattr(lvc, "encode", longer)
    assert behaviour._coded(X264) not in found


def test_measures_count(cache, monkeypatch):
    first = behaviour.of_measures(cache)
    compare = behaviour.compare_frames
    monkeypatch.setattr(behaviour, "compare_frames", lambda a, b: compare(b, a))
    assert behaviour.of_measures(cache) == first
    assert behaviour._measured() == first  # PSNR and MS-SSIM are symmetric
    monkeypatch.setattr(behaviour, "compare_frames", lambda a, b: compare(a, a))
    assert behaviour._measured() != first


def test_what_a_record_depends_on(cache, computed, monkeypatch):
    """Anchors outlive changes to networks and versions of lvc; learned codecs do not."""
    anchor, learned = (Job(SequenceSpec("s", Path("s.mkv")), point) for point in (
        RatePoint("x264:preset=ultrafast", "crf", "30"), RatePoint("dvc-lite", "quality", "20")))
    keys = anchor.key("0", cache), learned.key("0", cache)
    assert computed == [X264]
    monkeypatch.setattr(environment, "code_digest", lambda learned: "another")
    versions = environment.versions() | {"lvc": "99"}
    monkeypatch.setattr(environment, "versions", lambda: versions)
    assert anchor.key("0", cache) == keys[0]
    assert learned.key("0", cache) != keys[1]
    assert anchor.key("1", cache) != keys[0]
    monkeypatch.setattr(behaviour, "of_codec", lambda codec, cache: "other bytes")
    assert anchor.key("0", cache) != keys[0]
