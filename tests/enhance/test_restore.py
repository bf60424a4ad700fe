"""The restoration network: its packing, its size, what it proposes for whole frames of any size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from lvc.enhance.adaptive import CHROMA_PROPOSALS, COEFFICIENT, LUMA_PROPOSALS, N_CHROMA, N_LUMA, WAYS, chroma_unit
from lvc.enhance.levels import LEVELS, index_of_level, level_of_index
from lvc.enhance.neighbours import Neighbours, aligned
from lvc.enhance.restore import (
    CHANNELS,
    PROPOSED,
    RestoreConfig,
    RestoreNet,
    by_plane,
    high_pass,
    pack,
    plane_means,
    unpack,
    unpack_proposals,
)
from lvc.enhance.restorer import Restorer, pack_frame, unpack_frame
from lvc.enhance.seen import Seen, Window
from lvc.types import Frame


def random_planes(seed: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)

    def plane(h: int, w: int) -> torch.Tensor:
        return torch.randint(0, 256, (2, 1, h, w), generator=rng).float()

    return plane(height, width), plane(height // 2, width // 2), plane(height // 2, width // 2)


def active_net(seed: int = 0) -> RestoreNet:
    """A small network whose layers all do something."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        net = RestoreNet(RestoreConfig(width=16, blocks=1))
        for parameter in (*net.end.parameters(), *net.shift.parameters()):
            parameter.normal_(0.0, 0.1)
    return net.eval()


