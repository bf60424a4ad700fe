"""Losses of the second design of the dvc family (lvc.models.dvccontext): what it codes is known before it learns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lvc.codecs.dvccontext import SEARCH_LAGRANGIAN
from lvc.codecs.swiftcoding import PredictedFrame, Reference
from lvc.codecs.swiftframe import WINDOW, Planes
from lvc.codecs.swiftquant import ROUNDING
from lvc.entropy.symbols import EstimateSymbols
from lvc.models.dvccontext import ContextInterModel, step_plane
from lvc.models.motionpyramid import VECTOR_MAX
from lvc.models.swift import SYMBOL_CONTEXT, SwiftContext
from lvc.ops.blockdct import quantizer_step
from lvc.ops.blockmotion import BLOCK, Field, predict, search
from lvc.ops.blocksteps import BlockSteps
from lvc.ops.blocktransform import reconstruct
from lvc.train.losses import (
    Pictures,
    Totals,
    _ms_ssim_loss,
    decoded_reference,
    psnr_of,
    rate_weights,
    squared_error,
)

PREDICTION_WEIGHT = 0.3
"""Of the squared errors of the refined prediction beside those of the decoded picture: they cost bits."""


def find_fields(first: Planes, clip: Sequence[Planes], quality: int) -> list[Field]:
    """Motion of a clip's frames from the second on: from its decoded first frame, then from the source."""
    fields: list[Field] = []
    for reference, current in zip((first, *clip[1:]), clip[1:]):
        found = search(current[0], reference[0], SEARCH_LAGRANGIAN * quantizer_step(quality) / 16,
                       previous=fields[-1] if fields else None, window=WINDOW)
        fields.append(np.clip(found.vectors, -VECTOR_MAX, VECTOR_MAX))
    return fields


