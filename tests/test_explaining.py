"""Every figure opens to its queries, and every query to the sensor's readings: in the terminal and in the page."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from harness import explaining, publish
from harness.analysis.measured import QueryFigures, devices_by_session, figures_of
from harness.cli.parser import run_verb
from harness.errors import ExitCode, UnknownName
from harness.publish import Account
from harness.records import (
    Boundary,
    Channel,
    Comparison,
    Estimate,
    Finding,
    FindingCode,
    Method,
    ModeSummary,
    Quantity,
    QueryRecord,
    Segment,
    Summary,
)
from harness.report.evidence import behind_lines, evidence_of, names_behind
from harness.report.explanation.query import QueryAccount, account_of
from harness.report.explanation.record import Explanation
from harness.report.explanation.statistics import Evidence, explanations_of
from harness.report.explanation.words import statistics_of, sums
from harness.report.page import render_page
from harness.report.raw_data import raw_data
from harness.report.receipt import receipt_of
from harness.report.trail import N_SHOWN, Caught, Trail, trails
from harness.report.trail_rows import trail_table
from tests.synthetic_runs import GPU, channel, estimated_summary, page_cell, query, reading, run_of_queries, summary_of

GOLDEN = Path(__file__).parent / "golden" / "schema-1"
FloatArray = npt.NDArray[np.float64]

ATTACK = "</script><img src=x onerror=alert(1)>"


def figures(queries: Sequence[QueryRecord], summary: Summary) -> list[QueryFigures]:
    devices = devices_by_session(queries, summary.headline)
    return [figures_of(each, summary.headline, devices[each.session]) for each in queries if each.output is not None]


def evidence(queries: Sequence[QueryRecord], summary: Summary) -> Evidence:
    return Evidence(summary=summary, figures=figures(queries, summary))


def explanation(queries: Sequence[QueryRecord], summary: Summary, name: str) -> Explanation:
    return explanations_of(evidence(queries, summary))[name]()


def printed_number(text: str) -> float:
    return float(text.replace(",", "").replace("−", "-"))


@pytest.fixture(scope="module")
def measured() -> list[Account]:
    return publish.accounts(GOLDEN)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = run_verb(["report", *arguments])
    found = capsys.readouterr()
    return code, found.out + found.err


# ------------------------------------------------------------------------------------------ every figure


@pytest.mark.parametrize("modes", [("off", "on"), ("off", "budget:64", "on")])
def test_the_sums_of_every_figure_give_its_value(modes: Sequence[str]) -> None:
    queries = run_of_queries(30, modes)
    queries[7] = queries[7].model_copy(update={"output": None, "score": None})  # failed
    queries[9] = query(9, modes[1], None, correct=True)  # answered, without energy
    summary = summary_of(queries, modes)
    known = figures(queries, summary)
    for mode in summary.modes:
        own = [each for each in known if each.mode == mode.mode]
        for statistic in statistics_of(summary, mode):
            value = statistic.estimate(mode).value
            found = sums(statistic, statistic.queries(own))
            if value is None:
                continue
            assert found is not None, statistic.name
            above, below = found
            factor = 1.0 if statistic.unit == "%" else statistic.factor
            assert above / below * factor == pytest.approx(value, rel=1e-9), statistic.name


def test_every_number_of_a_mode_and_of_a_comparison_has_an_explanation() -> None:
    queries = run_of_queries(30)
    names = set(explanations_of(evidence(queries, summary_of(queries))))
    no_figures = {"mode", "invalid", "phases_j", "phases_s"}
    counts = {name for name in ModeSummary.model_fields if name.startswith("n_")}
    of_tasks = {"quality", "sizes", "size_laws"}
    not_known = {"energy_tail_j", "gpu_busy_share"}
    for name in set(ModeSummary.model_fields) - no_figures - counts - of_tasks - not_known:
        assert f"on.{name}" in names, name
    for name in ("energy", "duration", "tokens", "energy_per_token", "difference_j", "energy_per_correct", "accuracy"):
        assert name in Comparison.model_fields
        assert f"on/off.{name}" in names
    assert {"on.phases.thinking", "on.phases_s.thinking", "on/off.parts.answer", "idle"} <= names


def test_a_formula_can_be_checked_on_a_calculator() -> None:
    queries = run_of_queries(30)
    summary = summary_of(queries)
    for name, make in explanations_of(evidence(queries, summary)).items():
        for line in make().formula:
            plain = re.fullmatch(r"([\d.,]+)[^/=×]*/ ([\d.,]+)[^/=×]*= (−?[\d.,]+).*", line)
            if plain is not None:
                above, below, value = map(printed_number, plain.groups())
                assert above / below == pytest.approx(value, rel=1e-4), name


def test_the_parts_of_the_interval_are_those_of_the_receipt() -> None:
    queries = run_of_queries(40)
    summary = summary_of(queries)
    receipt = receipt_of(summary)
    known = explanations_of(evidence(queries, summary))
    rows = [row for section in receipt.sections for row in section.rows if row.part]
    assert {row.part for row in rows} == {"other prompts", "sensor reading", "run to run", "sensor gain"}
    for row in rows:
        for name, cell in zip(row.behind, row.cells, strict=True):
            part = next(each for each in known[name]().parts if each.label == row.part)
            assert part.source
            if name.endswith(".energy_j"):  # the receipt's column is in the unit of its smallest figure
                assert part.text.startswith(cell) or part.text.split()[-1] != "J", (row.label, part.text, cell)


def test_the_points_of_right_answers_can_be_checked_on_a_calculator() -> None:
    queries = run_of_queries(40)
    line = explanation(queries, summary_of(queries), "on/off.accuracy").formula[0]
    found = re.fullmatch(r"\((\d+) − (\d+) right in one only\) / (\d+) × (\d+) = \+([\d.]+) points", line)
    assert found is not None, line
    only_on, only_off, n, factor, points = map(float, found.groups())
    assert (only_on - only_off) / n * factor == pytest.approx(points, rel=1e-4)


def test_a_comparison_says_which_prompts_it_leaves_out() -> None:
    queries = run_of_queries(20)
    assert explanation(queries, summary_of(queries), "on/off.tokens").rests_on.startswith("It rests on 20 prompts. ")
    queries[3] = query(1, "on", None, thinking_tokens=9, correct=True)
    for figure in ("tokens", "difference_j", "energy"):
        found = explanation(queries, summary_of(queries), f"on/off.{figure}")
        assert "19 prompts; left out: 1 whose joules are not known in both." in found.rests_on


def test_every_figure_of_queries_chosen_for_their_lengths_says_so() -> None:
    queries = run_of_queries(30)
    label = Finding(code=FindingCode.TWO_PHASE)
    whole = summary_of(queries, findings=(label,))
    modes = tuple(publish._no_sample(mode, label) for mode in whole.modes)
    summary = whole.model_copy(update={"modes": modes, "comparisons": ()})
    known = explanations_of(evidence(queries, summary))
    assert {"on.power_w", "on.output_tokens", "on.phases.thinking", "on.cost_per_1000"} <= known.keys()
    for name in known.keys() - {"idle"}:
        found = known[name]()
        assert "no sample of the prompts" in found.words, name
        assert not found.parts, name


def test_shares_add_up_to_the_whole() -> None:
    queries = run_of_queries(6)
    summary = summary_of(queries)
    found = explanation(queries, summary, "on.energy_j")
    shares = [share for group in found.groups for share in group.shares]
    assert len({share.name for share in shares}) == 6
    assert sum(float(share.share.removesuffix(" %")) for share in shares) == pytest.approx(100, abs=2)
    dearest = max(
        (each for each in figures(queries, summary) if each.mode == "on"), key=lambda each: each.energy_j or 0
    )
    assert shares[0].name == f"on/{dearest.prompt_id}"


def test_a_sum_of_both_signs_has_no_shares() -> None:
    queries = [query(index, mode, 10.0 + (index - 3) * (mode == "on")) for index in range(8) for mode in ("off", "on")]
    found = explanation(queries, summary_of(queries), "on/off.difference_j")
    assert [share.share for group in found.groups for share in group.shares] == [""] * 6
    assert found.groups[0].shares[0].note == "14 − 10 J"


def test_what_is_left_out_is_said() -> None:
    queries = run_of_queries(20)
    queries[1] = queries[1].model_copy(update={"output": None, "score": None})
    queries[3] = query(1, "on", None, correct=True)
    found = explanation(queries, summary_of(queries), "on.energy_j")
    assert found.rests_on == (
        "It rests on 18 answered queries in mode on; left out: 1 failed, 1 without what it is made of."
    )


def test_nothing_right_is_a_bound_and_says_so() -> None:
    queries = [query(index, "on", 5.0 + index, correct=False) for index in range(30)]
    found = explanation(queries, summary_of(queries, ("on",)), "on.energy_per_correct_j")
    assert found.value.startswith("more than ")
    assert found.formula == ("585 J for 0 right answers",)
    assert "none is right" in found.parts[0].source


def test_estimates_say_so_and_have_no_interval() -> None:
    queries = run_of_queries(50, method=Method.ESTIMATED, boundary=Boundary.HOST, power_w=45.0, net=False)
    found = explanation(queries, estimated_summary(50), "on.energy_j")
    assert "estimated: 4" in found.title
    assert "a hardware model's watts times its seconds" in found.words
    assert [part.text for part in found.parts] == ["none"]
    names = explanations_of(evidence(queries, estimated_summary(50)))
    assert "on/off.duration" in names
    assert "on/off.energy" not in names


def test_an_invalid_comparison_is_explained_by_why_it_is_none() -> None:
    queries = run_of_queries(20)
    plain = summary_of(queries, invalid=lambda above, below: plain_finding())
    found = explanation(queries, plain, "on/off.energy")
    assert found.value == "no comparison"
    assert plain_finding()[0].code.sentence in found.words


def plain_finding() -> tuple[Finding, ...]:
    return (Finding(code=FindingCode.SAME_OUTPUT_IN_MODES),)


# ------------------------------------------------------------------------------------------------ ticks


def counter_segment(at: FloatArray, values_j: FloatArray, index: int = 0) -> Segment:
    return Segment(
        channel=np.full(len(at), index, dtype=np.int64),
        time_before_s=at - 0.0005,
        time_after_s=at + 0.0005,
        value=values_j,
    )


def trail_of(times_s: Sequence[float], values: Sequence[float], start_s: float, end_s: float, **changes: Any) -> Trail:
    readings = tuple(
        Caught(time_before_s=time_s - 0.0005, time_after_s=time_s + 0.0005, value=value)
        for time_s, value in zip(times_s, values, strict=True)
    )
    fields: dict[str, Any] = {"channel": channel(), "time_start_s": start_s, "time_end_s": end_s, "readings": readings}
    return Trail(**{**fields, **changes})


def test_a_trail_holds_the_readings_around_and_inside_its_query() -> None:
    times_s = np.arange(0.0, 20.0, 0.1)
    asked = query(0, "on", 400.0, time_start_s=5.04, duration_s=1.0)
    segments = [counter_segment(times_s[:60], 40 * times_s[:60]), counter_segment(times_s[60:], 40 * times_s[60:])]
    found = trails([channel()], segments, [asked])["everyday-000", "on"]
    assert len(found) == 1
    got = [each.time_s for each in found[0].readings]
    assert got[0] == pytest.approx(4.9)
    assert got[-1] == pytest.approx(6.2)
    assert sum(5.04 <= time_s <= 6.04 for time_s in got) == 10
    least, most = found[0].bounds_j or (0.0, 0.0)
    assert least == pytest.approx(36.0)
    assert most == pytest.approx(44.0)


def test_of_many_queries_each_has_its_own_readings_and_of_each_device() -> None:
    times_s = np.arange(0.0, 300.0, 0.1)
    other = "GPU-22222222-2222-3333-4444-555555555555"
    both = [reading(1.0, device=GPU), reading(1.0, device=other)]
    asked = [query(index, "on", 1.0, time_start_s=40.0 * index + 3, readings=both) for index in range(7)]
    channels = [channel(), channel(other)]
    segments = [counter_segment(times_s, 100 * times_s), counter_segment(times_s, 7 * times_s, 1)]
    found = trails(channels, segments, asked)
    for each in asked:
        own, its = found[each.prompt_id, "on"]
        assert own.readings[0].time_s == pytest.approx(each.time_start_s - 0.1, abs=0.11)
        assert np.diff([one.value for one in its.readings]) == pytest.approx(0.7)


def test_power_beside_a_counter_is_not_what_the_energy_is_of() -> None:
    watts = Channel(device=GPU, boundary=Boundary.GPU_BOARD, method=Method.NVML_POWER, quantity=Quantity.POWER_W)
    times_s = np.arange(0.0, 4.0, 0.1)
    segments = [counter_segment(times_s, 300 + 0 * times_s, 0), counter_segment(times_s, 40 * times_s, 1)]
    asked = [query(0, "on", 1.0, time_start_s=1.0)]
    assert trails([watts, channel()], segments, asked)["everyday-000", "on"][0].channel.quantity is Quantity.ENERGY_J
    alone = trails([watts], segments[:1], asked)["everyday-000", "on"][0]
    assert not alone.counts
    assert alone.bounds_j is None
    assert trail_table(alone).columns == ("read at, s", "±, ms", "W")


def test_the_edges_stand_among_the_readings_in_the_order_of_time() -> None:
    trail = trail_of([0.9, 1.0, 1.1, 1.2, 1.3], [0.0, 40.0, 80.0, 120.0, 160.0], 1.05, 1.17)
    one = reading(9.0, phases={"prefill": 0.25, "answer": 0.75}, time_start_s=1.05, duration_s=0.12)
    table = trail_table(trail, one.phases)
    words = [row[0] for row in table.rows]
    assert words == [
        *("0.9000", "1.0000", "the query begins at 1.0500 s", "answer from 1.0800 s", "1.1000"),
        *("the query ends at 1.1700 s", "1.2000", "1.3000"),
    ]
    assert table.rows[1][2:] == ("40.000", "40.00", "400")
    assert table.says == "No tick lies wholly inside, those that touch it 80.0 J: the energy lies between."


def test_the_middle_of_a_long_query_is_summed_up() -> None:
    times_s = np.arange(0.0, 100.0, 0.1).tolist()
    trail = trail_of(times_s, [35 * time_s for time_s in times_s], 0.25, 99.5)
    rows = trail_table(trail).rows
    readings = [row for row in rows if len(row) > 1]
    assert len(readings) == N_SHOWN
    (skipped,) = (row[0] for row in rows if row[0].startswith("…"))
    assert skipped == f"… {len(times_s) - N_SHOWN} further readings in 98.5 s: 3,448 J, 35.0 W on average"
    assert rows.index((skipped,)) == 9  # after the first half and the query's beginning


@pytest.mark.parametrize(("values", "start_s"), [([0.0, 40.0, 10.0, 50.0], 1.05), ([0.0, 40.0, 80.0, 120.0], 0.5)])
def test_a_counter_that_fell_or_began_too_late_bounds_nothing(values: list[float], start_s: float) -> None:
    trail = trail_of([0.9, 1.0, 1.1, 1.2], values, start_s, 1.15)
    assert trail.bounds_j is None
    assert "see the findings" in trail_table(trail).says


def test_a_tick_that_may_lie_on_either_side_of_an_edge_bounds_safely() -> None:
    times_s, values_j = [0.9, 1.0, 1.1, 1.2, 1.3, 1.4], [0.0, 40.0, 80.0, 120.0, 160.0, 200.0]
    assert trail_of(times_s, values_j, 1.05, 1.25).bounds_j == (40.0, 120.0)
    # Each edge within the half millisecond in which the tick at 1.1 s, or that at 1.3 s, was caught.
    assert trail_of(times_s, values_j, 1.0998, 1.3002).bounds_j == (0.0, 160.0)
    assert trail_of(times_s, values_j, 1.1002, 1.2998).bounds_j == (0.0, 160.0)


# --------------------------------------------------------------------------------------- a run on disk


def test_a_query_is_told_by_the_curve_that_verify_rebuilds(measured: list[Account]) -> None:
    account = measured[0]
    for asked in account.results.queries[::5]:
        found = explaining.explained(measured, f"{asked.mode}/{asked.prompt_id}").subject
        assert isinstance(found, QueryAccount)
        for device, stored in zip(found.devices, asked.readings, strict=True):
            facts = dict(device.facts)
            end, start, difference = re.findall(r"[\d,]+\.\d+", facts["energy curve"])
            assert printed_number(end) - printed_number(start) == pytest.approx(printed_number(difference), abs=2e-4)
            assert stored.energy_gross_j is not None
            assert printed_number(difference) == pytest.approx(stored.energy_gross_j, rel=1e-5)
            assert device.ticks is not None
            assert any("begins" in row[0] for row in device.ticks.rows)


def test_the_stored_energy_lies_between_what_the_ticks_bound(measured: list[Account]) -> None:
    results = measured[0].results
    manifest = results.manifest
    assert manifest is not None
    found = trails(manifest.channels, results.directory.segments(1), list(results.queries))
    n_bounded = 0
    for asked in results.queries:
        for trail, stored in zip(found[asked.prompt_id, asked.mode], asked.readings, strict=True):
            if trail.bounds_j is not None and stored.energy_gross_j is not None:
                n_bounded += 1
                least, most = trail.bounds_j
                assert least - 1e-6 <= stored.energy_gross_j <= most + 1e-6
    assert n_bounded >= 10


def test_every_name_that_is_listed_can_be_explained(measured: list[Account]) -> None:
    (names,) = explaining.names_of(measured)
    assert names.n_queries == 12
    queries = {f"{each.mode}/{each.prompt_id}" for each in measured[0].results.queries}
    for name in names.figures:
        found = explaining.explained(measured, name)
        assert isinstance(found.subject, Explanation)
        assert found.subject.name == name
        assert {step for _, step in found.steps} <= {*names.figures, *queries}


def test_an_unknown_figure_offers_the_nearest(measured: list[Account]) -> None:
    with pytest.raises(UnknownName) as caught:
        explaining.explained(measured, "on.enrgy_j")
    assert "'on.energy_j'" in caught.value.next_step
    assert "--explain" in caught.value.next_step


@pytest.mark.parametrize("name", ["", "on", "0:on.energy_j", "9:on.energy_j", "on/", "x" * 300, "on/\x1b[31m"])
def test_nonsense_is_unknown(measured: list[Account], name: str) -> None:
    with pytest.raises(UnknownName):
        explaining.explained(measured, name)


def test_a_number_before_the_name_chooses_the_cell(measured: list[Account]) -> None:
    cell = measured[0].summary.cell.model_copy(update={"repeat": 1})
    other = replace(measured[0], summary=measured[0].summary.model_copy(update={"cell": cell}))
    both = [measured[0], other]
    assert explaining.explained(both, "on.energy_j").cell.startswith("cell 1 of 2")
    found = explaining.explained(both, "2:on.energy_j")
    assert found.cell.startswith("cell 2 of 2")
    assert all(name.startswith("2:") for _, name in found.steps)
    assert "2:on.energy_j" in explaining.names_of(both)[1].figures


# --------------------------------------------------------------------------------------- in a terminal


@pytest.mark.parametrize("figure", ["on.energy_j", "on/off.energy", "on.accuracy", "idle", "off.phases.prefill"])
def test_no_line_is_wider_than_60_columns(
    figure: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    code, text = told(capsys, str(GOLDEN), "--explain", figure)
    assert code == ExitCode.OK
    shown, _, following = text.partition("\nNext\n")
    assert all(len(line.rstrip()) <= 60 for line in shown.splitlines())
    assert not following or "--explain" in following


def test_a_query_is_readable_in_60_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, measured: list[Account]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    asked = measured[0].results.queries[0]
    code, text = told(capsys, str(GOLDEN), "--explain", f"{asked.mode}/{asked.prompt_id}")
    assert code == ExitCode.OK
    assert "the query begins at" in text
    assert "harness verify" in text
    assert all(len(line.rstrip()) <= 60 for line in text.partition("\nNext\n")[0].splitlines())


def test_without_a_name_all_are_listed_and_a_wrong_one_ends_in_2(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = told(capsys, str(GOLDEN), "--explain")
    assert code == ExitCode.OK
    assert "on/off.tokens" in text
    assert "MODE/PROMPT_ID for each of its 12 queries" in text
    code, text = told(capsys, str(GOLDEN), "--explain", "on/off.tokns")
    assert code == ExitCode.USAGE
    assert "'on/off.tokens'" in text


def test_several_runs_share_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [tmp_path / name for name in ("20260101-000000-a", "20260101-000001-b")]
    for run in runs:
        shutil.copytree(GOLDEN, run)
    code, text = told(capsys, *map(str, runs))
    assert code in (ExitCode.OK, ExitCode.INVALID)
    page = (runs[1] / "reports.html").read_text(encoding="utf-8")
    assert page.count('class="cell"') == 2
    assert '<nav aria-label="Cells of this run">' in page
    assert page.count("<a href=") == 2
    assert all((run / "report.html").exists() for run in runs)
    assert "reports.html" in text


# ------------------------------------------------------------------------------------------ in the page


def script(page: str, name: str) -> Any:
    found = re.search(rf'<script type="application/json" class="{name}"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_every_line_of_a_receipt_with_joules_opens() -> None:
    queries = run_of_queries(30)
    summary = summary_of(queries)
    receipt = receipt_of(summary)
    known = explanations_of(evidence(queries, summary))
    for section in receipt.sections:
        for row in section.rows:
            assert row.behind, (section.title, row.label)
            assert set(row.behind) <= known.keys() | {"off.phases.thinking"}  # off does not think
    lines = behind_lines(receipt, known)
    assert len(lines) == sum(len(section.rows) for section in receipt.sections)
    assert names_behind(lines)


def test_a_page_opens_lines_and_holds_the_readings(measured: list[Account]) -> None:
    page = render_page([publish._page_cell(measured[0])])
    assert page.count('<details class="line') > 20
    held = script(page, "evidence")
    assert len(held["queries"]) == 12
    named = set(re.findall(r'<details class="query" data-query="([^"]+)"', page))
    assert named
    assert named <= held["queries"].keys()
    one = held["queries"][next(iter(named))]["devices"][0]
    texts = held["texts"]
    cells = [texts[cell] if isinstance(cell, int) else cell for row in one["rows"] for cell in row]
    assert any("the query begins at" in cell for cell in cells)


def test_the_commands_of_a_page_name_the_cell_that_they_are_of(tmp_path: Path) -> None:
    run = tmp_path / "20260101-000000-a"
    shutil.copytree(GOLDEN, run)
    (cell,) = run.glob("*-*")
    shutil.copytree(cell, run / f"{cell.name}-again")
    both = publish.accounts(run)
    assert [account.number for account in both] == [1, 2]
    page = render_page([publish._page_cell(account) for account in both])
    assert re.findall(r'class="evidence" data-run="[^"]+" data-prefix="([^"]*)"', page) == ["", "2:"]
    hints = re.findall(r"--explain ([\d:]*)MODE/PROMPT_ID", page)
    assert hints == ["", "2:"]
    asked = both[1].results.queries[0]
    found = explaining.explained(both, f"2:{asked.mode}/{asked.prompt_id}")
    assert found.cell.startswith("cell 2 of 2")


def test_the_title_of_a_group_is_not_folded_into_its_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    _, text = told(capsys, str(GOLDEN), "--explain", "on.energy_j")
    assert re.search(r"^Those that put most into it, \d+ % of it together *$", text, re.MULTILINE)


def test_the_readings_of_a_page_are_bounded_and_the_named_ones_come_first() -> None:
    queries = run_of_queries(300)
    held = evidence_of(queries, Boundary.GPU_BOARD, ["on/everyday-250"], None)
    assert len(held["queries"]) == 200
    assert next(iter(held["queries"])) == "on/everyday-250"
    page = render_page([page_cell(queries, summary_of(queries))])
    assert "The readings of 400 queries are not in this page" in page


def test_raw_data_has_every_query_and_unknown_is_null() -> None:
    queries = [*run_of_queries(4), query(4, "off", None, failed=True)]
    summary = summary_of(queries)
    known = {(each.prompt_id, each.mode): each for each in figures(queries, summary)}
    data = raw_data(summary, [(each, known.get((each.prompt_id, each.mode))) for each in queries], len(queries))
    assert data["left_out"] == 0
    columns, rows = data["columns"], data["rows"]
    assert isinstance(columns, list)
    assert isinstance(rows, list)
    assert isinstance(data["constant"], list)
    assert {len(row) + len(data["constant"]) for row in rows} == {len(columns)}
    by_name = [dict(zip(columns[2:], row, strict=True)) for row in rows]
    assert by_name[0]["energy_j"] == pytest.approx(queries[0].readings[0].energy_gross_j, rel=1e-7)
    assert by_name[-1]["energy_j"] is None
    assert by_name[-1]["failed"] is True
    assert math.isclose(
        sum(by_name[1][f"energy_{name}_j"] for name in ("prefill", "thinking", "answer")),
        by_name[1]["energy_j"],
        rel_tol=1e-6,
    )


def test_raw_data_names_estimates_in_its_columns() -> None:
    queries = run_of_queries(3, method=Method.ESTIMATED, boundary=Boundary.HOST, net=False)
    summary = estimated_summary(3)
    data = raw_data(summary, [(queries[0], figures(queries, summary)[0])], len(queries))
    assert data["left_out"] == 5
    columns = data["columns"]
    assert isinstance(columns, list)
    assert not [name for name in columns if name.startswith("energy") and "estimated" not in name]


def test_names_from_outside_stay_text_where_lines_open() -> None:
    queries = [
        query(index, mode, 5.0 + index, correct=index % 2 == 0, prompt_id=f"{ATTACK}{index}", text=ATTACK)
        for index in range(8)
        for mode in ("off", ATTACK)
    ]
    page = render_page([page_cell(queries, summary_of(queries, ("off", ATTACK), model=ATTACK))])
    assert "<img" not in page
    assert script(page, "evidence")["queries"].keys() >= {f"{ATTACK}/{ATTACK}0"}
    assert script(page, "raw-data")["rows"][0][1] == f"{ATTACK}0"


def test_a_phase_of_a_query_is_in_the_power_chart() -> None:
    queries = run_of_queries(5)
    chart = script(render_page([page_cell(queries, summary_of(queries))]), "data")["power"][0]
    assert chart["phases"] == ["prefill", "thinking", "answer"]
    start_s, end_s, *_, last = chart["queries"][1]
    assert last == pytest.approx(end_s - start_s, abs=2e-3)


def test_a_run_of_one_query_and_one_without_energy_have_pages() -> None:
    for energy_j in (5.0, None):
        queries = [query(0, "on", energy_j)]
        assert 'class="cell"' in render_page([page_cell(queries, summary_of(queries, ("on",)))])


def test_an_estimate_without_a_value_has_no_name() -> None:
    queries = run_of_queries(8)
    summary = summary_of(queries)
    nothing = summary.modes[1].model_copy(update={"energy_j": Estimate(value=None)})
    summary = summary.model_copy(update={"modes": (summary.modes[0], nothing)})
    assert "on.energy_j" not in explanations_of(evidence(queries, summary))


def test_the_phases_of_an_estimate_say_so_too() -> None:
    asked = run_of_queries(1, method=Method.ESTIMATED, boundary=Boundary.HOST, net=False)[1]
    account = account_of(asked, Boundary.HOST)
    assert account.value.endswith("J (estimated)")
    assert account.devices[0].phase_columns == ("phase", "s", "J (estimated)", "", "W")
    assert "estimated" in dict(account.devices[0].facts)["energy"]


def test_a_failed_query_is_told_as_one() -> None:
    account = account_of(query(0, "on", None, failed=True), Boundary.GPU_BOARD)
    assert account.value == "unknown"
    assert ("output", "none: the query failed") in account.facts
