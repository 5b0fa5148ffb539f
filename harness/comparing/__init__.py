"""Runs beside each other: which cells can be compared, in what they differ, and what the difference is.

Knows what is on disk, the analysis and the report. Must not know how a line is laid out.
"""

from harness.comparing.differences import Difference, differences_of
from harness.comparing.document import write_document
from harness.comparing.leads import (
    load_leads,
    match_leads,
    mode_leads,
    reference_leads,
    repetition_leads,
    subject_leads,
)
from harness.comparing.match import Match, exit_code, match, matches_of
from harness.comparing.page import write_page
from harness.comparing.repetition import RepeatedSide, repetitions_of
from harness.comparing.side import Side, sides_of

__all__ = [
    "Difference",
    "Match",
    "RepeatedSide",
    "Side",
    "differences_of",
    "exit_code",
    "load_leads",
    "match",
    "match_leads",
    "matches_of",
    "mode_leads",
    "reference_leads",
    "repetition_leads",
    "repetitions_of",
    "sides_of",
    "subject_leads",
    "write_document",
    "write_page",
]
