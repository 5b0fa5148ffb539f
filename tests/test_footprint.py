"""The footprint: exact products and their intervals, grids from small tables, what is measured, what is refused."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from harness.analysis.stored import query_columns
from harness.config import validated
from harness.errors import InvalidMeasurement, UnknownName, UsageError
from harness.footprint.batch import ALICE
from harness.footprint.carbon import carbon_g
from harness.footprint.cost import electricity_cost, rental_cost
from harness.footprint.energy import carried
from harness.footprint.equivalents import EQUIVALENTS
from harness.footprint.footprint import footprint
from harness.footprint.grids import Grid
from harness.footprint.projection import Projection, project
from harness.footprint.references import REFERENCES
from harness.footprint.server import GOOGLE, Published, server
from harness.footprint.spec import FootprintSpec, ProjectionSpec
from harness.footprint.spread import Spread, Z, from_deviations, product, read
from harness.footprint.steps import Step, chain
from harness.footprint.subject import GAIN, PROMPTS, READING, RUNS, Subject, parts_of
from harness.footprint.water import water_of_grid_l, water_on_site_l
from harness.footprint.year import energy_twh, power_mw
from harness.records import (
    Boundary,
    Cell,
    Channel,
    Estimate,
    ExternalMeter,
    Finding,
    FindingCode,
    Method,
    ModeFault,
    NodeGain,
    NodeMode,
    QueryRecord,
    RunManifest,
    Summary,
)
from harness.report.footprint.lead import footprint_lead
from harness.report.footprint.subjects import Measured, pooled, subjects_of
from harness.report.markdown import render_leads
from harness.report.page import Lead, render_page
from harness.report.study_terminal import print_leads
from tests.synthetic_runs import (
    CPU,
    cell,
    channel,
    estimated_summary,
    page_cell,
    query,
    reading,
    run_of_queries,
    summary_of,
)
from tests.test_report import two_phase_of

GOLDEN = sorted((Path(__file__).parent / "golden").glob("schema-*"))[-1]


def typed(text: object) -> Spread:
    return Spread.model_validate(read(text))


def subject(energy_j: float = 3600.0, mode: str = "on", **changes: Any) -> Subject:
    fields: dict[str, Any] = {
        "mode": mode,
        "energy_j": energy_j,
        "parts": (),
        "duration": Spread(value=2.0),
        "boundary": Boundary.GPU_BOARD,
        "estimated": False,
        "n_boards": 1,
    }
    return Subject(**(fields | changes))


def lognormal(log_sd: float, value: float = 1.0) -> Spread:
    return from_deviations(value, Z * log_sd, Z * log_sd)


# ------------------------------------------------------------------------------------------- figures


def test_a_number_is_exact_and_a_range_has_its_geometric_mean() -> None:
    assert typed("1.2") == typed(1.2) == Spread(value=1.2)
    assert typed("1e9").value == 1e9
    ranged = typed("1..4")
    assert (ranged.value, ranged.low, ranged.high) == (2.0, 1.0, 4.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1..",
        "..2",
        "1..2..3",
        "2..1",
        "0..2",
        "-1",
        "nan",
        "inf",
        "1e999",
        "1.1.2",
        True,
        [1.1, 1.3],
        None,
        -1,
        math.inf,
        1e30,
        "1±0.1",
        "1e19",
        "1e-19",
    ],
)
def test_what_is_no_figure_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"write|range|so large"):
        typed(text)


def test_the_interval_of_a_product_is_the_quadrature_of_the_logs() -> None:
    whole = product([lognormal(0.3, 2.0), lognormal(0.4, 5.0), Spread(value=3.0)])
    assert whole.value == pytest.approx(30.0)
    assert whole.low is not None
    assert whole.high is not None
    assert math.log(whole.high / 30) == pytest.approx(Z * 0.5)
    assert math.log(30 / whole.low) == pytest.approx(Z * 0.5)
    # Each side for itself.
    lopsided = product([from_deviations(1.0, 0.3, 0.0), from_deviations(1.0, 0.4, 0.0)])
    assert lopsided.high == pytest.approx(1.0)
    assert lopsided.low == pytest.approx(math.exp(-0.5))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.floats(0, 2), st.floats(0, 2))
def test_a_product_holds_its_value_and_is_no_narrower_than_its_factors(a: float, b: float, s: float, t: float) -> None:
    whole = product([lognormal(s, a), lognormal(t, b)])
    assert whole.value == pytest.approx(a * b)
    assert whole.log_deviations[1] >= max(Z * s, Z * t) - 1e-9
    assert whole.inverse().value == pytest.approx(1 / (a * b))
    assert whole.inverse().inverse().log_deviations == pytest.approx(whole.log_deviations, abs=1e-9)


def test_a_factor_of_zero_leaves_zero() -> None:
    assert product([lognormal(0.3, 2.0), Spread(value=0.0)]) == Spread(value=0.0)


def test_the_parts_of_an_estimate_are_named_and_the_unknown_ones_too() -> None:
    estimate = Estimate(value=100.0, low=80.0, high=130.0, half_width_reading=3.0, half_width_gain=5.0)
    parts, unknown = parts_of(estimate)
    assert [name for name, _ in parts] == [PROMPTS, READING, GAIN]
    assert unknown == (RUNS,)
    assert parts[0][1].low == pytest.approx(0.8)
    assert parts[0][1].high == pytest.approx(1.3)
    assert parts[2][1].high == pytest.approx(1.05)
    whole = subject(100.0, parts=parts).energy
    assert whole.high == pytest.approx(100 * math.exp(math.hypot(math.log(1.3), math.log(1.03), math.log(1.05))))


def test_an_end_below_zero_goes_as_far_down_as_the_other_goes_up() -> None:
    ((_, prompts), *_), _ = parts_of(Estimate(value=1.0, low=-1.0, high=3.0))
    assert prompts.low == pytest.approx(1 / 3)


def test_unknown_joules_are_not_carried_on() -> None:
    with pytest.raises(InvalidMeasurement):
        parts_of(Estimate(value=None))


# ------------------------------------------------------------------------------- from joules to figures


def test_3_6_megajoules_are_a_kilowatt_hour_everywhere() -> None:
    kwh = Spread(value=3.6e6)
    grid = Grid(name="x", place="", intensity=Spread(value=56.0), year=2023, source="")
    assert carbon_g(kwh, grid).value == pytest.approx(56.0)
    assert electricity_cost(kwh, Spread(value=0.3)).value == pytest.approx(0.3)
    assert water_on_site_l(kwh, Spread(value=0.2)).value == pytest.approx(0.2)
    assert water_of_grid_l(kwh, Spread(value=1.5)).value == pytest.approx(1.5)
    assert rental_cost(Spread(value=1800.0), 4, Spread(value=2.5)).value == pytest.approx(5.0)


def test_a_joule_by_a_billion_queries_a_day() -> None:
    assert power_mw(86.4, 1e9) == pytest.approx(1.0)
    assert energy_twh(86.4, 1e9) == pytest.approx(8.76e-3)
    # MIT Technology Review's own sum: a billion queries a day of 1,080 J are 109.5 GWh a year.
    assert energy_twh(1080.0, 1e9) == pytest.approx(0.1095)


def test_the_references_agree_with_themselves() -> None:
    plant, bitcoin, ai = REFERENCES
    assert plant.energy_twh == pytest.approx(8.76)
    assert bitcoin.power_mw == pytest.approx(20_091, rel=1e-3)
    assert ai.power_mw * 8760 / 1e6 == pytest.approx(ai.energy_twh, rel=0.005)


def test_equivalents_say_what_they_assume() -> None:
    amounts = {each.what: each.of(Spread(value=6706.0)).value for each in EQUIVALENTS}
    assert amounts["microwave oven"] == pytest.approx(8.0)
    assert amounts["e-bike ride"] == pytest.approx(121.92)
    assert amounts["LED bulb"] == pytest.approx(670.6)
    assert all(each.assumption for each in EQUIVALENTS)


def test_google_and_its_pue_end_at_its_published_share() -> None:
    (mode,), notes = carried([subject(58.0)], Published.GOOGLE, Spread(value=1.09))
    assert mode.energy.value == pytest.approx(100.0)
    assert mode.it_energy.value == pytest.approx(58.0 * GOOGLE)
    assert mode.it_energy.value == pytest.approx(100.0 / 1.09)
    assert notes == ()


def test_mit_doubles_and_its_range_reaches_google() -> None:
    (mode,), _ = carried([subject(100.0)], Published.MIT, None)
    assert mode.energy.value == 200.0
    assert mode.energy.low == pytest.approx(100.0 * GOOGLE)


def test_nothing_is_switched_on_by_default() -> None:
    found = footprint([subject()], FootprintSpec())
    assert FootprintSpec().is_empty
    assert (found.carbon, found.electricity, found.rental, found.equivalents) == ((), (), (), ())
    assert found.modes[0].energy == Spread(value=3600.0)


def test_water_on_site_is_of_the_server_and_everything_else_of_the_facility() -> None:
    spec = validated(
        FootprintSpec,
        {"server": "2", "pue": "1.5", "wue": "1", "grid_water": "1", "tariff": "1", "grid": "mine=10"},
        "here",
    )
    found = footprint([subject(3.6e6)], spec)
    assert found.water_on_site_l[0].value == pytest.approx(2.0)
    assert found.water_of_grid_l[0].value == pytest.approx(3.0)
    assert found.electricity[0].value == pytest.approx(3.0)
    assert found.carbon[0].carbon_g[0].value == pytest.approx(30.0)


def test_a_rent_needs_a_board() -> None:
    spec = validated(FootprintSpec, {"gpu_hour_price": "2"}, "here")
    assert footprint([subject(n_boards=8)], spec).rental[0].value == pytest.approx(2.0 * 8 * 2 / 3600)
    with pytest.raises(UsageError, match="none was metered"):
        footprint([subject(n_boards=0, boundary=Boundary.HOST)], spec)


# ----------------------------------------------------------------------------------------- the server


def test_a_measured_wall_goes_before_what_somebody_published() -> None:
    known = Spread(value=1.7, low=1.6, high=1.8)
    parts = ((PROMPTS, lognormal(0.1)), (READING, lognormal(0.2)), (GAIN, lognormal(0.3)))
    wall = subject(100.0, parts=parts, node_per_board=known, node_source="wall meter")
    found = server([wall], Published.MIT)
    assert found.steps[0].factor == known
    assert found.steps[0].measured
    assert "--server mit is not used" in found.notes[0]
    # What the boards' sensor errs by is not in what the wall saw.
    assert [name for name, _ in found.subjects[0].parts] == [PROMPTS]
    assert server([wall], Published.MEASURED).notes == ()


def test_a_number_of_ones_own_goes_before_a_measurement() -> None:
    found = server([subject(node_per_board=Spread(value=1.7), node_source="wall meter")], Spread(value=2.5))
    assert found.steps[0].factor.value == 2.5
    assert "--server measured uses it" in found.notes[0]


def test_a_measured_host_is_added_to_its_boards() -> None:
    found = server([subject(host_per_board=Spread(value=0.25, low=0.2, high=0.3))], Published.GOOGLE)
    assert found.steps[0].factor == Spread(value=1.25, low=1.2, high=1.3)
    assert "power supply" in found.steps[0].note


def test_what_the_boards_sensor_errs_by_is_not_of_the_host_beside_them() -> None:
    parts = ((PROMPTS, lognormal(0.1)), (READING, lognormal(0.2)), (GAIN, lognormal(0.3)))
    boards = subject(100.0, parts=parts, host_per_board=Spread(value=0.25))
    widths = {name: part.log_deviations[1] / Z for name, part in server([boards], Published.MEASURED).subjects[0].parts}
    assert widths == pytest.approx({PROMPTS: 0.1, READING: 0.2 / 1.25, GAIN: 0.3 / 1.25})
    # So 10 % more of the boards' 100 J is 8 % more of the 125 J.


def test_a_wall_that_only_one_mode_has_is_no_wall_for_both() -> None:
    with_wall = subject(node_per_board=Spread(value=1.7), node_source="wall meter")
    assert not server([with_wall, subject(mode="off")], Published.MIT).steps[0].measured


def test_measured_is_refused_where_nothing_was() -> None:
    with pytest.raises(UsageError, match="Neither the wall nor the host"):
        server([subject()], Published.MEASURED)


def test_a_gpu_multiplier_is_not_for_a_host() -> None:
    host = subject(boundary=Boundary.HOST, estimated=True, n_boards=0)
    with pytest.raises(UsageError, match="GPU energy"):
        server([host], Published.MIT)
    assert server([host], Spread(value=1.3)).steps[0].factor.value == 1.3


def test_a_measured_host_that_is_the_headline_is_its_own_server() -> None:
    found = server([subject(boundary=Boundary.HOST, n_boards=0)], Published.MEASURED)
    assert found.steps[0].factor == Spread(value=1.0)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"pue": "0.9"}, "whole over its part"),
        ({"pue": "0.9..1.3"}, "whole over its part"),
        ({"server": "0.5"}, "whole over its part"),
        ({"pue": "120"}, "whole over its part"),
        ({"server": "mitt"}, "measured, mit, google"),
        ({"tariff": "-1"}, "not negative"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(fields: dict[str, str], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        validated(FootprintSpec, fields, "here")


def test_an_unknown_key_has_a_nearest() -> None:
    with pytest.raises(UnknownName) as caught:
        validated(FootprintSpec, {"tarif": 0.3}, "f.yaml")
    assert "tariff" in caught.value.next_step


# ---------------------------------------------------------------------------------------- projections


def fleet(one: Subject, queries: str = "1e9", choice: Any = None, pue: str | None = None, **changes: Any) -> Projection:
    (mode,), _ = carried([one], choice, None if pue is None else typed(pue))
    fields: dict[str, Any] = {"batch_factor": None, "draws": 200_000, "seed": 0}
    return project(mode, typed(queries), **(fields | changes))


def test_a_fleet_of_exact_figures_is_exact_and_has_no_shares() -> None:
    found = fleet(subject(86.4), pue="1.5")
    assert found.power_mw.value == pytest.approx(1.5)
    assert found.power_mw.is_exact
    assert found.energy_twh.value == pytest.approx(1.5 * 8.76e-3)
    assert found.shares == ()


def test_monte_carlo_meets_the_closed_form_of_log_normal_factors() -> None:
    one = subject(86.4, parts=((PROMPTS, lognormal(0.06)), (GAIN, lognormal(0.08))))
    found = fleet(one, "5e8..2e9", from_deviations(2.0, 0.0, 0.0))
    log_sd = math.sqrt(0.06**2 + 0.08**2 + (math.log(2) / Z) ** 2)
    assert found.power_mw.value == pytest.approx(2.0)
    assert found.power_mw.low is not None
    assert found.power_mw.high is not None
    # 200,000 draws know a 2.5 % point to about 0.6 % of a standard deviation.
    assert math.log(found.power_mw.high / 2.0) == pytest.approx(Z * log_sd, rel=0.02)
    assert math.log(2.0 / found.power_mw.low) == pytest.approx(Z * log_sd, rel=0.02)
    shares = {share.name: share.share for share in found.shares}
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares[GAIN] / shares[PROMPTS] == pytest.approx((0.08 / 0.06) ** 2, rel=0.03)
    assert found.shares[0].name == "queries a day"


def test_the_interval_of_the_fleet_is_that_of_the_report_where_all_is_log_normal() -> None:
    one = subject(100.0, parts=((PROMPTS, lognormal(0.1)),))
    (mode,), _ = carried([one], Published.MIT, typed("1.1..1.3"))
    found = project(mode, Spread(value=1e9), batch_factor=None, draws=200_000, seed=1)
    assert found.energy_per_query_carried_j.value == pytest.approx(mode.energy.value)
    assert found.energy_per_query_carried_j.high == pytest.approx(mode.energy.high, rel=0.01)
    assert found.energy_per_query_carried_j.low == pytest.approx(mode.energy.low, rel=0.01)


def test_a_lopsided_range_keeps_its_sides() -> None:
    one = subject(86.4, parts=((PROMPTS, from_deviations(1.0, 0.1, 0.5)),))
    found = fleet(one)
    assert found.power_mw.high == pytest.approx(math.exp(0.5), rel=0.02)
    assert found.power_mw.low == pytest.approx(math.exp(-0.1), rel=0.02)


def test_no_facility_draws_less_than_what_is_in_it() -> None:
    found = fleet(subject(86.4), pue="1..1.5")
    assert found.power_mw.low == pytest.approx(1.0, rel=1e-9) or (found.power_mw.low or 0.0) > 1.0
    assert found.power_mw.value == pytest.approx(math.sqrt(1.5))


def test_the_same_seed_gives_the_same_fleet_and_another_step_leaves_the_draws() -> None:
    one = subject(86.4, parts=((PROMPTS, lognormal(0.2)),))
    assert fleet(one, draws=5_000) == fleet(one, draws=5_000)
    assert fleet(one, draws=5_000) != fleet(one, draws=5_000, seed=1)
    doubled = fleet(one, draws=5_000, choice=Spread(value=2.0))
    assert doubled.power_mw.high == pytest.approx(2 * (fleet(one, draws=5_000).power_mw.high or 0.0))


def test_a_batch_factor_divides_and_the_undivided_stays_beside() -> None:
    one = subject(86.4 * 20, parts=((PROMPTS, lognormal(0.1)),))
    found = fleet(one, batch_factor=typed("10..40"))
    assert found.power_mw.value == pytest.approx(1.0)
    assert found.power_alone_mw is not None
    assert found.power_alone_mw.value == pytest.approx(20.0)
    assert found.power_alone_mw.log_deviations[1] == pytest.approx(Z * 0.1, rel=0.02)
    assert (found.power_mw.high or 0.0) == pytest.approx(math.exp(math.hypot(math.log(2), Z * 0.1)), rel=0.02)


def test_an_estimate_has_a_figure_and_no_interval() -> None:
    one = subject(86.4, estimated=True)
    found = fleet(one, "5e8..2e9", Spread(value=2.0, low=1.5, high=2.5))
    assert found.estimated
    assert found.power_mw.is_exact
    assert found.energy_twh.is_exact
    assert found.energy_per_query_carried_j.is_exact
    assert found.shares == ()


def test_drawn_intervals_hold_the_truth() -> None:
    """A figure drawn from its own range lies inside the fleet's interval in 95 % of fleets."""
    rng = np.random.default_rng(5)
    n, held = 300, 0
    for _ in range(n):
        seen_j = 86.4 * math.exp(0.2 * rng.standard_normal())
        found = fleet(subject(seen_j, parts=((PROMPTS, lognormal(0.2)),)), draws=2_000)
        held += (found.power_mw.low or 0.0) <= 1.0 <= (found.power_mw.high or 0.0)
    assert abs(held / n - 0.95) < 3 * math.sqrt(0.95 * 0.05 / n)


