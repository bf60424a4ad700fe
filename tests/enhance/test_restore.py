"""The restoration network: its start, its packing, its size, and whole frames of any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lvc.enhance.levels import LEVELS, index_of_level, level_of_index
from lvc.enhance.neighbours import aligned
from lvc.enhance.restore import CHANNELS, RestoreConfig, RestoreNet, by_plane, high_pass, pack, plane_means, unpack
from lvc.enhance.restorer import Restorer, pack_frame, unpack_frame
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


def test_network_starts_as_the_identity():
    inputs = net_inputs()
    assert torch.equal(RestoreNet(RestoreConfig())(*inputs), inputs[0])


def test_network_sees_all_its_inputs():
    net, inputs = active_net(), net_inputs()
    with torch.no_grad():
        out = net(*inputs)
        assert out.shape == inputs[0].shape
        assert out.dtype == torch.float32
        assert not torch.equal(out, inputs[0])
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


@pytest.mark.parametrize(("width", "height"), [(64, 48), (37, 21), (1, 1), (2, 3), (66, 50)])
def test_frames_of_any_size(width, height):
    rng = np.random.default_rng(width)
    shape = ((height + 1) // 2, (width + 1) // 2)
    frames = [Frame(*(rng.integers(0, 256, s, dtype=np.uint8) for s in ((height, width), shape, shape)), pts=7 + i)
              for i in range(3)]
    for plane, same in zip(frames[0].planes, unpack_frame(pack_frame(frames[0].planes), frames[0]).planes, strict=True):
        assert np.array_equal(plane, same)
    untrained = Restorer(RestoreNet(RestoreConfig(width=16, blocks=1)), True)
    restored = untrained(frames[1], frames[0], frames[2], (2.0, 3.0, 4.0), False)
    assert restored.pts == 8
    for plane, same in zip(frames[1].planes, restored.planes, strict=True):
        assert np.array_equal(plane, same)


def test_missing_neighbours_are_the_frame_itself(textured_frames):
    frame, other = textured_frames(2, 64, 48)
    restorer = Restorer(active_net(), False, bfloat16=False)
    alone = restorer(frame, None, None, (3.0, 9.0, 9.0), True)
    twice = restorer(frame, frame, frame, (3.0, 3.0, 3.0), True)
    beside = restorer(frame, other, None, (3.0, 3.0, 3.0), True)
    assert np.array_equal(alone.y, twice.y)
    assert np.array_equal(alone.u, twice.u)
    assert not np.array_equal(alone.y, beside.y)


def test_bfloat16_differs_by_rounding_only(textured_frames):
    frames = textured_frames(3, 64, 48)
    half, whole = (Restorer(active_net(), True, bfloat16=b)(frames[1], frames[0], frames[2], (2.0, 2.0, 2.0), False)
                   for b in (True, False))
    for a, b in zip(half.planes, whole.planes, strict=True):
        difference = np.abs(a.astype(int) - b)
        assert difference.max() <= 1
        assert difference.mean() < 0.1
