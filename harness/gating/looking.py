"""What a gate over these runs could see, before anybody has written a limit.

Knows which sides belong together. Must not know how power is found.
"""

from __future__ import annotations

from harness.errors import InvalidMeasurement, UsageError
from harness.gate.power import PowerTable, power_of
from harness.gating.sides import Evidence


def power_tables(
    candidate: Evidence, reference: Evidence | None, *, alpha: float, run_sd: float | None
) -> tuple[PowerTable, ...]:
    """One table per mode of the candidate that the reference has too.

    Args:
        candidate: Measured.
        reference: Of the same prompts; None: one that is half alike is assumed.
        alpha: One-sided, of the gate.
        run_sd: Relative, of one run; None: as the repeats show it.

    Raises:
        InvalidMeasurement: The energy is estimated or replayed, or a mode is not what it is called.
        UsageError: The two did not answer the same prompts in any mode.
    """
    for side in candidate.sides:
        if side.invalid or side.estimated or side.replayed:
            why = side.invalid[0].code.sentence if side.invalid else "Its energy was not measured."
            raise InvalidMeasurement(f"{side.words}, mode {side.mode}, shows no spread. {why}", "Measure it first.")
    if reference is None:
        return tuple(power_of(side, alpha=alpha, run_sd=run_sd) for side in candidate.sides)
    others = {side.mode: side for side in reference.sides}
    pairs = [
        (side, others[side.mode])
        for side in candidate.sides
        if side.mode in others and side.prompt_set_sha256 == others[side.mode].prompt_set_sha256
    ]
    if not pairs:
        raise UsageError(
            f"{candidate.words} and {reference.words} did not answer the same prompts in the same mode.",
            "Leave --reference out, or name a run of the same prompt set.",
        )
    return tuple(power_of(*pair, alpha=alpha, run_sd=run_sd) for pair in pairs)
