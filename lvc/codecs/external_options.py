"""From EncodeOptions and codec strings to the settings of x264, x265, SVT-AV1, VVenC and libaom."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lvc.errors import UsageError
from lvc.types import MAX_QUALITY, EncodeOptions

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_X26X_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower",
                 "veryslow", "placebo")


@dataclass(frozen=True, slots=True)
class Settings:
    """What an encoder is to be opened with.

    Attributes:
        options: options of the libavcodec wrapper.
        library: parameters of the library itself (x265-params and such).
    """

    options: dict[str, str]
    library: dict[str, str]

    def joined(self) -> str:
        """``library`` as key=value, joined by colons, as libavcodec's dictionary options want it."""
        return ":".join(f"{key}={_escape(value)}" for key, value in self.library.items())


@dataclass(frozen=True, slots=True)
class Rules:
    """How one encoder names the common settings.

    Attributes:
        name: in codec strings.
        presets: their names, the default's index.
        tunes: names it knows; empty if ``tune`` is an ordinary parameter of the library.
        worst, best: crf (VVenC: qp) of quality 0 and 63; linear in between.
        step: the quantum of that number.
        crf, qp: allowed range of the explicit parameter, None if the encoder has no such mode.
    """

    name: str
    presets: tuple[str, ...]
    default_preset: str
    tunes: tuple[str, ...]
    worst: float
    best: float
    step: float
    crf: tuple[float, float] | None
    qp: tuple[float, float]

    def rate(self, quality: int) -> float:
        """crf (VVenC: qp) of a quality; falls with it."""
        value = self.worst + (self.best - self.worst) * quality / MAX_QUALITY
        return round(value / self.step) * self.step


X264 = Rules("x264", _X26X_PRESETS, "medium",
             ("film", "animation", "grain", "stillimage", "psnr", "ssim", "fastdecode", "zerolatency"),
             48.0, 5.0, 0.01, (0, 51), (0, 51))
X265 = Rules("x265", _X26X_PRESETS, "medium",
             ("psnr", "ssim", "grain", "fastdecode", "zerolatency", "animation"),
             48.0, 5.0, 0.01, (0, 51), (0, 51))
# quarter steps are what SVT-AV1 takes from version 3 on
SVT_AV1 = Rules("svt-av1", tuple(str(n) for n in range(-1, 14)), "8", (), 63.0, 8.0, 0.25, (1, 70), (1, 63))
VVENC = Rules("vvenc", ("faster", "fast", "medium", "slow", "slower"), "faster", (), 57.0, 10.0, 1.0,
              None, (0, 63))
LIBAOM = Rules("libaom", tuple(str(n) for n in range(9)), "6", ("psnr", "ssim"), 63.0, 8.0, 1.0,
               (0, 63), (0, 63))


@dataclass(frozen=True, slots=True)
class Common:
    """The settings that all of them have, checked.

    Attributes:
        preset, tune: names; tune is empty if none was asked for.
        mode: ``crf``, ``qp`` or ``bitrate``.
        rate: its value; of a bitrate, bits a second.
        keyint: frames from one intra frame to the next, -1 for the first frame only.
        threads: 0 for the encoder's own choice.
        rest: parameters for the library as they are.
    """

    preset: str
    tune: str
    mode: str
    rate: str
    keyint: int
    threads: int
    rest: dict[str, str]


def read_common(rules: Rules, options: EncodeOptions) -> Common:
    """Check and sort ``options``.

    Raises:
        UsageError: a value that the encoder cannot take; its text names the encoder.
    """
    rest = dict(options.params)
    for key in rest:
        if not _NAME.fullmatch(key):
            raise UsageError(f"{rules.name}: {key!r} is not the name of a parameter")
    preset = rest.pop("preset", rules.default_preset)
    if preset not in rules.presets:
        raise UsageError(f"{rules.name}: unknown preset {preset!r} (there are: {', '.join(rules.presets)})")
    tune = ""
    if rules.tunes:
        tune = rest.pop("tune", "")
        for name in re.split(r"[.+]", tune) if tune else ():
            if name not in rules.tunes:
                raise UsageError(f"{rules.name}: unknown tune {name!r} (there are: {', '.join(rules.tunes)})")
    mode, rate = "crf" if rules.crf else "qp", rules.rate(options.quality)
    if "crf" in rest and "qp" in rest:
        raise UsageError(f"{rules.name}: crf and qp exclude each other")
    for asked, limits in (("crf", rules.crf), ("qp", rules.qp)):
        if asked in rest:
            if limits is None:
                raise UsageError(f"{rules.name} has no {asked}; use qp or the quality")
            mode, rate = asked, _number(rules, asked, rest.pop(asked), limits, whole=asked == "qp")
        if asked in options.params and options.bitrate is not None:
            raise UsageError(f"{rules.name}: {asked} and a bitrate exclude each other")
    if options.bitrate is not None:
        mode = "bitrate"
    keyint = options.intra_period
    if "keyint" in rest:
        text = rest.pop("keyint")
        endless = text in ("-1", "infinite")
        keyint = -1 if endless else int(_number(rules, "keyint", text, (1, 1 << 20), whole=True))
    text = str(options.bitrate) if mode == "bitrate" else f"{rate:g}"
    return Common(preset, tune, mode, text, keyint, options.threads, rest)


