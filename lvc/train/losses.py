"""Training losses: rate in bits a pixel plus lambda times distortion, both a luma sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from pytorch_msssim import ms_ssim
from torch import Tensor

from lvc.entropy import Estimate
from lvc.models import InterModel, IntraModel
from lvc.ops.gains import LAMBDA_SCALE, quantization_step
from lvc.ops.picture import PictureSpace, Rgb444
from lvc.ops.rounding import clamp_ste, round_ste
from lvc.ops.warp import resize_flow

MS_SSIM_SCALE = LAMBDA_SCALE * 255.0**2 / 32.0
"""Bits a luma sample that 1 - MS-SSIM is worth, times the squared quantization step. The papers go from lambda 256,
512, 1024, 2048 (squared error of samples within 0..1) to 8, 16, 32, 64, a thirty-second."""

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


def ms_ssim_of(space: PictureSpace, a: Tensor, b: Tensor) -> Tensor:
    """MS-SSIM (N,) of pictures as RGB, as the papers give it; sides of at least 161 luma samples."""
    with torch.autocast(a.device.type, enabled=False):
        rgb = (Rgb444().pack(*space.unpack(x.float())) for x in (a, b))
        value: Tensor = ms_ssim(*rgb, data_range=255.0, size_average=False)
    return value


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


def _generators(seeds: Sequence[int] | None, like: Tensor) -> list[torch.Generator] | None:
    return None if seeds is None else [torch.Generator(like.device).manual_seed(seed) for seed in seeds]


def inter_loss(model: InterModel, kind: str, pictures: Pictures, reference: Tensor, quality: Tensor, *,
               chroma_weight: float, detach: bool, noise: bool = True,
               seeds: Sequence[int] | None = None,
               distortion: str = "mse") -> tuple[Tensor, dict[str, float]]:
    """Loss of a roll-out of P frames; ``kind`` as in recipe.Stage.

    Where the pictures come with flows, "flow" learns them, and "m", "mc" and "rd" code them.

    Args:
        model: the inter model.
        pictures: the source; frame 0 is what ``reference`` was decoded from.
        reference: (N, channels, H, W) decoded frame 0.
        quality: (N,) integers.
        noise: gradients of the rate are those of values with noise (lvc.entropy.Estimate).
        seeds: of each sample's noise.
        distortion: of the loss "rd": "mse" or "ms-ssim".

    Returns:
        The loss (a scalar), and figures for the log.
    """
    space = model.space
    frames, pixels = pictures.y.shape[1], pictures.y.shape[-2] * pictures.y.shape[-1]
    weight, balance = rate_weights(quality)
    totals, losses = Totals(), []
    generators = _generators(seeds, reference)
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
        coder = Estimate(noise, generators)
        out = model(coder, current, reference, quality, teacher)
        assert out.motion_bits is not None
        bits_motion, bits_residual = out.motion_bits, coder.take() - out.motion_bits
        target = {"m": out.warped, "mc": out.prediction, "rd": out.picture}[kind]
        error, luma = squared_error(space, target, current, chroma_weight)
        rate = bits_motion + bits_residual if kind == "rd" else bits_motion
        if kind == "rd" and distortion == "ms-ssim":
            losses.append(_ms_ssim_loss(space, target, current, rate / pixels, quality, totals))
        else:
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
               noise: bool = True, seeds: Sequence[int] | None = None,
               distortion: str = "mse") -> tuple[Tensor, dict[str, float]]:
    """Rate-distortion loss of single pictures (frame 0 of each clip)."""
    current = pictures.pack(model.space, 0)
    pixels = pictures.y.shape[-2] * pictures.y.shape[-1]
    coder = Estimate(noise, _generators(seeds, current))
    picture = model(coder, current, quality, (current.shape[2], current.shape[3]))
    error, luma = squared_error(model.space, picture, current, chroma_weight)
    bits = coder.take()
    weight, balance = rate_weights(quality)
    totals = Totals()
    if distortion == "ms-ssim":
        loss = _ms_ssim_loss(model.space, picture, current, bits / pixels, quality, totals)
    else:
        loss = (balance * (bits + weight * error) / pixels).mean()
    totals.add("bpp", bits / pixels)
    totals.add("psnr", psnr_of(luma, pixels))
    totals.add("loss", loss)
    return loss, totals.means()


def _ms_ssim_loss(space: PictureSpace, picture: Tensor, current: Tensor, bpp: Tensor, quality: Tensor,
                  totals: Totals) -> Tensor:
    """Rate plus lambda (1 - MS-SSIM), the mean over the samples."""
    similarity = ms_ssim_of(space, picture, current)
    totals.add("ms_ssim", similarity)
    weight, balance = rate_weights(quality)
    return (balance * (bpp + weight * (MS_SSIM_SCALE / LAMBDA_SCALE) * (1.0 - similarity))).mean()
