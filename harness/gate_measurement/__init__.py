"""`harness gate --measure`: candidate and reference measured in turn, in one job, on one board."""

from harness.gate_measurement.beginning import begin, resume
from harness.gate_measurement.looking import Measured

__all__ = ["Measured", "begin", "resume"]
