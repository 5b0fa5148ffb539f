"""`harness attribute`, behind its flags: the energy of a trace, shared among the requests of a log."""

from harness.attributing.attributed import Attributed, attribute
from harness.attributing.wanted import Wanted

__all__ = ["Attributed", "Wanted", "attribute"]
