"""Finds where a session lies in the log of an external meter, by the load itself, and what the machine drew in it.

Clocks of wall meters and BMCs are wrong by seconds to minutes, and what they show is late and smoothed. So the log is
compared with the power of the metered devices at every offset, for several time constants of a meter that averages
exponentially, and the offset counts only where it explains the log clearly better than any other.

Pure arrays. It knows neither files nor queries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.meter.beside.stretches import Stretches
from harness.records import NodeGain

if TYPE_CHECKING:
    from harness.records import FloatArray

REACH_S = 120.0
"""How wrong the log's clock may be."""
CORRELATION_LEAST = 0.9
"""At the wall, boards that do the work are most of what changes. Of 36 made-up logs of another machine that did work of
the same kind, begun at the same time, the best reached 0.91 and gave a gain known to a third."""
GAIN_KNOWN = 0.15
"""To such a fraction, or the log follows the load too loosely to be this machine's."""
EXPLAINED_RATIO = 2.0
"""So many times more of the log must stay unexplained at any other offset."""
DIP = 0.05
"""Another peak is another only if the correlation falls by this much in between."""
STEPS_FEWEST = 3
STEP = 0.15
"""Of the load's whole range: less is no rise or fall."""
FLATTEST = 0.02
"""Relative spread of a load under which nothing can be told by it."""
COVERED_LEAST = 0.9
"""Of the session, at an offset that is to be considered."""
GAINS = (0.3, 3.0)
"""A wall that answers a board's watt with less or more than this is the wall of something else."""
N_PERIODS_FEWEST = 12
N_READINGS_FEWEST = 8
SETTLED_LAGS = 3.0
N_GRID_MOST = 200_000
CHI_SQUARE_95 = 3.84


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Cumulative energies of what was metered in the session, each over the same knots, in joules on the session clock.

    The boards' sum comes first, then the host's. Where nothing was measured, seconds of work stand in (`is_pattern`),
    and no gain is asked for.
    """

    time_s: FloatArray
    energies: tuple[FloatArray, ...]
    is_pattern: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """Log time = session time + `duration_offset_s`; the meter averages exponentially over `duration_lag_s`."""

    duration_offset_s: float
    duration_offset_half_width_s: float
    duration_lag_s: float
    correlation: float
    gain: NodeGain | None
    expected: Stretches | None
    """What the gain makes of the load at each reading inside the session, on the log's clock; None: no gain."""
    power_residual_w: float
    """Standard deviation of the log's readings from that."""

    def unseen_j(self, load: Load, time_start_s: float, time_end_s: float) -> float:
        """Joules of an interval of the session that readings like the log's would have missed of the same load.

        A reading of an instant misses what is short, and a meter that lags gives a query's power to the next one.
        What else a reading is off by, it is off by for its own stretch.
        """
        if self.gain is None or self.expected is None:
            return 0.0
        late_s = self.duration_offset_s + self.duration_lag_s
        shown_j = self.expected.energy_j(time_start_s + late_s, time_end_s + late_s)
        if shown_j is None:
            return 0.0
        truth_j = self.gain.power_base_w * (time_end_s - time_start_s)
        for gain, energy_j in zip((self.gain.gain, self.gain.gain_host or 0.0), load.energies, strict=False):
            start_j, end_j = np.interp([time_start_s, time_end_s], load.time_s, energy_j)
            truth_j += gain * float(end_j - start_j)
        noise_j = self.power_residual_w * math.sqrt((time_end_s - time_start_s) * self.expected.duration_period_s)
        return abs(shown_j - truth_j) + 1.96 * noise_j


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAligned:
    """Why the log says nothing of this session."""

    reason: str


