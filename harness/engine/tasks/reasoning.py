"""The same prompts with thinking and without: what thinking costs, and whether it pays."""

from __future__ import annotations

from harness.engine.task.description import Task
from harness.records import InputColumns

TASK = Task(
    name="reasoning",
    title="Reasoning",
    takes="a prompt",
    returns="its answer, in every mode that is compared: without thinking, with it",
    inputs=InputColumns(text=("text", "prompt"), reference=("reference", "answer")),
    prompts="everyday",
    published="aies-text-generation",
    metric="share of right answers, where the prompts have references",
    sizes=("prompt_tokens", "thinking_tokens", "answer_tokens"),
    model="tiny-reasoner",
    loads="AutoModelForCausalLM",
    phases=("prefill", "thinking", "answer"),
    extra="transformers",
    note="This is what `harness run` does where no task is named.",
)