def test_the_factor_between_batch_1_and_a_busy_server_is_the_published_one() -> None:
    assert pytest.approx(732 / 13.8, rel=0.01) == ALICE


def test_a_chain_of_steps_multiplies_and_divides() -> None:
    steps = (
        Step(name="a", factor=Spread(value=6.0), measured=True, source=""),
        Step(name="b", sign="÷", factor=Spread(value=3.0), measured=False, source=""),
    )
    assert chain(steps).value == pytest.approx(2.0)


@pytest.mark.parametrize(
    "fields", [{"queries_per_day": "0"}, {"queries_per_day": "1e9", "batch_factor": "0.5"}, {}, {"draws": 1}]
)
def test_a_fleet_that_cannot_be_meant_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        validated(ProjectionSpec, fields, "here")


# --------------------------------------------------------------------------------- from a run to a lead


def manifest(channels: tuple[Channel, ...] = (channel(),)) -> RunManifest:
    (path,) = GOLDEN.glob("*/*/sessions/01/manifest.json")
    return RunManifest.model_validate_json(path.read_text()).model_copy(update={"channels": channels})


def measured(summary: Summary, queries: list[QueryRecord], *channels: Channel) -> Measured:
    return Measured(summary=summary, columns=query_columns(queries), manifest=manifest(channels or (channel(),)))


