"""What a side's queries took, by mode, and how far its sensors may read off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from harness.analysis.estimates import Gains, gains_of
from harness.analysis.figures import Figures, figures_in
from harness.analysis.pooled import mean_of_repeats
from harness.comparing.side import Side

GPU = "GPU-"
"""Names of boards begin so and are the same in every run; those of a host's parts are not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideFigures:
    """A side's answered queries by mode, and the gains of its devices."""

    site_id: str
    by_mode: Mapping[str, Figures]
    gains: Gains

    @classmethod
    def of(cls, side: Side) -> SideFigures:
        """Of all repeats that the side stands for, their means."""
        each = [figures_in(one.results.columns, side.summary.headline) for one in side.repeats or (side.account,)]
        by_mode = {mode: mean_of_repeats([one.in_mode(mode) for one in each]) for mode in each[0].mode.names}
        channels = () if side.manifest is None else side.manifest.channels
        return cls(site_id=side.summary.site_id, by_mode=by_mode, gains=gains_of(channels))

    def named_apart(self) -> SideFigures:
        """The same with its devices under names that no other machine has."""
        by_mode = {mode: named_apart(each, self.site_id) for mode, each in self.by_mode.items()}
        return replace(self, by_mode=by_mode, gains=gains_apart(self.gains, self.site_id))


def named_apart(figures: Figures, site_id: str) -> Figures:
    """Figures whose devices have names that no other machine has: `cpu-package-0` of two hosts are two devices."""
    devices = dict.fromkeys(device for device, _ in figures.by_device_j)
    return figures.renamed({device: _name(device, site_id) for device in devices})


def gains_apart(gains: Gains, site_id: str) -> Gains:
    """The gains of devices that are named so."""
    return {(_name(device, site_id), method): gain for (device, method), gain in gains.items()}


def _name(device: str, site_id: str) -> str:
    return device if device.startswith(GPU) else f"{site_id}/{device}"
