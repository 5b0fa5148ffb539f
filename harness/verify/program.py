"""Is this the program that wrote a run's summaries and its page? Another version may put a figure otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import harness
from harness.environment.machine import git_commit
from harness.records import Bundle, RunManifest


def other_program(manifests: Sequence[RunManifest], bundle: Bundle | None) -> str:
    """Which other version or commit wrote it, in words; empty: none, as far as is known."""
    return next(_others(manifests, bundle), "")


def _others(manifests: Sequence[RunManifest], bundle: Bundle | None) -> Iterator[str]:
    versions = [] if bundle is None else [bundle.harness_version]
    for version in (*versions, *(manifest.harness_version for manifest in manifests)):
        if version != harness.__version__:
            yield f"version {version} of the program wrote it, and this is {harness.__version__}"
    here = git_commit(Path(harness.__file__).parent)
    for manifest in manifests:
        if here is not None and manifest.git_commit not in (None, here):
            yield f"commit {manifest.git_commit} of the program wrote it, and this is {here}"