@pytest.fixture(scope="module")
def queries() -> list[QueryRecord]:
    return run_of_queries(30)


@pytest.fixture
def summary(queries: list[QueryRecord]) -> Summary:
    return summary_of(queries)


def with_host(queries: list[QueryRecord], host_j: float) -> list[QueryRecord]:
    beside = [
        reading(host_j, half_width_j=0.0, device=CPU, boundary=Boundary.HOST, method=Method.RAPL) for _ in queries
    ]
    return [
        each.model_copy(update={"readings": (*each.readings, host)}) for each, host in zip(queries, beside, strict=True)
    ]


HOST_CHANNEL = channel(CPU, Method.RAPL, Boundary.HOST)


def test_subjects_are_the_modes_with_their_parts(summary: Summary, queries: list[QueryRecord]) -> None:
    found, left_out = subjects_of(measured(summary, queries))
    assert [each.mode for each in found] == ["off", "on"]
    assert left_out == ()
    assert found[0].energy_j == summary.modes[0].energy_j.value
    assert [name for name, _ in found[0].parts] == [PROMPTS, READING, GAIN]
    assert found[0].unknown == (RUNS,)
    assert (found[0].n_boards, found[0].is_alone) == (1, True)


def test_a_mode_by_name(summary: Summary, queries: list[QueryRecord]) -> None:
    (found,), _ = subjects_of(measured(summary, queries), ["on"])
    assert found.mode == "on"
    with pytest.raises(UnknownName, match="mode"):
        subjects_of(measured(summary, queries), ["high"])


