"""Simulated gates whose truth is known."""
