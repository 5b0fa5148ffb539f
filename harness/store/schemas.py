"""What a line of `queries.jsonl` and of `intervals.jsonl` looks like to Arrow, and what is kept of it as columns."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pyarrow as pa

from harness.records import Attribution, Boundary, FindingCode, Method

NUMBER, COUNT, TEXT, TRUTH = pa.float64(), pa.int64(), pa.string(), pa.bool_()
NUMBERS = pa.list_(NUMBER)
NOTHING: Mapping[str, pa.DataType] = MappingProxyType({})
SIZES = ("prompt_tokens", "thinking_tokens", "answer_tokens", "output_tokens")
"""Of an output, all of them counts; others may come, whole or not, and are kept too."""


def _struct(**fields: pa.DataType) -> pa.DataType:
    return pa.struct(list(fields.items()))


FINDING = _struct(code=TEXT, detail=TEXT)
PHASE = _struct(
    name=TEXT, time_start_s=NUMBER, time_end_s=NUMBER, energy_gross_j=NUMBER, energy_gross_half_width_j=NUMBER
)
READING = _struct(
    device=TEXT,
    boundary=TEXT,
    method=TEXT,
    attribution=TEXT,
    time_start_s=NUMBER,
    time_end_s=NUMBER,
    energy_gross_j=NUMBER,
    energy_gross_half_width_j=NUMBER,
    n_samples=COUNT,
    duration_gap_largest_s=NUMBER,
    phases=pa.list_(PHASE),
    findings=pa.list_(FINDING),
    energy_blind_half_width_j=NUMBER,
    power_idle_w=NUMBER,
    energy_net_j=NUMBER,
    energy_net_half_width_j=NUMBER,
    energy_tail_j=NUMBER,
    energy_shared_equal_j=NUMBER,
    duration_share_s=NUMBER,
)
SERVICE = _struct(
    number=COUNT,
    time_sent_s=NUMBER,
    duration_first_token_s=NUMBER,
    duration_per_output_token_s=NUMBER,
    duration_queued_s=NUMBER,
    n_chunks=COUNT,
    n_cached_tokens=COUNT,
    status=COUNT,
)


def output(others: Mapping[str, pa.DataType] = NOTHING) -> pa.DataType:
    """An output, with other sizes beside the known ones."""
    return _struct(
        sizes=_struct(**{**dict.fromkeys(SIZES, COUNT), **others}),
        finish_reason=TEXT,
        rendered_prompt_sha256=TEXT,
        thought=TRUTH,
        rendered_prompt=TEXT,
        text=TEXT,
        text_sha256=TEXT,
    )


def query(sizes: Mapping[str, pa.DataType] = NOTHING, values: Mapping[str, pa.DataType] = NOTHING) -> pa.Schema:
    """A line of `queries.jsonl`.

    Args:
        sizes: Of outputs, beside the known ones, with their types.
        values: Of scores, with their types.
    """
    return pa.schema(
        {
            "schema_version": COUNT,
            "session": COUNT,
            "prompt_id": TEXT,
            "prompt_index": COUNT,
            "mode": TEXT,
            "seed": COUNT,
            "block": COUNT,
            "time_start_s": NUMBER,
            "time_end_s": NUMBER,
            "output": output(sizes),
            "score": _struct(correct=TRUTH, extracted=TEXT, values=_struct(**values)),
            "readings": pa.list_(READING),
            "findings": pa.list_(FINDING),
            "service": SERVICE,
        }
    )


INTERVAL = pa.schema(
    {
        "schema_version": COUNT,
        "session": COUNT,
        "name": TEXT,
        "time_start_s": NUMBER,
        "time_end_s": NUMBER,
        "readings": pa.list_(READING),
    }
)

REQUIRED = {
    "": ("schema_version", "session", "time_start_s", "time_end_s", "readings"),
    "query": ("prompt_id", "prompt_index", "mode", "seed", "findings"),
    "interval": ("name",),
    "output": ("sizes", "finish_reason", "rendered_prompt_sha256"),
    "service": ("number", "time_sent_s", "n_chunks"),
    "reading": (
        *("device", "boundary", "method", "attribution", "time_start_s", "time_end_s"),
        *("n_samples", "phases", "findings"),
    ),
    "phase": ("name", "time_start_s", "time_end_s"),
    "finding": ("code", "detail"),
}
"""What is never null."""
ONE_OF = {
    "boundary": {each.value for each in Boundary},
    "method": {each.value for each in Method},
    "attribution": {each.value for each in Attribution},
    "code": {each.value for each in FindingCode},
}
"""What a text may be, where it names something."""