def align(log: Stretches, load: Load) -> Alignment | NotAligned:
    """Find the offset at which the load explains the log.

    Args:
        log: On a clock that is at most `REACH_S` from the session's.
        load: What was metered.
    """
    search = _Search(log, load)
    if (reason := search.unfit()) is not None:
        return NotAligned(reason=reason)
    offsets = np.arange(-REACH_S, REACH_S + search.step_s / 2, search.step_s)
    scan = np.array([[search.correlation(each, way) for each in offsets.tolist()] for way in search.coarse])
    if not np.any(np.isfinite(scan)):
        return NotAligned(reason="the log does not cover the session at any offset within 120 s")
    best_way, best = np.unravel_index(int(np.nanargmax(scan)), scan.shape)
    if best in (0, len(offsets) - 1):
        return NotAligned(reason="it fits best at the end of the search: its clock is wrong by more than 120 s")
    fit = search.fit(float(offsets[best]))
    at = f"{fit.correlation:.2f} at {fit.offset_s:+.0f} s"
    if fit.correlation < CORRELATION_LEAST:
        return NotAligned(reason=f"its best correlation with the load is {at}, and {CORRELATION_LEAST} is needed")
    other = _second(scan[best_way], int(best))
    if other is not None:
        again_s = float(offsets[other])
        again = search.again(fit.way, again_s)
        if 1 - again**2 < EXPLAINED_RATIO * (1 - fit.correlation**2):
            return NotAligned(reason=f"it fits about as well at {again_s:+.0f} s (correlation {again:.2f}) as {at}")
    return search.alignment(fit)


def _second(along: FloatArray, best: int) -> int | None:
    """The highest correlation that is not part of the best one's peak."""
    found: int | None = None
    for direction in (-1, 1):
        lowest = along[best]
        index = best + direction
        while 0 <= index < len(along):
            if np.isfinite(along[index]):
                lowest = min(lowest, along[index])
                is_other = along[index] - lowest > DIP
                if is_other and (found is None or along[index] > along[found]):
                    found = index
            index += direction
    return found


@dataclass(frozen=True, slots=True)
class _Way:
    """How a meter may show power: smoothed over `lag_s`, and at an instant or as a mean."""

    lag_s: float
    at_instants: bool


@dataclass(frozen=True, slots=True)
class _Fit:
    """The best way and offset, and the correlation of each way at each offset near it."""

    way: _Way
    offset_s: float
    correlation: float
    offsets: FloatArray
    profile: FloatArray


