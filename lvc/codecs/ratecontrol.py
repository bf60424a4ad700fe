"""One-pass rate control: a quality for every frame, so that a stream keeps to a bitrate.

The controller knows nothing of codecs. It is asked for the quality of the next frame, told the bits that this quality
gave, and may ask for the frame to be coded again where they are far from what was planned (scene changes).

Bits are modelled as log2(bits) = level + slope * quality, one line for I frames and one for P frames, since both the
quantization step (of all codecs here) and, over a range of qualities, the bits are exponential in the quality; level
and slope are learned on the way (lvc.codecs.bitmodel). From frame to frame, the quality is chosen at which the model
fills a horizon of whole groups of pictures with the bits that the target leaves for it.

The leaky bucket: what was spent beyond the target is a debt, which the frames of about one bucket's length pay back.
I frames cost many times what P frames do, which is no reason to code the latter differently: their debt has the whole
group of pictures to vanish (the course of the debt that is aimed at is a sawtooth). So that windows of WINDOW seconds
keep within TOLERANCE wherever they begin, I frames get a limit (RateController.intra_limit). What pictures too simple
to use the target leave over is soon lost, and overdrafts that quality 0 could not avoid are soon forgiven, or they
would spoil the windows to come; unless the sum counts (``n_frames``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from lvc.codecs.bitmodel import MAX_SLOPE, MIN_SLOPE, BitModel
from lvc.errors import UsageError
from lvc.types import MAX_QUALITY, EncodeOptions, Packet, VideoInfo

WINDOW = 5.0
"""Seconds over which the bitrate is to be met."""

TOLERANCE = 0.05
"""How well, relative to the target."""

_SAWTOOTH_SHARE = 0.65
"""Part of the tolerance that the sawtooth of I frames may use up; the rest is for what cannot be foreseen."""

_INTRA_BPP, _INTER_BPP = 0.6, 0.07
"""Bits a pixel at quality 32 that are expected of a video of which nothing is known."""

_INTRA_SLOPE, _INTER_SLOPE = 0.08, 0.11
"""log2(bits) a unit of quality, to begin with."""

_RISE, _FALL = 3.0, 4.0
"""Units that the quality may move by from frame to frame, and..."""

_WARM_FRAMES, _WARM_STEP = 6, 8.0
"""...how far and how long at the start and after a scene change."""

_MAX_TRIALS = 3
_START_TOLERANCE = 0.15
"""By which log2(bits) of the first frame may miss the plan without its being coded again."""

_SHORT = 0.4
"""By which log2(bits) of a later I frame, held down by its limit, may be below the plan without that."""

_EXCESS = 0.1
"""Part of the bucket by which a later frame may overdraw the plan without that."""

_CREDIT, _OVERDRAFT = 0.2, 0.4
"""Parts of the bucket that can be saved, or owed, beyond what is planned."""

_PAYBACK = 0.03
"""Part of the bitrate that may go into paying for the first I frame, where no other comes."""


class RateController:
    """Chooses qualities, frame by frame: :meth:`quality`, then :meth:`offer` until that returns None.

    Args:
        bitrate: bits a second.
        frame_rate: frames a second.
        pixels: of a frame; a first guess of the bits is made of it.
        intra_period: an I frame every so many frames; -1 for the first frame only.
        offsets: what the codec adds to the quality of P frames, by their place in the group of pictures modulo the
            length of the sequence (the sum is limited to 0..63).
        buffer: size of the leaky bucket in seconds of the bitrate. Larger ones let the quality vary less.
        n_frames: if given, the sum over so many frames is to meet the bitrate, whatever windows do: nothing is lost or
            forgiven, and the last frames use up what there is.

    Attributes:
        bitrate: as given.
        frames, bits: number of frames kept so far, and their bits.

    Raises:
        UsageError: a bitrate, frame rate or buffer that is not above zero.
    """

    def __init__(self, bitrate: float, frame_rate: float, pixels: int, *, intra_period: int = -1,
                 offsets: Sequence[int] = (0,), buffer: float = 1.0, n_frames: int | None = None) -> None:
        for name, value in (("bitrate", bitrate), ("frame rate", frame_rate), ("buffer", buffer)):
            if not 0 < value < math.inf:
                raise UsageError(f"{name} must be above zero, not {value:g}")
        self.bitrate = bitrate
        self._interval = 1.0 / frame_rate
        self._share = bitrate * self._interval
        self._bucket = bitrate * buffer
        self._buffer = max(1.0, buffer * frame_rate)
        self._period = intra_period if intra_period > 0 else 0
        self._offsets = tuple(offsets)
        self._n_frames = n_frames
        self._intra = BitModel(math.log2(_INTRA_BPP * pixels) - 32 * _INTRA_SLOPE, _INTRA_SLOPE, drift=0.25, noise=0.1,
                               robust=False)
        self._inter = BitModel(math.log2(_INTER_BPP * pixels) - 32 * _INTER_SLOPE, _INTER_SLOPE)
        # By class of P frames (_class): log2(bits) relative to the model, and how many were seen.
        self._bias = [0.0] * (len(self._offsets) + 1)
        self._seen = [0] * (len(self._offsets) + 1)
        self._debt = 0.0
        self._peak = 0.0
        self._time: float | None = None
        self._pace = self._interval
        self._first_time = 0.0
        self._base: float | None = None
        self._warm = 0
        self._trials: list[tuple[int, float]] = []
        self._planned = 0.0
        self._now: tuple[bool, int, int] | None = None
        self.frames = 0
        self.bits = 0
        self._at_lowest = 0
        self._at_highest = 0

    @property
    def intra_limit(self) -> float:
        """Bits that an I frame may cost at most, unless P frames cannot use up what is left.

        I frames make the debt a sawtooth. A window of WINDOW seconds holds a number of periods and a fraction f of one;
        it is off by the height of the teeth times f or 1 - f, wherever it begins.
        """
        window = round(WINDOW / self._interval)
        if self._period:
            fraction = window % self._period / self._period
            worst = max(fraction, 1.0 - fraction) if fraction else 0.0
        else:
            worst = 1.0
        height = min(1.0, _SAWTOOTH_SHARE * WINDOW * TOLERANCE / worst) if worst else 1.0
        return self._share + height * self._bucket

    def quality(self, place: int, time: float) -> int:
        """Quality 0..63 of the next frame, to which the codec adds its offset if it is a P frame.

        Args:
            place: number of frames since the last I frame; 0 for an I frame.
            time: presentation time in seconds, from anywhere.
        """
        intra = place == 0
        self._advance(place, time)
        wanted, limit = self._solve(place)
        if self._base is None:
            base = wanted
        else:
            rise, fall = (_WARM_STEP, _WARM_STEP) if self._warm < _WARM_FRAMES else (_RISE, _FALL)
            base = min(self._base + rise, max(self._base - fall, wanted))
        self._base = base
        if intra:
            base = min(base, (math.log2(limit) - self._intra.level) / self._intra.slope)
        chosen = _whole(base)
        self._now = intra, place, chosen
        self._trials = []
        self._planned = 2.0 ** self._expected(intra, place, chosen)
        # The first frame of all is to be what the target leaves for it, not what was guessed.
        if intra and self.frames == 0:
            self._planned = min(limit, 2.0 ** self._intra.predict(base))
        self._at_lowest += wanted <= 0.0
        self._at_highest += wanted >= MAX_QUALITY
        return chosen

    def offer(self, bits: int) -> int | None:
        """Take the bits that the frame came to, at the quality asked for.

        Returns:
            None if the frame is to be kept; otherwise the quality to code it with once more.
        """
        if self._now is None:
            raise UsageError("bits of a frame that no quality was asked for")
        intra, place, quality = self._now
        value = math.log2(max(1, bits))
        if intra:
            self._learn_intra(quality, value)
        again = self._again(intra, quality, value)
        if again is not None:
            self._trials.append((quality, value))
            self._now = intra, place, again
            return again
        if not intra:
            self._learn_inter(place, quality, value)
        self._spend(intra, bits)
        return None

    def bound(self) -> int | None:
        """The quality, 0 or 63, beyond which there would have to be one for the target to be met; None if it was."""
        if not self.frames or abs(self.average / self.bitrate - 1.0) <= TOLERANCE:
            return None
        quality, times = (0, self._at_lowest) if self.average > self.bitrate else (MAX_QUALITY, self._at_highest)
        return quality if 4 * times >= self.frames else None

    @property
    def average(self) -> float:
        """Bits a second so far."""
        assert self._time is not None
        return self.bits / (self._time - self._first_time + self._interval)

    def _advance(self, place: int, time: float) -> None:
        """Credit the time since the former frame that is more, or less, than a nominal interval."""
        if self._time is None:
            self._first_time = time
        else:
            self._debt -= (time - self._time - self._interval) * self.bitrate
            # of a variable frame rate, the next frames are planned at the pace of the last ones
            self._pace += (min(2.0 * self._pace, max(0.5 * self._pace, time - self._time)) - self._pace) / 8
        self._time = time
        if self._n_frames is None:
            aim = self._aim(place)
            self._debt = min(aim + _OVERDRAFT * self._bucket, max(aim - _CREDIT * self._bucket, self._debt))

    def _slope(self) -> float:
        """Bits a frame by which the debt of the last I frame is to dwindle."""
        if self._period:
            return self._peak / max(1, self._period - 1)
        if self._n_frames is not None:
            return self._peak / max(1, self._n_frames - 1)
        return min(self._peak, _PAYBACK * self._share)

    def _aim(self, place: int) -> float:
        """Debt that there should be before the frame at a place: that of the I frame, dwindling."""
        return max(0.0, self._peak - (place - 1) * self._slope()) if place else 0.0

    def _class(self, place: int) -> int:
        """P frames of a class tend to differ from others in the same way. The first one after an I frame is its own."""
        return len(self._offsets) if place == 1 else place % len(self._offsets)

    def _expected(self, intra: bool, place: int, base: float) -> float:
        """log2(bits) of a frame."""
        if intra:
            return self._intra.predict(base)
        return self._inter.predict(_limited(base + self._offsets[place % len(self._offsets)])) + self._bias[
            self._class(place)]

    def _horizon(self, place: int) -> list[tuple[bool, int, float]]:
        """Kinds of the frames that the quality is chosen for: (intra, place, how many of them).

        At an I frame, a group of pictures; at a P frame, P frames, for which the I frame left over what it did; at the
        end, what is left.
        """
        left = self._left()
        cycle = len(self._offsets)
        if left <= self._whole():
            places = [i % self._period if self._period else i for i in range(place, place + int(left))]
        elif place == 0 and self._period:
            places = list(range(self._period))
        else:
            places = list(range(2, 2 + cycle))
        kinds: dict[tuple[bool, int], float] = {}
        for at in places:
            # any place of the class will do, but not 0 and 1
            key = at == 0, at if at < 2 else at % cycle + 2 * cycle
            kinds[key] = kinds.get(key, 0.0) + 1.0
        return [(*key, count) for key, count in kinds.items()]

    def _whole(self) -> int:
        """Frames of whole groups of pictures, at least a bucket's length."""
        n = math.ceil(self._buffer)
        return n if not self._period else -(-n // self._period) * self._period

    def _left(self) -> float:
        """Frames up to the end, this one included, if that is known and still to come."""
        if self._n_frames is None or self.frames >= self._n_frames:
            return math.inf
        return self._n_frames - self.frames

    def _budget(self, place: int, n: float) -> float:
        """Bits for n frames from a place on."""
        share = self.bitrate * self._pace
        if self._left() <= self._whole():
            # without an upper bound: an I frame at the very end takes many shares
            return max(0.02 * n * share, n * share - self._debt)
        steady = n * (share - (self._slope() if place else 0.0))
        budget = steady - n * (self._debt - self._aim(place)) / self._buffer
        return min(2.0 * n * share, max(0.02 * n * share, 0.4 * steady, budget))

    def _solve(self, place: int) -> tuple[float, float]:
        """The quality, of 0 to 63, at which the horizon takes what it is to take; the limit of I frames' bits."""
        kinds = self._horizon(place)
        budget = self._budget(place, sum(count for _, _, count in kinds))
        limit = self.intra_limit

        def total(base: float, limit: float) -> float:
            return sum(count * min(limit if intra else math.inf, 2.0 ** min(60.0, self._expected(intra, at, base)))
                       for intra, at, count in kinds)

        if total(MAX_QUALITY, limit) < budget:
            # P frames have no use for what I frames are kept from
            intra = sum(count for intra, _, count in kinds if intra)
            if intra:
                limit += (budget - total(MAX_QUALITY, limit)) / intra
        low, high = 0.0, float(MAX_QUALITY)
        if total(low, limit) >= budget:
            return low, limit
        if total(high, limit) <= budget:
            return high, limit
        for _ in range(24):
            middle = 0.5 * (low + high)
            if total(middle, limit) < budget:
                low = middle
            else:
                high = middle
        return 0.5 * (low + high), limit

    def _again(self, intra: bool, quality: int, value: float) -> int | None:
        """The quality to try next, if a frame must not stay as it came out."""
        if len(self._trials) + 1 >= _MAX_TRIALS:
            return None
        planned = math.log2(self._planned)
        if self.frames == 0:
            aim = planned
            if abs(value - planned) <= _START_TOLERANCE:
                return None
        elif intra and value < planned - _SHORT and quality < _whole(self._base or 0.0):
            aim = planned
        else:
            spare = max(_EXCESS * self._bucket, 0.35 * self._planned)
            if 2.0**value <= self._planned + spare:
                return None
            aim = math.log2(self._planned + 0.5 * spare)
        slope = self._intra.slope if intra else self._inter.slope
        if self._trials:
            # two trials say more of this picture than the model does
            before, former = self._trials[-1]
            slope = min(MAX_SLOPE, max(MIN_SLOPE, (value - former) / (quality - before)))
        again = _whole(quality + (aim - value) / slope)
        if self.frames:
            again = min(again, max(quality, _whole(self._base or 0.0)))
        if again == quality or again in (trial for trial, _ in self._trials):
            return None
        return again

    def _learn_intra(self, quality: int, value: float) -> None:
        if self.frames == 0 and not self._trials:
            # what makes an I frame large does so with P frames, more or less
            self._inter.shift(0.7 * (value - self._intra.predict(quality)))
        self._intra.update(quality, value, again=bool(self._trials))

    def _learn_inter(self, place: int, quality: int, value: float) -> None:
        kind = self._class(place)
        at = _limited(quality + self._offsets[place % len(self._offsets)])
        if self._trials:
            # another scene, about which this frame says nothing but where to begin
            self._base, self._warm = float(quality), 0
        error = value - self._bias[kind] - self._inter.predict(at)
        self._inter.update(at, value - self._bias[kind])
        if abs(error) < 1.0:
            self._seen[kind] += 1
            self._bias[kind] += error / max(8, self._seen[kind])
            common = sum(self._bias) / len(self._bias)
            self._bias = [bias - common for bias in self._bias]
            self._inter.shift(common)

    def _spend(self, intra: bool, bits: int) -> None:
        self.frames += 1
        self._warm += 1
        self.bits += bits
        self._debt += bits - self._share
        if intra:
            self._peak = max(0.0, bits - self._share)
        self._now = None


def rate_controller(video: VideoInfo, options: EncodeOptions, offsets: Sequence[int] = (0,)) -> RateController | None:
    """The controller that an encoder with these options needs; None if they ask for no bitrate."""
    if options.bitrate is None:
        return None
    return RateController(options.bitrate, float(video.frame_rate), video.width * video.height,
                          intra_period=options.intra_period, offsets=offsets, n_frames=options.target_frames)


def code_frame(control: RateController | None, quality: int, place: int, time: float,
               attempt: Callable[[int], Packet]) -> Packet:
    """Code a frame, more than once if need be.

    Args:
        control: None for the given quality.
        quality: 0..63; without a controller.
        place, time: see RateController.quality.
        attempt: codes the frame with a quality, from the state that the frame before left, every time.
    """
    if control is None:
        return attempt(quality)
    packet = attempt(control.quality(place, time))
    while (again := control.offer(8 * len(packet.payload))) is not None:
        packet = attempt(again)
    return packet


def _limited(quality: float) -> float:
    return min(float(MAX_QUALITY), max(0.0, quality))


def _whole(quality: float) -> int:
    return math.floor(_limited(quality) + 0.5)
