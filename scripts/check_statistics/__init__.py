"""The parts of `scripts/check_statistics.py`: simulated studies whose truth is known."""
