"""Recipes: what is trained, in which order, on what. TOML files, read into dataclasses."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from lvc.errors import UsageError
from lvc.metrics import MS_SSIM_MIN_SIDE
from lvc.models import CONFIGS
from lvc.ops.blockmotion import BLOCK, MAX_EFFORT
from lvc.types import MAX_QUALITY

KINDS = ("train", "record")
LOSSES = ("flow", "me", "m", "mc", "rd")
REFERENCES = ("hevc", "clean")
MOTIONS = ("network", "classical")
QUANTIZERS = ("rounding", "rdo")
DISTORTIONS = ("mse", "ms-ssim")

FAMILIES = {"dvc": ("inter", "intra"), "swift": ("entropy", "motion", "sizes", "filter"), "restore": ("restore",),
            "stsr": ("stsr",)}
"""Families of models, and what each can train."""

_SIZES = {"stsr-lite": "stsr"}
"""Further models of the families that learn from recordings."""

_TRAIN_KEYS = {"name", "kind", "model", "train", "steps", "minutes", "crop", "batch", "lr", "lr_end", "schedule",
               "warmup"}
_RECORDED = {
    "swift": {"train": _TRAIN_KEYS | {"rounding"},
              "record": {"name", "kind", "frames", "qualities", "quantizer", "effort"}},
    "restore": {"train": _TRAIN_KEYS, "record": {"name", "kind"}},
    "stsr": {"train": _TRAIN_KEYS | {"frames"}, "record": {"name", "kind"}}}
"""Families that learn from recordings: what their stages may say, by kind."""

_SWIFT_ONLY = {"kind", "quantizer", "effort", "rounding"}


@dataclass(frozen=True)
class Stage:
    """One stage of a training.

    Attributes:
        name: for logs.
        kind: "train", or "record". swift's encoder then runs once over the clips with the networks as they are,
            and what they see and what is coded is kept for the stages that follow; for restore and stsr, base
            codecs do.
        model: what is trained. In the dvc family "inter" or "intra"; in swift "entropy", "motion", "sizes", "filter";
            in restore "restore", in stsr "stsr".
        loss: of the inter model. "flow": distance to the teacher's flow. "me": D(x, warp(ref, v)).
            "m": lambda D(x, warp(ref, v_hat)) + R(m). "mc": lambda D(x, x_bar) + R(m).
            "rd": lambda D(x, x_hat) + R(m) + R(y). The intra model knows "rd" only.
        train: names of the submodules that are trained; empty means all.
        steps, minutes: length of the stage; exactly one of them is above zero.
        frames: frames a sample; the first one is the reference of the second. For a recording: frames taken
            of each clip, the I frame included. Of stsr: frames of the base stream a sample.
        detach: stop gradients at the references of a roll-out (each frame then learns for itself).
        crop: (height, width), luma samples. batch: samples a step; of swift's motion and sizes: rows a step.
        lr, lr_end: learning rate at the start and the end. schedule: "cosine" or "constant".
        warmup: steps of linear warm-up.
        qualities: range that each sample (of a recording: each clip) draws its quality from.
        reference: what frame 0 is decoded from: "hevc" (x265 intra at the sample's quality) or "clean".
        distortion: of the loss "rd": "mse", or "ms-ssim" (1 - MS-SSIM of the pictures as RGB).
        frame_skip: probability that a sample takes every second frame (larger motion).
        exposure: largest change of brightness from frame to frame that a sample is given, relative; each draws
            its own from within plus or minus that. 0 leaves the video as it is.
        motion: what is coded: the "network"'s estimate, or the "classical" flow of the data.
        quantizer: of a recording: plain "rounding", or "rdo", which asks the networks what symbols cost.
        effort: of a recording's motion search, 0 to MAX_EFFORT.
        rounding: whether swift's networks compute with integers while they learn. Without, a new filter starts
            to learn sooner; a stage with rounding must follow, since what is exported is always integer.
    """

    name: str
    kind: str = "train"
    model: str = "inter"
    loss: str = "rd"
    train: tuple[str, ...] = ()
    steps: int = 0
    minutes: float = 0.0
    frames: int = 2
    detach: bool = True
    crop: tuple[int, int] = (256, 256)
    batch: int = 4
    lr: float = 1e-4
    lr_end: float = 1e-6
    schedule: str = "cosine"
    warmup: int = 100
    qualities: tuple[int, int] = (0, 63)
    reference: str = "hevc"
    motion: str = "classical"
    distortion: str = "mse"
    frame_skip: float = 0.0
    exposure: float = 0.0
    quantizer: str = "rounding"
    rounding: bool = True
    effort: int = 1

    def __post_init__(self) -> None:
        _check_types(self, f"stage {self.name}: ")
        for key, known in (("kind", KINDS), ("model", sum(FAMILIES.values(), ())), ("loss", LOSSES),
                           ("reference", REFERENCES), ("motion", MOTIONS), ("quantizer", QUANTIZERS),
                           ("distortion", DISTORTIONS), ("schedule", ("cosine", "constant"))):
            if getattr(self, key) not in known:
                raise UsageError(f"stage {self.name}: {key} must be one of {', '.join(known)}, "
                                 f"not {getattr(self, key)!r}")
        if self.kind == "record":
            if self.steps or self.minutes:
                raise UsageError(f"stage {self.name}: a recording has no steps or minutes: it ends by itself")
        elif min(self.steps, self.minutes) < 0 or (self.steps > 0) == (self.minutes > 0):
            raise UsageError(f"stage {self.name}: give either steps or minutes")
        if not 0 <= self.effort <= MAX_EFFORT:
            raise UsageError(f"stage {self.name}: effort must be from 0 to {MAX_EFFORT}")
        if self.model == "inter" and self.frames < 2:
            raise UsageError(f"stage {self.name}: the inter model needs at least 2 frames")
        if self.model == "intra" and self.loss != "rd":
            raise UsageError(f"stage {self.name}: the intra model has the loss rd only")
        if min(self.frames, self.batch) < 1 or self.warmup < 0 or min(self.lr, self.lr_end) < 0:
            raise UsageError(f"stage {self.name}: frames and batch must be at least 1, warmup and rates 0")
        if len(self.crop) != 2 or len(self.qualities) != 2:
            raise UsageError(f"stage {self.name}: crop and qualities are pairs")
        if self.distortion == "ms-ssim" and (self.loss != "rd" or min(self.crop) < MS_SSIM_MIN_SIDE):
            raise UsageError(f"stage {self.name}: ms-ssim is for the loss rd, and crops of {MS_SSIM_MIN_SIDE} or more")
        if not 0 <= self.frame_skip <= 1 or not 0 <= self.exposure < 1:
            raise UsageError(f"stage {self.name}: frame_skip is a probability, exposure from 0 to below 1")
        if self.frame_skip and self.needs_flows:
            raise UsageError(f"stage {self.name}: classical motion is known for neighbouring frames only: "
                             "frame_skip must be 0, or motion \"network\"")
        low, high = self.qualities
        if not 0 <= low <= high <= MAX_QUALITY:
            raise UsageError(f"stage {self.name}: qualities must be within 0 to {MAX_QUALITY}, low one first")

    @property
    def needs_flows(self) -> bool:
        """Whether the data must come with classical flows."""
        if self.kind == "record":
            return False
        coded = self.model == "inter" and self.motion == "classical" and self.loss in ("m", "mc", "rd")
        return coded or self.loss == "flow"

    def check_family(self, family: str) -> None:
        """UsageError where the stage says something that does not apply to models of a family."""
        kinds, models = (KINDS if family in _RECORDED else ("train",)), FAMILIES[family]
        if self.kind not in kinds:
            raise UsageError(f"stage {self.name}: a recording is for {' and '.join(sorted(_RECORDED))} only")
        if self.kind == "train" and self.model not in models:
            raise UsageError(f"stage {self.name}: model must be one of {', '.join(models)}, "
                             f"not {self.model!r}")
        for key in dataclasses.fields(self):
            known = (key.name in _RECORDED[family][self.kind] if family in _RECORDED
                     else key.name not in _SWIFT_ONLY)
            if not known and getattr(self, key.name) != key.default:
                raise UsageError(f"stage {self.name}: {key.name} has no meaning here")
        if family in _RECORDED and self.kind == "train" and any(side < 1 or side % BLOCK for side in self.crop):
            raise UsageError(f"stage {self.name}: crop sides must be multiples of {BLOCK}")


@dataclass(frozen=True)
class Recipe:
    """A training: a model, data, stages.

    Attributes:
        name: of the run; runs/NAME holds its checkpoints and logs.
        model: name of a configuration ("dvc", "dvc-lite"), "swift", "restore", "stsr" or "stsr-lite".
        init: "" starts afresh, "shipped" from the model's weights in the package, the name of weights there from these,
            anything else is a weights file.
        data: videos or folders of them, or one prepared cache folder. val: the same for validation.
        seed: of everything random.
        autocast: "bfloat16" (on CPUs that are not fast at it: float32 all the same), or "" (float32); swift takes
            float32 only, its integers would not fit.
        clip: gradient norm clip. ema: decay of the average of the weights that is validated and exported.
        chroma_weight: weight of a squared error in U and V relative to luma.
        checkpoint_minutes, validate_minutes: how often; validation also ends each stage.
        val_frames, val_qualities: of the validation.
    """

    name: str
    model: str
    stages: tuple[Stage, ...]
    data: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    init: str = ""
    seed: int = 1
    autocast: str = "bfloat16"
    clip: float = 1.0
    ema: float = 0.999
    chroma_weight: float = 2.0
    checkpoint_minutes: float = 5.0
    validate_minutes: float = 20.0
    val_frames: int = 8
    val_qualities: tuple[int, ...] = (16, 28, 40, 52)

    def __post_init__(self) -> None:
        _check_types(self)
        if self.model not in (known := (*CONFIGS, *_RECORDED, *_SIZES)):
            raise UsageError(f"unknown model {self.model!r} (there are: {', '.join(known)})")
        if not self.stages:
            raise UsageError("no [[stage]]")
        for stage in self.stages:
            stage.check_family(self.family)
        if self.family in _RECORDED and self.stages[0].kind != "record":
            raise UsageError(f"the first stage of a training of {self.model} must be a recording "
                             "(kind = \"record\")")
        if self.family == "swift" and self.autocast:
            raise UsageError("swift computes with integers: autocast must be empty")
        if self.autocast not in ("", "bfloat16"):
            raise UsageError(f"autocast must be bfloat16 or empty, not {self.autocast!r}")
        if not 0 <= self.ema < 1 or self.clip <= 0 or self.seed < 0:
            raise UsageError("ema must be from 0 to below 1, clip above 0, seed at least 0")
        if self.val_frames < 1 or not all(0 <= q <= MAX_QUALITY for q in self.val_qualities):
            raise UsageError(f"val_frames must be at least 1, val_qualities within 0 to {MAX_QUALITY}")

    @property
    def score(self) -> str:
        """What of a validation (lvc.train.validate) tells which weights are best."""
        by_structure = any(stage.distortion == "ms-ssim" for stage in self.stages)
        return "bd_rate_ms_ssim" if by_structure else "bd_rate_yuv"

    def needs_flows(self, stage: Stage) -> bool:
        """Whether the data of a stage must come with classical flows: models of the second design search by blocks."""
        config = CONFIGS.get(self.model)
        return stage.needs_flows and (config is None or config.context is None)

    @property
    def family(self) -> str:
        """"dvc", "swift", "restore" or "stsr"."""
        name = _SIZES.get(self.model, self.model)
        return name if name in _RECORDED else "dvc"


def smoke_recipe(recipe: Recipe, steps: int) -> Recipe:
    """A recipe in small, to see whether it runs: each stage ``steps`` steps of one sample, as small as it may be."""
    def small(stage: Stage) -> Stage:
        if stage.kind == "record":
            return stage
        side = 192 if stage.distortion == "ms-ssim" else 64
        crop = (min(stage.crop[0], side), min(stage.crop[1], side))
        return dataclasses.replace(stage, steps=steps, minutes=0.0, crop=crop, batch=1)

    return dataclasses.replace(recipe, name=f"{recipe.name}-smoke", stages=tuple(map(small, recipe.stages)),
                               val_frames=min(recipe.val_frames, 2))


def load_recipe(source: str | Path) -> Recipe:
    """Read a recipe: a TOML file, or the name of one that ships with the package.

    Raises UsageError that names the file and what is wrong.
    """
    path = Path(source)
    if path.suffix == ".toml" or path.is_file():
        where: Any = path
    else:
        where = resources.files("lvc.train") / "recipes" / f"{source}.toml"
    try:
        raw = tomllib.loads(where.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no recipe {source}") from None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{source}: {error}") from error
    stages = raw.pop("stage", [])
    try:
        if not isinstance(stages, list) or not all(isinstance(stage, dict) for stage in stages):
            raise UsageError("stage must be written as [[stage]]")
        return _build(Recipe, {**raw, "stages": tuple(_build(Stage, stage) for stage in stages)})
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from None


def _build(kind: type[Any], values: dict[str, Any]) -> Any:
    known = {f.name for f in dataclasses.fields(kind)}
    if unknown := set(values) - known:
        raise UsageError(f"unknown key {sorted(unknown)[0]!r}; known are {', '.join(sorted(known))}")
    try:
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except TypeError as error:
        raise UsageError(str(error)) from None


def _check_types(values: Any, where: str = "") -> None:
    """UsageError where a field is not of its declared type; whole numbers do for real ones."""
    for name, hint in get_type_hints(type(values)).items():
        value = getattr(values, name)
        items, kind = (value, get_args(hint)[0]) if get_origin(hint) is tuple else ((value,), hint)
        allowed = (int, float) if kind is float else kind
        if not isinstance(items, tuple) or not all(
                isinstance(v, allowed) and (kind is bool or not isinstance(v, bool)) for v in items):
            wanted = f"a list of {kind.__name__}" if get_origin(hint) is tuple else kind.__name__
            raise UsageError(f"{where}{name} must be {wanted}, not {value!r}")
