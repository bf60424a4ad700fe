"""Test conditions by name: which anchors at which rate points, how many frames, which intra periods."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchlib.specs import BenchmarkError, parse_codec_spec, read_toml

PRESETS = Path(__file__).resolve().parents[1] / "presets"


@dataclass(frozen=True)
class Anchor:
    """A codec of a preset.

    Attributes:
        spec: as on the command line of run.py, ``CODEC[:OPTIONS]@PARAMETER=VALUES``.
        command: the same as a command line of ffmpeg, with ``{source}``, ``{width}``, ``{height}``,
            ``{rate}``, ``{frames}``, ``{keyint}``, ``{value}`` and ``{out}`` to be filled in; empty for
            codecs of lvc.
        structure: in a word or two, how frames refer to each other (``low delay``, ``B frames``); tables
            show it. Empty where all codecs of the preset are alike.
        intra_periods: those that it is measured at, of those of the preset; empty for all of them.
    """

    spec: str
    command: str
    structure: str = ""
    intra_periods: tuple[int, ...] = ()

    def command_line(self, *, value: str, intra_period: int, **fields: object) -> str:
        """``command`` with its fields filled in; those that are not given stay as they are.

        Args:
            value: of the rate parameter.
            intra_period: -1 for one intra frame.
            fields: any of the others.
        """
        infinite = "infinite" if self.spec.startswith("x264") else "-1"
        keyint = str(intra_period) if intra_period > 0 else infinite
        line = self.command
        for name, text in {"value": value, "keyint": keyint, **fields}.items():
            line = line.replace(f"{{{name}}}", str(text))
        return line


@dataclass(frozen=True)
class Conditions:
    """How many frames to code, and the intra periods to code them with."""

    frames: int | None
    intra_periods: tuple[int, ...]


@dataclass(frozen=True)
class Preset:
    """Test conditions.

    Attributes:
        name: as on the command line.
        title, about: what they are, and whose.
        anchors: the codecs.
        anchor: codec string that BD-rates are against.
        metrics: names of METRICS that these conditions are judged by, the most important one first.
        default: conditions for all sequences but those of ``overrides``.
        overrides: conditions by data set.
    """

    name: str
    title: str
    about: str
    anchors: tuple[Anchor, ...]
    anchor: str
    metrics: tuple[str, ...]
    default: Conditions
    overrides: dict[str, Conditions]

    def conditions(self, dataset: str) -> Conditions:
        """The conditions for sequences of a data set (empty: of none)."""
        return self.overrides.get(dataset, self.default)

    def structure(self, codec: str) -> str:
        """``structure`` of a codec string without rate parameter; empty if it is none of the preset's."""
        return next((a.structure for a in self.anchors if a.spec.partition("@")[0] == codec), "")

    def specs(self, intra_period: int | None = None) -> list[str]:
        """Of the codecs that are measured at an intra period, or of all."""
        return [anchor.spec for anchor in self.anchors
                if intra_period is None or intra_period in (anchor.intra_periods or (intra_period,))]


def preset_names() -> list[str]:
    """Names of all presets."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load_preset(name: str) -> Preset:
    """The preset of a name.

    Raises:
        BenchmarkError: there is none, or its file is malformed.
    """
    path = PRESETS / f"{name}.toml"
    if not path.is_file():
        raise BenchmarkError(f"there is no preset {name!r}; there are: {', '.join(preset_names())}")
    content = read_toml(path)
    try:
        anchors = tuple(Anchor(table["spec"], table.get("command", ""), table.get("structure", ""),
                               tuple(table.get("intra_periods", ())))
                        for table in content["codec"])
        overrides = {dataset: _conditions(table) for table in content.get("override", ())
                     for dataset in table["datasets"]}
        preset = Preset(name, content["title"], content["about"].strip(), anchors, content["anchor"],
                        tuple(content["metrics"]), _conditions(content), overrides)
    except (KeyError, TypeError) as error:
        raise BenchmarkError(f"{path}: lacks {error}") from error
    if preset.anchor not in [parse_codec_spec(spec)[0].codec for spec in preset.specs()]:
        raise BenchmarkError(f"{path}: the anchor {preset.anchor} is none of its codecs")
    return preset


def _conditions(table: dict[str, Any]) -> Conditions:
    return Conditions(table.get("frames"), tuple(table["intra_periods"]))
