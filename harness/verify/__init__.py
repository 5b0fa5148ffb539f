"""Do a run's files bear out what it says? Hashes, then every figure once more, from the raw readings to the page."""

from harness.verify.check import Kind
from harness.verify.verification import Difference, Unchecked, Verification, verify

__all__ = ["Difference", "Kind", "Unchecked", "Verification", "verify"]
