"""Quantization steps by block and coefficient: against a plain reference, on every number of threads."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from lvc.models import CONFIGS, ModelConfig
from lvc.ops import blockdct
from lvc.ops.blockdct import COEFFICIENTS, LUMA, forward_dct, inverse_dct, quantizer_step
from lvc.ops.blocksteps import CONTEXT_STEPS, BlockSteps, StepRule, activity, ms_ssim_rule
from lvc.ops.blocktransform import Planes, reconstruct
from lvc.ops.blocktransform import forward_dct as fast_dct

RULE = ms_ssim_rule(0.6, 0.3, 0.6)
FLAT = StepRule(0, (), (16,) * LUMA + (blockdct.CHROMA_STEP,) * (COEFFICIENTS - LUMA))


def pictures(h: int = 40, w: int = 56) -> Planes:
    """Noise that grows from left to right, from none to all there can be."""
    rng = np.random.default_rng(3)
    y, u, v = (128 + rng.integers(-128, 128, (a, b)) * np.arange(b) // b
               for a, b in ((h, w), (h // 2, w // 2), (h // 2, w // 2)))
    return y.astype(np.uint8), u.astype(np.uint8), v.astype(np.uint8)


def test_activity_is_variance_around_a_block() -> None:
    (y, _, _) = pictures()
    h, w = (n // 8 for n in y.shape)
    expected = np.zeros((h, w))
    for i, j in np.ndindex(h, w):
        for a, b in np.ndindex(3, 3):
            top, left = 8 * min(max(i + a - 1, 0), h - 1), 8 * min(max(j + b - 1, 0), w - 1)
            block = y[top : top + 8, left : left + 8].astype(float)
            expected[i, j] += (1, 2, 1)[a] * (1, 2, 1)[b] * block.var() * 2**12
    np.testing.assert_array_equal(activity(y), np.round(expected))
    extreme = np.zeros((16, 16), np.uint8)
    extreme[:, ::2] = 255
    assert (activity(extreme) == 127.5**2 * 2**16).all()


def test_blocks_take_quality_where_they_are_lively() -> None:
    (y, _, _) = pictures()
    steps = BlockSteps(RULE, y, 30)
    expected = [[30 + RULE.finest - sum(t <= a for t in RULE.thresholds) for a in row] for row in activity(y)]
    np.testing.assert_array_equal(steps.qualities, expected)
    assert len(np.unique(steps.qualities)) >= 5
    for quality in (0, 63):
        assert BlockSteps(RULE, y, quality).qualities.max() <= 63
    np.testing.assert_array_equal(BlockSteps(RULE, np.zeros((8, 8), np.uint8), 20).qualities, 20 + RULE.finest)


def test_steps_are_relative_to_luma() -> None:
    steps = BlockSteps(RULE, pictures()[0], 30)
    for quality in range(64):
        expected = [max(1, (quantizer_step(quality) * r + 8) >> 4) for r in RULE.relative]
        assert steps.steps(quality).tolist() == expected


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("quality", [0, 21, 63])
def test_shadow_and_contexts_are_those_of_the_reference(quality: int, threads: int) -> None:
    """Block by block, with the readable transforms and steps put in by hand."""
    prediction = pictures()
    h, w = (n // 8 for n in prediction[0].shape)
    rng = np.random.default_rng(5)
    symbols = (rng.integers(-3, 4, (h, w, COEFFICIENTS)) * (rng.random((h, w, COEFFICIENTS)) < 0.2)).astype(np.int16)
    steps = BlockSteps(RULE, prediction[0], quality)
    out = steps.reconstruct(prediction, symbols, threads)
    coefficients = fast_dct(prediction)
    context = steps.magnitude_context(coefficients, threads)
    for i, j in np.ndindex(h, w):
        own = steps.steps(int(steps.qualities[i, j]))
        table = torch.from_numpy(own.astype(np.float64))[:, None, None]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blockdct, "_steps", lambda _, table=table: table)
            block = torch.from_numpy(symbols[i, j].astype(np.float64))[:, None, None]
            residual = inverse_dct(block, 0)
            patch.setattr(blockdct, "_steps", lambda _, table=table: table.clamp(*CONTEXT_STEPS))
            expected = blockdct.magnitude_context(forward_dct(*(
                torch.from_numpy(p[s * i : s * i + s, s * j : s * j + s].astype(np.int32))
                for p, s in zip(prediction, (8, 4, 4)))), 0)
        for plane, before, r, s in zip(out, prediction, residual, (8, 4, 4)):
            part = np.s_[s * i : s * i + s, s * j : s * j + s]
            np.testing.assert_array_equal(plane[part], np.clip(before[part] + r.numpy(), 0, 255))
        np.testing.assert_array_equal(context[i, j], expected[:, 0, 0])


def test_a_flat_rule_is_no_rule() -> None:
    prediction = pictures()
    symbols = np.random.default_rng(1).integers(-2, 3, (5, 7, COEFFICIENTS)).astype(np.int16)
    expected = reconstruct(prediction, symbols, quantizer_step(30), np.full((5, 7), 8, np.uint8))
    for a, b in zip(BlockSteps(FLAT, prediction[0], 30).reconstruct(prediction, symbols), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_errors_count_less_where_steps_are_larger() -> None:
    wanted = pictures()
    steps = BlockSteps(RULE, wanted[0], 30)
    assert steps.error(wanted, wanted) == 0
    def wrong(column: int) -> float:
        y = wanted[0].copy()
        y[8, column] ^= 4
        return steps.error((y, *wanted[1:]), wanted)
    assert wrong(0) > 3 * wrong(55) > 0


def test_rules() -> None:
    """Numbers that cannot be are refused; those of a configuration come back from its JSON as they were."""
    assert RULE.relative[0] == min(RULE.relative[:LUMA])
    assert ms_ssim_rule(0.6, 0.0, 1.0).relative == (16,) * COEFFICIENTS
    for wrong in ({"thresholds": (5, 5)}, {"relative": (16,) * 95}, {"relative": (0,) * 96}, {"relative": (256,) * 96}):
        with pytest.raises(ValueError, match="steps"):
            dataclasses.replace(RULE, **wrong)
    config = CONFIGS["dvc-lite-msssim"]
    assert ModelConfig.from_json(config.to_json()) == config
    assert config.context is not None
    assert config.context.steps is not None