def test_a_host_that_was_metered_is_added_query_by_query(summary: Summary, queries: list[QueryRecord]) -> None:
    both = with_host(queries, 50.0)
    found, _ = subjects_of(measured(summary, both, channel(), HOST_CHANNEL))
    board_j = found[0].energy_j
    assert found[0].host_per_board is not None
    assert found[0].host_per_board.value == pytest.approx(50.0 / board_j)
    (off, _), _ = carried(found, Published.MIT, None)
    assert off.energy.value == pytest.approx(board_j + 50.0)


def test_a_host_with_a_hole_or_an_estimate_is_no_measured_host(summary: Summary, queries: list[QueryRecord]) -> None:
    both = with_host(queries, 50.0)
    holed = [*both[:-1], both[-1].model_copy(update={"readings": queries[-1].readings})]
    found, _ = subjects_of(measured(summary, holed, channel(), HOST_CHANNEL))
    assert [each.host_per_board is None for each in found] == [False, True]
    guessed = channel("model", Method.ESTIMATED, Boundary.HOST)
    found, _ = subjects_of(measured(summary, both, channel(), guessed))
    assert all(each.host_per_board is None for each in found)


def external(
    *, gain: NodeGain | None = None, modes: tuple[NodeMode, ...] = (), reference: str = "gpu_board"
) -> ExternalMeter:
    return ExternalMeter(
        session=0,
        log="wall.csv",
        log_sha256="0" * 64,
        column="W",
        n_readings=100,
        duration_period_s=1.0,
        reference=reference,
        gain=gain,
        modes=modes,
    )


