"""Measuring protocols in plain words: all in a table, or one in full."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.table import Table

from harness.presets import ANY_OTHER, Preset
from harness.records import ModeSwitch, Sampling

ORDERS = {
    "blocks": "prompts in a seeded random order; several modes alternate in randomized blocks of at least 20 sensor "
    "updates, so that drift falls on all of them alike",
    "stored": "mode after mode, prompts as the set stores them",
}


def print_protocols(console: Console, presets: Iterable[Preset]) -> None:
    """One line each."""
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "published by", "what it measures", "most new tokens"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "name")
    for preset in presets:
        table.add_row(preset.name, preset.whose or "-", preset.title, _caps(preset))
    console.print(table)
    console.print("\nOne in full: harness protocols NAME. To use it: harness run --protocol NAME.", soft_wrap=True)


def print_protocol(console: Console, preset: Preset) -> None:
    """Everything that one fixes, what of it is not reproduced, and where that was read."""
    console.print(f"{preset.protocol}: {preset.title}\n")
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for what, words in described(preset):
        table.add_row(what, words)
    console.print(table)
    for heading, lines in (
        ("Not reproduced, or other than they say:", preset.differences),
        ("Read in:", preset.source),
    ):
        if lines:
            console.print(f"\n{heading}")
            console.print(_bullets(lines))


def described(preset: Preset) -> list[tuple[str, str]]:
    """What a protocol fixes: what it is about, and what it says of it."""
    published = f"{preset.whose}; followed faults included" if preset.whose else "this program; the default"
    count = f", {preset.num_prompts:,} of them unless --num-prompts says otherwise" if preset.num_prompts else ""
    listed = "those of --mode; without it off and on, or all that the model has"
    if preset.modes is not None:
        listed = f"those of these that the model has: {', '.join(preset.modes)}"
    warm_up = "before the first span" if preset.warm_up else "none: the first query carries what happens once"
    return [
        ("published by", published),
        ("prompts", (preset.prompts or "those of --prompts, the same in every mode") + count),
        ("modes", listed),
        ("most new tokens", _caps(preset)),
        ("least new tokens", _by_mode(preset.min_new_tokens) or "none: outputs end where the model ends them"),
        ("sampling", _sampling(preset.sampling)),
        ("order", ORDERS[preset.order]),
        ("warm-up", warm_up + _theirs(preset.warm_up_theirs, "none")),
        ("precision", "the checkpoint's own, or --dtype" if preset.dtype == "auto" else preset.dtype),
        ("batch size", "1" + _theirs(preset.batch_size_theirs, "1")),
        *_renderings(preset),
    ]


def _bullets(lines: Iterable[str]) -> Table:
    bullets = Table.grid(padding=(0, 1))
    for line in lines:
        bullets.add_row(" -", line)
    return bullets


def _caps(preset: Preset) -> str:
    if preset.caps:
        return _by_mode(preset.caps)
    return f"{preset.max_new_tokens:,}" if preset.max_new_tokens is not None else "one for all modes"


def _by_mode(counts: Mapping[str, int]) -> str:
    """`10 (off, default); 8,192 (on)`: modes with the same count stand together."""
    grouped: dict[int, list[str]] = {}
    for mode, count in counts.items():
        grouped.setdefault(count, []).append(mode)
    return "; ".join(f"{count:,} ({', '.join(modes)})" for count, modes in grouped.items())


def _sampling(sampling: Sampling | None) -> str:
    if sampling is not None and sampling.do_sample is False:
        return "greedy"
    given = sampling.model_dump(exclude_none=True, exclude={"do_sample"}) if sampling is not None else {}
    words = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in given.items())
    return f"{words or 'the generation config of the model'}; every query has its own seed, the same in every mode"


def _theirs(words: str | None, same: str) -> str:
    return f" (theirs: {words})" if words not in (None, same) else ""


def _renderings(preset: Preset) -> list[tuple[str, str]]:
    if not preset.renderings:
        return [("given to the model", "its chat template, switched as its family is (models.yaml)")]
    rows = []
    for part, modes in preset.renderings.items():
        only = len(preset.renderings) == 1
        name = "every model" if only else "any other" if part == ANY_OTHER else f"*{part}*"
        alike: dict[str, list[str]] = {}
        for mode, switch in modes.items():
            alike.setdefault(_switch(switch), []).append(mode)
        rows.append((f"given to {name}", "\n".join(f"{', '.join(names)}: {words}" for words, names in alike.items())))
    return rows


def _switch(switch: ModeSwitch) -> str:
    """How a mode is asked for; texts as JSON, so that line breaks are seen."""
    keywords = ", ".join(f"{name}={json.dumps(value)}" for name, value in switch.template.items())
    parts = [
        "the chat template" + (f" with {keywords}" if keywords else "") if switch.chat_template else "plain text",
        f"system prompt {json.dumps(switch.system)}" if switch.system is not None else "",
        f"before the prompt {json.dumps(switch.prompt_prefix)}" if switch.prompt_prefix else "",
        f"at the end {json.dumps(switch.assistant_prefix)}" if switch.assistant_prefix else "",
    ]
    return ", ".join(part for part in parts if part)
