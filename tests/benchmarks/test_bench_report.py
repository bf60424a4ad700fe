"""The report page: its numbers, its structure, and its behaviour in a real browser."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report
from benchlib.pictures import frames_of, sha256_of
from benchlib.results import save_results
from benchlib.specs import BenchmarkError, SequenceSpec
from playwright.sync_api import sync_playwright
from reportlib.crops import busiest_part, crop_set, data_uri
from reportlib.data import ReportData
from reportlib.figures import inline

import lvc

VERYFAST = "x265:preset=veryfast,tune=zerolatency"
ULTRAFAST = "x265:preset=ultrafast"
FRAMES = 10


def make(codec: str, crf: int, bpp: float, quality: float, sequence: str, sha256: str,
         weights: str = "", period: int = 10) -> dict[str, Any]:
    point = {"quality": str(crf)} if weights else {"crf": str(crf)}
    mean = {"psnr_y": quality - 1, "psnr_u": quality + 3, "psnr_v": quality + 3, "psnr_yuv": quality,
            "psnr_rgb": quality - 2, "ms_ssim": None}
    times = {"command": f"lvc encode SOURCE CODED --codec {codec}", "seconds": 2.0 if weights else 0.5,
             "fps": 5.0, "peak_rss_mib": 100.0}
    return {"record": 2, "codec": codec, "point": point, "intra_period": period, "threads": 1,
            "codec_string": codec if weights else f"{codec}{',' if ':' in codec else ':'}crf={crf}",
            "sequence": {"name": sequence, "sha256": sha256, "width": 176, "height": 164, "frames": FRAMES,
                         "frame_rate": "25"},
            "file_bytes": int(bpp * 176 * 164 * FRAMES / 8), "bpp": bpp, "kbps": bpp * 176 * 164 * 25 / 1000,
            "mean": mean, "per_frame": {"psnr_yuv": [quality + 0.1 * i for i in range(FRAMES)],
                                        "psnr_rgb": [quality - 2.0] * FRAMES, "ms_ssim": [None] * FRAMES},
            "decoded_md5": f"{codec}{crf}{sequence}", "encode": times, "decode": times,
            "weights_digest": weights, "versions": {"lvc": "0.1.0", "av": "18.1"}, "commit": "abc123",
            "machine": {"cpu": "Test <CPU> & Co", "cores": 2, "system": "Linux"}}


@pytest.fixture(scope="module")
def records(clip: Path) -> list[dict[str, Any]]:
    """The learned codec needs twice the bits of veryfast, ultrafast 1.5 times; two sequences."""
    found = []
    for name in ("texture", "other"):
        digest = sha256_of(clip) if name == "texture" else "0" * 64
        for i in range(4):
            for codec, factor, weights in ((VERYFAST, 1.0, ""), ("learned", 2.0, "ab12"),
                                           (ULTRAFAST, 1.5, "")):
                rate, quality = 0.1 * factor * 2.0**i, 30.0 + 3 * i
                found.append(make(codec, 40 - 3 * i, rate, quality, name, digest, weights))
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]], clip: Path) -> Path:
    """A report with pictures of one sequence by the two classical codecs, and times by stage."""
    folder = tmp_path_factory.mktemp("report")
    save_results(folder / "r.json", [r for r in records if r["codec"] != "learned"])
    learned = [r for r in records if r["codec"] == "learned" and r["sequence"]["name"] == "other"]
    save_results(folder / "learned.json", learned)
    part = {"seconds": 2.0, "all_seconds": [2.0], "fps": 2.0, "mpx_per_second": 1.0, "peak_rss_mib": 9.0,
            "stages": {"motion": 0.5, "IO": 0.1, "other": 1.4}}
    row = {"codec": "learned", "codec_string": "learned", "point": {"quality": "28"}, "learned": True,
           "width": 64, "height": 48, "frames": 4, "threads": 1, "file_bytes": 9, "bpp": 0.1,
           "psnr_yuv": 30.0, "encode": part, "decode": part}
    (folder / "speed.json").write_text(json.dumps(
        {"speed": 1, "clip": "c.mkv", "intra_period": 32, "repeat": 1, "machine": {"cpu": "C", "cores": 1},
         "rows": [row]}))
    out = folder / "report.html"
    assert report.main([str(folder / "r.json"), str(folder / "learned.json"), "--out", str(out),
                        "--sequences", str(clip), "--cache", str(folder / "cache"),
                        "--speed", str(folder / "speed.json"), "--title", "A <title>"]) == 0
    return out


class _Outline(HTMLParser):
    """Tags with their attributes, ids, and whether elements are closed as they were opened."""

    VOID = ("meta", "link", "img", "input", "br", "path", "use", "rect")

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def outline(page: Path) -> _Outline:
    parsed = _Outline()
    parsed.feed(page.read_text(encoding="utf-8"))
    assert parsed.open == []
    return parsed


def test_bd_rates(records):
    data = ReportData(records)
    assert data.anchors == [VERYFAST, ULTRAFAST]
    assert data.learned == ["learned"]
    assert data.metrics == ["yuv", "rgb"]
    cell = data.bd(10, "yuv", "", VERYFAST, "learned")
    assert (cell.percent, cell.counted, cell.total) == (pytest.approx(100), 2, 2)
    assert cell.text == "+100 %"
    assert data.bd(10, "yuv", "texture", ULTRAFAST, VERYFAST).text == "−33.3 %"
    assert data.speed(10, "", VERYFAST, "encode") == pytest.approx(176 * 164 * FRAMES / 1e6 / 0.5)
    like = data.like_rate(10, "texture")
    assert {codec: record["bpp"] for codec, record in like.items()} == {
        VERYFAST: 0.4, "learned": 0.4, ULTRAFAST: pytest.approx(0.3)}


def test_missing_and_uncertain_bd_rates_say_so(records):
    kept = [r for r in records if r["codec"] != ULTRAFAST or r["sequence"]["name"] == "texture"]
    high = [{**r, "mean": {**r["mean"], "psnr_yuv": r["mean"]["psnr_yuv"] + 6}} for r in kept
            if r["codec"] == "learned"]
    data = ReportData([*(r for r in kept if r["codec"] != "learned"), *high])
    cell = data.bd(10, "yuv", "", VERYFAST, ULTRAFAST)
    assert (cell.counted, cell.total) == (1, 2)
    assert data.bd(10, "yuv", "other", VERYFAST, ULTRAFAST).text == "–"
    assert data.bd(10, "yuv", "", VERYFAST, "learned").text.endswith("*")
    means, left_out = data.means(10)
    assert len(means) == 3
    assert left_out == ["other"]


def test_lengths_of_a_sequence_stand_apart(records):
    longer = [{**r, "sequence": {**r["sequence"], "frames": 20}} for r in records]
    data = ReportData([*records, *longer])
    assert data.sequences() == ["texture (10 frames)", "other (10 frames)", "texture (20 frames)",
                                "other (20 frames)"]


@pytest.mark.parametrize(("change", "message"), [
    (lambda r: [], "no points"), (lambda r: [{}], "lacks 'sequence'"),
    (lambda r: [{k: v for k, v in r[0].items() if k != "bpp"}], "bpp"),
    (lambda r: [{**r[0], "mean": {"x": 1.0}}], "none of the measures")])
def test_wrong_records(records, change, message):
    with pytest.raises(lvc.LvcError, match=message):
        ReportData(change(records))


def test_the_page_is_complete_in_itself(page, outline):
    text = page.read_text(encoding="utf-8")
    addresses = [value for _, attributes in outline.tags for name, value in attributes.items()
                 if name in ("src", "href", "xlink:href") and value]
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "A &lt;title&gt;" in text
    assert "Test &lt;CPU&gt; &amp; Co" in text
    assert len(text) < 3e6


def test_ids_are_unique_and_references_lead_somewhere(page, outline):
    ids = [attributes["id"] for _, attributes in outline.tags if attributes.get("id")]
    assert len(set(ids)) == len(ids)
    text = page.read_text(encoding="utf-8")
    references = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text))
    assert references
    assert {a or b for a, b in references} <= set(ids)


def test_every_choice_has_its_figures(outline):
    keys = ("data-period", "data-metric", "data-sequence")
    found = {tag: {tuple(a.get(key) or "" for key in keys) for t, a in outline.tags
                   if t == tag and "data-metric" in a and a.get("class") != "finding"}
             for tag in ("div", "figure")}
    expected = {("10", metric, name) for metric in ("yuv", "rgb") for name in ("", "texture", "other")}
    assert found["div"] == expected  # the tables
    assert found["figure"] == expected
    buttons = [a for t, a in outline.tags if t == "button"]
    assert [a["data-series"] for a in buttons] == ["0", "1", "2"]
    drawn = {found for _, a in outline.tags for found in re.findall(r"\bs\d\b", a.get("class") or "")}
    assert drawn == {"s0", "s1", "s2"}


def test_the_points_as_csv(outline, records):
    (link,) = [a["href"] for _, a in outline.tags if a.get("download") == "points.csv"]
    lines = base64.b64decode(str(link).partition("base64,")[2]).decode().splitlines()
    assert lines[0].startswith("sequence,frames,intra_period,codec,point,bytes,bpp,psnr_y,")
    assert len(lines) == 1 + 16 + 4


def test_crops_are_those_of_the_measured_frames(clip, records, tmp_path):
    """Decoded anew they have the measured MD5, or the page would say that they have not."""
    record = next(r for r in records if r["codec"] == ULTRAFAST and r["sequence"]["name"] == "texture")
    coded, decoded = tmp_path / "c.lvc", tmp_path / "d.y4m"
    lvc.encode(clip, coded, codec=record["codec_string"], intra_period=10, threads=1)
    lvc.decode(coded, decoded)
    planes = b"".join(plane.tobytes() for frame in frames_of(decoded) for plane in frame.planes)
    true = {**record, "decoded_md5": hashlib.md5(planes).hexdigest()}
    source = SequenceSpec("texture", clip)
    found = crop_set(source, {ULTRAFAST: true}, tmp_path / "cache", frame=3, size=(96, 64))
    assert (found.frame, found.width, found.height) == (3, 96, 64)
    assert [(crop.codec, crop.exact) for crop in found.crops] == [("", True), (ULTRAFAST, True)]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f"{true['decoded_md5']}-3.png"]
    again = crop_set(source, {ULTRAFAST: {**true, "codec_string": "none"}}, tmp_path / "cache", frame=3,
                     size=(96, 64))
    assert again.crops == found.crops  # out of the cache, or the unknown codec would have failed
    other = crop_set(source, {ULTRAFAST: record}, tmp_path / "cache2", frame=3, size=(96, 64))
    assert not other.crops[1].exact
    assert other.crops[1].uri == found.crops[1].uri
    with pytest.raises(BenchmarkError, match="no frame 10"):
        crop_set(source, {ULTRAFAST: true}, tmp_path / "cache", frame=10)
    foreign = {**true, "sequence": {**true["sequence"], "sha256": "0" * 64}}
    with pytest.raises(BenchmarkError, match="not the file that was measured"):
        crop_set(source, {ULTRAFAST: foreign}, tmp_path / "cache")


def test_the_part_shown_is_where_the_source_moves():
    former = np.zeros((90, 120), np.uint8)
    luma = former.copy()
    luma[60:80, 70:100] = 200
    x, y, width, height = busiest_part(luma, former, (40, 30))
    assert (width, height) == (40, 30)
    assert x <= 70
    assert x + 40 >= 100
    assert y <= 60
    assert y + 30 >= 80
    assert busiest_part(luma, former, (500, 500)) == (0, 0, 120, 90)


def test_pictures_are_png_or_jpeg_by_size():
    flat = np.full((64, 64, 3), 90, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (214, 320, 3), dtype=np.uint8)
    assert data_uri(flat).startswith("data:image/png;base64,")
    assert data_uri(noise).startswith("data:image/jpeg;base64,")


def test_inline_svg_keeps_to_itself():
    svg = (b'<?xml version="1.0"?><!DOCTYPE svg>'
           b'<svg width="9pt" height="9pt" viewBox="0 0 9 9" version="1.1">'
           b'<metadata>m</metadata><defs><path id="m1"/></defs>'
           b'<g id="series-2"><use xlink:href="#m1"/></g>'
           b'<g id="axes_1" clip-path="url(#m1)"/></svg>')
    assert inline(svg, "f7", 'a "b"') == (
        '<svg viewBox="0 0 9 9" role="img" aria-label="a &quot;b&quot;"><defs><path id="f7-m1"/></defs>'
        '<g class="series s2"><use xlink:href="#f7-m1"/></g><g clip-path="url(#f7-m1)"/></svg>')


@pytest.mark.parametrize(("arguments", "message"), [
    (["--anchors", "vp9"], "no codec fits"), (["--sequences", "nowhere"], "nowhere"),
    (["--codecs", "x265"], "several codecs fit"),
    (["--speed", "RESULTS"], "not a file of benchmarks/speed.py"),
    (["--published", "nowhere.json"], "nowhere.json")])
def test_wrong_arguments(tmp_path, records, capsys, arguments, message):
    save_results(tmp_path / "r.json", records)
    arguments = [str(tmp_path / "r.json") if argument == "RESULTS" else argument for argument in arguments]
    assert report.main([str(tmp_path / "r.json"), "--out", str(tmp_path / "o.html"), *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o.html").exists()


def _browser_path() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    return os.environ.get("LVC_TEST_BROWSER") or next(filter(None, map(shutil.which, names)), None)


BROWSER = _browser_path()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, from wherever it is installed."""
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
             "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=quiet)
        yield chromium
        chromium.close()


