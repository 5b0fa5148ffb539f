"""An external meter's log: columns and clocks of all kinds, alignment with a known truth, and whole runs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import publish
from harness.cli.parser import run_verb
from harness.errors import UsageError
from harness.meter.beside.alignment import Alignment, Load, NotAligned, align
from harness.meter.beside.external import ExternalLog, parse_log, read_log
from harness.meter.beside.stretches import Stretches
from harness.records import Boundary, ExternalMeter, FindingCode, Method
from harness.report.markdown import render_markdown
from harness.report.receipt import receipt_of
from harness.results import load_run
from harness.verify import verify
from harness.wall import apply
from tests.synthetic_power import COUNTER, ESTIMATE, NO_POWER, Power
from tests.test_pipeline import IDLE_W, Rig, stepping

BASE_W, GAIN, LAG_S, OFFSET_S, PERIOD_S, NOISE_W = 95.0, 1.08, 0.7, 37.0, 1.0, 2.0
UNIX_S = 1_900_000_000.0

# ------------------------------------------------------------------------------------------------- the file


def log_of(text: str) -> ExternalLog:
    return parse_log(text, "wall.csv", "0" * 64)


def rows(*columns: str, n: int = 12, separator: str = ",", form: str = "{unix},{power}", zone: str = "+00:00") -> str:
    """A log of `n` seconds whose power is 100 W, 101 W, ..."""
    lines = [separator.join(columns)]
    energy_j = 0.0
    for index in range(n):
        unix = UNIX_S + index
        iso = datetime.fromtimestamp(unix, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")
        fields = {"unix": int(unix), "ms": int(unix * 1000), "iso": iso, "iso_zone": iso + zone, "power": 100 + index}
        fields |= {"wh": energy_j / 3600, "kwh": energy_j / 3.6e6, "j": energy_j, "kw": (100 + index) / 1000}
        fields |= {"date": iso[:10], "time": iso[11:], "comma": f"{100 + index},0"}
        lines.append(form.format(**fields))
        energy_j += 100 + index
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("columns", "form"),
    [
        (("time", "power"), "{unix},{power}"),
        (("Timestamp", "Power (W)"), "{ms},{power}"),
        (("datetime", "watts"), "{iso_zone},{power}"),
        (("date", "power_w"), "{iso},{power}"),
        (("Date", "Time", "W"), "{date},{time},{power}"),
        (("id", "ts", "Active power [kW]", "Power factor", "Max W"), "7,{unix},{kw},0.9,400"),
        (("unix", "power", "energy_wh"), "{unix},{power},{wh}"),
    ],
)
def test_columns_of_power_are_told_by_their_names(columns: tuple[str, ...], form: str) -> None:
    log = log_of(rows(*columns, form=form))
    assert log.stretches.power_w.tolist() == pytest.approx([100.0 + index for index in range(12)])
    assert log.stretches.time_read_s is not None
    assert log.stretches.time_read_s.tolist() == [UNIX_S + index for index in range(12)]
    assert log.stretches.duration_period_s == 1.0
    assert log.has_zone == (form not in ("{iso},{power}", "{date},{time},{power}"))
    assert log.notes == ()


@pytest.mark.parametrize(
    ("column", "form"),
    [
        ("Energy (Wh)", "{unix},{wh}"),
        ("kWh", "{unix},{kwh}"),
        ("energy_j", "{unix},{j}"),
        ("total_kwh", "{unix},{kwh}"),
    ],
)
def test_cumulative_energy_becomes_mean_power(column: str, form: str) -> None:
    log = log_of(rows("time", column, form=form))
    assert log.column == column
    assert log.stretches.power_w.tolist() == pytest.approx([100.0 + index for index in range(11)])
    assert log.stretches.energy_j(UNIX_S + 2.0, UNIX_S + 4.5) == pytest.approx(102.0 + 103.0 + 52.0)
    assert log.stretches.time_read_s is None


def test_decimal_commas_zones_comments_and_byte_order_marks() -> None:
    text = "# a meter\n\n" + rows("time", "power", separator=";", form="{iso_zone};{comma}", zone="+02:00")
    log = log_of(text)
    assert log.stretches.power_w[3] == 103.0
    assert log.stretches.time_read_s is not None
    assert log.stretches.time_read_s[0] == UNIX_S - 7200.0


@pytest.mark.parametrize(
    ("columns", "form", "message"),
    [
        (("time", "psu1_w", "psu2_w"), "{unix},{power},{power}", "2 columns that it could be among 'time', 'psu1_w'"),
        (("time", "Wh", "kWh"), "{unix},{wh},{kwh}", "2 columns that it could be"),
        (("time", "temperature"), "{unix},{power}", "no column of power or energy among 'time', 'temperature'"),
        (("time", "energy"), "{unix},{j}", "no column of power or energy"),
        (("when", "watts"), "{unix},{power}", "no column of time among 'when', 'watts'"),
        (("time", "timestamp", "w"), "{unix},{ms},{power}", "2 columns of time"),
        (("time", "w"), "12:00,{power}", "line 2: '12:00' is neither ISO 8601 nor Unix time"),
        (("time", "w"), "17,{power}", "line 2: '17' is no Unix time"),
    ],
)
def test_what_cannot_be_told_is_refused_with_the_columns(columns: tuple[str, ...], form: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        log_of(rows(*columns, form=form))
    assert message in str(caught.value)
    assert "ISO 8601" in caught.value.next_step


def test_a_file_that_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_log(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="is empty"):
        log_of("\n# nothing\n")
    with pytest.raises(UsageError, match="0 readings"):
        log_of("time,w\n")
    (tmp_path / "latin.csv").write_bytes(
        ("Zeit,time,Gerät w\n" + "".join(rows("", form="x,{unix},{power}")[1:])).encode("latin-1")
    )
    assert read_log(tmp_path / "latin.csv").n_readings == 12


def test_bad_lines_are_left_out_and_named() -> None:
    lines = rows("time", "power", n=30).splitlines()
    lines[3] = f"{UNIX_S + 2:.0f},n/a"
    lines[5] = f"{UNIX_S + 4:.0f},-7"
    lines[7] = f"{UNIX_S + 1:.0f},100"
    lines[9] = "truncated"
    log = log_of("\n".join(lines))
    assert log.n_readings == 26
    (note,) = log.notes
    assert "4 lines were left out" in note
    for part in (
        "line 4: 'n/a' is no number",
        "line 6: -7 is negative",
        "line 8: its time",
        "line 10: 'truncated' is neither",
    ):
        assert part in note


def test_a_stray_quote_costs_its_own_line_and_no_message_quotes_a_file() -> None:
    lines = rows("time", "power", n=30).splitlines()
    lines[3] = f'"{lines[3]}'
    lines[5] = f"{UNIX_S + 4:.0f},{'x' * 200_000}"  # longer than a CSV reader takes
    lines[7] = f"{UNIX_S + 6:.0f},{'y' * 1000}"
    lines[9] = ' , "" '
    log = log_of("\n".join(lines))
    assert log.n_readings == 26
    (note,) = log.notes
    assert "3 lines were left out" in note
    assert "line 4: " in note
    assert "line 8: 'yyy" in note
    assert len(note) < 400
    with pytest.raises(UsageError) as caught:
        log_of("z" * 10_000 + "\n1\n2\n")
    assert len(str(caught.value)) < 200
    with pytest.raises(UsageError, match="line 1 is no header"):
        log_of("z" * 200_000 + "\n1\n2\n")


def test_an_energy_that_is_set_back_and_a_silence_are_holes() -> None:
    lines = rows("time", "energy_j", n=30, form="{unix},{j}").splitlines()
    lines[11:] = [f"{line.split(',')[0]},{float(line.split(',')[1]) - 900}" for line in lines[11:]]
    log = log_of("\n".join(lines))
    assert "set back" in log.notes[0]
    assert log.stretches.energy_j(UNIX_S + 8.5, UNIX_S + 10.5) is None
    assert log.stretches.energy_j(UNIX_S + 10.0, UNIX_S + 12.0) is not None
    lines = rows("time", "power", n=60).splitlines()
    del lines[20:40]
    silent = log_of("\n".join(lines)).stretches
    assert silent.energy_j(UNIX_S + 10.0, UNIX_S + 45.0) is None
    assert silent.energy_j(UNIX_S + 5.0, UNIX_S + 15.0) == pytest.approx(1100.0)


# -------------------------------------------------------------------------------------------- the alignment


@dataclass(frozen=True, slots=True)
class Wall:
    """A machine's power at the wall: 95 W + 1.08 x boards + host gain x host, smoothed by its meter."""

    load: Load
    gains: tuple[float, ...] = (GAIN,)
    lag_s: float = LAG_S

    def power_w(self, times: np.ndarray) -> np.ndarray:
        """What the meter shows at instants; before and after the load is as at its ends."""
        grid = np.arange(self.load.time_s[0] - 200.0, self.load.time_s[-1] + 200.0, 0.01)
        total = np.full(len(grid) - 1, BASE_W)
        for gain, energy_j in zip(self.gains, self.load.energies, strict=True):
            power_w = np.diff(np.interp(grid, self.load.time_s, energy_j)) / 0.01
            inside = (grid[:-1] >= self.load.time_s[0]) & (grid[1:] <= self.load.time_s[-1])
            idle_w = (energy_j[1] - energy_j[0]) / (self.load.time_s[1] - self.load.time_s[0])
            total += gain * np.where(inside, power_w, idle_w)
        if self.lag_s:
            kernel = np.exp(-np.arange(0.0, 12 * self.lag_s, 0.01) / self.lag_s)
            total = np.convolve(total, kernel / kernel.sum())[: len(total)]
            total[: len(kernel)] = total[len(kernel)]
        shown: np.ndarray = np.interp(times, grid[1:], total)
        return shown

    def log(
        self, *, offset_s: float = OFFSET_S, period_s: float = PERIOD_S, noise_w: float = NOISE_W, seed: int = 0
    ) -> Stretches:
        """Readings at about every period, from a minute before to a minute after, on a clock that is off."""
        generator = np.random.default_rng(seed)
        times = np.arange(self.load.time_s[0] - 60.0, self.load.time_s[-1] + 60.0, period_s)
        times += generator.uniform(-0.1, 0.1, len(times)) * period_s
        power_w = np.round(self.power_w(times) + generator.normal(0.0, noise_w, len(times)), 1)
        middles = (times[1:] + times[:-1]) / 2
        return Stretches(
            time_start_s=np.concatenate([[times[0] - period_s / 2], middles]) + offset_s,
            time_end_s=np.concatenate([middles, [times[-1] + period_s / 2]]) + offset_s,
            power_w=power_w,
            duration_period_s=period_s,
            time_read_s=times + offset_s,
        )