def node_mode(mode: str, n_resolved: int = 30, energy_node_j: float | None = 1500.0) -> NodeMode:
    return NodeMode(
        mode=mode,
        n_queries=30,
        n_resolved=n_resolved,
        energy_node_j=energy_node_j,
        energy_node_half_width_j=None if energy_node_j is None else 30.0,
        energy_board_j=None if energy_node_j is None else 1000.0,
    )


GAIN_OF_NODE = NodeGain(
    gain=1.1, gain_half_width=0.02, power_base_w=200.0, power_base_half_width_w=10.0, n_readings=100
)


def test_a_wall_that_resolves_every_query_is_taken_as_it_is(summary: Summary, queries: list[QueryRecord]) -> None:
    log = external(gain=GAIN_OF_NODE, modes=(node_mode("off"), node_mode("on")))
    found, _ = subjects_of(measured(summary.model_copy(update={"external": (log,)}), queries))
    assert found[0].node_per_board is not None
    assert found[0].node_per_board.value == pytest.approx(1.5)
    assert found[0].node_per_board.high == pytest.approx(1.53)
    assert "same queries" in found[0].node_source


def test_a_wall_that_resolves_few_speaks_by_its_gain_and_its_base(summary: Summary, queries: list[QueryRecord]) -> None:
    log = external(gain=GAIN_OF_NODE, modes=(node_mode("off", 3), node_mode("on", 0, None)))
    found, _ = subjects_of(measured(summary.model_copy(update={"external": (log,)}), queries))
    off = summary.modes[0]
    assert off.duration_s.value is not None
    assert found[0].node_per_board is not None
    expected_j = 200.0 * off.duration_s.value + 1.1 * found[0].energy_j
    assert found[0].node_per_board.value * found[0].energy_j == pytest.approx(expected_j)
    assert "gain" in found[0].node_source


