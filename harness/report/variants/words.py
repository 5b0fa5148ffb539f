"""Which variant is cheaper, dearer or not told apart from the first, in words. Nothing is assumed to be cheaper."""

from __future__ import annotations

from collections.abc import Sequence

from harness.records import Comparison
from harness.report.compared import Verdict, accuracy_words, invalid_words, listed, verdict, whole
from harness.report.numbers import ends_of, times
from harness.report.variants.column import VariantColumn

NOT_TOLD_APART = "not told apart"
NOT_CERTAIN = "not certain"
LOWER = "A lower precision is not assumed to be cheaper: it was measured."


def standing(comparison: Comparison, *, estimated: bool) -> str:
    """`cheaper`, `dearer`, or why neither can be said."""
    ratio = whole(comparison, estimated=estimated)
    less, more = ("faster", "slower") if estimated else ("cheaper", "dearer")
    found = verdict(comparison, estimated=estimated, apart=True)
    if found is Verdict.REAL:
        return less if (ratio.value or 1.0) < 1 else more
    if found is Verdict.UNCERTAIN:
        return NOT_CERTAIN
    return NOT_TOLD_APART if found is Verdict.SAME else found.value


def in_one_sentence(others: Sequence[VariantColumn], base: VariantColumn, mode: str) -> str:
    """Which variants are what, in one mode; empty where none is compared."""
    estimated = base.summary.estimated
    by_standing: dict[str, list[str]] = {}
    for each in others:
        if mode in each.comparisons:
            by_standing.setdefault(standing(each.comparisons[mode], estimated=estimated), []).append(each.name)
    order = ("cheaper", "faster", "dearer", "slower", NOT_TOLD_APART, NOT_CERTAIN)
    known = sorted(by_standing, key=lambda each: order.index(each) if each in order else len(order))
    prefix = {NOT_TOLD_APART: f"Not told apart from {base.name}", NOT_CERTAIN: "Not certain"}
    parts = [
        f"{prefix.get(each, f'{each.capitalize()} than {base.name}')}: {listed(by_standing[each])}"
        if each in order
        else f"{each.capitalize()}: {listed(by_standing[each])}"
        for each in known
    ]
    return f"{'. '.join(parts)}." if parts else ""


def details(others: Sequence[VariantColumn], base: VariantColumn, mode: str) -> str:
    """What a query takes in each variant against the first, with the reason where it is not certain."""
    estimated = base.summary.estimated
    sentences = [
        _detail(each, each.comparisons[mode], base.name, estimated=estimated)
        for each in others
        if mode in each.comparisons
    ]
    return " ".join(sentences)


def _detail(one: VariantColumn, comparison: Comparison, base: str, *, estimated: bool) -> str:
    if comparison.invalid:
        return invalid_words(comparison)
    ratio, what = whole(comparison, estimated=estimated), "seconds" if estimated else "joules"
    if ratio.value is None:
        return f"{one.label}: its {what} are unknown."
    ends = f" (95 %: {ends_of(ratio)})" if ends_of(ratio) else ""
    text = f"{one.label} takes {times(ratio)} the {what} of {base}{ends}"
    right = accuracy_words(comparison)
    text += f", right answers {right}" if right else ""
    if standing(comparison, estimated=estimated) == NOT_CERTAIN:
        text += (
            "; one run of each does not tell whether a repeat would say the same (`--repeats 3`)"
            if ratio.half_width_runs is None
            else "; the errors of sensor or repeats reach equal cost"
        )
        text += " (two repeats say little of their spread: `--repeats 3`)" if one.n_repeats == 2 else ""
    return f"{text}."
