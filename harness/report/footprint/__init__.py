"""The footprint of a run and of a fleet, laid out."""
