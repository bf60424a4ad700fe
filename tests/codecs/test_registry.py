"""Codec strings, names, and codecs out of headers."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lvc.bitstream import CodecId, StreamHeader
from lvc.codecs import codec_for_header, codec_name, codec_names, get_codec, open_codec, parse_codec_string
from lvc.errors import CodecError, UsageError, WeightsError
from lvc.types import EncodeOptions, VideoInfo


def test_codec_string():
    assert parse_codec_string("dvc-lite") == ("dvc-lite", {})
    assert parse_codec_string("x265:preset=veryfast,tune=zerolatency,crf=27,keyint=10") == (
        "x265", {"preset": "veryfast", "tune": "zerolatency", "crf": "27", "keyint": "10"})
    assert parse_codec_string(" x264 : a = b , c=d=e ") == ("x264", {"a": "b", "c": "d=e"})


@pytest.mark.parametrize("text", ["", ":crf=2", "x265:", "x265:crf", "x265:crf=", "x265:=3", "x265:a=1,,b=2",
                                  "x265:crf=1,crf=2"])
def test_malformed_codec_string(text):
    with pytest.raises(UsageError, match="codec"):
        parse_codec_string(text)


def test_names():
    names = codec_names()
    assert names[-6:] == ["x264", "x265", "svt-av1", "vvenc", "libaom", "x265-packed"]
    for name in names:
        codec = get_codec(name)
        assert codec.name == name
        assert codec_name(codec.codec_id) == name
        assert len(codec.weights_digest) in (0, 16)


def test_every_codec_id_has_a_name():
    names = [codec_name(number) for number in CodecId]
    assert names[:8] == ["x264", "x265", "svt-av1", "vvenc", "libaom", "x265-packed", "dvc", "dvc-lite"]


def test_unknown():
    with pytest.raises(CodecError, match=r"'x266' \(there are: .*x265"):
        get_codec("x266")
    with pytest.raises(CodecError, match="x266"):
        open_codec("x266:crf=3")
    with pytest.raises(CodecError, match=r"4711.*newer"):
        codec_for_header(StreamHeader(4711, b"", VideoInfo(16, 16), 32))


def test_header():
    assert codec_for_header(StreamHeader(CodecId.X265, b"", VideoInfo(16, 16), 32)).name == "x265"
    with pytest.raises(WeightsError, match=r"0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a.*none"):
        codec_for_header(StreamHeader(CodecId.X265, b"\n" * 16, VideoInfo(16, 16), 32))


def test_parameters_go_over_options():
    codec = open_codec("x265:quality=3,threads=2,crf=20")
    options = codec.options(EncodeOptions(quality=40, intra_period=8, params={"crf": "9", "preset": "fast"}))
    assert options == EncodeOptions(3, 8, 2, {"crf": "20", "preset": "fast"})
    assert (codec.name, codec.codec_id, codec.weights_digest) == ("x265", CodecId.X265, b"")


def test_external_codecs_do_not_load_torch():
    code = ("import sys, lvc.api; from lvc.codecs import get_codec; get_codec('x265');"
            "assert 'torch' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)