class _Search:
    """The load as meters of every kind would show it, on an even grid."""

    def __init__(self, log: Stretches, load: Load) -> None:
        self._log, self._load = log, load
        period_s = log.duration_period_s
        self.step_s = min(max(period_s / 2, 0.25), 1.0)
        lags_s = sorted({0.0, 0.5, 1.0, 2.0, 4.0, *(round(period_s * share, 6) for share in (0.3, 1.0, 2.0, 4.0))})
        self._lag_longest_s = lags_s[-1]
        self.coarse = [_Way(lag_s, at_instants=False) for lag_s in sorted({0.0, period_s, 4 * period_s, 2.0})]
        kinds = (False,) if log.time_read_s is None else (False, True)
        self._ways = [_Way(lag_s, at_instants) for at_instants in kinds for lag_s in lags_s]
        self._first_s, self._last_s = float(load.time_s[0]), float(load.time_s[-1])
        duration_s = self._last_s - self._first_s
        n_grid = max(min(int(duration_s / min(period_s / 20, 0.05)), N_GRID_MOST), 2)
        self._grid_s = duration_s / n_grid
        times = self._first_s + self._grid_s * np.arange(n_grid + 1)
        self._parts = [np.interp(times, load.time_s, energy_j) for energy_j in load.energies]
        self._total: FloatArray = np.sum(self._parts, axis=0)
        self._smoothed: dict[float, FloatArray] = {}

    def unfit(self) -> str | None:
        """Why no offset could be found with this load, whatever the log; None: one could."""
        period_s = self._log.duration_period_s
        edges = np.arange(self._first_s, self._last_s, period_s)
        if len(edges) < N_PERIODS_FEWEST:
            return f"the session is shorter than {N_PERIODS_FEWEST} of the log's periods of {period_s:.3g} s"
        power_w = np.diff(self._at(self._total, edges)) / period_s
        if np.std(power_w) <= FLATTEST * abs(np.mean(power_w)) or np.std(power_w) == 0:
            return "the load was steady, so that nothing tells where in the log it lies"
        n_steps = _turns(power_w, STEP * float(np.ptp(power_w)))
        if n_steps < STEPS_FEWEST:
            return f"the load rose or fell only {n_steps} times, which fits many logs"
        return None

    def correlation(self, offset_s: float, way: _Way) -> float:
        """With the log; NaN where the log does not cover the session."""
        if way.lag_s not in self._smoothed:
            self._smoothed[way.lag_s] = _smoothed(self._total, self._grid_s, way.lag_s)
        columns = self._columns(offset_s, way, [self._smoothed[way.lag_s]])
        if columns is None:
            return math.nan
        (expected,), observed = columns
        spread = float(np.std(expected) * np.std(observed))
        if spread <= 0:
            return math.nan
        return float(np.mean((expected - expected.mean()) * (observed - observed.mean())) / spread)

    def near(self, offset_s: float) -> FloatArray:
        """Offsets around one, as far as another lag could move it."""
        reach_s = 2 * self.step_s + self._lag_longest_s / 4
        n_side = math.ceil(reach_s / (self.step_s / 10))
        return offset_s + np.linspace(-reach_s, reach_s, 2 * n_side + 1)

    def fit(self, offset_s: float) -> _Fit:
        """The best offset near one.

        What a meter is late can stand in for its clock and the other way round, so both are searched together.
        """
        offsets = self.near(offset_s)
        profile = np.array([[self.correlation(each, way) for each in offsets.tolist()] for way in self._ways])
        found = []
        for at_instants in {way.at_instants for way in self._ways}:
            kind = np.array([way.at_instants is at_instants for way in self._ways])
            of_kind = np.where(kind[:, np.newaxis], profile, np.nan)
            if not np.any(np.isfinite(of_kind)):
                continue
            row, column = np.unravel_index(int(np.nanargmax(of_kind)), profile.shape)
            found.append(self._polished(self._ways[int(row)], float(offsets[column])))
        way, best_s, correlation = max(found, key=lambda each: each[2])
        return _Fit(way, best_s, correlation, offsets, profile)

    def again(self, way: _Way, offset_s: float) -> float:
        """The highest correlation near another offset, looked for as closely as that of the best fit."""
        offsets = self.near(offset_s)
        along = np.array([self.correlation(each, way) for each in offsets.tolist()])
        if not np.any(np.isfinite(along)):
            return -1.0
        return self._polished(way, float(offsets[int(np.nanargmax(along))]))[2]

    def alignment(self, fit: _Fit) -> Alignment | NotAligned:
        """The fit with its uncertainty, and the gain."""
        way, offset_s, offsets = fit.way, fit.offset_s, fit.offsets
        gain, n_independent = self._regression(offset_s, way)
        # What explains the log about as well, by the likelihood of as many readings as err independently.
        unexplained = (1 - fit.profile**2) / max(1 - fit.correlation**2, 1e-12)
        rows, columns = np.nonzero(n_independent * np.log(unexplained) <= CHI_SQUARE_95)
        accepted = [
            (way, offset_s),
            *((self._ways[row], float(offsets[at])) for row, at in zip(rows, columns, strict=True)),
        ]
        # An energy needs the instant that a reading shows, which is late by the lag as well.
        shown_s = np.array([each_s + each.lag_s for each, each_s in accepted])
        half_width_s = max(float(np.max(np.abs(shown_s - shown_s[0]))), self.step_s / 10)
        if self._load.is_pattern:
            gain = None
        if gain is not None:
            if not GAINS[0] <= gain.gain <= GAINS[1]:
                return NotAligned(
                    reason=f"it moves by {gain.gain:.2f} W for each watt of the load, as no meter of this machine would"
                )
            lags_s = np.array([each.lag_s for each, _ in accepted])
            outermost = {int(find(each)) for each in (lags_s, shown_s) for find in (np.argmin, np.argmax)}
            others = [self._regression(accepted[pick][1], accepted[pick][0])[0] for pick in outermost]
            off = max((abs(each.gain - gain.gain) for each in others if each is not None), default=0.0)
            gain = gain.model_copy(update={"gain_half_width": math.hypot(gain.gain_half_width, off)})
            if gain.gain_half_width > GAIN_KNOWN * gain.gain:
                shown = f"{gain.gain:.2f} ± {gain.gain_half_width:.2f} W for each watt of the load"
                return NotAligned(
                    reason=f"it follows the load too loosely (correlation {fit.correlation:.2f}, {shown})"
                )
        expected = None if gain is None else self._expected(offset_s, way, gain)
        residual_w = 0.0
        if expected is not None:
            residual_w = float(np.std(expected.power_w - self._log.power_w[self._inside(offset_s, way)]))
        return Alignment(
            duration_offset_s=offset_s,
            duration_offset_half_width_s=half_width_s,
            duration_lag_s=way.lag_s,
            correlation=fit.correlation,
            gain=gain,
            expected=expected,
            power_residual_w=residual_w,
        )

    def _polished(self, way: _Way, offset_s: float) -> tuple[_Way, float, float]:
        """(way, offset, correlation) of the best between the neighbours of one on the grid of lags and offsets."""
        reach_lag_s, reach_s = max(way.lag_s / 2, 0.25), self.step_s / 2
        best = (self.correlation(offset_s, way), way, offset_s)
        for _ in range(7):
            _, centre, middle_s = best
            for lag_s in np.maximum(
                np.linspace(centre.lag_s - reach_lag_s, centre.lag_s + reach_lag_s, 5), 0.0
            ).tolist():
                near = _Way(lag_s, way.at_instants)
                for each in np.linspace(middle_s - reach_s, middle_s + reach_s, 5).tolist():
                    best = max(best, (self.correlation(each, near), near, each), key=lambda found: found[0])
            reach_lag_s, reach_s = reach_lag_s / 2, reach_s / 2
        return best[1], best[2], best[0]

    def _regression(self, offset_s: float, way: _Way) -> tuple[NodeGain | None, float]:
        """(gain; None: the parts cannot be told apart, how many readings err independently)."""
        columns = self._columns(offset_s, way, [_smoothed(part, self._grid_s, way.lag_s) for part in self._parts])
        assert columns is not None
        expected, observed = columns
        design = np.column_stack([np.ones(len(observed)), *expected])
        solution, _, rank, _ = np.linalg.lstsq(design, observed, rcond=None)
        residual = observed - design @ solution
        n_free = len(observed) - design.shape[1] - 2  # offset and lag were fitted as well
        alike = float(np.corrcoef(residual[1:], residual[:-1])[0, 1]) if np.std(residual) > 0 else 0.0
        alike = min(max(alike, 0.0), 0.99)
        inflation = (1 + alike) / (1 - alike)
        if rank < design.shape[1] or n_free < 1:
            return None, len(observed) / inflation
        variance = float(residual @ residual) / n_free * inflation
        errors = (1.96 + 2.4 / n_free) * np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * variance)
        has_host = design.shape[1] > 2
        gain = NodeGain(
            gain=float(solution[1]),
            gain_half_width=float(errors[1]),
            power_base_w=float(solution[0]),
            power_base_half_width_w=float(errors[0]),
            gain_host=float(solution[2]) if has_host else None,
            gain_host_half_width=float(errors[2]) if has_host else None,
            n_readings=len(observed),
        )
        return gain, len(observed) / inflation

    def _expected(self, offset_s: float, way: _Way, gain: NodeGain) -> Stretches | None:
        columns = self._columns(offset_s, way, [_smoothed(part, self._grid_s, way.lag_s) for part in self._parts])
        if columns is None:
            return None
        power_w = np.full(len(columns[1]), gain.power_base_w)
        for each, part_w in zip((gain.gain, gain.gain_host or 0.0), columns[0], strict=False):
            power_w += each * part_w
        inside = self._inside(offset_s, way)
        return Stretches(
            time_start_s=self._log.time_start_s[inside],
            time_end_s=self._log.time_end_s[inside],
            power_w=power_w,
            duration_period_s=self._log.duration_period_s,
        )

    def _inside(self, offset_s: float, way: _Way) -> slice:
        """The readings that show the session and nothing else.

        What was before the session still shows in the first readings of a meter that lags.
        """
        return slice(
            int(np.searchsorted(self._log.time_start_s, self._first_s + SETTLED_LAGS * way.lag_s + offset_s)),
            int(np.searchsorted(self._log.time_end_s, self._last_s + offset_s, side="right")),
        )

    def _columns(
        self, offset_s: float, way: _Way, energies: Sequence[FloatArray]
    ) -> tuple[list[FloatArray], FloatArray] | None:
        """(what each part's readings would be, what the log's are), of stretches inside the session; None: too few."""
        inside = self._inside(offset_s, way)
        starts, ends = self._log.time_start_s[inside] - offset_s, self._log.time_end_s[inside] - offset_s
        wanted_s = self._last_s - self._first_s - SETTLED_LAGS * way.lag_s - 2 * self._log.duration_period_s
        if len(starts) < N_READINGS_FEWEST or float(np.sum(ends - starts)) < COVERED_LEAST * wanted_s:
            return None
        if way.at_instants and self._log.time_read_s is not None:
            read_s = self._log.time_read_s[inside] - offset_s
            starts, ends = read_s - self._grid_s / 2, read_s + self._grid_s / 2
        powers = [(self._at(energy_j, ends) - self._at(energy_j, starts)) / (ends - starts) for energy_j in energies]
        return powers, self._log.power_w[inside]

    def _at(self, energy_j: FloatArray, times: FloatArray) -> FloatArray:
        """Joules at instants inside the session."""
        places = np.clip((times - self._first_s) / self._grid_s, 0.0, len(energy_j) - 1.0)
        lower = np.minimum(places.astype(np.int64), len(energy_j) - 2)
        found: FloatArray = energy_j[lower] + (places - lower) * (energy_j[lower + 1] - energy_j[lower])
        return found