def test_a_gain_that_needs_a_host_is_not_used_without_one(summary: Summary, queries: list[QueryRecord]) -> None:
    gain = GAIN_OF_NODE.model_copy(update={"gain_host": 1.2, "gain_host_half_width": 0.1})
    log = external(gain=gain, reference="gpu_board+host")
    walled = summary.model_copy(update={"external": (log,)})
    found, _ = subjects_of(measured(walled, queries))
    assert found[0].node_per_board is None
    found, _ = subjects_of(measured(walled, with_host(queries, 50.0), channel(), HOST_CHANNEL))
    off = summary.modes[0]
    assert found[0].node_per_board is not None
    assert found[0].node_per_board.value * found[0].energy_j == pytest.approx(
        200.0 * (off.duration_s.value or 0.0) + 1.1 * found[0].energy_j + 1.2 * 50.0
    )


def test_two_phases_are_refused(summary: Summary, queries: list[QueryRecord]) -> None:
    two_phase = summary.model_copy(update={"two_phase": two_phase_of(valid=True)})
    with pytest.raises(InvalidMeasurement, match="two-phase"):
        subjects_of(measured(two_phase, queries))


def test_a_mode_that_is_not_what_it_is_called_is_left_out(summary: Summary, queries: list[QueryRecord]) -> None:
    fault = Finding(code=FindingCode.NO_THINKING_IN_ON_MODE)
    off, on = summary.modes
    faulted = summary.model_copy(
        update={
            "modes": (off, on.model_copy(update={"invalid": (fault,)})),
            "faults": (ModeFault(modes=("on",), finding=fault),),
            "comparisons": (),
        }
    )
    found, left_out = subjects_of(measured(faulted, queries))
    assert [each.mode for each in found] == ["off"]
    assert "on is left out" in left_out[0]
    with pytest.raises(InvalidMeasurement, match="on is left out"):
        subjects_of(measured(faulted, queries), ["on"])
    lead = footprint_lead(measured(faulted, queries), FootprintSpec(pue=Spread(value=1.2)))
    assert lead.tables[0].modes == ("off",)
    assert "on is left out" in lead.notes[0]


