"""The report of cells under load: receipt, page, explanations, several loads, comparisons and the gate."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness import comparing, explaining, gating, publish
from harness.cli.parser import run_verb
from harness.errors import ExitCode, InvalidMeasurement
from harness.gate.budget import Budget, ReferenceKind
from harness.gate.verdict import LineVerdict, Outcome
from harness.leaderboard.entry import entries
from harness.publish import Account, flying_of
from harness.records import EngineOptions, FindingCode, ServerFacts
from harness.report.explanation.query import QueryAccount
from harness.report.explanation.record import Explanation
from harness.report.explanation.statistics import Evidence, explanations_of
from harness.report.exports.aies import aies_files
from harness.report.exports.cell import ExportCell, modes_of
from harness.report.exports.statement import properties, sentence
from harness.report.facts import facts_of
from harness.report.markdown import render_leads, render_markdown
from harness.report.raw_data import SERVED, raw_data
from harness.report.receipt import receipt_of
from harness.report.serving.flying import company_of
from harness.report.serving.loads import loads_leads
from harness.report.serving.panels import serving_panels
from harness.report.serving.sections import serving_sections, weights_words
from harness.report.terminal import print_receipt
from tests.synthetic_runs import cell, run_of_queries, summary_of
from tests.synthetic_serving import load_cell, paired_blocks, paired_run, server_engine, timeline, write_run

CONCURRENCIES = {1: 16, 4: 40, 16: 160}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run under one load, and one under three."""
    folder = tmp_path_factory.mktemp("results")
    paired_run(folder / "one", 4, 80, failed={5: FindingCode.RATE_LIMITED})
    for concurrency, n in CONCURRENCIES.items():
        paired_run(folder / "three", concurrency, n)
    return folder


@pytest.fixture(scope="module")
def measured(results: Path) -> Account:
    (account,) = publish.accounts(results / "one")
    return account


@pytest.fixture(scope="module")
def loads(results: Path) -> list[Account]:
    return publish.accounts(results / "three")


@pytest.fixture(scope="module")
def page(results: Path, measured: Account) -> str:
    return publish.publish(results / "one", [measured]).read_text(encoding="utf-8")