def _turns(power_w: FloatArray, step_w: float) -> int:
    """How often the power rose or fell by a step before it turned."""
    n_turns, low_w, high_w, direction = 0, float(power_w[0]), float(power_w[0]), 0
    for value_w in power_w.tolist():
        low_w, high_w = min(low_w, value_w), max(high_w, value_w)
        if direction <= 0 and value_w - low_w > step_w:
            n_turns, direction, high_w = n_turns + 1, 1, value_w
        elif direction >= 0 and high_w - value_w > step_w:
            n_turns, direction, low_w = n_turns + 1, -1, value_w
    return n_turns


def _smoothed(energy_j: FloatArray, step_s: float, lag_s: float) -> FloatArray:
    """Cumulative energy as a meter shows it that averages exponentially over `lag_s`.

    Before the session the power is taken to have been what it was in its first moments.
    """
    if lag_s <= 0:
        return energy_j
    # A first-order filter of even steps is a geometric sum; blocks keep its powers in range.
    decay = math.exp(-step_s / lag_s)
    power_w = np.diff(energy_j) / step_s
    n_block = max(1, min(len(power_w), int(200 / max(-math.log(decay), 1e-12))))
    shown = np.empty_like(power_w)
    level = float(np.mean(power_w[: max(1, int(lag_s / step_s))]))
    for begin in range(0, len(power_w), n_block):
        block = power_w[begin : begin + n_block]
        growth = decay ** -np.arange(1, len(block) + 1)
        shown[begin : begin + len(block)] = (level + (1 - decay) * np.cumsum(block * growth)) / growth
        level = float(shown[begin + len(block) - 1])
    return np.concatenate([[0.0], np.cumsum(shown) * step_s])
