"""What a caller may see of a session while it runs."""

from __future__ import annotations

from harness.records import Prompt, QueryRecord, Stopping


class Observer:
    """The default sees nothing."""

    def stage(self, name: str, mode: str | None = None) -> None:
        """The session enters a stage.

        Args:
            name: `sensor`, `load`, `warm_up`, `idle_before`, `lengths` (of a two-phase
                run), `load_warm_up`, `queries`, `idle_after`.
            mode: Of a load: one that the loaded checkpoint answers in.
        """

    def told(self, line: str) -> None:
        """A line of what a server does that is started or looked at."""

    def lengths(self, n_done: int, n_all: int) -> None:
        """So many answers of a two-phase run were generated in batches."""

    def looked(self, n_prompts: int, stopping: Stopping) -> None:
        """A run that stops by itself has looked at its interval."""

    def query(self, record: QueryRecord) -> None:
        """A query is final and on disk."""

    def started(self, index: int, n_queries: int, prompt: Prompt, mode: str) -> None:
        """A query begins."""

    def ended(self, index: int) -> None:
        """A query's output is there; its energy is not yet."""

    def served(self, n_done: int, n_queries: int, mode: str, n_failed: int) -> None:
        """Of queries that are in flight together so many are there."""
