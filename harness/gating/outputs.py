"""Where a verdict is written besides the terminal: files that were asked for, and what a CI job reads.

Knows files and the environment of GitHub Actions. Must not know how anything is rendered.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.report.gate.annotations import workflow_commands
from harness.report.gate.junit import render_junit
from harness.report.gate.markdown import N_BYTES_OF_COMMENT, N_BYTES_OF_SUMMARY, render_gate
from harness.report.gate.sheet import GateSheet
from harness.store.run_directory import writing

SUMMARY = "GITHUB_STEP_SUMMARY"
ACTIONS = "GITHUB_ACTIONS"
WORKSPACE = "GITHUB_WORKSPACE"
SUMMARY_LEAST = 512
"""Bytes that must be left in a summary for it to be worth adding to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Files that were asked for; None: not asked for."""

    markdown: Path | None = None
    junit: Path | None = None
    json: Path | None = None


def write_outputs(sheet: GateSheet, outputs: Outputs) -> None:
    """Write every file that was asked for.

    Raises:
        StorageFull: One cannot be written.
    """
    for path, text in (
        (outputs.markdown, render_gate(sheet, n_bytes_most=N_BYTES_OF_COMMENT)),
        (outputs.junit, render_junit(sheet)),
        (outputs.json, f"{sheet.verdict.model_dump_json(indent=1)}\n"),
    ):
        if path is not None:
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")


def tell_github(sheet: GateSheet, budget_file: Path, environment: Mapping[str, str]) -> None:
    """Add to the job's summary and print annotations, where a job of GitHub Actions runs this.

    A summary that cannot be written is said on standard error: it changes no verdict.

    Args:
        sheet: What.
        budget_file: Where the annotations point to.
        environment: Of the process.
    """
    summary = environment.get(SUMMARY)
    if summary:
        try:
            _append(Path(summary), sheet)
        except OSError as error:
            sys.stderr.write(f"harness: the job summary {summary} cannot be written: {error.strerror}.\n")
    if environment.get(ACTIONS) == "true":
        for command in workflow_commands(sheet, file=_in_repository(budget_file, environment.get(WORKSPACE))):
            print(command)


def _append(path: Path, sheet: GateSheet) -> None:
    """Behind what other commands of the step have said, as far as there is room."""
    n_bytes_before = path.stat().st_size if path.exists() else 0
    n_bytes_left = N_BYTES_OF_SUMMARY - n_bytes_before - 2
    if n_bytes_left < SUMMARY_LEAST:
        sys.stderr.write(f"harness: the job summary {path} is full; the verdict is not in it.\n")
        return
    text = render_gate(sheet, n_bytes_most=n_bytes_left)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"\n{text}" if n_bytes_before else text)


def _in_repository(file: Path, workspace: str | None) -> str:
    """The path by which a repository knows a file; the file's own where it lies outside."""
    root = Path(workspace) if workspace else Path.cwd()
    try:
        return file.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return str(file)