if BROWSER is not None:

    @pytest.mark.browser
    @pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)], ids=["desktop", "phone"])
    def test_in_a_browser(browser, page, width, height):
        """The filter, the legend and the slider do what they should; nothing is logged, nothing runs over."""
        view = browser.new_page(viewport={"width": width, "height": height})
        view.set_default_timeout(180_000)  # machines may be busy
        said: list[str] = []
        view.on("console", lambda message: said.append(message.text))
        view.on("pageerror", lambda error: said.append(str(error)))
        view.on("request", lambda request: said.append(request.url)
                if not request.url.startswith(("file:", "data:")) else None)
        view.goto(page.as_uri())
        assert view.evaluate("document.documentElement.scrollWidth") == width

        def shown(selector: str) -> list[str]:
            return view.eval_on_selector_all(selector, "e => e.filter(x => x.offsetParent !== null)"
                                             ".map(x => x.querySelector('h3')?.textContent ?? x.textContent)")

        # the mean is over the sequence that all codecs have; all sequences stand beside it
        assert shown("#rd figure") == ["Mean over sequences", "texture", "other"]
        assert shown("#pictures .compare") == ["texture"]
        view.select_option("#sequence", "other")
        assert shown("#rd figure") == ["other"]
        assert shown("#frames figure") == ["other"]
        assert shown("#pictures .compare") == []
        assert view.locator("#pictures .nothing").is_visible()
        assert "YUV PSNR, other" in view.locator("#bd-rate table:visible").inner_text()
        view.check("input[name=metric][value=rgb]", force=True)
        assert "RGB PSNR, other" in view.locator("#bd-rate table:visible").inner_text()
        assert "+100 %" in view.locator(".finding:visible").inner_text()

        series = view.locator("#rd figure:visible .s0").first
        assert series.is_visible()
        view.click(".legend button[data-series='0']")
        assert not series.is_visible()
        view.click(".legend button[data-series='0']")
        assert series.is_visible()

        assert shown(".legend button > span") == ["x265 veryfast zerolatency", "x265 ultrafast", "learned"]
        view.select_option("#sequence", "texture")
        assert shown(".legend button > span") == ["x265 veryfast zerolatency", "x265 ultrafast"]
        stage = view.locator(".stage")
        stage.scroll_into_view_if_needed()
        box = stage.bounding_box()
        at = "getComputedStyle(document.querySelector('.stage')).getPropertyValue('--at')"
        assert view.evaluate(at) == "50%"
        view.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + box["height"] / 2)
        assert float(view.evaluate(at).rstrip("%")) == pytest.approx(25, abs=4)
        clip_path = view.evaluate("getComputedStyle(document.querySelector('.stage img.right')).clipPath")
        assert clip_path.startswith("inset(0px 0px 0px ")
        view.keyboard.press("End")
        assert view.evaluate(at) == "100%"
        view.select_option(".choose select[name=left]", "0")
        assert view.locator(".tag.l").inner_text().strip() == "source"
        assert view.evaluate("[...document.querySelectorAll('.stage img')].every(i => i.naturalWidth > 100)")
        assert view.evaluate("document.documentElement.scrollWidth") == width
        assert said == []
        view.close()