def net_inputs(height: int = 8, width: int = 12) -> tuple[torch.Tensor, ...]:
    frames = [pack(*random_planes(seed, 4 * height, 4 * width)) for seed in range(3)]
    return (*frames, torch.tensor([[2.0, 3.0, 1.0], [5.0, 5.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))


def test_levels_cover_their_range():
    assert [index_of_level(level_of_index(i)) for i in range(LEVELS)] == list(range(LEVELS))
    assert level_of_index(LEVELS - 1) == pytest.approx(0.3)
    assert level_of_index(0) == pytest.approx(0.3 * 2**6)
    assert index_of_level(0.0) == LEVELS - 1
    assert index_of_level(255.0) == 0
    for level in np.geomspace(0.3, 19.0, 50):
        assert abs(np.log2(level_of_index(index_of_level(level)) / level)) <= 0.2 + 1e-9


def test_packing_is_inverted_and_keeps_planes_apart():
    planes = random_planes(1, 16, 24)
    x = pack(*planes)
    assert x.shape == (2, CHANNELS, 4, 6)
    for plane, back in zip(planes, unpack(x), strict=True):
        assert torch.equal(plane, back)
    means = plane_means(x).mean((2, 3))
    assert torch.allclose(means, torch.stack([p.mean((1, 2, 3)) for p in planes], 1), atol=1e-3)
    assert torch.equal(plane_means(by_plane(torch.tensor([[1.0, 2.0, 3.0]]))), torch.tensor([[1.0, 2.0, 3.0]]))


def test_high_pass_is_zero_on_flat_pictures_and_sees_single_samples():
    y, u, v = (torch.full((1, 1, n, n), 77.0) for n in (16, 8, 8))
    assert not high_pass(pack(y, u, v)).any()
    y[0, 0, 5, 6] += 9.0
    luma = unpack(high_pass(pack(y, u, v)))[0][0, 0]
    assert luma[5, 6] == pytest.approx(8.0)
    assert luma[4, 5] == pytest.approx(-1.0)
    assert luma[5, 8] == 0.0


def test_proposals_are_unpacked():
    shapes = [(LUMA_PROPOSALS, 16, 24), (CHROMA_PROPOSALS, 8, 12), (CHROMA_PROPOSALS, 8, 12)]
    planes = [torch.randn(2, *shape) for shape in shapes]
    packed = [torch.nn.functional.pixel_unshuffle(plane, factor) for plane, factor in zip(planes, (4, 2, 2))]
    assert sum(part.shape[1] for part in packed) == PROPOSED
    for plane, back in zip(planes, unpack_proposals(torch.cat(packed, 1)), strict=True):
        assert torch.equal(plane, back)


def test_proposals_count_in_units_of_the_level():
    net, inputs = active_net(), net_inputs()
    with torch.no_grad():
        net.end.weight.zero_()
        net.end.bias.fill_(2.0)
        y, u, v = unpack_proposals(net(*inputs))
    for number, level in enumerate(inputs[3][:, 0].tolist()):
        assert torch.allclose(y[number], torch.tensor(level / 2))
        for plane in (u, v):
            assert torch.allclose(plane[number], torch.tensor(chroma_unit(level) / 2))


def test_network_sees_all_its_inputs():
    net, inputs = active_net(), net_inputs()
    with torch.no_grad():
        out = net(*inputs)
        assert out.shape == (2, PROPOSED, 8, 12)
        assert out.dtype == torch.float32
        for place in range(5):
            changed = [x.clone() for x in inputs]
            changed[place][0] = changed[place][0] * 0.5 + 0.25
            other = net(*changed)
            assert not torch.equal(other[0], out[0]), place
            assert torch.allclose(other[1], out[1], atol=1e-4), place


def test_stated_complexity_is_that_of_the_convolutions():
    config = RestoreConfig()
    macs = sum(layer.weight.numel() for layer in RestoreNet(config).modules() if isinstance(layer, torch.nn.Conv2d))
    assert config.kmac_per_pixel == pytest.approx(macs / 16 / 1000)
    assert config.kmac_per_pixel <= 20
    assert RestoreConfig.from_json(config.to_json()) == config


def test_neighbours_are_aligned(textured_frames, psnr):
    one, two = textured_frames(2, 96, 64)
    still = psnr(one.y, two.y)
    prediction = aligned(one.planes, two.planes, 2.0)
    assert psnr(one.y, prediction[0]) > still + 6.0
    assert [p.shape for p in prediction] == [p.shape for p in one.planes]


SIZES = [(64, 48), (37, 21), (1, 1), (2, 3), (66, 50)]
"""(width, height)"""


def random_frames(width: int, height: int) -> list[Frame]:
    """Three, that cannot be written to, as some decoders give them."""
    rng = np.random.default_rng(width)
    shape = ((height + 1) // 2, (width + 1) // 2)
    frames = [Frame(*(rng.integers(0, 256, s, dtype=np.uint8) for s in ((height, width), shape, shape)), pts=7 + i)
              for i in range(3)]
    for plane in (plane for frame in frames for plane in frame.planes):
        plane.flags.writeable = False
    return frames


def window_of(frames: Sequence[Frame | None], indices: Sequence[int], intra: bool = False) -> Window:
    """Of three or five frames; the middle one is the current."""
    wide = len(frames) == 3
    seen = [None if frame is None else Seen(frame, index, intra) for frame, index in zip(frames, indices, strict=True)]
    first, second, now, third, fourth = [None, *seen, None] if wide else seen
    return first, second, now, third, fourth


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_packed_frames_of_any_size(width, height):
    frame = random_frames(width, height)[1]
    packed = pack_frame(frame.planes)
    assert packed.shape == (1, CHANNELS, -(-height // 4), -(-width // 4))
    back = unpack_frame(packed, frame)
    assert back.pts == 8
    for plane, same in zip(frame.planes, back.planes, strict=True):
        assert np.array_equal(plane, same)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_frames_of_any_size(width, height):
    """Views of them have whole planes, that filters take."""
    frames = random_frames(width, height)
    views = Restorer(active_net(), True)(window_of(frames, (6, 5, 4)))
    assert views.index == 5
    assert views.proposals is not None
    counts = LUMA_PROPOSALS, CHROMA_PROPOSALS, CHROMA_PROPOSALS
    for plane, own in enumerate(frames[1].planes):
        assert np.array_equal(views.frame[plane], own)
        assert views.before[plane].shape == views.after[plane].shape == own.shape
        assert views.proposals[plane].shape == (counts[plane], *own.shape)
        assert views.proposals[plane].dtype == np.int16
        assert views.proposals[plane].any() or height < 2
        coefficients = np.zeros((1, N_CHROMA if plane else N_LUMA), np.int16)
        coefficients[0, -WAYS] = COEFFICIENT  # of the last proposal, as it is
        filtered = views.filtered(plane, np.zeros_like(views.classes), coefficients)
        assert np.array_equal(filtered, np.clip(own + ((views.proposals[plane][-1].astype(int) + 8) >> 4), 0, 255))


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_without_a_network_there_are_no_proposals(width, height):
    frames = random_frames(width, height)
    views, same = (Restorer(net, True)(window_of(frames, (6, 5, 4)))
                   for net in (None, active_net()))
    assert views.proposals is None
    assert views.index == same.index
    for name in ("frame", "before", "after"):
        assert all(np.array_equal(a, b) for a, b in zip(getattr(views, name), getattr(same, name), strict=True))


def test_views_have_aligned_neighbours_and_what_the_network_proposes(textured_frames):
    frames, net = textured_frames(5, 64, 48), active_net()
    window = window_of(frames, (9, 6, 5, 4, 9), True)
    views = Restorer(net, True, bfloat16=False)(window)
    around = Neighbours()(window)
    for planes, expected in zip((views.before, views.after, *views.further), around, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(planes, expected, strict=True))
    levels = torch.tensor([[level_of_index(index) for index in (5, 6, 4)]])
    with torch.no_grad():
        packed = net(*(pack_frame(p) for p in (frames[2].planes, *around[:2])), levels, torch.tensor([[1.0, 1.0]]))
    for found, expected in zip(views.proposals, unpack_proposals(packed), strict=True):
        assert np.abs(expected).max() > 0.5
        assert np.allclose(found / 16, expected[0], atol=1 / 32 + 1e-4)


def test_proposals_are_limited(textured_frames):
    frame, = textured_frames(1, 64, 48)
    net = active_net()
    with torch.no_grad():
        net.end.bias.copy_(torch.where(torch.arange(PROPOSED) % 2 == 0, 1e9, -1e9))
    for plane in Restorer(net, True)(window_of((None, frame, None), (3, 3, 3), True)).proposals:
        assert set(np.unique(plane)) == {-4080, 4080}


def test_missing_neighbours_are_the_frame_itself(textured_frames):
    frame, other = textured_frames(2, 64, 48)
    restorer = Restorer(active_net(), False, bfloat16=False)
    alone = restorer(window_of((None, frame, None), (9, 3, 9), True))
    twice = restorer(window_of((frame, frame, frame), (3, 3, 3), True))
    beside = restorer(window_of((other, frame, None), (3, 3, 3), True))
    for plane in range(3):
        assert np.array_equal(alone.before[plane], frame.planes[plane])
        assert np.array_equal(alone.after[plane], frame.planes[plane])
        assert all(np.array_equal(planes[plane], frame.planes[plane]) for planes in alone.further)
        assert np.array_equal(alone.proposals[plane], twice.proposals[plane])
        assert np.array_equal(beside.after[plane], frame.planes[plane])
        assert not np.array_equal(beside.before[plane], frame.planes[plane])
        assert not np.array_equal(alone.proposals[plane], beside.proposals[plane])


def test_bfloat16_differs_by_rounding_only(textured_frames):
    frames = textured_frames(3, 64, 48)
    half, whole = (Restorer(active_net(), True, bfloat16=b)(window_of(frames, (9, 9, 9)))
                   for b in (True, False))
    for a, b in zip(half.proposals, whole.proposals, strict=True):
        difference = np.abs(a.astype(int) - b)
        assert 0 < difference.mean() < 0.03 * np.abs(b).mean()
        assert difference.max() < 0.1 * np.abs(b).max()
