"""Text that a language model continues, asked not to think where it can be."""

from __future__ import annotations

from harness.engine.task.description import Task
from harness.records import InputColumns

TASK = Task(
    name="text-generation",
    title="Text generation",
    takes="a prompt",
    returns="its answer, without thinking where the model can be asked for that",
    inputs=InputColumns(text=("text", "prompt"), reference=("reference", "answer")),
    prompts="everyday",
    published="aies-text-generation",
    metric="share of right answers, where the prompts have references",
    sizes=("prompt_tokens", "output_tokens"),
    model="tiny-reasoner",
    loads="AutoModelForCausalLM",
    phases=("prefill", "answer"),
    extra="transformers",
    note="Tokenizing the prompt and decoding the answer are outside of the query.",
)
