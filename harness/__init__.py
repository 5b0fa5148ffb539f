"""Joules per query for open language models.

prompts -> engine -> meter -> attribution -> store -> analysis -> report | gate
"""

from __future__ import annotations

__version__ = "0.1.0"