def load(seed: int = 0, duration_s: float = 150.0, *, host: bool = False) -> Load:
    """Idle, then queries of up to 8 s with pauses between, then idle."""
    generator = np.random.default_rng(seed)
    knots, powers, hosts = [0.0], [], []

    def add(length_s: float, power_w: float, host_w: float) -> None:
        knots.append(knots[-1] + length_s)
        powers.append(power_w)
        hosts.append(host_w)

    add(8.0, 70.0, 60.0)
    add(4.0, 70.0, 140.0)  # loading
    add(4.0, 70.0, 60.0)
    while knots[-1] < duration_s - 8.0:
        add(generator.uniform(0.3, 8.0), 330.0 + generator.normal(0.0, 25.0), 90.0 + generator.normal(0.0, 10.0))
        add(generator.uniform(0.3, 1.5), 75.0, 65.0 + generator.normal(0.0, 10.0))
    add(4.0, 70.0, 60.0)
    lengths = np.diff(knots)
    parts = [powers, hosts] if host else [powers]
    energies = tuple(np.concatenate([[0.0], np.cumsum(lengths * np.array(each))]) for each in parts)
    return Load(time_s=np.array(knots), energies=energies)


@pytest.mark.parametrize("seed", range(4))
def test_offset_lag_and_gain_come_out_of_a_noisy_log(seed: int) -> None:
    known = load(seed)
    found = align(Wall(known).log(seed=seed), known)
    assert isinstance(found, Alignment)
    assert abs(found.duration_offset_s - OFFSET_S) < 0.3
    assert abs(found.duration_lag_s - LAG_S) < 0.15
    assert 0.0 < found.duration_offset_half_width_s < 0.5
    assert found.correlation > 0.99
    assert found.gain is not None
    assert abs(found.gain.gain - GAIN) <= found.gain.gain_half_width < 0.02
    assert found.gain.power_base_w == pytest.approx(BASE_W, abs=5.0)
    assert found.gain.gain_host is None


