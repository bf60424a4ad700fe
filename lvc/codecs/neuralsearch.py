"""Encoder-side search for the dvc family: what to code, chosen by its rate and distortion. The decoder knows nothing
of it.

Analysis transforms give good latents for the mean picture. For the one at hand there are better ones, which the
decoder takes just as well: motion that is left out where it does not pay, symbols rounded down where an error costs
less than the bits it saves (rate-distortion optimized quantization), and latents moved along the gradient of the
decoded picture's errors (content-adaptive encoding: Campos et al., CVPR workshops 2019; Lu et al., ECCV 2020), here by
iterative shrinkage and thresholding with the coder's own prices in place of a norm.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lvc.coding import CdfTables
from lvc.entropy import Estimate
from lvc.entropy.scales import logistic_bits
from lvc.models import InterModel
from lvc.models.dvc import Latents
from lvc.ops.gains import LAMBDA_SCALE, quantization_step

MAX_EFFORT = 3
STEPS = (0, 0, 4, 12)
"""Gradient steps for each effort."""

CHROMA_WEIGHT = 2.0
"""Of squared errors in U and V relative to luma, as in training."""


@dataclass
class _Trial:
    """What coding certain latents gives.

    Attributes:
        latents: that of the residual holds the symbols, integers.
        cost: bits plus squared errors in bits.
        gradient: of the errors at the symbols, if asked for.
    """

    latents: Latents
    cost: float
    gradient: Tensor | None = None


class Search:
    """Finds latents of a P frame.

    Args:
        model: with frozen tables.
        size: (height, width) of the video in luma samples. Errors in the padding beyond do not count.
        effort: 0..MAX_EFFORT. 1: motion on or off, optimized quantization. 2, 3: also gradient steps.
    """

    def __init__(self, model: InterModel, size: tuple[int, int], effort: int) -> None:
        self._model, self._size, self._effort = model, size, effort

    def __call__(self, current: Tensor, reference: Tensor, quality: Tensor, flow: Tensor | None) -> Latents:
        """Latents for a picture (1, C, H, W), given its reference and the motion found, (1, 2, h, w).

        Without that (None), motion is what the model's network estimates.
        """
        model = self._model
        if flow is None:
            flow = model.motion_estimation(*(model.space.unpack(picture)[0] for picture in (current, reference)))
        # Bits that a squared error of a latent is worth, its transform being nearly orthonormal.
        weight = LAMBDA_SCALE * model.residual.log_inverse_gain(quality).exp().square()
        motion = model.motion.latent(flow / model.motion_step(quality), quality)
        trials = [self._try(current, reference, quality, Latents(m), weight)
                  for m in (motion, torch.zeros_like(motion))]
        best = min(trials, key=lambda trial: trial.cost)
        if STEPS[self._effort]:
            best = self._descend(current, reference, quality, best, weight)
        return best.latents

    def _try(self, current: Tensor, reference: Tensor, quality: Tensor, wanted: Latents, weight: Tensor,
             slope: bool = False) -> _Trial:
        """Optimized quantization of the residual's latent (that of the analysis if there is none)."""
        with torch.set_grad_enabled(slope):
            coder = OptimizedQuantization([None, weight])
            out = self._model(coder, current, reference, quality, latents=wanted)
            error = self._error(out.picture, current, quality)
        symbols = coder.chosen[1].detach()
        gradient = torch.autograd.grad(error, coder.chosen[1])[0] if slope else None
        # Side information is made of the symbols in the end, which costs some per cent less than that of the latents
        # as they were: what has become zero looks like it.
        final = Estimate(noise=False)
        with torch.no_grad():
            self._model.residual.entropy(final, symbols, quality, (symbols.shape[2], symbols.shape[3]))
        assert out.motion_bits is not None
        cost = float(out.motion_bits.detach() + final.take() + error.detach())
        return _Trial(Latents(wanted.motion, symbols), cost, gradient)

    def _descend(self, current: Tensor, reference: Tensor, quality: Tensor, best: _Trial, weight: Tensor) -> _Trial:
        """Iterative shrinkage: quantize what a step along the gradient of the errors leads to, again and again.

        With a weight at least the curvature of the errors, no step makes the cost larger; where one does, steps
        become smaller.
        """
        damping = 1.0
        best = self._try(current, reference, quality, best.latents, weight, slope=True)
        for _ in range(STEPS[self._effort]):
            assert best.gradient is not None
            assert best.latents.residual is not None
            target = best.latents.residual - best.gradient / (2.0 * damping * weight)
            wanted = Latents(best.latents.motion, target)
            trial = self._try(current, reference, quality, wanted, damping * weight, slope=True)
            if trial.cost < best.cost:
                best = trial
            else:
                damping *= 2.0
        return best

    def _error(self, picture: Tensor, current: Tensor, quality: Tensor) -> Tensor:
        """Squared errors in bits, a scalar."""
        height, width = self._size
        space = self._model.space
        (ya, uva), (yb, uvb) = space.unpack(picture), space.unpack(current)
        luma = (ya - yb)[..., :height, :width].square().sum()
        chroma = (uva - uvb)[..., : (height + 1) // 2, : (width + 1) // 2].square().sum()
        weight = LAMBDA_SCALE / quantization_step(quality).square()
        return (weight * (luma + CHROMA_WEIGHT * chroma)).sum()


class OptimizedQuantization(Estimate):
    """Counts bits and chooses symbols on the way: rate-distortion optimized quantization of conditional latents.

    Magnitudes are rounded to the nearest integer, to the one below, or to zero, whatever costs least.

    Args:
        weights: for each conditional latent in the order of coding, bits that a squared error of the latent is
            worth (broadcast to its shape), or None for plain rounding.

    Attributes:
        chosen: the latents (N, C, H, W), integers where a weight was given; leaves for gradients where these are
            enabled.
    """

    def __init__(self, weights: list[Tensor | None]) -> None:
        super().__init__(noise=False)
        self._weights = list(weights)
        self.chosen: list[Tensor] = []

    def conditional(self, y: Tensor | None, index: Tensor, mean: Tensor | None,
                    tables: CdfTables | None = None) -> Tensor:
        assert y is not None
        weight = self._weights.pop(0)
        if weight is not None:
            centre = torch.zeros_like(y) if mean is None else mean
            value = y - centre
            best = value.round()
            cost = logistic_bits(best, index) + weight * (value - best).square()
            for symbol in (best - best.sign(), torch.zeros_like(best)):
                other = logistic_bits(symbol, index) + weight * (value - symbol).square()
                better = other < cost
                best, cost = torch.where(better, symbol, best), torch.where(better, other, cost)
            y = best + centre
        if torch.is_grad_enabled():
            y = y.detach().requires_grad_()
        self.chosen.append(y)
        return super().conditional(y, index, mean, tables)
