"""Recipes: what is read, and every mistake named in one line."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from lvc.errors import UsageError
from lvc.train.recipe import FAMILIES, Recipe, Stage, load_recipe, smoke_recipe

HEAD = 'name = "x"\nmodel = "dvc-lite"\n'
STAGE = '[[stage]]\nname = "a"\nsteps = 5\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_values_and_defaults(tmp_path: Path) -> None:
    recipe = load_recipe(
        write(
            tmp_path,
            HEAD
            + 'data = ["a", "b"]\nseed = 7\n'
            + STAGE
            + 'crop = [64, 96]\nlr = 1\n[[stage]]\nname = "b"\nmodel = "intra"\nminutes = 0.5\n',
        )
    )
    assert recipe == Recipe(
        "x",
        "dvc-lite",
        (Stage("a", steps=5, crop=(64, 96), lr=1), Stage("b", model="intra", minutes=0.5)),
        data=("a", "b"),
        seed=7,
    )


@pytest.mark.parametrize(
    "path", sorted((resources.files("lvc.train") / "recipes").iterdir(), key=str), ids=str
)
def test_shipped_recipes_can_be_run(path: Path) -> None:
    recipe = load_recipe(path.name.removesuffix(".toml"))
    assert recipe.family in FAMILIES
    assert recipe == load_recipe(str(path))
    trained = {stage.model for stage in recipe.stages if stage.kind == "train" and stage.loss == "rd"}
    # What starts from weights need not train all of them again.
    assert trained >= set(FAMILIES[recipe.family][: 1 if recipe.init else None])


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        (HEAD, "stage"),
        (STAGE, "name"),
        ('name = "x"\nmodel = "vvc"\n' + STAGE, "vvc"),
        (HEAD + "learning_rate = 1\n" + STAGE, "learning_rate"),
        (HEAD + STAGE + "rate = 1\n", "rate"),
        (HEAD + STAGE + 'loss = "l1"\n', "l1"),
        (HEAD + STAGE + 'model = "gan"\n', "gan"),
        (HEAD + STAGE + 'schedule = "linear"\n', "linear"),
        (HEAD + STAGE + 'motion = "none"\n', "motion"),
        (HEAD + STAGE + "minutes = 5\n", "either"),
        (HEAD + '[[stage]]\nname = "a"\n', "either"),
        (HEAD + '[[stage]]\nname = "a"\nsteps = -3\n', "either"),
        (HEAD + '[[stage]]\nname = "a"\nsteps = "5"\n', "steps"),
        (HEAD + STAGE + "frames = 1\n", "2 frames"),
        (HEAD + STAGE + 'model = "intra"\nloss = "me"\n', "intra"),
        (HEAD + STAGE + "batch = 0\n", "batch"),
        (HEAD + STAGE + "crop = 64\n", "crop"),
        (HEAD + STAGE + "crop = [64]\n", "crop"),
        (HEAD + STAGE + "qualities = [0, 64]\n", "qualities"),
        (HEAD + STAGE + "qualities = [40, 20]\n", "qualities"),
        (HEAD + STAGE + "detach = 1\n", "detach"),
        (HEAD + STAGE + 'distortion = "ssim"\n', "distortion"),
        (HEAD + STAGE + 'distortion = "ms-ssim"\ncrop = [160, 256]\n', "161"),
        (HEAD + STAGE + 'distortion = "ms-ssim"\nloss = "mc"\n', "ms-ssim"),
        (HEAD + STAGE + 'motion = "network"\nframe_skip = 1.5\n', "frame_skip"),
        (HEAD + STAGE + "frame_skip = 0.5\n", "neighbouring"),
        (HEAD + STAGE + "exposure = 1.0\n", "exposure"),
        (HEAD + STAGE + "train = [1]\n", "train"),
        (HEAD + 'data = "folder"\n' + STAGE, "data"),
        (HEAD + 'autocast = "float16"\n' + STAGE, "autocast"),
        (HEAD + "ema = 1.0\n" + STAGE, "ema"),
        (HEAD + "seed = -1\n" + STAGE, "seed"),
        (HEAD + "val_qualities = [70]\n" + STAGE, "val_qualities"),
        (HEAD + "stage = 5\n", "stage"),
        (HEAD + 'stage = ["a"]\n', "stage"),
        (HEAD + "[stage]\nname = 3\n", "stage"),
        ("name = ", "recipe.toml"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, pattern: str) -> None:
    with pytest.raises(UsageError, match=pattern) as caught:
        load_recipe(write(tmp_path, text))
    assert "recipe.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for absent in (str(tmp_path / "absent.toml"), "no-such-recipe"):
        with pytest.raises(UsageError, match="no recipe"):
            load_recipe(absent)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder.toml").mkdir()
    for name in ("binary", "folder"):
        with pytest.raises(UsageError, match=name):
            load_recipe(tmp_path / f"{name}.toml")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc-lite").mkdir()  # a run's folder does not hide the recipe of that name
    assert load_recipe("dvc-lite").name == "dvc-lite"


def test_recipes_in_small() -> None:
    """Every stage a few steps of one small sample, under a name of its own; the rest as it was."""
    for name in ("dvc", "dvc-lite", "dvc-lite-msssim"):
        recipe = load_recipe(name)
        small = smoke_recipe(recipe, 3)
        assert small.name == f"{name}-smoke"
        for before, after in zip(recipe.stages, small.stages, strict=True):
            assert (after.steps, after.minutes, after.batch) == (3, 0.0, 1)
            assert max(after.crop) <= (192 if after.distortion == "ms-ssim" else 64)
            kept = ("name", "model", "loss", "train", "frames", "lr", "qualities", "motion", "distortion")
            assert all(getattr(after, key) == getattr(before, key) for key in kept)


def test_dvc_follows_the_schedule_of_opendvc() -> None:
    """The order of losses, growing roll-outs, steps at each learning rate (OpenDVC, sections 2 and 3)."""
    stages = [stage for stage in load_recipe("dvc").stages if stage.model == "inter"]
    assert [stage.loss for stage in stages[:4]] == ["me", "m", "mc", "rd"]
    assert all(stage.loss == "rd" and stage.batch == 4 and stage.crop == (256, 256) for stage in stages[3:])
    frames = [stage.frames for stage in stages]
    assert frames == sorted(frames)
    assert (frames[0], frames[-1]) == (2, 7)
    steps = {rate: sum(s.steps for s in stages if s.lr == rate) for rate in (1e-4, 1e-5, 1e-6)}
    assert steps == {1e-4: 300_000, 1e-5: 300_000, 1e-6: 100_000}
    assert sum(stage.steps for stage in stages if stage.loss != "rd") == 100_000


def test_weights_are_chosen_by_what_is_trained_for() -> None:
    assert load_recipe("dvc-lite").score == load_recipe("swift").score == "bd_rate_yuv"
    assert load_recipe("dvc-lite-msssim").score == "bd_rate_ms_ssim"
    assert load_recipe("dvc-lite-msssim").init == "dvc-lite"


def test_which_stages_need_flows() -> None:
    assert Stage("a", steps=1).needs_flows
    assert Stage("a", steps=1, loss="flow").needs_flows
    assert not Stage("a", steps=1, motion="network").needs_flows
    assert not Stage("a", steps=1, loss="me").needs_flows
    assert not Stage("a", steps=1, model="intra").needs_flows