@pytest.mark.parametrize(
    ("offset_s", "lag_s", "period_s", "noise_w"),
    [(-88.4, 0.0, 1.0, 2.0), (3.3, 3.0, 1.0, 5.0), (-0.2, 0.7, 2.0, 10.0), (61.7, 0.2, 0.5, 2.0)],
)
def test_meters_of_other_kinds(offset_s: float, lag_s: float, period_s: float, noise_w: float) -> None:
    known = load(5, duration_s=200.0)
    log = Wall(known, lag_s=lag_s).log(offset_s=offset_s, period_s=period_s, noise_w=noise_w)
    found = align(log, known)
    assert isinstance(found, Alignment)
    assert abs(found.duration_offset_s - offset_s) < 0.3
    assert found.gain is not None
    assert abs(found.gain.gain - GAIN) < 2 * found.gain.gain_half_width < 0.2


def test_a_measured_host_has_a_gain_of_its_own() -> None:
    known = load(2, duration_s=300.0, host=True)
    found = align(Wall(known, gains=(GAIN, 1.25)).log(), known)
    assert isinstance(found, Alignment)
    assert found.gain is not None
    assert found.gain.gain_host is not None
    assert found.gain.gain_host_half_width is not None
    assert found.gain.gain == pytest.approx(GAIN, abs=2 * found.gain.gain_half_width)
    assert found.gain.gain_host == pytest.approx(1.25, abs=2 * found.gain.gain_host_half_width)


