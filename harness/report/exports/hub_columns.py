"""What every column of a published data set is: its kind, its unit and its meaning, found by the column's name.

A name is built as everywhere here: quantity, part of the interval, the word `estimated` where it is one, unit. So the
meaning is put together from these, and a column without a meaning cannot be published.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from harness.records import Boundary
from harness.report.wording import BOUNDARY, METHOD

if TYPE_CHECKING:
    import pandas as pd


class Kind(StrEnum):
    """What a column holds. Every kind may be null: not known, or not of this row."""

    TEXT = "text"
    COUNT = "integer"
    NUMBER = "number"
    TRUTH = "true or false"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column. `unit` is empty where it has none."""

    name: str
    kind: Kind
    unit: str
    meaning: str


def _words(values: Mapping[Any, str]) -> str:
    return "; ".join(f"`{value}`, {words}" for value, words in values.items())


TEXTS = {
    "run_id": "the run",
    "cell_id": "what was measured: model, revision, engine, precision, prompts, protocol, as a hash",
    "site_id": "where it was measured: machine, boards, driver, versions, as a hash",
    "started_utc": "when its first session began",
    "task": "what is done; null: text is generated, with or without thinking",
    "task_options": "of the task, such as an image generator's steps; null: it has none",
    "model": "the checkpoint that answered",
    "mode": "how it was asked to think: off, on, a budget, an effort",
    "protocol": "the measurement protocol and its version",
    "prompt_set": "the prompts",
    "prompt_set_sha256": "of ids, texts, references and scorers of the whole set in its stored order",
    "prompt_id": "the prompt's id in its set",
    "load": "the load under which queries were answered; null: one by one in one process",
    "attribution": "`exclusive`: each query ran alone; `shared_tokens`: its energy is a share by tokens",
    "engine": "what executed the model",
    "device": "what it ran on: cuda, cpu, or served",
    "dtype": "the precision that was asked for",
    "quantization": "of the weights",
    "boards": "the metered boards",
    "driver": "of the boards",
    "cpu": "of the machine",
    "energy_boundary": f"what the energies of the row include: {_words(BOUNDARY)}",
    "energy_method": f"how they were found: {_words(METHOD)}",
    "two_phase": "yes: only some prompts were measured, chosen by their lengths, and they are no sample of all",
    "finish_reason": "why the output ended; null: the query failed",
    "numerator": "the mode above the line",
    "denominator": "the mode below the line",
    "model_numerator": "the checkpoint that answered in the mode above the line",
    "model_denominator": "the checkpoint that answered in the mode below the line",
    "invalid": "why the modes are not what they are called; empty: nothing is known against them",
    "findings": "codes of what is to be doubted; empty: nothing",
    "rendered_prompt_sha256": "of the text that the model was given",
    "text_sha256": "of what it wrote; null: not stored",
    "rendered_prompt": "the text that the model was given; null: withheld or not stored",
    "text": "what it wrote; null: withheld or not stored",
}
COUNTS = {
    "prompt_tokens": "tokens that the model read",
    "thinking_tokens": "tokens of its thinking",
    "answer_tokens": "tokens of its answer",
    "output_tokens": "tokens that it wrote, thinking included",
    "input_pixels": "of the image that the model was given",
    "output_pixels": "of all images that it made",
    "denoising_steps": "of the image that it made",
    "repeat": "number of the repeat, from 0",
    "session": "number of the process start within the run",
    "max_new_tokens": "the token cap of a query",
    "batch_size": "rows generated together",
    "n_queries": "queries in this mode, failed ones included",
    "n_failed": "queries without an answer",
    "n_without_energy": "answered queries whose energy is not known",
    "n_scored": "answers that were judged, or graded",
    "n_correct": "answers that were right",
    "n_cut": "outputs that the token cap cut",
    "n_forced": "queries whose thinking was ended by force at its budget",
    "n_pairs": "prompts with a known energy or duration in both modes",
    "n_scored_in_both": "prompts whose answers were judged in both modes",
    "n_right_in_both": "prompts answered right in both modes",
    "n_right_only_numerator": "prompts answered right in the mode above the line alone",
    "n_right_only_denominator": "prompts answered right in the mode below the line alone",
}
NUMBERS = {
    "duration": "length of the query",
    "energy_per_query": "gross energy per query, idle power during it included",
    "energy_net_per_query": "energy per query above idle",
    "energy_per_output_token": "gross energy per output token",
    "energy_per_correct": "gross energy of all queries per right answer",
    "energy_per_1000_queries": "gross energy per 1,000 queries",
    "energy_tail_per_query": "above idle, from a query's end to the next query; not part of its energy",
    "duration_per_query": "time per query",
    "duration_per_output_token": "time per output token",
    "accuracy": "share of right answers among those judged",
    "prompt_tokens_per_query": "mean prompt tokens",
    "output_tokens_per_query": "mean output tokens",
    "thinking_tokens_per_query": "mean thinking tokens",
    "answer_tokens_per_query": "mean answer tokens",
    "audio": "length of the sound",
    "audio_per_query": "mean length of the sounds",
    "input_pixels_per_query": "mean pixels of the images that the model was given",
    "output_pixels_per_query": "mean pixels of the images that it made",
    "denoising_steps_per_query": "mean denoising steps",
    "power": "mean power during the queries",
    "power_idle": "power with the model loaded and nothing asked",
    "energy_ratio": "total energy in the numerator over total energy in the denominator, over the same prompts",
    "energy_ratio_bca_low": "lower end of the same interval, by another method (BCa)",
    "energy_ratio_bca_high": "upper end of the same interval, by another method (BCa)",
    "duration_ratio": "total time in the numerator over total time in the denominator",
    "output_tokens_ratio": "total output tokens in the numerator over those in the denominator",
    "energy_per_output_token_ratio": "energy per output token in the numerator over that in the denominator",
    "duration_per_output_token_ratio": "time per output token in the numerator over that in the denominator",
    "energy_per_correct_ratio": "energy per right answer in the numerator over that in the denominator",
    "energy_difference_per_query": "mean energy per query, numerator minus denominator",
    "log_share_output_tokens": "log of the ratio of tokens over log of the ratio of energy; null where that may be 1",
    "accuracy_difference": "share of right answers, numerator minus denominator",
    "p_value": "of the difference in right answers: exact, two-sided (McNemar)",
    "log_sd": "standard deviation of the prompts' own log ratios",
    "smallest_detectable": "relative: a true ratio of 1 plus this is told from 1 in 80 % of studies of this size",
}
QUALITIES = {
    "accuracy": "share of right answers among those that could be compared with a reference",
    "f1": "mean F1 of the words of answer and reference, as SQuAD computes it",
    "exact_match": "share of answers that are the reference's, as SQuAD compares them",
    "rougeL": "mean F-measure of ROUGE-L, the longest common sequence of words",
    "rouge1": "mean F-measure of ROUGE-1, single words",
    "rouge2": "mean F-measure of ROUGE-2, pairs of words",
    "word_error_rate": "all wrong words over all words of the references; lower is better",
    "spearman": "rank correlation of answers and references",
    "map": "COCO's mean average precision, over overlaps of 50 to 95 %",
    "map_50": "COCO's mean average precision at an overlap of 50 %",
}
"""By the names of the metrics."""
SCORES = {
    "f1": "F1 of the words of answer and reference, as SQuAD computes it",
    "exact_match": "1: the answer is the reference's, as SQuAD compares them; 0: it is not",
    "rougeL": "F-measure of ROUGE-L, the longest common sequence of words",
    "rouge1": "F-measure of ROUGE-1, single words",
    "rouge2": "F-measure of ROUGE-2, pairs of words",
    "word_errors": "words of the reference that are wrong or missing, and words too many",
    "reference_words": "words of the reference",
    "similarity": "how alike the model finds two sentences",
    "reference": "how alike the reference finds them, on its own scale",
}
"""Of one answer, by the names of a score's values."""
UNITS_OF_SIZES = {
    "second_of_audio": "second of audio",
    "output_megapixel_step": "megapixel that is made, and denoising step",
    "input_megapixel": "megapixel of an image that the model is given",
    "prompt_token": "token that the model reads",
}
OF_UNIT = {
    "energy_per": "gross energy per {}, total over total",
    "duration_per": "time per {}, total over total",
    "energy_fixed_beside": "in a line fitted to the queries, what a query takes that does not grow with its {}",
    "energy_per_further": "in a line fitted to the queries, the gross energy of one more {}",
}
OF_BOUNDARY = {
    "energy_gross": "gross energy of {}, idle power during the query included",
    "energy_net": "energy of {} above idle",
    "energy_tail": "energy of {} above idle, from the query's end to the next query; not part of the query's",
}
PARTS = {
    "low": "lower end of the 95 % interval over prompts",
    "high": "upper end of the 95 % interval over prompts; null beside a lower end: there is none",
    "half_width_reading": "95 % half-width of the sensor's reading",
    "half_width_runs": "95 % half-width from run to run on this machine; null: one run, so it is not known",
    "half_width_gain": "95 % half-width of the board's gain, common to all its figures",
    "half_width": "95 % half-width of the sensor's reading, without the board's gain",
}
UNITS = {"j": "J", "wh": "Wh", "w": "W", "s": "s"}
_NAME = re.compile(
    rf"(?P<quantity>.+?)(?:_(?P<part>{'|'.join(PARTS)}))?(?:_(?P<estimated>estimated))?(?:_(?P<unit>{'|'.join(UNITS)}))?"
)
_BOUNDARY = re.compile(rf"(?P<boundary>{'|'.join((Boundary.GPU_BOARD, Boundary.HOST))})_(?P<rest>.+)")
_OF_UNIT = re.compile(rf"(?P<what>{'|'.join(OF_UNIT)})_(?P<unit>{'|'.join(UNITS_OF_SIZES)})")
_QUALITY = re.compile(rf"(?P<n>n_)?quality_(?P<metric>{'|'.join(QUALITIES)})")
_PHASE = re.compile(r"(?P<quantity>energy_difference|energy|duration)_(?P<phase>[a-z_]+)_per_query")


