"""What libraries say while they load and run a model, kept off the terminal and turned into findings.

A library that cannot do what was asked for often does something else and says so in a log line. Such a line is
a finding; all others go to our own log at debug level. Nothing is formatted or written while a query runs: a
record is put into a list, and read afterwards.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from harness.records import Finding, FindingCode

LIBRARIES = (
    *("transformers", "diffusers", "accelerate", "bitsandbytes", "kernels", "torch", "huggingface_hub", "gguf"),
)
_FALLBACK = re.compile(
    r"fall(s|ing)?[ -]?back|fallback|dequantiz|default(ing)? to|not (available|installed|supported)|unsupported|"
    r"instead of|failed to load|slow(er)? (path|implementation|version)|offload|"
    r"will be skipped|skipping cudagraphs|recompile_limit",
    re.IGNORECASE,
)
_HARMLESS = re.compile(r"deprecat|unauthenticated requests|requires torchvision", re.IGNORECASE)
"""Images are made ready before the window opens, so it does not matter here what resizes them."""
_LONGEST_QUOTE = 300
_log = logging.getLogger(__name__)


class Chatter:
    """Collects what is said inside `listening()`."""

    def __init__(self) -> None:
        self._handler = _Collector()
        self._python_warnings: list[warnings.WarningMessage] = []
        self._already_said: set[str] = set()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take over the libraries' loggers and Python's warnings, and give them back."""
        loggers = [logging.getLogger(name) for name in LIBRARIES]
        before = [(list(logger.handlers), logger.propagate) for logger in loggers]
        for logger in loggers:
            logger.handlers, logger.propagate = [self._handler], False
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("default")
                yield
        finally:
            self._python_warnings += said
            for logger, (handlers, propagate) in zip(loggers, before, strict=True):
                logger.handlers, logger.propagate = handlers, propagate

    def findings(self) -> tuple[Finding, ...]:
        """One `LIBRARY_WARNING` per new sentence about falling back since the last call."""
        texts = [record.getMessage() for record in self._handler.records]
        texts += [str(warning.message) for warning in self._python_warnings]
        self._handler.records.clear()
        self._python_warnings.clear()
        findings = []
        for text in (" ".join(text.split()) for text in texts):
            if text in self._already_said:
                continue
            self._already_said.add(text)
            if _FALLBACK.search(text) and not _HARMLESS.search(text):
                findings.append(Finding(code=FindingCode.LIBRARY_WARNING, detail=text[:_LONGEST_QUOTE]))
            else:
                _log.debug("%s", text)
        return tuple(findings)


class _Collector(logging.Handler):
    """Keeps records at WARNING and above."""

    def __init__(self) -> None:
        super().__init__(level=logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