def test_energy_counters_of_a_wall_are_aligned_as_well() -> None:
    known = load(3)
    wall = Wall(known, lag_s=0.0)
    times = np.arange(-60.0, 210.0, 2.0)
    fine = np.arange(-60.0, 208.0, 0.02)
    mean_w = wall.power_w(fine + 0.01).reshape(-1, 100).mean(axis=1)
    log = Stretches(
        time_start_s=times[:-1] + OFFSET_S, time_end_s=times[1:] + OFFSET_S, power_w=mean_w, duration_period_s=2.0
    )
    found = align(log, known)
    assert isinstance(found, Alignment)
    assert abs(found.duration_offset_s - OFFSET_S) < 0.1
    assert found.gain is not None
    assert found.gain.gain == pytest.approx(GAIN, abs=0.01)


def reason(found: Alignment | NotAligned) -> str:
    assert isinstance(found, NotAligned), found
    return found.reason


@pytest.mark.parametrize("seed", range(6))
def test_the_log_of_another_machine_is_refused(seed: int) -> None:
    """It runs queries of the same kind at the same time."""
    assert "is needed" in reason(align(Wall(load(seed + 100, duration_s=200.0)).log(seed=seed), load(seed)))


def test_a_flat_load_and_a_single_step_are_refused() -> None:
    times = np.linspace(0.0, 100.0, 1001)
    flat = Load(time_s=times, energies=(300.0 * times,))
    assert "steady" in reason(align(Wall(load(0)).log(), flat))
    stepped = Load(time_s=times, energies=(np.cumsum(np.where(times > 40.0, 330.0, 70.0)) * 0.1,))
    assert "rose or fell only" in reason(align(Wall(stepped).log(), stepped))


