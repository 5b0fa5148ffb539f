"""Names with units, findings with words, values that cannot be meant refused."""

from __future__ import annotations

import dataclasses
import inspect
import typing

import pytest
from pydantic import BaseModel, ValidationError

from harness import records
from harness.records import Board, Estimate, Finding, FindingCode, Site, content_hash, slug

UNITS = ("_per_second", "_s", "_j", "_w", "_wh", "_kwh", "_bytes", "_per_parameter", "_per_1000")
DIMENSIONLESS = {
    "Estimate": {"value", "low", "high", "half_width_reading", "half_width_runs", "half_width_gain"},  # of its owner
    "Sample": {"value"},  # its channel's quantity names the unit
    "Channel": {"gain_half_width"},  # relative
    "SensorCard": {"ratio_counter_to_power", "ratio_counter_to_power_half_width"},
    "LoadStep": {"share", "share_scatter", "share_missing"},
    "NodeGain": {"gain", "gain_half_width", "gain_host", "gain_host_half_width"},  # watts per watt
    "ExternalMeter": {"correlation"},
    "ModeSummary": {"prompt_tokens", "output_tokens", "gpu_busy_share"},  # counts, as means; a share
    "Comparison": {
        *("duration_per_token", "energy_bca_low", "energy_bca_high", "log_share_tokens"),  # ratios
        *("log_sd", "smallest_detectable"),  # of a ratio
    },
    "AccuracyDifference": {"p_value"},
    "EnergyLaw": {"residual_relative_sd"},
    "SizeLaw": {"mean", "residual_relative_sd"},  # in the size's own unit; relative
    "RunManifest": {"until_ci"},  # relative
    "BusyShare": {"share"},
    "TokenWeights": {"prompt", "output", "ratio_half_width"},  # relative to each other
    "ServingSummary": {"output_tokens_steady", "output_tokens_all", "rule_share", "n_in_flight", "cached_share"},
    "Sampling": {"temperature", "top_p", "repetition_penalty"},
    "Stopping": {"target", "looks"},  # relative
    "TwoPhaseMode": {"prompt_tokens", "output_tokens", "held_out_deviation", "held_out_limit"},  # counts, relative
}


def record_types() -> list[type]:
    return [
        kind
        for _, kind in inspect.getmembers(records, inspect.isclass)
        if kind.__module__ == records.__name__ and (issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind))
    ]


@pytest.mark.parametrize("kind", record_types(), ids=lambda kind: kind.__name__)
def test_every_float_field_names_its_unit(kind: type) -> None:
    for name, annotation in inspect.get_annotations(kind).items():
        text = annotation if isinstance(annotation, str) else str(annotation)
        if "float" not in text or "dict" in text or name in DIMENSIONLESS.get(kind.__name__, set()):
            continue
        assert name.endswith(UNITS), f"{kind.__name__}.{name}: {text}"


def test_the_check_above_sees_the_fields() -> None:
    seen = [name for kind in record_types() for name, text in inspect.get_annotations(kind).items() if "float" in text]
    assert len(seen) > 40


@pytest.mark.parametrize("code", list(FindingCode))
def test_every_finding_has_a_sentence_and_a_next_step(code: FindingCode) -> None:
    assert code.sentence.endswith(".")
    assert code.next_step.endswith(".")
    assert Finding.model_validate({"code": code.value}).code is code
    assert str(Finding(code=code, detail="a detail")).count("(a detail)") == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_no_record_holds_what_is_not_a_number(value: float) -> None:
    with pytest.raises(ValidationError):
        Estimate(value=value)


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError):
        Finding.model_validate({"code": "one_run", "note": "?"})


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/abs", "..", "a/../b", "", "\x00", "π" * 5, "x" * 500, ".hidden"]
)
def test_a_slug_is_one_harmless_path_component(name: str) -> None:
    made = slug(name)
    assert made
    assert len(made) <= 60
    assert not set(made) & set("/\\\x00 ")
    assert not made.startswith((".", "-"))


def site(**changes: typing.Any) -> Site:
    fields: dict[str, typing.Any] = {
        "hostname_sha256": "0" * 64,
        "platform": "Linux",
        "cpu": "EPYC",
        "n_cpu_cores": 2,
        "memory_bytes": 2**34,
        "boards": (Board(uuid="GPU-1", name="H100", power_limit_w=700.0, persistence=False),),
        "driver": "570",
        "cuda": "13.0",
        "python": "3.11.7",
        "packages": {"torch": "2.13.0"},
        "container": "docker",
    }
    return Site(**{**fields, **changes})


def test_a_restarted_container_is_the_same_site() -> None:
    assert site(hostname_sha256="1" * 64, memory_bytes=2**35).site_id == site().site_id
    switched_on = Board(uuid="GPU-1", name="H100", power_limit_w=700.0, persistence=True)
    assert site(boards=(switched_on,)).site_id == site().site_id


@pytest.mark.parametrize(
    "changes",
    [
        {"driver": "580"},
        {"packages": {"torch": "2.14.0"}},
        {"boards": (Board(uuid="GPU-2", name="H100", power_limit_w=700.0),)},
        {"boards": (Board(uuid="GPU-1", name="H100", power_limit_w=500.0),)},
        {"container": None, "hostname_sha256": "1" * 64},
    ],
)
def test_what_can_change_a_figure_is_another_site(changes: dict[str, typing.Any]) -> None:
    base = site(container=None) if "container" in changes else site()
    assert site(**changes).site_id != base.site_id


def test_a_hash_does_not_depend_on_the_order_of_keys() -> None:
    one, two = site(packages={"a": "1", "b": "2"}), site(packages={"b": "2", "a": "1"})
    assert content_hash(one) == content_hash(two)