def column(name: str) -> Column:
    """What the column of this name is.

    Raises:
        LookupError: Nothing is known of such a column.
    """
    if name in TEXTS:
        return Column(name=name, kind=Kind.TEXT, unit="", meaning=TEXTS[name])
    if name in COUNTS:
        return Column(name=name, kind=Kind.COUNT, unit="", meaning=COUNTS[name])
    quality = _QUALITY.fullmatch(name)
    if quality is not None and quality["n"]:
        return Column(name=name, kind=Kind.COUNT, unit="", meaning=f"answers that quality_{quality['metric']} is over")
    if name == "correct":
        return Column(name=name, kind=Kind.TRUTH, unit="", meaning="whether the answer is right; null: not judged")
    boundary = _BOUNDARY.fullmatch(name)
    if boundary is not None and boundary["rest"] == "method":
        what = f"how the energy of {BOUNDARY[Boundary(boundary['boundary'])]} was found"
        return Column(name=name, kind=Kind.TEXT, unit="", meaning=what)
    parts = _NAME.fullmatch(name)
    assert parts is not None, "any name has a quantity"
    quantity, part = parts["quantity"], parts["part"]
    if part is not None and f"{quantity}_{part}" in NUMBERS:
        quantity, part = f"{quantity}_{part}", None
    meaning = _quantity(quantity)
    if parts["estimated"] is not None:
        meaning += "; estimated: a hardware model's power × time, no sensor"
    if part is not None:
        whole = "_".join(filter(None, (quantity, parts["estimated"], parts["unit"])))
        meaning = f"`{whole}`: {PARTS[part]}"
    return Column(name=name, kind=Kind.NUMBER, unit=UNITS.get(parts["unit"] or "", ""), meaning=meaning)


