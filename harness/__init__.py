"""Joules per query for open models.

prompts -> engine -> meter -> attribution -> store -> analysis -> report | gate

Read `records.py` (what flows) and `protocols.py` (the interfaces), and you know the system.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.metering import Meter
    from harness.results import load_results

__all__ = ["Meter", "load_results"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """The public API, imported when it is first used: `harness --help` must not wait for pandas."""
    if name == "Meter":
        from harness.metering import Meter

        return Meter
    if name == "load_results":
        from harness.results import load_results

        return load_results
    raise AttributeError(f"module 'harness' has no attribute {name!r}")