def motion_loss(model: ContextInterModel, fields: Tensor, quality: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Bits a luma sample of fields (N, T, 2, h, w), the first one without a former one."""
    n, count, _, h, w = fields.shape
    rows = [model.motion.rows(fields[:, t], fields[:, t - 1] if t else None, quality) for t in range(count)]
    inputs, candidates, latents = (torch.cat(parts) for parts in zip(*rows))
    coder = EstimateSymbols(torch.full((1,), 1.0 / (n * count * h * w * BLOCK**2)))
    model.motion.code_rows(coder, inputs, candidates, latents)
    assert isinstance(coder.loss, Tensor)
    bits = float(sum(b.sum() for b in coder.bits)) * float(coder.weight)
    # Per block, so that the gradient is of the size that learning rates are made for.
    return coder.loss * BLOCK**2, {"bpp_motion": bits, "loss": bits}


def picture_loss(model: ContextInterModel, pictures: Pictures, reference: Tensor, fields: Tensor, quality: Tensor, *,
                 chroma_weight: float, rate: bool, distortion: str = "mse") -> tuple[Tensor, dict[str, float]]:
    """Loss of a roll-out: squared errors of pictures, and the residual's bits if its probabilities learn.

    Args:
        pictures: the source; frame 0 is what ``reference`` was decoded from.
        reference: (N, 6, H, W) decoded frame 0.
        fields: (N, T - 1, 2, h, w) integers.
        quality: (N,) integers.
        rate: whether to count bits. Symbols are those of plain rounding with a dead zone.
        distortion: "mse" or "ms-ssim".
    """
    space, totals, losses = model.space, Totals(), []
    pixels = pictures.y.shape[-2] * pictures.y.shape[-1]
    weight, balance = rate_weights(quality)
    shadows = [Reference(planes) for planes in _planes(model, reference)]
    for t in range(1, pictures.y.shape[1]):
        current, vectors = pictures.pack(space, t), fields[:, t - 1]
        field = [np.ascontiguousarray(f.numpy(), np.int16) for f in vectors]
        shadowed = [predict(s.planes, f, window=WINDOW) for s, f in zip(shadows, field)]
        steps, blocks = _steps(model, shadowed, quality)
        # Errors count in units of the steps.
        unit = step_plane(quality, blocks) / step_plane(quality, None)
        warped = _pictures(model, [predict(p, f, window=WINDOW) for p, f in zip(_planes(model, reference), field)])
        refined = model.prediction(warped, reference, vectors, quality, blocks)
        errors = [squared_error(space, p / unit, current / unit, chroma_weight)[0] for p in (warped, refined)]
        better = (errors[1] < errors[0])[:, None, None, None]
        prediction = torch.where(better, refined, warped).detach()
        with torch.no_grad(), torch.autocast(current.device.type, enabled=False):
            latent = model.latent(current, prediction, quality, blocks)
            symbols = latent.sign() * torch.floor(latent.abs() + ROUNDING)
        if rate or blocks is not None:
            context, shadows = _contexts(shadows, shadowed, field, quality, steps, symbols)
        if rate:
            coder = EstimateSymbols(balance / (pixels * len(quality)))
            model.entropy(coder, symbols, context)
            assert isinstance(coder.loss, Tensor)
            losses.append(coder.loss)
            bits = torch.stack(coder.bits).sum(0)
            totals.add("bpp_residual", bits / pixels)
        plain, residual = model.decoded(prediction, symbols, quality, blocks)
        filtered = model.filtered(plain, prediction, residual, quality, blocks)
        error = squared_error(space, filtered / unit, current / unit, chroma_weight)[0]
        whole = PREDICTION_WEIGHT * errors[1] + (error if distortion == "mse" else 0.0)
        losses.append((balance * weight * whole / pixels).mean())
        if distortion == "ms-ssim":
            losses.append(_ms_ssim_loss(space, filtered, current, torch.zeros(len(quality)), quality, totals))
        before = squared_error(space, plain.detach() / unit, current / unit, chroma_weight)[0]
        totals.add("psnr", psnr_of(squared_error(space, filtered.detach(), current, 0.0)[1], pixels))
        totals.add("gain_filter", 10.0 * torch.log10(before / error))
        totals.add("gain_refine", 10.0 * torch.log10(errors[0] / errors[1]))
        picture = torch.where((error < before)[:, None, None, None], filtered, plain)
        reference = decoded_reference(space, picture).detach()
    loss = torch.stack(losses).sum() / (pictures.y.shape[1] - 1)
    totals.add("loss", loss)
    return loss, totals.means()


def _planes(model: ContextInterModel, picture: Tensor) -> list[Planes]:
    y, uv = (p.to(torch.uint8).contiguous().numpy() for p in model.space.unpack(picture))
    return [(a[0], b[0], b[1]) for a, b in zip(y, uv)]


def _pictures(model: ContextInterModel, planes: Sequence[Planes]) -> Tensor:
    y = torch.from_numpy(np.stack([p[0] for p in planes])[:, None]).float()
    uv = torch.from_numpy(np.stack([np.stack(p[1:]) for p in planes])).float()
    return model.space.pack(y, uv).contiguous(memory_format=torch.channels_last)


def _steps(model: ContextInterModel, shadowed: Sequence[Planes],
           quality: Tensor) -> tuple[list[BlockSteps | None], Tensor | None]:
    """Steps within the frames that are predicted so, and the qualities of their blocks (N, 1, h, w), if they differ."""
    assert model.config.context is not None
    rule = model.config.context.steps
    if rule is None:
        return [None] * len(shadowed), None
    steps = [BlockSteps(rule, planes[0], q) for planes, q in zip(shadowed, quality.tolist())]
    return list(steps), torch.from_numpy(np.stack([s.qualities for s in steps])).float()[:, None]


def _contexts(shadows: list[Reference], shadowed: Sequence[Planes], fields: list[Field], quality: Tensor,
              steps: Sequence[BlockSteps | None], symbols: Tensor) -> tuple[SwiftContext, list[Reference]]:
    """What the symbols are coded by, and the shadows of the frames that they make."""
    parts, after = [], []
    for shadow, predicted, field, q, own_steps, own in zip(shadows, shadowed, fields, quality.tolist(), steps, symbols):
        parts.append(PredictedFrame(shadow, predicted, field, q, 1, own_steps).context)
        values = np.ascontiguousarray(own.permute(1, 2, 0).numpy().astype(np.int16))
        sizes = np.full(values.shape[:2], BLOCK, np.uint8)
        known = SYMBOL_CONTEXT[np.minimum(np.abs(values), len(SYMBOL_CONTEXT) - 1)]
        planes = (reconstruct(predicted, values, quantizer_step(q), sizes, 1) if own_steps is None
                  else own_steps.reconstruct(predicted, values))
        after.append(Reference(planes, known, sizes))
    prediction, former, aux = (
        torch.from_numpy(np.stack([getattr(p, name) for p in parts])).permute(0, 3, 1, 2).float()
        for name in ("prediction", "former", "aux"))
    return SwiftContext(prediction, former, aux, quality), after