def test_the_mean_of_repeats_is_known_better_than_one_of_them() -> None:
    runs = from_deviations(1.0, math.log(1.4), math.log(1.4))  # ± 36 J of the first's 90 J
    repeats = [[subject(energy_j, parts=((RUNS, runs), (GAIN, lognormal(0.1))))] for energy_j in (90.0, 100.0, 110.0)]
    (mean,) = pooled(repeats)
    assert mean.energy_j == pytest.approx(100.0)
    parts = dict(mean.parts)
    # Half of 36 J, beside their mean of 100 J.
    assert parts[RUNS].log_deviations == pytest.approx((math.log(1.18), math.log(1.18)))
    assert parts[GAIN].log_deviations[0] == pytest.approx(0.1 * Z)


def test_only_modes_that_every_repeat_has_are_pooled() -> None:
    both, one = [subject(mode="off"), subject(mode="on")], [subject(mode="off")]
    assert [each.mode for each in pooled([both, one])] == ["off"]
    assert pooled([one, [subject(mode="on")]]) == ()


def test_a_wall_of_some_repeats_is_no_wall_of_their_mean() -> None:
    with_wall = subject(node_per_board=Spread(value=1.7), node_source="wall meter")
    (mean,) = pooled([[with_wall], [subject()]])
    assert mean.node_per_board is None
    (mean,) = pooled([[with_wall], [subject(node_per_board=Spread(value=1.9), node_source="wall meter")]])
    assert mean.node_per_board is not None
    assert mean.node_per_board.value == pytest.approx(1.8)


