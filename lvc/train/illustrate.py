"""Pictures that show what a model of the dvc family does with a sample: predictions, residuals, flow colour wheels."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.utils import flow_to_image

from lvc.entropy import Estimate
from lvc.models import InterModel, IntraModel
from lvc.ops.picture import PictureSpace, Rgb444
from lvc.ops.warp import resize_flow
from lvc.train.losses import Pictures

RESIDUAL_GAIN = 4.0
"""Errors are shown about grey, this much larger than they are."""


def to_rgb(space: PictureSpace, picture: Tensor) -> Tensor:
    """The first of pictures (N, channels, h, w), 8-bit scale, as RGB uint8 (3, H, W)."""
    rgb = Rgb444().pack(*space.unpack(picture[:1].float()))[0]
    return rgb.round().clamp(0, 255).to(torch.uint8)


def flow_pictures(flows: list[Tensor], size: tuple[int, int]) -> Tensor:
    """Flows (2, h, w) side by side as colours: hue tells the direction, saturation the length.

    The longest vector of all has full saturation (the colour code of Baker et al., IJCV 2011, by torchvision), so
    pictures of one call can be compared.

    Returns:
        uint8 (3, H, W * number of flows), with ``size`` (H, W).
    """
    dense = torch.cat([resize_flow(flow[None].float(), size, 1.0) for flow in flows])
    return torch.cat(list(flow_to_image(dense.contiguous()).cpu()), 2)


def flow_key(size: int = 128) -> Tensor:
    """The colour wheel itself: uint8 (3, size, size), each place in the colour of the vector from the centre."""
    place = torch.linspace(-1.0, 1.0, size)
    vectors = torch.stack((place.expand(size, size), place[:, None].expand(size, size)))
    inside = vectors.square().sum(0) <= 1.0
    return torch.where(inside, flow_to_image((vectors * inside).contiguous()), 255).to(torch.uint8)


@torch.no_grad()
def illustrate(model: InterModel | IntraModel, kind: str, pictures: Pictures, reference: Tensor | None,
               quality: Tensor) -> dict[str, Tensor]:
    """Pictures of the first sample of a batch, its first coded frame.

    Args:
        model: in the state that is to be shown.
        kind: the loss that it is trained for, as in recipe.Stage.
        pictures, reference, quality: as of lvc.train.losses.inter_loss; no reference for the intra model.

    Returns:
        By name, uint8 (3, H, W): "frames" is source, reference, warped, prediction and decoded picture (those that
        there are) side by side, "errors" the errors of all but the source and the reference, "flow" the encoder's
        and the coded motion.
    """
    space, pick = model.space, slice(0, 1)
    first = Pictures(pictures.y[pick], pictures.uv[pick])
    if isinstance(model, IntraModel):
        source = first.pack(space, 0)
        shown = [model(Estimate(noise=False), source, quality[pick], (source.shape[2], source.shape[3]))]
        return _frames(space, source, [], shown)
    assert reference is not None
    source, reference = first.pack(space, 1), reference[pick]
    size = (pictures.y.shape[-2], pictures.y.shape[-1])
    teacher = None if pictures.flow is None else pictures.flow[pick, 0]
    if kind in ("flow", "me"):
        flow = model.motion_estimation(space.unpack(source)[0], space.unpack(reference)[0])
        shown, flows = [space.warp(reference, flow)], [flow[0]] + ([] if teacher is None else [teacher[0]])
    else:
        if teacher is not None:
            stride, unshuffle = space.stride, model.config.flow.unshuffle
            coded = (source.shape[2] * stride // unshuffle, source.shape[3] * stride // unshuffle)
            teacher = resize_flow(teacher, coded, 1.0)
        out = model(Estimate(noise=False), source, reference, quality[pick], teacher)
        assert out.flow is not None
        shown, flows = [out.warped, out.prediction, out.picture], [out.flow[0], out.flow_hat[0]]
    return {**_frames(space, source, [reference], shown), "flow": flow_pictures(flows, size)}


def _frames(space: PictureSpace, source: Tensor, known: list[Tensor], shown: list[Tensor]) -> dict[str, Tensor]:
    frames = [to_rgb(space, picture) for picture in (source, *known, *shown)]
    original = frames[0].float()
    errors = [((f.float() - original) * RESIDUAL_GAIN + 128.0).clamp(0, 255).to(torch.uint8)
              for f in frames[1 + len(known):]]
    return {"frames": torch.cat(frames, 2).cpu(), "errors": torch.cat(errors, 2).cpu()}
