"""Training losses: rate in bits a pixel plus lambda times distortion, both a luma sample."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lvc.entropy import Estimate
from lvc.models import InterModel, IntraModel
from lvc.ops.gains import quantization_step
from lvc.ops.picture import PictureSpace
from lvc.ops.rounding import clamp_ste, round_ste
from lvc.ops.warp import resize_flow

LAMBDA_SCALE = 7.5
"""Bits a squared error is worth, times the squared quantization step: HEVC's 0.85 * 2**((QP - 12) / 3)."""


BALANCE = 0.75
"""Samples are weighted by the step to this power, or those of the highest rates would drown all others."""


@dataclass
class Pictures:
    """Planes of a batch of clips: y (N, T, 1, H, W), uv (N, T, 2, H/2, W/2), float32 0..255."""

    y: Tensor
    uv: Tensor
    flow: Tensor | None = None

    @classmethod
    def of_batch(cls, batch: dict[str, Tensor]) -> Pictures:
        return cls(batch["y"].float()[:, :, None], torch.stack((batch["u"], batch["v"]), 2).float(),
                   batch.get("flow"))

    def pack(self, space: PictureSpace, t: int) -> Tensor:
        return space.pack(self.y[:, t], self.uv[:, t]).contiguous(memory_format=torch.channels_last)


@dataclass
class Totals:
    """Means over a batch, for the log."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: Tensor) -> None:
        self.values.setdefault(name, []).append(float(value.detach().mean()))

    def means(self) -> dict[str, float]:
        return {name: sum(v) / len(v) for name, v in self.values.items()}


def squared_error(space: PictureSpace, a: Tensor, b: Tensor,
                  chroma_weight: float) -> tuple[Tensor, Tensor]:
    """Sum of squared errors (N,): luma plus ``chroma_weight`` times chroma; and luma alone."""
    ya, uva = space.unpack(a)
    yb, uvb = space.unpack(b)
    luma = (ya - yb).square().flatten(1).sum(1)
    return luma + chroma_weight * (uva - uvb).square().flatten(1).sum(1), luma


def psnr_of(squared: Tensor, pixels: int) -> Tensor:
    return 10.0 * torch.log10(255.0**2 * pixels / squared.clamp_min(1e-6))


def decoded_reference(space: PictureSpace, picture: Tensor) -> Tensor:
    """What the next frame refers to: the picture in 8-bit 4:2:0, as the decoder puts it out."""
    y, uv = space.unpack(picture)
    return space.pack(round_ste(clamp_ste(y, 0.0, 255.0)), round_ste(clamp_ste(uv, 0.0, 255.0)))


def rate_weights(quality: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) bits that a squared error is worth at each sample's quality; (N,) weights of the samples."""
    step = quantization_step(quality)
    return LAMBDA_SCALE / step.square(), (step / 12.0) ** BALANCE


def inter_loss(model: InterModel, kind: str, pictures: Pictures, reference: Tensor, quality: Tensor, *,
               chroma_weight: float, detach: bool, noise: bool = True) -> tuple[Tensor, dict[str, float]]:
    """Loss of a roll-out of P frames; ``kind`` as in recipe.Stage.

    Where the pictures come with flows, "flow" learns them, and "m", "mc" and "rd" code them.

    Args:
        model: the inter model.
        pictures: the source; frame 0 is what ``reference`` was decoded from.
        reference: (N, channels, H, W) decoded frame 0.
        quality: (N,) integers.

    Returns:
        The loss (a scalar), and figures for the log.
    """
    space = model.space
    frames, pixels = pictures.y.shape[1], pictures.y.shape[-2] * pictures.y.shape[-1]
    weight, balance = rate_weights(quality)
    totals, losses = Totals(), []
    for t in range(1, frames):
        current = pictures.pack(space, t)
        size = (current.shape[2] * space.stride // model.config.flow.unshuffle,
                current.shape[3] * space.stride // model.config.flow.unshuffle)
        teacher = None if pictures.flow is None else resize_flow(pictures.flow[:, t - 1], size, 1.0)
        if kind in ("flow", "me"):
            flow = model.motion_estimation(space.unpack(current)[0], space.unpack(reference)[0])
            if kind == "flow":
                if teacher is None:
                    raise ValueError("the loss 'flow' needs data with a teacher's flow")
                losses.append((flow - teacher).abs().mean())
                totals.add("flow_error", losses[-1])
            if kind == "me" or t == 1:
                error, luma = squared_error(space, space.warp(reference, flow), current, chroma_weight)
                totals.add("psnr_warped", psnr_of(luma, pixels))
                if kind == "me":
                    losses.append((balance * weight * error).mean() / pixels)
            reference = current
            continue
        coder = Estimate(noise)
        out = model(coder, current, reference, quality, teacher)
        assert out.motion_bits is not None
        bits_motion, bits_residual = out.motion_bits, coder.take() - out.motion_bits
        target = {"m": out.warped, "mc": out.prediction, "rd": out.picture}[kind]
        error, luma = squared_error(space, target, current, chroma_weight)
        rate = bits_motion + bits_residual if kind == "rd" else bits_motion
        losses.append((balance * (rate + weight * error) / pixels).mean())
        totals.add("bpp_motion", bits_motion / pixels)
        totals.add("bpp_residual", bits_residual / pixels)
        totals.add("psnr", psnr_of(luma, pixels))
        totals.add("psnr_prediction", psnr_of(squared_error(space, out.prediction, current, 0.0)[1], pixels))
        totals.add("psnr_warped", psnr_of(squared_error(space, out.warped, current, 0.0)[1], pixels))
        # Before "rd", the residual is not trained, and the source stands in for the decoded frame.
        reference = decoded_reference(space, out.picture) if kind == "rd" else current
        if detach:
            reference = reference.detach()
    loss = torch.stack(losses).mean()
    totals.add("loss", loss)
    return loss, totals.means()


def intra_loss(model: IntraModel, pictures: Pictures, quality: Tensor, *, chroma_weight: float,
               noise: bool = True) -> tuple[Tensor, dict[str, float]]:
    """Rate-distortion loss of single pictures (frame 0 of each clip)."""
    current = pictures.pack(model.space, 0)
    pixels = pictures.y.shape[-2] * pictures.y.shape[-1]
    coder = Estimate(noise)
    picture = model(coder, current, quality, (current.shape[2], current.shape[3]))
    error, luma = squared_error(model.space, picture, current, chroma_weight)
    bits = coder.take()
    weight, balance = rate_weights(quality)
    loss = (balance * (bits + weight * error) / pixels).mean()
    totals = Totals()
    totals.add("bpp", bits / pixels)
    totals.add("psnr", psnr_of(luma, pixels))
    totals.add("loss", loss)
    return loss, totals.means()