def test_a_load_that_repeats_itself_in_a_log_that_saw_only_a_part_is_refused() -> None:
    times = np.arange(0.0, 400.0, 0.1)
    power = np.where(times % 10.0 < 5.0, 330.0, 70.0)
    session = Load(time_s=times[1500:2501], energies=(np.cumsum(power)[1500:2501] * 0.1,))
    always = Load(time_s=times, energies=(np.cumsum(power) * 0.1,))
    assert "as well at" in reason(align(Wall(always).log(), session))


def test_a_clock_that_is_off_by_more_than_the_search_and_a_log_too_short_are_refused() -> None:
    known = load(0)
    assert isinstance(align(Wall(known).log(offset_s=190.0), known), NotAligned)
    log = Wall(known).log()
    assert "does not cover" in reason(align(log.between(OFFSET_S, OFFSET_S + 60.0), known))


def test_a_wall_that_hardly_answers_is_another_wall() -> None:
    known = load(0)
    assert "for each watt" in reason(align(Wall(known, gains=(0.05,)).log(noise_w=0.1), known))


@cache
def aligned() -> tuple[Load, Stretches, Alignment]:
    known = load(1, duration_s=90.0)
    log = Wall(known).log()
    first = align(log, known)
    assert isinstance(first, Alignment)
    return known, log, first


@settings(max_examples=4, deadline=None)
@given(shift_s=st.floats(-40.0, 40.0))
def test_a_clock_that_is_set_moves_the_offset_and_nothing_else(shift_s: float) -> None:
    known, log, first = aligned()
    moved = align(log.shifted(-shift_s), known)
    assert isinstance(moved, Alignment)
    assert moved.duration_offset_s - first.duration_offset_s == pytest.approx(shift_s, abs=0.05)
    assert moved.gain is not None
    assert first.gain is not None
    assert moved.gain.gain == pytest.approx(first.gain.gain, abs=0.01)


# ------------------------------------------------------------------------------------------------ whole runs