SPEC = {
    "server": "mit",
    "pue": "1.1..1.3",
    "grid": "mine=30,<script>alert(1)</script>=20..45",
    "wue": "0.2",
    "grid_water": "1.5",
    "tariff": "0.3",
    "gpu_hour_price": "2.5",
    "equivalents": True,
}


def printed(lead: Lead, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    print_leads(console, [lead])
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return str(text)


def test_a_stated_range_is_printed_where_its_middle_is(summary: Summary, queries: list[QueryRecord]) -> None:
    fields = {"tariff": "0.2..0.4", "wue": "0.1..0.4", "grid_water": "1..4", "grid": "mine=20..45"}
    spec = validated(FootprintSpec, fields | {"gpu_hour_price": "2..3"}, "here")
    notes = " ".join(footprint_lead(measured(summary, queries), spec).notes)
    for words in (
        "electricity: 0.28 (0.20 to 0.40) per kWh",
        "WUE 0.20 (0.10 to 0.40) l",
        "grid water: 2.0 (1.0 to 4.0) l",
        "mine, 30 (20 to 45) g/kWh",
        "GPU-hour: 2.45 (2.00 to 3.00)",
    ):
        assert words in notes


def test_a_lead_names_every_assumption_and_fits_sixty_columns(summary: Summary, queries: list[QueryRecord]) -> None:
    lead = footprint_lead(measured(summary, queries), validated(FootprintSpec, SPEC, "here"))
    text = printed(lead, 60)
    assert max(cell_len(line) for line in text.splitlines()) <= 60
    for words in (
        "GPU boards, measured",
        "MIT Technology",
        "run to run",
        "LED bulb",
        "stated by the user",
        "Not in it",
    ):
        assert words in " ".join(text.split())
    off = summary.modes[0].energy_j.value
    assert off is not None
    assert lead.tables[0].rows[0].figures[0].interval


def test_an_estimate_says_so_at_every_figure(queries: list[QueryRecord]) -> None:
    summary = estimated_summary()
    spec = validated(FootprintSpec, SPEC | {"server": "1.3", "gpu_hour_price": None}, "here")
    lead = footprint_lead(measured(summary, queries, channel("m", Method.ESTIMATED, Boundary.HOST)), spec)
    assert "estimated" in lead.title
    for table in lead.tables:
        assert "estimated" in table.caption
        for row in table.rows:
            assert "estimated" in row.label
            assert all(figure.interval == "" for figure in row.figures)
    assert lead.panels[0].label == "estimated"
    assert all(bar.whisker is None for chart in lead.panels[0].bars for bar in chart.bars)


def test_names_from_outside_stay_text_on_the_page_and_in_markdown(summary: Summary, queries: list[QueryRecord]) -> None:
    lead = footprint_lead(measured(summary, queries), validated(FootprintSpec, SPEC, "here"))
    page = render_page([page_cell(queries, summary, footprint=lead)])
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>" not in render_leads([lead])
    assert "\\<script\\>" in render_leads([lead])
    assert "The same energy on several grids" in page
    assert "lead footprint" not in render_page([page_cell(queries, summary)])


def test_modes_without_joules_are_left_out_or_refused(summary: Summary) -> None:
    with pytest.raises(InvalidMeasurement, match="unknown"):
        subjects_of(measured(summary_of([query(i, "off", None) for i in range(3)], ["off"]), []))


def test_the_cell_is_batch_1_unless_it_says_otherwise(summary: Summary, queries: list[QueryRecord]) -> None:
    batched: Cell = cell().model_copy(update={"batch_size": 8})
    (found, _), _ = subjects_of(measured(summary.model_copy(update={"cell": batched}), queries))
    assert not found.is_alone