def table_of_rows(rows: Sequence[Mapping[str, object]]) -> Any:
    """Rows with the same columns as an Arrow table, whose types do not depend on what is null in these rows."""
    import pyarrow

    return pyarrow.Table.from_pylist(list(rows), schema=_schema(dict.fromkeys(name for row in rows for name in row)))


def table_of_frame(frame: pd.DataFrame) -> Any:
    """The same of a frame; what is missing is null."""
    import pyarrow

    plain = pyarrow.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    return plain.cast(_schema(plain.column_names))


def _schema(names: Iterable[str]) -> Any:
    import pyarrow

    types = {
        Kind.TEXT: pyarrow.string(),
        Kind.COUNT: pyarrow.int64(),
        Kind.NUMBER: pyarrow.float64(),
        Kind.TRUTH: pyarrow.bool_(),
    }
    return pyarrow.schema([(name, types[column(name).kind]) for name in names])


def _quantity(name: str) -> str:
    if name in NUMBERS:
        return NUMBERS[name]
    if name.startswith("score_") and name.removeprefix("score_") in SCORES:
        return f"of the answer's score: {SCORES[name.removeprefix('score_')]}"
    if (quality := _QUALITY.fullmatch(name)) is not None:
        return QUALITIES[quality["metric"]]
    if (of_unit := _OF_UNIT.fullmatch(name)) is not None:
        return OF_UNIT[of_unit["what"]].format(UNITS_OF_SIZES[of_unit["unit"]])
    boundary = _BOUNDARY.fullmatch(name)
    if boundary is not None and boundary["rest"] in OF_BOUNDARY:
        return OF_BOUNDARY[boundary["rest"]].format(BOUNDARY[Boundary(boundary["boundary"])])
    phase = _PHASE.fullmatch(name)
    if phase is None:
        raise LookupError(f"The column {name} has no meaning: add it to {__name__}.")
    return {
        "energy": f"of the energy per query, the part of the phase {phase['phase']}; phases add up to it",
        "duration": f"of the time per query, the part of the phase {phase['phase']}",
        "energy_difference": f"of the energy difference per query, the part of the phase {phase['phase']}",
    }[phase["quantity"]]
