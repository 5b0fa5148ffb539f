"""Constants that turn one unit into another. A driver's unit is converted on the line where it enters."""

from __future__ import annotations

J_PER_WH = 3600.0
J_PER_KWH = 3.6e6
W_PER_MW = 1e-3
"""Watts in a milliwatt (NVML reports power in mW)."""
J_PER_MJ = 1e-3
"""Joules in a millijoule (NVML reports energy in mJ)."""
J_PER_UJ = 1e-6
"""Joules in a microjoule (RAPL reports energy in uJ)."""
S_PER_MIN = 60.0
J_PER_TWH = 3.6e15
S_PER_H = 3600.0
S_PER_DAY = 86_400.0
