"""How far the share of a query may be off because its device's energy is not known at every instant.

A share is the sum, over the instants at which the query's part changes, of that change times E there. E errs at each of
these instants by where in a tick its energy was spent, and in between by what gathers on the way. Parts are taken as
constant from one coarse event to the next (somebody starts, has its first token, ends), with each phase's mean rate:
the jitter of chunks moves a part back and forth within a tick, which hardly moves any energy.

Power steps at these events. Where they were marked before the curve was made, it looked for the steps, and its own
error is the right one, as long as they are few: where they crowd, it cannot tell their steps apart, and the error is at
least a part of how power swings around there. Where they were not marked, it took power for smooth between its ticks,
and the error is at least what a step as high as all of that swing could leave.

That the rule itself is one of several is not in it.

Pure: arrays in, arrays out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from harness.attribution.sharing.crowd import Crowd
from harness.attribution.sharing.ranges import RangeSums
from harness.attribution.sharing.slices import Slices
from harness.attribution.sharing.swing import Swing, settled_period_s
from harness.protocols import EnergyCurve

if TYPE_CHECKING:
    from harness.records import FloatArray, IntArray

FEW_EVENTS, TICKS = 6.0, 5.0
"""More marked events than this in so many ticks are a crowd."""
CROWDED = 0.4
"""Of what the swing leaves open of unmarked events, what is left open of marked ones in a crowd. Of 16 in flight on two
simulated boards (`check_sharing.py --marked`) intervals then held 94 and 98 % of the truths, else 71 and 83 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Of the energy at instants at which power may step."""

    curve: EnergyCurve
    swing: Swing
    crowd: Crowd | None
    """None: no event was marked."""

    def at_j(self, times_s: FloatArray) -> FloatArray:
        """95 % half-widths."""
        open_j = self.swing.half_width_j(times_s)
        if self.crowd is not None:
            n_events = TICKS * settled_period_s(self.curve) * self.crowd.at(times_s)
            open_j = np.where(n_events > FEW_EVENTS, CROWDED * open_j, 0.0)
        return np.maximum(self.curve.instant_half_width_j(times_s), open_j)


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """The error of the energy at every coarse event, and what gathers between them."""

    errors: Errors
    slices: Slices
    by_rate: FloatArray
    """Of each slice, and 0 after the last one: nobody is in flight."""
    alike: FloatArray
    changed: RangeSums
    """Of both, at each event: the change times the error there, squared."""
    gathered: RangeSums
    """Of both, in each slice: what gathers there times its square."""

    @classmethod
    def of(cls, curve: EnergyCurve, slices: Slices, *, is_marked: bool) -> Self:
        """Of slices by phase."""
        first_s, last_s = (float(slices.time_s[place]) for place in (0, -1)) if len(slices.time_s) else (0.0, 0.0)
        swing = Swing.of(curve, first_s, last_s)
        errors = Errors(curve=curve, swing=swing, crowd=Crowd.of(slices) if is_marked else None)
        by_rate, alike = np.append(slices.by_rate, 0.0), np.append(slices.alike, 0.0)
        both = np.column_stack([by_rate, alike])
        at_j2 = errors.at_j(slices.time_s) ** 2
        changes = np.diff(both, axis=0, prepend=np.zeros((1, 2)))[: len(slices.time_s)]
        gathered_j2 = np.maximum(np.diff(curve.gathered_j2(slices.time_s)), 0.0)
        return cls(
            errors=errors,
            slices=slices,
            by_rate=by_rate,
            alike=alike,
            changed=RangeSums.of(changes**2 * at_j2[:, None]),
            gathered=RangeSums.of(both[: len(gathered_j2)] ** 2 * gathered_j2[:, None]),
        )

    def between_j2(self, row: IntArray, time_start_s: FloatArray, time_end_s: FloatArray) -> FloatArray:
        """Squared 95 % half-width of what each of some rows got between two instants of its span."""
        first_token_s = self.slices.stretches.time_s[3 * row + 1]
        prefill = self.slices.rate[2 * row], time_start_s, np.minimum(time_end_s, first_token_s)
        decode = self.slices.rate[2 * row + 1], np.maximum(time_start_s, first_token_s), time_end_s
        variance_j2 = self._inside_j2(*prefill) + self._inside_j2(*decode)
        starts_late, ends_early = time_start_s >= first_token_s, time_end_s <= first_token_s
        begin_rate = np.where(starts_late, decode[0], prefill[0])
        end_rate = np.where(ends_early, prefill[0], decode[0])
        begin_j = self._part(begin_rate, time_start_s, "right") * self.errors.at_j(time_start_s)
        end_j = self._part(end_rate, time_end_s, "left") * self.errors.at_j(time_end_s)
        turn = self._part(decode[0], first_token_s, "right") - self._part(prefill[0], first_token_s, "left")
        turn_j = np.where(starts_late | ends_early, 0.0, turn * self.errors.at_j(first_token_s))
        variance_j2 += begin_j**2 + end_j**2 + turn_j**2
        if self.errors.crowd is None:
            # A prefill that power was not seen to step up for was not seen to end either: both sides err together.
            after_j = np.where(ends_early, end_j, np.abs(turn_j))
            variance_j2 += np.where(starts_late, 0.0, 2.0 * begin_j * after_j)
        return np.where(time_start_s < time_end_s, variance_j2, 0.0)

    def _inside_j2(self, rate: FloatArray, time_start_s: FloatArray, time_end_s: FloatArray) -> FloatArray:
        """What others' events leave open, and what gathers, while a rate is constant."""
        lasts = np.flatnonzero(time_start_s < time_end_s)
        variance_j2 = np.zeros(len(rate))
        rate, start_s, end_s = rate[lasts], time_start_s[lasts], time_end_s[lasts]
        time_s = self.slices.time_s
        event, after = np.searchsorted(time_s, start_s, side="right"), np.searchsorted(time_s, end_s, side="left")
        sums = self.changed.between(event, after) + self.gathered.between(event, after - 1)
        found_j2 = rate**2 * sums[:, 0] + sums[:, 1]
        # Of the slices at both ends a part only; where no event lies between them, they are one.
        begun_s = np.where(event < after, time_s[np.minimum(event, len(time_s) - 1)], end_s)
        found_j2 += (rate * self.by_rate[event - 1] + self.alike[event - 1]) ** 2 * self._gathered_j2(start_s, begun_s)
        left_s = np.where(event < after, time_s[after - 1], end_s)
        found_j2 += (rate * self.by_rate[after - 1] + self.alike[after - 1]) ** 2 * self._gathered_j2(left_s, end_s)
        variance_j2[lasts] = found_j2
        return variance_j2

    def _gathered_j2(self, time_start_s: FloatArray, time_end_s: FloatArray) -> FloatArray:
        return np.maximum(self.errors.curve.gathered_j2(time_end_s) - self.errors.curve.gathered_j2(time_start_s), 0.0)

    def _part(self, rate: FloatArray, time_s: FloatArray, side: Literal["left", "right"]) -> FloatArray:
        """The part that a rate has just after an instant (`right`) or just before it (`left`)."""
        place = np.searchsorted(self.slices.time_s, time_s, side=side) - 1
        part: FloatArray = rate * self.by_rate[place] + self.alike[place]
        return part