def x264_settings(options: EncodeOptions) -> Settings:
    """Settings of libx264: closed GOPs, IDR frames exactly where asked for, no others."""
    common = read_common(X264, options)
    library = {"keyint": _keyint(common, "infinite"), "min-keyint": "1", "scenecut": "0", "open-gop": "0"}
    if common.threads:
        library["threads"] = str(common.threads)
    library.update(common.rest)
    mode = "b" if common.mode == "bitrate" else common.mode
    return Settings(_with_tune(common, {"preset": common.preset, mode: common.rate}), library)


def x265_settings(options: EncodeOptions) -> Settings:
    """Settings of libx265: closed GOPs, IDR frames exactly where asked for, no log, no version SEI."""
    common = read_common(X265, options)
    rate = str(max(1, round(float(common.rate) / 1000))) if common.mode == "bitrate" else common.rate
    library = {common.mode: rate, "keyint": _keyint(common, "-1"), "min-keyint": "1", "scenecut": "0",
               "open-gop": "0", "repeat-headers": "1", "info": "0", "log-level": "-1"}
    if common.threads:
        library["pools"] = str(common.threads)
    if common.threads == 1 or "zerolatency" in common.tune:
        # libavcodec overwrites what the tune sets
        library["frame-threads"] = "1"
    library.update(common.rest)
    return Settings(_with_tune(common, {"preset": common.preset}), library)


def svt_av1_settings(options: EncodeOptions) -> Settings:
    """Settings of libsvtav1: closed GOPs, key frames exactly where asked for, no others."""
    common = read_common(SVT_AV1, options)
    library = {"keyint": _keyint(common, "-1"), "scd": "0", "irefresh-type": "2"}
    wrapper = {"preset": common.preset}
    if common.mode == "bitrate":
        wrapper["b"] = common.rate
    elif common.mode == "crf":
        library["crf"] = common.rate
    else:
        library.update({"rc": "0", "aq-mode": "0", "qp": common.rate})
    if common.threads:
        library["lp"] = str(common.threads)
    library.update(common.rest)
    if library["irefresh-type"] != "2":
        raise UsageError("svt-av1: only closed GOPs (irefresh-type=2) can be stored")
    return Settings(wrapper, library)


def vvenc_settings(options: EncodeOptions) -> Settings:
    """Settings of libvvenc: closed GOPs, IDR frames exactly where asked for, no log."""
    common = read_common(VVENC, options)
    library = {"intraperiod": _keyint(common, "-1"), "refreshsec": "0", "decodingrefreshtype": "idr_no_radl",
               "verbosity": "0"}
    if common.threads:
        library["threads"] = str(common.threads)
    library.update(common.rest)
    if library["decodingrefreshtype"] != "idr_no_radl":
        raise UsageError("vvenc: only closed GOPs (decodingrefreshtype=idr_no_radl) can be stored")
    mode = "b:v" if common.mode == "bitrate" else common.mode
    return Settings({"preset": common.preset, mode: common.rate}, library)


def libaom_settings(options: EncodeOptions) -> Settings:
    """Settings of libaom: good quality in one pass, key frames exactly where asked for, no others."""
    common = read_common(LIBAOM, options)
    # equal bounds leave libaom no choice; no forward key frames, so GOPs are closed
    keyint = _keyint(common, str(1 << 24))
    chosen = {"cpu-used": common.preset, "g": keyint, "keyint_min": keyint}
    chosen |= {"b:v": common.rate} if common.mode == "bitrate" else {"crf": common.rate, "b:v": "0"}
    if common.mode == "qp":
        chosen |= {"qmin": common.rate, "qmax": common.rate}
    if "enable-fwd-kf" in common.rest:
        raise UsageError("libaom: only closed GOPs (no enable-fwd-kf) can be stored")
    return Settings(_with_tune(common, chosen), dict(common.rest))


def _keyint(common: Common, infinite: str) -> str:
    return infinite if common.keyint == -1 else str(common.keyint)


def _with_tune(common: Common, options: dict[str, str]) -> dict[str, str]:
    return {**options, "tune": common.tune} if common.tune else options


def _number(rules: Rules, name: str, text: str, limits: tuple[float, float], *, whole: bool) -> float:
    try:
        value = float(int(text) if whole else float(text))
    except ValueError:
        kind = "a whole number" if whole else "a number"
        raise UsageError(f"{rules.name}: {name} must be {kind}, not {text!r}") from None
    if not limits[0] <= value <= limits[1]:
        raise UsageError(f"{rules.name}: {name} must be from {limits[0]:.9g} to {limits[1]:.9g}, not {text}")
    return value


def _escape(value: str) -> str:
    return re.sub(r"([\\:'])", r"\\\1", value)
