"""Budgets and verdicts: is a model within what its makers allow it, as far as the measurement can tell."""
