"""A size law in what its run speaks in: joules, or seconds where joules are only estimated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.analysis.measured import OUTPUT_TOKENS, PROMPT_TOKENS
from harness.records import Estimate, FindingCode, SizeLaw
from harness.report.numbers import digits, ends_of, unit_for, value_of

NOUNS: Mapping[str, str] = {
    "audio_s": "seconds of audio",
    "output_megapixel_steps": "megapixels times steps",
    "input_megapixels": "megapixels",
    PROMPT_TOKENS: "input tokens",
    OUTPUT_TOKENS: "output tokens",
}
"""What the sizes of `SizeLaw.size` are called where there are many of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownLaw:
    """What a unit of a size takes, in joules or seconds (`base`); `at_zero` and `more` are the fitted line.

    Both are unknown where there is none.
    """

    law: SizeLaw
    base: str
    per_unit: Estimate
    at_zero: Estimate
    more: Estimate

    @property
    def is_fitted(self) -> bool:
        """Whether there is a line."""
        return self.at_zero.value is not None and self.more.value is not None

    @property
    def has_fixed_part(self) -> bool:
        """Whether a query certainly takes something whatever its size: the line is above zero there."""
        return self.is_fitted and self.at_zero.low is not None and self.at_zero.low > 0

    @property
    def noun(self) -> str:
        """The size, in the plural."""
        return NOUNS.get(self.law.size, self.law.size.replace("_", " "))

    @property
    def words(self) -> str:
        """It in a sentence."""
        ends = ends_of(unit_for([self.per_unit.value], self.base).estimate(self.per_unit))
        words = f"{self._amount(self.per_unit)} per {self.law.unit}{f' (95 %: {ends})' if ends else ''}"
        if not self.has_fixed_part:
            return words
        zero, more = self._amount(self.at_zero), self._amount(self.more)
        return f"{words}: {zero} whatever the size, and {more} for each {self.law.unit}"

    @property
    def why_no_line(self) -> str:
        """In a sentence; empty where there is one, and for estimates, of which nobody expects any."""
        if self.is_fitted or self.base == "s":
            return ""
        code = next((finding.code for finding in self.more.findings), None)
        if code is FindingCode.COLLINEAR:
            return "All queries are of about one size: what a query takes whatever its size is not known."
        return "There is no line through the queries." + (f" {code.sentence}" if code is not None else "")

    def _amount(self, estimate: Estimate) -> str:
        """A figure in the unit that suits it; without digits that its interval does not justify."""
        unit = unit_for([estimate.value], self.base)
        shown = unit.estimate(estimate)
        return f"{digits(None) if shown.value is None else value_of(shown)} {unit.name}"


def shown_law(law: SizeLaw, *, estimated: bool) -> ShownLaw:
    """The law as it is shown; of estimated joules there is no line, and what a unit takes has no interval."""
    if estimated:
        unknown, per_unit = Estimate(value=None), Estimate(value=law.duration_per_unit_s)
        return ShownLaw(law=law, base="s", per_unit=per_unit, at_zero=unknown, more=unknown)
    return ShownLaw(law=law, base="J", per_unit=law.energy_per_unit_j, at_zero=law.per_query_j, more=law.per_unit_j)


def shown_laws(laws: tuple[SizeLaw, ...], *, estimated: bool) -> list[ShownLaw]:
    """All of a mode's."""
    return [shown_law(law, estimated=estimated) for law in laws]
