"""The site: machine, boards, driver, packages, commit. Facts about where a measurement runs, without torch.

pynvml is used in `nvml.py` alone. What can be measured here, and what to do about the rest, is in
`diagnosis.py`.
"""

from __future__ import annotations

from harness.environment.machine import git_commit, site, visible_gpus
from harness.environment.visibility import VisibleGpu, choose_boards, resolve_visible

__all__ = ["VisibleGpu", "choose_boards", "git_commit", "resolve_visible", "site", "visible_gpus"]