@dataclass(frozen=True, slots=True)
class WalledRun:
    """A finished run whose session began at `UNIX_S`, and its true power."""

    rig: Rig
    power: Power

    @property
    def load(self) -> Load:
        times = np.array(sorted({0.0, 45.0, *(time_s for time_s, _ in self.power.knots)}))
        return Load(time_s=times, energies=(np.array([self.power.energy_j(0.0, each) for each in times]),))

    def write(
        self,
        path: Path,
        form: str = "{unix:.3f}",
        *,
        offset_s: float = OFFSET_S,
        zone_s: float = 0.0,
        lag_s: float = LAG_S,
    ) -> Path:
        log = Wall(self.load, lag_s=lag_s).log(offset_s=offset_s, period_s=0.25)
        assert log.time_read_s is not None
        lines = ["time,power_w"]
        for time_s, power_w in zip(log.time_read_s.tolist(), log.power_w.tolist(), strict=True):
            unix = UNIX_S + time_s
            iso = datetime.fromtimestamp(unix + zone_s, tz=UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
            lines.append(f"{form.format(unix=unix, iso=iso)},{power_w}")
        path.write_text("\n".join(lines) + "\n")
        return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> WalledRun:
    """Not to be changed."""
    root = tmp_path_factory.mktemp("walled")
    rehearsal = Rig(path=root / "rehearsal", n_prompts=8, power=NO_POWER)
    rehearsal.session()
    power = stepping(rehearsal.store.queries())
    rig = Rig(path=root / "run", n_prompts=8, power=power, channels=(COUNTER, ESTIMATE), origin_unix_s=UNIX_S)
    rig.session()
    return WalledRun(rig=rig, power=power)


@pytest.fixture
def walled(finished: WalledRun, tmp_path: Path) -> WalledRun:
    copied = Path(shutil.copytree(finished.rig.path, tmp_path / "run"))
    return WalledRun(rig=replace(finished.rig, path=copied), power=finished.power)


def node_power_j(run: WalledRun, start_s: float, end_s: float) -> float:
    return BASE_W * (end_s - start_s) + GAIN * run.power.energy_j(start_s, end_s)


def test_a_run_gets_its_nodes_energy_and_keeps_its_own(walled: WalledRun, tmp_path: Path) -> None:
    before = publish.accounts(walled.rig.path)[0].summary
    log = walled.write(tmp_path / "wall.csv")
    (external,) = apply(walled.rig.path, log)
    assert external.findings == ()
    assert external.reference == "gpu_board"
    assert external.duration_offset_s == pytest.approx(OFFSET_S, abs=0.3)
    assert external.gain is not None
    assert abs(external.gain.gain - GAIN) <= 2 * external.gain.gain_half_width
    assert external.total is not None
    assert (external.total.boundary, external.total.method) == (Boundary.NODE, Method.EXTERNAL_METER)
    assert external.total.energy_gross_j == pytest.approx(
        node_power_j(walled, external.total.time_start_s, external.total.time_end_s), rel=0.01
    )
    # At 0.25 s a meter of 0.7 s resolves 2.1 s.
    queries = {(query.prompt_id, query.mode): query.reading for query in external.queries}
    assert len(queries) == 16
    for reading in queries.values():
        assert reading.energy_gross_j is None
        assert [finding.code for finding in reading.findings] == [FindingCode.SHORTER_THAN_TWO_TICKS]
    assert [(mode.n_resolved, mode.energy_node_j) for mode in external.modes] == [(0, None), (0, None)]
    after = publish.accounts(walled.rig.path)[0].summary
    assert after.model_copy(update={"external": ()}) == before
    assert verify(walled.rig.path).differences == ()
    shown = render_markdown(receipt_of(after))
    assert "External meter wall" in shown
    assert "watts at the wall per board watt" in shown
    assert f"{external.gain.gain:.3f}" in shown


def test_queries_that_are_long_enough_get_what_the_machine_drew(walled: WalledRun, tmp_path: Path) -> None:
    (external,) = apply(walled.rig.path, walled.write(tmp_path / "wall.csv", lag_s=0.0))
    assert external.duration_lag_s is not None
    shortest_s = 3.0 * max(0.25, external.duration_lag_s)
    resolved = [query for query in external.queries if query.reading.energy_gross_j is not None]
    assert len(resolved) == sum(query.reading.duration_s >= shortest_s - 0.02 for query in external.queries) > 3
    for query in resolved:
        span = (query.reading.time_start_s, query.reading.time_end_s)
        assert query.reading.energy_gross_half_width_j is not None
        error_j = abs((query.reading.energy_gross_j or 0.0) - node_power_j(walled, *span))
        assert error_j <= query.reading.energy_gross_half_width_j < 0.5 * node_power_j(walled, *span)
    by_mode = {mode.mode: mode for mode in external.modes}
    assert by_mode["on"].n_resolved == len(resolved)
    assert by_mode["on"].energy_node_j == pytest.approx(sum(each.reading.energy_gross_j or 0.0 for each in resolved))
    assert by_mode["on"].energy_board_j is not None
    assert 0 < by_mode["on"].energy_board_j < (by_mode["on"].energy_node_j or 0.0)
    assert by_mode["off"].energy_node_j is None
    shown = render_markdown(receipt_of(publish.accounts(walled.rig.path)[0].summary))
    assert "one query, on" in shown
    assert "one query, off: shorter than the log resolves" in shown


def test_the_record_and_a_copy_of_the_log_are_added_and_nothing_is_rewritten(walled: WalledRun, tmp_path: Path) -> None:
    log = walled.write(tmp_path / "wall.csv")
    (session,) = walled.rig.store.path.glob("sessions/*")
    apply(walled.rig.path, log)
    first = (session / "external.json").read_bytes()
    assert (session / "external.csv").read_bytes() == log.read_bytes()
    apply(walled.rig.path, log)
    assert not (session / "external-2.json").exists()
    apply(walled.rig.path, walled.write(tmp_path / "later.csv", offset_s=-11.0))
    assert (session / "external.json").read_bytes() == first
    newest = ExternalMeter.model_validate_json((session / "external-2.json").read_text())
    assert newest.duration_offset_s == pytest.approx(-11.0, abs=0.3)
    assert load_run(walled.rig.path)[0].sessions[0].external == newest


@pytest.mark.parametrize("hours", [0.0, -7.0, 5.5])
def test_a_log_without_a_zone_is_found_in_any(walled: WalledRun, tmp_path: Path, hours: float) -> None:
    log = walled.write(tmp_path / "wall.csv", "{iso}", zone_s=hours * 3600.0)
    (external,) = apply(walled.rig.path, log)
    assert external.duration_offset_s == pytest.approx(OFFSET_S, abs=0.3)
    assert any(f"UTC{hours:+g} h" in note for note in external.notes)


def test_a_log_of_another_day_says_when_it_was(walled: WalledRun, tmp_path: Path) -> None:
    log = walled.write(tmp_path / "wall.csv", offset_s=86_400.0)
    (external,) = apply(walled.rig.path, log)
    (finding,) = external.findings
    assert finding.code is FindingCode.EXTERNAL_NOT_ALIGNED
    assert "2030-03-18" in finding.detail
    assert (external.total, external.gain, external.queries) == (None, None, ())
    summary = publish.accounts(walled.rig.path)[0].summary
    assert finding in summary.findings
    assert "could not be aligned" in render_markdown(receipt_of(summary))


def test_where_nothing_was_measured_the_spans_of_work_align_it(tmp_path: Path) -> None:
    rig = Rig(path=tmp_path / "run", n_prompts=8, channels=(ESTIMATE,), origin_unix_s=UNIX_S)
    rig.session()
    busy = [each for each in rig.store.intervals(1) if each.name in ("load", "warm_up")]
    spans = [(each.time_start_s, each.time_end_s) for each in busy]
    spans = sorted([*spans, *((query.time_start_s, query.time_end_s) for query in rig.store.queries())])
    run = WalledRun(rig=rig, power=Power.steps(IDLE_W, *((*span, 300.0) for span in spans)))
    (external,) = apply(rig.path, run.write(tmp_path / "wall.csv"))
    assert external.reference == "spans of work"
    assert external.duration_offset_s == pytest.approx(OFFSET_S, abs=0.3)
    assert external.gain is None
    assert external.total is not None
    assert external.total.energy_gross_j == pytest.approx(
        node_power_j(run, external.total.time_start_s, external.total.time_end_s), rel=0.02
    )


def test_report_joins_a_log_that_arrives_later(
    walled: WalledRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = walled.write(tmp_path / "wall.csv")
    assert run_verb(["report", str(walled.rig.path), "--external-meter", str(log), "--markdown"]) == 0
    assert "watts at the wall per board watt" in capsys.readouterr().out
    assert run_verb(["report", str(walled.rig.path)]) == 0
    assert "External meter wall.csv" in capsys.readouterr().out
    assert "watts at the wall per board watt" in (walled.rig.path / "report.html").read_text()
    log.write_text("a,b\n1,2\n")
    assert run_verb(["report", str(walled.rig.path), "--external-meter", str(log)]) == 2
    assert "'a', 'b'" in capsys.readouterr().err
