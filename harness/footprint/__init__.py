"""From measured joules to what a bill, a grid or a fleet sees: each step named, with its source and its interval.

    board -> server -> facility -> money | carbon | water | equivalents | a fleet's MW and TWh a year

Nothing here is switched on by default. Pure, but for `grids`, which reads codecarbon's tables. What is measured comes
from `Subject`; everything else is an assumption, and is printed as one.
"""
