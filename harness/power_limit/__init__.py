"""A board's power limit, set for one cell and set back whatever happens."""
