"""stsr with a network: clips, what the packets switch, weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lvc.api import decode, encode, open_stream
from lvc.bitstream import StreamHeader
from lvc.codecs import codec_for_header, get_codec
from lvc.codecs.layered import base_header, find_base, reduction_of
from lvc.codecs.rebuild import Clips, Rebuilt
from lvc.codecs.reduction import NETWORK, Reduction
from lvc.codecs.stsr import StsrCodec, StsrDecoder, StsrEncoder
from lvc.errors import CorruptStreamError, WeightsError
from lvc.types import EncodeOptions, Frame
from tests.codecs.coding import coded, decoded, drained, same


@pytest.fixture(scope="module")
def codec(stsr_path) -> StsrCodec:
    found = get_codec("stsr", str(stsr_path))
    assert isinstance(found, StsrCodec)
    return found


def errors(frame: Frame, source: Frame) -> tuple[float, float]:
    """Of luma, and of both chroma planes together."""
    y, u, v = (float(np.mean((a.astype(float) - b) ** 2)) for a, b in zip(frame.planes, source.planes, strict=True))
    return y, (u + 1e-3) * (v + 1e-3)


@pytest.mark.parametrize(("kt", "ks"), [("1", "1"), ("2", "1"), ("1", "2"), ("2", "1.5")])
def test_no_plane_gets_worse_and_switched_off_ones_stay(codec, kt, ks, textured_frames, info_of):
    frames = textured_frames(11, 70, 66)
    header, packets = coded(codec, frames, info_of(frames), 6, base="x265", crf="40", kt=kt, ks=ks)
    result = decoded(codec, header, packets)
    plain = decoded(codec_for_header(header, enhance=False), header, packets)
    qualities = {p.pts: p.quality for p in packets}
    assert [f.pts for f in result] == list(range(11))
    for frame, without, source in zip(result, plain, frames, strict=True):
        assert all(a <= b for a, b in zip(errors(frame, source), errors(without, source), strict=True))
        assert bool(qualities[frame.pts] & 1) == (not np.array_equal(frame.y, without.y))
        assert bool(qualities[frame.pts] & 2) == (not np.array_equal(frame.v, without.v))
    assert any(q & 3 for q in qualities.values())


class Teller:
    """An enhancer that writes down what it is given, and marks the first sample of what is asked for."""

    core, margin = 3, 2

    def __init__(self) -> None:
        self.calls: list[tuple[list[int], list[int | None], range]] = []

    def __call__(self, seen, middles, core):
        self.calls.append(([s.frame.pts for s in seen], [m.pts if m else None for m in middles], core))
        return tuple([mark(f) if f and t in core else None for t, f in enumerate(part)]
                     for part in ([s.frame for s in seen], middles))


def mark(frame: Frame) -> Frame:
    y = frame.y.copy()
    y[0, 0] ^= 1
    return Frame(y, frame.u, frame.v, frame.pts)


def test_clips_stay_within_groups_and_are_the_same_at_both_ends(textured_frames, info_of):
    frames = textured_frames(27, 64, 64)
    video, base = info_of(frames), find_base("x265")
    reduction, teller, listener = Reduction(2, 2, NETWORK), Teller(), Teller()
    inner = base.encoder(reduction.video(video), EncodeOptions(intra_period=8, threads=1))
    plain = StreamHeader(base.codec_id, b"", reduction.video(video), 8, inner.codec_data)
    encoder = StsrEncoder(base, inner, base.decoder(plain), video, reduction, teller)
    packets = [p for frame in frames for p in encoder.push(frame)] + encoder.flush()
    header = StreamHeader(20, b"", video, 16, encoder.codec_data)
    assert teller.calls == [
        ([0, 2, 4, 6, 8], [1, 3, 5, None, None], range(3)),
        ([2, 4, 6, 8, 10, 12, 14], [None, None, 7, 9, 11, None, None], range(2, 5)),
        ([8, 10, 12, 14], [None, None, 13, None], range(2, 4)),
        ([16, 18, 20, 22, 24], [17, 19, 21, None, None], range(3)),
        ([18, 20, 22, 24, 26], [None, None, 23, 25, None], range(2, 5))]
    # 15, whose neighbours are of two groups, is asked of no clip
    on = [replace(p, quality=p.quality | (1 if p.pts != 15 else 0)) for p in packets]
    codec_, plain_ = base_header(header)
    decoder = StsrDecoder(codec_.decoder(plain_), video, reduction_of(header), listener)
    result = drained(decoder, on)
    assert listener.calls == teller.calls
    assert [f.pts for f in result] == list(range(27))
    bare = drained(StsrDecoder(codec_.decoder(plain_), video, reduction_of(header), None), on)
    assert [int(a.y[0, 0]) - int(b.y[0, 0]) != 0 for a, b in zip(result, bare, strict=True)] == [
        t != 15 for t in range(27)]
    decoder = StsrDecoder(codec_.decoder(plain_), video, reduction_of(header), Teller())
    wrong = [replace(p, quality=p.quality | 1) for p in packets]
    with pytest.raises(CorruptStreamError, match="across groups"):
        drained(decoder, wrong)


def test_a_short_group_is_seen_whole(codec, textured_frames, info_of):
    """Up to the length of a clip, windows make no difference to the recurrence of the network."""
    frames = textured_frames(8, 32, 24)
    network = codec._network(find_base("x265"), Reduction(1, 2, NETWORK))
    clips = Clips(network)
    pictures = []
    for frame in frames:
        picture = Rebuilt(frame, frame.pts == 0, (32, 24), 2)
        picture.level = 4.0
        pictures.append(picture)
    ready = [r for picture in pictures for r in clips.push(picture)] + clips.flush()
    assert ready == pictures
    whole, _ = network._restorer(frames, [4.0] * 8, [f.pts == 0 for f in frames], [None] * 8, range(8))
    assert same([p.clip.enhanced(p) for p in pictures], whole)


def test_memory_is_let_go(codec, textured_frames, info_of):
    """Clips do not hold those before them."""
    import gc

    frames = textured_frames(40, 16, 16)
    encoder = codec.encoder(info_of(frames), EncodeOptions(intra_period=-1, threads=1, params={
        "base": "x264", "tune": "zerolatency", "preset": "ultrafast"}))
    for frame in frames:
        encoder.push(frame)
    gc.collect()
    assert sum(isinstance(o, Rebuilt) for o in gc.get_objects()) < 24


def test_files_and_weights(stsr_path, textured_frames, write_video, tmp_path):
    source, stream = write_video(tmp_path / "in.mkv", textured_frames(7, 80, 64)), tmp_path / "a.lvc"
    encode(source, stream, codec=f"stsr:base=x265,kt=2,ks=1.5,crf=38,weights={stsr_path}")
    with pytest.raises(WeightsError, match=r"made with weights \w+ of stsr, this version of lvc has \w+"):
        decode(stream, tmp_path / "a.y4m")
    decode(stream, tmp_path / "a.y4m", weights=stsr_path)
    decode(stream, tmp_path / "b.y4m", enhance=False)
    assert (tmp_path / "a.y4m").read_bytes() != (tmp_path / "b.y4m").read_bytes()
    with open_stream(stream, weights=stsr_path) as frames:
        assert sum(1 for _ in frames) == 7
    encode(source, stream, codec="stsr:base=x265,kt=2,enhance=off")
    decode(stream, tmp_path / "c.y4m", weights=stsr_path)  # asks for none


def test_weights_of_others(restore_path, stsr_path):
    assert get_codec("stsr", str(restore_path)).weights_digest == get_codec("restore", str(restore_path)).weights_digest
    with pytest.raises(WeightsError):
        get_codec("restore", str(stsr_path))
