"""From facts about machine, kernel and packages to checks and the verdict on the host. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.environment.diagnosis import Check, Status, Verdict
from harness.environment.rapl import READ_COMMAND, RaplZone
from harness.records import Boundary, Method

BYTES_PER_GIB = 2**30
FREE_GIB_WANTED = 1.0
SHOWN_PACKAGES = ("transformers", "accelerate", "nvidia-ml-py", "codecarbon")

PLATFORM_SENTENCES = {
    "win32": "Native Windows cannot be measured: the sampler needs Linux's clock and drivers.",
    "darwin": "macOS has neither NVML nor RAPL: everything would be an estimate, and it is untested.",
}


def platform_check(sys_platform: str, description: str, wsl: bool) -> Check:
    """What does not work on this operating system.

    Args:
        sys_platform: `sys.platform`.
        description: The system's name and version.
        wsl: Whether it is Linux under Windows.
    """
    sentence = PLATFORM_SENTENCES.get(sys_platform)
    if sentence is not None:
        step = "Use WSL2 there, or Linux (docs/where-it-runs.md)." if sys_platform == "win32" else "Use Linux."
        return Check(subject="machine", name="system", status=Status.MISSING, what=sentence, next_step=step)
    if wsl:
        return Check(
            subject="machine",
            name="system",
            status=Status.WARN,
            what="WSL2: the GPU answers through Windows' driver, which may lack sensors; there is no RAPL.",
            next_step="Boot Linux itself for measured host energy.",
        )
    return Check(subject="machine", name="system", status=Status.OK, what=description)


def container_check(container: str | None) -> Check:
    """Whether a container stands between the sensors and this process."""
    what = "no sign of one" if container is None else container
    return Check(subject="machine", name="container", status=Status.OK, what=what)


def disk_check(directory: str, free_bytes: int, writable: bool) -> Check:
    """Whether results can be written."""
    free_gib = free_bytes / BYTES_PER_GIB
    what = f"{free_gib:.1f} GiB free for {directory}"
    if not writable:
        return Check(
            subject="machine",
            name="disk",
            status=Status.MISSING,
            what=f"{directory} cannot be written by this user.",
            next_step="Choose another place with `--output-dir`.",
        )
    if free_gib < FREE_GIB_WANTED:
        return Check(
            subject="machine",
            name="disk",
            status=Status.WARN,
            what=what,
            next_step="Make room, or choose another place with `--output-dir`.",
        )
    return Check(subject="machine", name="disk", status=Status.OK, what=what)


def packages_check(python: str, packages: Mapping[str, str]) -> Check:
    """Versions of Python and of the packages that matter most; torch has a check of its own."""
    found = [f"{name} {packages[name]}" for name in SHOWN_PACKAGES if name in packages]
    return Check(subject="software", name="Python", status=Status.OK, what="; ".join([python, *found]))


def rapl_check(zones: Sequence[RaplZone], container: str | None, virtual_machine: bool | None, wsl: bool) -> Check:
    """Whether the CPU's energy counters can be read."""
    names = ", ".join(zone.device for zone in zones)
    status, next_step = Status.MISSING, None
    if not zones and wsl:
        what = "WSL2's kernel has no RAPL zones."
    elif not zones and virtual_machine:
        what = "Virtual machines show no RAPL zones."
        next_step = "Run on the machine itself, without virtualization."
    elif not zones and container is not None:
        what = "The container shows no RAPL zones."
        next_step = "Show it the host's /sys/class/powercap (docs/where-it-runs.md)."
    elif not zones:
        what = "The kernel shows no RAPL zones."
        next_step = "Run `sudo modprobe intel_rapl_msr` (Intel, and AMD since Zen)."
    elif not all(zone.readable for zone in zones):
        what = f"{names}: readable by root only."
        where = "On the host, run" if container is not None else "Run"
        next_step = f"{where} `{READ_COMMAND}` (until the next boot)."
    elif not any(zone.moving for zone in zones):
        what = f"{names}: the counters stand still."
        next_step = "Virtual machines often show such zones; run on the machine itself."
    else:
        dram = "" if any(zone.device.startswith("dram") for zone in zones) else " (no zone for DRAM)"
        status, what = Status.OK, f"{names}{dram}"
    return Check(subject="host", name="RAPL", status=status, what=what, next_step=next_step)


def estimate_check(version: str | None) -> Check:
    """Whether there is something to estimate with where nothing can be measured."""
    if version is None:
        return Check(
            subject="host",
            name="estimate",
            status=Status.WARN,
            what="codecarbon is not installed: where no sensor is, nothing is known",
            next_step="Run `pip install 'inference-energy-harness[estimate]'`.",
        )
    return Check(
        subject="host", name="estimate", status=Status.OK, what=f"codecarbon {version} (used only without sensors)"
    )


def host_verdict(rapl: Check, estimate: Check) -> Verdict:
    """Whether the energy of CPUs and DRAM can be measured."""
    if rapl.status is Status.OK:
        return Verdict(
            boundary=Boundary.HOST, method=Method.RAPL, sentence=f"Host energy: measured by RAPL: {rapl.what}."
        )
    reason = rapl.what.rstrip(".")
    if estimate.status is Status.OK:
        return Verdict(
            boundary=Boundary.HOST,
            method=Method.ESTIMATED,
            sentence=f"Host energy: estimated only. {reason}.",
            next_step=rapl.next_step,
        )
    return Verdict(
        boundary=Boundary.HOST,
        method=None,
        sentence=f"Host energy: neither measured nor estimated. {reason}.",
        next_step=rapl.next_step or estimate.next_step,
    )