def printed(account: Account, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    print_receipt(console, receipt_of(account.summary))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def block(page: str, name: str) -> Any:
    found = re.search(rf'<script type="application/json" class="{name}"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def rows(account: Account) -> dict[str, tuple[str, ...]]:
    return {row.label: row.cells for section in serving_sections(account.summary) for row in section.rows}


# ---------------------------------------------------------------------------------------------- receipt


def test_the_receipt_names_load_rule_and_every_way_of_counting(measured: Account) -> None:
    receipt = receipt_of(measured.summary)
    assert any("by a server, 4 at once" in line for line in receipt.lines)
    assert any("shared by tokens" in line for line in receipt.lines)
    assert any("0.200 ± 0.030 of an output token" in line for line in receipt.lines)
    off = measured.summary.serving[0]
    found = rows(measured)
    assert found["J (shared), steady state"][0] == f"{off.energy_steady_j.value:.0f}"
    assert found["J drawn / answered"][0] == f"{off.energy_amortised_j:.0f}"
    assert found["failed, rate limited"][1] == "–"
    assert found["failed, rate limited"][0].startswith("1: ")
    assert found["in flight, mean"] == ("4.00", "4.00")
    assert {"if shared equally", "J, ML.ENERGY's way", "TTFT p50, ms", "queries a second"} <= set(found)


def test_no_joule_of_a_shared_query_is_printed_without_the_word(measured: Account) -> None:
    receipt = receipt_of(measured.summary)
    assert "One query, in J (shared)" in [section.title for section in receipt.sections]
    labels = [row.label for row in receipt.table.rows if re.match(r"(k|m)?(J|Wh)\b", row.label)]
    assert labels
    assert all("(shared)" in label for label in labels)


def test_a_cell_that_ran_alone_says_nothing_of_a_load() -> None:
    summary = summary_of(run_of_queries(20))
    assert serving_sections(summary) == []
    assert serving_panels(summary) == ()
    assert "shared" not in json.dumps([receipt_of(summary).lines, receipt_of(summary).table.caption])


@pytest.mark.parametrize("width", [40, 60, 100])
def test_the_receipt_fits_every_terminal(measured: Account, width: int) -> None:
    text = printed(measured, width)
    assert max(map(len, text.splitlines())) <= width
    assert "Under load: 4 at once" in text


def test_the_receipt_as_markdown_has_the_same_figures(measured: Account) -> None:
    text = render_markdown(receipt_of(measured.summary))
    for cells in rows(measured).values():
        for each in cells:
            assert each.replace("~", "") in text.replace("\\", "")


def test_weights_in_words(measured: Account) -> None:
    (weights,) = measured.summary.serving[0].weights
    assert "fitted to the warm-up" in weights_words([weights])
    equal = weights.model_copy(update={"prompt": 1.0, "output": 1.0, "source": "equal"})
    assert weights_words([equal, equal]) == "a prompt token weighs as much as an output token"
    assert weights_words([]) == ""


def test_static_batches_say_that_they_have_no_steady_state(tmp_path: Path) -> None:
    batches = [
        timeline(4 * batch + row, 8.0 + 4 * batch, prompt_id=f"everyday-{4 * batch + row:03d}", n_chunks=5 + 3 * row)
        for batch in range(3)
        for row in range(4)
    ]
    batched = load_cell(None, engine=EngineOptions(device="cuda"), batch_size=4)
    write_run(tmp_path / "run", batched, [batches], engine=server_engine(server=None))
    (account,) = publish.accounts(tmp_path / "run")
    assert "batches of 4" in receipt_of(account.summary).lines[0]
    assert "Every static batch is ramp and drain: it has no steady state." in rows(account)
    assert "no steady state" in serving_panels(account.summary)[0].caption


# ------------------------------------------------------------------------------------------------- facts


@pytest.mark.parametrize("version", ["0.11.1", None])
def test_what_a_server_does_not_say_is_never_printed_as_none(measured: Account, version: str | None) -> None:
    manifest = measured.results.manifest
    assert manifest is not None
    server = ServerFacts(
        kind="vllm", version=version, model="m", base_url="http://127.0.0.1:8000/v1", command=("vllm", "x y")
    )
    changed = manifest.model_copy(update={"engine": server_engine(server=server)})
    groups = facts_of(measured.summary, changed)
    texts = {fact.label: fact.text for group in groups for fact in group.facts}
    assert not [text for text in texts.values() if "None" in text]
    assert texts["Server"] == f"vllm {version or 'of an unknown version'}"
    assert texts["Precision executed"] == "not said by the server"
    assert texts["Started by"] == "vllm 'x y'"
    assert texts["Load"] == "4 at once"
    assert "Precision asked for" not in texts
    assert "Parameters" not in texts


# -------------------------------------------------------------------------------------------------- page


def test_the_power_chart_shows_how_many_were_in_flight_and_the_steady_windows(page: str, measured: Account) -> None:
    (chart,) = block(page, "data")["power"]
    assert len(chart["flying"]) == len(chart["t"]) - 1
    assert max(chart["flying"]) == 4.0
    assert chart["queries"] == []
    assert not [each for each in chart["intervals"] if each[0] == "serving"]
    windows = [window for each in measured.summary.serving for window in each.windows]
    assert sorted(each[0] for each in chart["steady"]) == pytest.approx(
        sorted(w.time_start_s for w in windows), abs=1e-3
    )
    assert [each[2] for each in chart["blocks"]] == [0, 1, 1, 0]
    area = sum(
        n * (after - before) for n, before, after in zip(chart["flying"], chart["t"], chart["t"][1:], strict=False)
    )
    spent = sum(query.duration_s for query in measured.results.queries)
    assert area == pytest.approx(spent, rel=0.01)


def test_the_page_lists_waits_and_the_other_rule_and_has_panels_with_tables(page: str) -> None:
    assert '<th scope="col">TTFT</th><th scope="col">J equally</th>' in page
    for name in ("ways", "waiting"):
        assert f'class="chart panel {name}"' in page
    assert "counted in several ways" in page
    assert "None" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_the_downloads_of_served_queries_say_how_they_were_attributed(measured: Account) -> None:
    data = raw_data(measured.summary, [(query, None) for query in measured.results.queries[:3]], 3)
    columns, rows_ = data["columns"], data["rows"]
    assert isinstance(columns, list)
    assert isinstance(rows_, list)
    assert tuple(columns[-len(SERVED) :]) == SERVED
    own = dict(zip(columns[2:], rows_[0], strict=True))
    assert own["attribution"] == "shared_tokens"
    assert own["duration_first_token_s"] > 0.1
    assert len({len(row) for row in rows_}) == 1
    alone = raw_data(summary_of(run_of_queries(5)), [(query, None) for query in run_of_queries(5)], 10)
    assert "attribution" not in alone["columns"]  # type: ignore[operator]


def test_a_page_of_many_cells_tells_them_apart_by_load(results: Path, loads: list[Account]) -> None:
    text = publish.publish(results / "three", loads).read_text(encoding="utf-8")
    places = [
        text.index(f">{loads[0].summary.cell.model}, {words}</a>")
        for words in ("one at a time", "4 at once", "16 at once")
    ]
    assert places == sorted(places)
    assert "under 3 loads" in text
    assert 'class="chart panel loads"' in text


# ------------------------------------------------------------------------------------------ explanations


def test_a_shared_query_is_explained_as_a_share(measured: Account) -> None:
    query = measured.results.queries[40]
    found = explaining.explained([measured], f"{query.mode}/{query.prompt_id}").subject
    assert isinstance(found, QueryAccount)
    facts, device = dict(found.facts), dict(found.devices[0].facts)
    (reading,) = query.readings
    assert reading.energy_gross_j is not None
    assert "energy curve" not in device
    match = re.search(r"= ([\d,.]+) J, by all that were in flight: ([\d.]+) % of it", device["drawn meanwhile"])
    assert match is not None
    drawn_j, share = float(match[1].replace(",", "")), float(match[2])
    assert drawn_j > 3 * reading.energy_gross_j
    assert share == pytest.approx(100 * reading.energy_gross_j / drawn_j, rel=0.06)
    assert device["energy"].endswith("its share")
    assert device["if shared equally"].startswith(f"{reading.energy_shared_equal_j:.0f}"[:2])
    assert "0.200" in facts["rule"]
    assert "TTFT" in facts["first token"]
    assert found.devices[0].ticks is not None
    assert "all queries in flight" in found.devices[0].ticks.says
    assert found.devices[0].phases[0][0] == "prefill"


def test_the_company_of_a_query_is_counted(measured: Account) -> None:
    flying = [flying_of(load) for load in measured.loads]
    queries = list(measured.results.queries)
    for query in queries[::7]:
        company = company_of(flying, query)
        assert company is not None
        beside = [
            other
            for other in queries
            if other is not query
            and other.time_start_s < query.time_end_s - 1e-6
            and other.time_end_s > query.time_start_s + 1e-6
        ]
        spent_s = sum(
            min(other.time_end_s, query.time_end_s) - max(other.time_start_s, query.time_start_s) for other in beside
        )
        assert company.n_others == len(beside)
        assert company.n_mean == pytest.approx(1 + spent_s / query.duration_s)
        assert 1 <= company.n_most <= 4


def test_every_line_of_the_load_that_can_be_opened_is_explained(measured: Account) -> None:
    known = explanations_of(Evidence(summary=measured.summary, figures=()))
    names = [name for section in serving_sections(measured.summary) for row in section.rows for name in row.behind]
    assert len(set(names)) >= 10
    for name in names:
        explanation = known[name]()
        assert isinstance(explanation, Explanation)
        assert explanation.words
        assert explanation.name == name
    steady = known["off.serving.energy_steady_j"]()
    assert {part.label for part in steady.parts} == {"other prompts", "sensor reading", "run to run", "sensor gain"}
    assert "groups of 4 queries" in steady.parts[0].source


def test_formulas_of_a_load_can_be_checked_on_a_calculator(measured: Account) -> None:
    known = explanations_of(Evidence(summary=measured.summary, figures=()))
    line = known["on.serving.energy_amortised_j"]().formula[0]
    joules, n, value = (float(each.replace(",", "")) for each in re.findall(r"[\d,]+(?:\.\d+)?", line))
    assert joules / n == pytest.approx(value, rel=1e-5)
    line = known["on.serving.energy_mlenergy_j"]().formula[0]
    each, tokens, value = (float(text.replace(",", "")) for text in re.findall(r"[\d,]+(?:\.\d+)?", line))
    assert each * tokens == pytest.approx(value, rel=1e-4)


def test_the_mean_of_shares_is_not_explained_by_the_ends_of_the_curve(measured: Account) -> None:
    known = explanations_of(Evidence(summary=measured.summary, figures=()))
    words = known["off.energy_j"]().words
    assert "E(end)" not in words
    assert "share" in words


# -------------------------------------------------------------------------------------------- many loads


def test_loads_of_one_model_stand_beside_each_other_in_their_order(loads: list[Account]) -> None:
    (lead,) = loads_leads([account.summary for account in loads])
    off, on = lead.tables
    assert off.modes == ("one at a time", "4 at once", "16 at once")
    (panel,) = lead.panels
    assert [plane.y_axis.split(",")[0] for plane in panel.planes] == [
        "J (shared) per query",
        "output tokens a second",
        "TTFT",
    ]
    first = panel.planes[0]
    for curve in first.curves:
        heights = [dot.bottom for dot in curve.dots]
        assert heights == sorted(heights, reverse=True)  # more at once, fewer joules each
        assert [dot.left for dot in curve.dots] == sorted(dot.left for dot in curve.dots)
    faster = [float(figure.value.replace(",", "")) for figure in on.rows[1].figures]
    assert faster == sorted(faster)
    assert "15" in panel.caption or "16" in panel.caption
    assert "under 3 loads" in render_leads([lead])


def test_one_load_or_two_models_are_no_series(loads: list[Account]) -> None:
    one, two, three = (account.summary for account in loads)
    assert loads_leads([one]) == []
    other = two.model_copy(update={"cell": two.cell.model_copy(update={"model": "another/model"})})
    assert loads_leads([one, other]) == []
    repeat = one.model_copy(update={"cell": one.cell.model_copy(update={"repeat": 1})})
    assert loads_leads([one, repeat]) == []
    (lead,) = loads_leads([three, repeat, one])
    assert lead.tables[0].modes == ("one at a time", "16 at once")


def test_a_series_in_which_one_has_no_steady_state_is_of_all_queries(loads: list[Account]) -> None:
    one, two, _ = (account.summary for account in loads)
    serving = [
        each.model_copy(update={"energy_steady_j": each.energy_mlenergy_j.model_copy(update={"value": None})})
        for each in two.serving
    ]
    (lead,) = loads_leads([one, two.model_copy(update={"serving": tuple(serving)})])
    assert "all queries, ramp and drain included" in lead.notes[0]


def test_estimated_joules_of_a_load_are_never_called_measured(sides: list[comparing.Side]) -> None:
    estimated = [
        replace(
            side,
            account=replace(side.account, summary=side.account.summary.model_copy(update={"estimated": True})),
        )
        for side in sides[:2]
    ]
    (lead,) = loads_leads([side.summary for side in estimated])
    assert not any("measured" in note for note in lead.notes)
    (lead,) = comparing.match_leads([comparing.match(*estimated)])
    assert any("those of A are estimated query by query" in note for note in lead.notes)
    known = explanations_of(Evidence(summary=estimated[1].summary, figures=()))
    names = [name for name in known if name.startswith("off.serving.")]
    assert len(names) == 5
    assert all("estimated" in known[name]().title for name in names)
    assert "a hardware model's watts" in known["off.energy_j"]().words


def test_the_terminal_ends_with_the_loads(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_verb(["report", "three", "--output-dir", str(results)]) == ExitCode.OK
    assert "under 3 loads" in capsys.readouterr().out


# ------------------------------------------------------------------------------------ comparing and gate


@pytest.fixture(scope="module")
def sides(results: Path, loads: list[Account]) -> list[comparing.Side]:
    return [
        comparing.Side(label=label, run=results / "three", account=account)
        for label, account in zip("ABC", loads, strict=True)
    ]


def test_a_difference_in_load_is_named_and_what_is_shared_is_said(sides: list[comparing.Side]) -> None:
    alone, four, sixteen = sides
    match = comparing.match(alone, four)
    assert match.refusal is None
    assert "concurrency 1 → 4" in [str(each) for each in match.differences]
    (lead,) = comparing.match_leads([match])
    assert any("The joules of B are shares by tokens (4 at once)" in note for note in lead.notes)
    (lead,) = comparing.match_leads([comparing.match(four, sixteen)])
    assert any("The joules of both are shares by tokens" in note for note in lead.notes)
    assert len(comparing.load_leads(sides)) == 1


def test_two_models_under_two_loads_are_not_compared(sides: list[comparing.Side]) -> None:
    alone, four, _ = sides
    renamed = four.account.summary.model_copy(update={"cell": four.cell.model_copy(update={"model": "another/model"})})
    other = comparing.Side(
        label="B", run=four.run, account=publish.Account(results=four.account.results, summary=renamed)
    )
    assert "two loads" in (comparing.match(alone, other).refusal or "")
    same = comparing.match(four, other)
    assert same.refusal is None


def verdict_line(candidate: Path, release: Path | None = None, **line: Any) -> LineVerdict:
    lines = [{"metric": "energy_per_query_j", "mode": "off", **line}]
    fields = {"lines": lines, "inconclusive": "report", "missing_at_most": 0.05}
    budget = Budget.model_validate(fields)
    references = {} if release is None else {ReferenceKind.RELEASE: gating.NamedRun(path=release)}
    own, known = gating.evidence_of(gating.NamedRun(path=candidate), references)
    (found,) = gating.verdict_of(budget, own, known, today=date(2026, 11, 29)).lines
    return found


def test_an_absolute_budget_of_shared_joules_is_judged_and_says_that_they_are_attributed(
    results: Path,
) -> None:
    found = verdict_line(results / "one", at_most=1e6, run_sd=0.01)
    assert found.outcome is Outcome.PASS
    assert any("attributed, not measured one by one" in reason and "4 at once" in reason for reason in found.reasons)


def test_shared_joules_are_not_held_against_measured_ones_or_another_load_unasked(
    tmp_path: Path, results: Path
) -> None:
    paired_run(tmp_path / "alone", 1, 30)
    found = verdict_line(results / "one", tmp_path / "alone", at_most_over_reference="+3%")
    assert found.outcome is Outcome.INVALID
    assert any("protocol" in reason and "4 at once, energy shared by tokens" in reason for reason in found.reasons)


def test_what_is_exported_says_that_it_was_shared_or_is_refused(measured: Account) -> None:
    manifest = measured.results.manifest
    assert manifest is not None
    exported = ExportCell(summary=measured.summary, queries=list(measured.results.queries), manifest=manifest, idle=())
    with pytest.raises(InvalidMeasurement, match=r"shared among queries in flight together \(4 at once\)"):
        aies_files([exported])
    off = modes_of([exported])[0]
    assert "shared by tokens" in sentence(off)
    assert "4 at once" in sentence(off)
    assert dict(properties(off))["harness:energy_attribution"].startswith("shared_tokens")


def test_the_leaderboard_takes_a_load_for_another_condition(measured: Account, loads: list[Account]) -> None:
    engines = [
        entries(account.summary, account.results.manifest)[0]["engine"] for account in (measured, loads[0], loads[2])
    ]
    assert engines == [
        "openai on served, 4 at once, energy shared by tokens",
        "openai on served, one at a time",
        "openai on served, 16 at once, energy shared by tokens",
    ]


def test_the_cell_of_the_synthetic_runs_is_what_these_tests_take_it_for() -> None:
    assert load_cell(4).overlaps
    assert not load_cell(1).overlaps
    assert not cell().overlaps
    assert len(paired_blocks(2, 20)) == 4
