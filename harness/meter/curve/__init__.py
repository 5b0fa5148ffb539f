"""From readings and marked edges to E(t): ticks, where in them energy was spent, and how the board was meanwhile."""
