"""Run files, flags and models.yaml become frozen, validated specs here, and nowhere else.

A run file is YAML with the same keys as the flags (dashes as underscores); flags win over the file. An unknown key
is refused with the nearest valid one.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeGuard, TypeVar, get_args

import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from harness.errors import UnknownName, UsageError
from harness.presets import PAIRED, Preset, preset
from harness.records import ReasoningSpec, Record

RecordType = TypeVar("RecordType", bound=Record)

CATALOGUE = Path(__file__).parent / "assets" / "models.yaml"
EMBEDDED_MODEL = "tiny-reasoner"
RANDOM = "random"
"""As a model: a stand-in with random weights and the real shape, for a task."""
TEXT_TASKS = ("text-generation", "reasoning")
"""Tasks of a language model that continues text; a run without a task is one of them."""
SERVED = "served"
"""As a device: wherever a server has put its model."""
SPEC_NAME = "run.yaml"
"""Of a run directory: what was asked of it."""


def _listed(value: object) -> object:
    """`off,on` and [off, on] are the same."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _share(value: object) -> object:
    """`5%` and 0.05 are the same."""
    if isinstance(value, str) and value.strip().endswith("%"):
        return float(value.strip()[:-1]) / 100
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            share = float(value)
        except ValueError:
            raise ValueError("write a percentage such as 5%") from None
        if share >= 1:
            raise ValueError(f"write {share:g}%, or a share below 1")
    return value


def _protocol(value: object) -> object:
    """`paired` and `paired-1` are the same, while 1 is its revision here."""
    return preset(value).name if isinstance(value, str) else value


def token_weights(text: str) -> tuple[float, float]:
    """What a prompt and an output token weigh, of `PROMPT:OUTPUT`; `PROMPT` alone is against 1.

    Raises:
        ValueError: They are no two numbers, or weigh nothing.
    """
    prompt, _, output = text.partition(":")
    try:
        weights = float(prompt), float(output or 1)
    except ValueError:
        weights = math.nan, math.nan
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
        raise ValueError("write what a prompt and an output token weigh, such as 0.05:1")
    return weights


def _weights(value: object) -> object:
    if value is None:
        return None
    token_weights(str(value))
    return str(value)


def _command(value: object) -> object:
    if isinstance(value, str):
        try:
            shlex.split(value)
        except ValueError as error:
            raise ValueError(f"{error}: write a command as a shell takes it") from None
    return value


Command = Annotated[str, BeforeValidator(_command)]
Share = Annotated[float, Field(gt=0, lt=1), BeforeValidator(_share)]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
PositiveInt = Annotated[int, Field(gt=0)]
Quantization = Literal["none", "int8", "int4", "fp8"]
Protocol = Annotated[str, BeforeValidator(_protocol)]


class EngineSpec(Record):
    """How the model is executed."""

    name: Literal["transformers", "openai"] = "transformers"
    attention: str = "default"
    compile: bool = False
    n_threads: PositiveInt | None = None


def _engine(value: object) -> object:
    """`openai` and {name: openai} are the same."""
    return {"name": value} if isinstance(value, str) else value


def _numbers(value: object) -> object:
    """`1,8,32`, 8 and [1, 8, 32] are the same."""
    return (value,) if isinstance(value, int | float) and not isinstance(value, bool) else _listed(value)


class Variant(Record):
    """What one of several variants of a model changes of the run; None: as the run has it."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = None
    quantization: Quantization | None = None
    attention: str | None = None
    compile: bool | None = None
    model: str | None = Field(default=None, description="another checkpoint: distilled, pruned, a mixture of experts")
    engine: Literal["transformers", "openai"] | None = None
    base_url: str | None = None
    serve: Command | None = None
    tokenizer: str | None = None
    weights_dir: str | None = None
    power_limit_w: Annotated[float, Field(gt=0)] | None = None
    batch_size: PositiveInt | None = None
    concurrency: PositiveInt | None = None


def _variants(value: object) -> object:
    """`["bf16:dtype=bfloat16", ...]` and `{bf16: {dtype: bfloat16}, ...}` are the same."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        return {name: {} if fields is None else fields for name, fields in value.items()} if _is_map(value) else value
    variants: dict[str, dict[str, str]] = {}
    for text in value:
        name, _, rest = str(text).partition(":")
        if name in variants:
            raise ValueError(f"two variants are called {name}")
        variants[name] = {}
        # A command or an address may hold commas; a comma before `key=` parts two keys.
        for part in filter(None, re.split(r",(?=[A-Za-z_-]+=)", rest)):
            key, equals, each = part.partition("=")
            if not equals:
                raise ValueError("write NAME:key=value,key=value")
            variants[name][key.strip().replace("-", "_")] = each
    return variants


def _is_map(value: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(value, Mapping)


Variants = Annotated[dict[str, Variant], BeforeValidator(_variants)]
Concurrencies = Annotated[tuple[PositiveInt, ...], BeforeValidator(_numbers)]
Rates = Annotated[tuple[Annotated[float, Field(gt=0)], ...], BeforeValidator(_numbers)]


class RepeatOf(Record):
    """The run whose plan is measured again."""

    run_id: str
    bundle_sha256: str | None = Field(default=None, description="of its bundle.json; None: it was no bundle")


class RunSpec(Record):
    """Everything that `harness run` can be told. None: decided by the model or the machine."""

    model: Names = (EMBEDDED_MODEL,)
    task: str | None = Field(default=None, description="None: text generation, with and without thinking")
    task_options: dict[str, int | float | str] = Field(default={}, description="of the task; `harness tasks NAME`")
    models: str | None = None
    mode: Names | None = None
    reasoning: str | None = Field(default=None, description="mechanism of the catalogue, for a model that is not in it")
    prompts: str | None = None
    num_prompts: PositiveInt | None = None
    max_new_tokens: PositiveInt | None = None
    protocol: Protocol = PAIRED
    until_ci: Share | None = Field(default=None, description="relative half-width at which the run stops")
    two_phase: bool = False
    batch_size: PositiveInt | None = Field(
        default=None, description="of static batches, or of the batched generation of a two-phase run"
    )
    concurrency: Concurrencies = Field(default=(), description="queries in flight at a server; each makes a cell")
    request_rate: Rates = Field(default=(), description="queries a second that arrive at a server; each makes a cell")
    base_url: str | None = Field(default=None, description="of an OpenAI-compatible server on this node")
    serve: Command | None = Field(default=None, description="command that starts the server")
    serve_timeout_s: Annotated[float, Field(gt=0)] = 900.0
    request_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    max_failures: Share = Field(default=0.1, description="share of failed queries at which a load is stopped")
    prompt_cache: Literal["off", "on"] = "off"
    tokenizer: str | None = Field(default=None, description="of the served model: a directory or Hub id")
    weights_dir: str | None = Field(default=None, description="where the served model's weights lie on this machine")
    weights: Annotated[str | None, BeforeValidator(_weights)] = Field(
        default=None, description="PROMPT:OUTPUT, what a token of each weighs when shared"
    )
    lengths: str = Field(default="natural", description="natural, or replay:RUN: recorded output lengths are forced")
    scorer: str | None = Field(default=None, description="a scorer's name, or FILE.py:FUNCTION, for every prompt")
    repeats: PositiveInt = 1
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    quantization: Quantization = "none"
    power_limit_w: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="set on the metered boards for the run, and set back afterwards"
    )
    variants: Variants = Field(default={}, description="each makes a cell: what it changes, by its name")
    variant_cells: dict[str, tuple[str, ...]] = Field(
        default={}, description="ids of the cells of each variant; set by the run"
    )
    accept_precision: bool = False
    device: str = "auto"
    trust_remote_code: bool = False
    meter_gpus: str = "auto"
    external_meter: str | None = Field(default=None, description="log of a wall meter or BMC, read when the run ends")
    cross_check: Literal["codecarbon"] | None = None
    store_text: Literal["full", "hash", "none"] = "full"
    tariff: Annotated[float, Field(gt=0)] | None = Field(default=None, description="price of a kWh")
    output_dir: str = "results"
    working_dir: str | None = Field(default=None, description="where relative paths of the run begin; set by the run")
    repeat_of: RepeatOf | None = Field(default=None, description="whose plan this is; set by the run")
    idle_duration_s: Annotated[float, Field(gt=0)] = 3.0
    warm_up_queries: PositiveInt = 2
    engine: Annotated[EngineSpec, BeforeValidator(_engine)] = EngineSpec()

    @property
    def other_task(self) -> str | None:
        """A task that is not a language model's continuing of text; None: it is that."""
        return None if self.task in TEXT_TASKS else self.task

    @property
    def is_served(self) -> bool:
        """Whether a server answers, and not a model in this process."""
        return self.engine.name == "openai"

    @property
    def served_by(self) -> tuple[str, ...]:
        """The command that starts the server, in its parts; empty: it runs already, or there is none."""
        return tuple(shlex.split(self.serve or ""))

    @property
    def preset(self) -> Preset:
        """What the protocol fixes."""
        return preset(self.protocol)

    @model_validator(mode="after")
    def _can_be_meant(self) -> Self:
        """Refuse what contradicts itself.

        Raises:
            UsageError: Two keys that exclude each other, or one that would turn a published protocol into another.
        """
        for name in ("model", "mode"):
            if getattr(self, name) == ():
                raise UsageError(f"--{name} names nothing.", "Leave it out, or write --mode off,on.")
        self._check_task()
        if self.variants:
            self._check_variants()
        else:  # otherwise asked of each variant
            self._check_load()
        if self.two_phase and self.until_ci is not None:
            raise UsageError(
                "--two-phase counts the tokens of every prompt, so it cannot stop before the last (--until-ci).",
                "Leave one of them out.",
            )
        if self.preset.is_published:
            for flag in self._departures(self.preset):
                raise UsageError(
                    f"{flag}: that would not be {self.protocol} any more, which fixes it.",
                    f"Leave it out, or use --protocol {PAIRED}. `harness protocols {self.protocol}` has the rest.",
                )
        return self

    def _check_task(self) -> None:
        """Refuse what only a language model that continues text has.

        Raises:
            UsageError: A flag that means nothing for the task.
        """
        if self.other_task is None:
            if self.task_options:
                raise UsageError("task_options are of a task.", "Name it (--task), or leave them out.")
            if self.task == "text-generation" and len(self.mode or ()) > 1:
                raise UsageError(
                    "--task text-generation is one mode, and --mode names several.",
                    "Compare modes with --task reasoning.",
                )
            return
        means_nothing = {
            "--mode": self.mode is not None,
            "--reasoning": self.reasoning is not None,
            "--engine openai": self.is_served,
            "--serve": self.serve is not None,
            "--base-url": self.base_url is not None,
            "--concurrency": bool(self.concurrency),
            "--request-rate": bool(self.request_rate),
            "--batch-size": self.batch_size is not None,
            "--two-phase": self.two_phase,
            "--lengths": self.lengths != "natural",
            "--quantization": self.quantization != "none",
            "--set engine.compile=true": self.engine.compile,
            f"--protocol {self.protocol}": self.protocol != PAIRED,
        }
        variants = self.variants.values()
        means_nothing["--variant with quantization"] = any(each.quantization not in (None, "none") for each in variants)
        means_nothing["--variant with compile"] = any(each.compile for each in variants)
        means_nothing["--variant with a server or a load"] = any(
            each.engine == "openai" or each.serve or each.base_url or each.batch_size or each.concurrency
            for each in variants
        )
        for flag in [flag for flag, is_given in means_nothing.items() if is_given]:
            raise UsageError(f"{flag} is of text generation, and the task is {self.task}.", "Leave it out.")

    def _check_variants(self) -> None:
        """Refuse variants that could not be told apart, or compared.

        Raises:
            UsageError: One variant, a name that is none, or several models, loads or phases.
        """
        if len(self.variants) < 2:
            raise UsageError("One variant is compared with nothing.", "Name another --variant, or leave it out.")
        for name in self.variants:
            if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,23}", name) is None:
                raise UsageError(
                    f"{name!r} does not name a variant.", "Use up to 24 letters, digits, dots, dashes: bf16."
                )
        if len(self.model) > 1:
            raise UsageError(
                "Variants are of one model, and --model names several.",
                "Write them as variants: --variant small:model=NAME.",
            )
        if len(self.concurrency) > 1 or len(self.request_rate) > 1:
            raise UsageError(
                "Variants are compared at one load, and several are asked for.",
                "Run once per load, or write the loads as variants: --variant c8:concurrency=8.",
            )
        if self.two_phase:
            raise UsageError(
                "--two-phase measures queries that were chosen for their lengths: variants cannot be compared by them.",
                "Leave it out.",
            )

    def _check_load(self) -> None:
        """Refuse loads and servers that cannot be meant.

        Raises:
            UsageError: Keys that exclude each other, or need one that is missing.
        """
        loads = {"--concurrency": bool(self.concurrency), "--request-rate": bool(self.request_rate)}
        given = [flag for flag, is_given in loads.items() if is_given]
        if not self.is_served:
            for flag, value in (("--base-url", self.base_url), ("--serve", self.serve)):
                if value is not None:
                    raise UsageError(f"{flag} is of a server.", "Add --engine openai, or leave it out.")
            if given:
                raise UsageError(
                    f"{given[0]} is a load on a server; in this process queries run one by one, or in static batches.",
                    "Add --engine openai, or use --batch-size.",
                )
        else:
            if self.base_url is None and self.serve is None:
                raise UsageError(
                    "--engine openai needs a server: one that runs (--base-url), or what starts it (--serve).",
                    "--base-url http://127.0.0.1:8000/v1, or --serve 'vllm serve MODEL --port 8000'.",
                )
            if "model" not in self.model_fields_set:
                raise UsageError(
                    "Which of its models is the server to be asked for?",
                    "--model NAME, by the name that it serves it by; its /v1/models lists them.",
                )
            if len(given) == 2:
                raise UsageError("--concurrency and --request-rate are two loads.", "Leave one of them out.")
            if self.batch_size is not None:
                raise UsageError("A server makes its own batches.", "Use --concurrency instead of --batch-size.")
        if self.until_ci is not None and (self.is_served or self._is_batched):
            raise UsageError(
                "--until-ci looks between queries that run alone, and here they run together.",
                "Leave it out, and ask a number of prompts (--num-prompts).",
            )
        if self.two_phase and self.is_served:
            raise UsageError("--two-phase counts tokens in this process.", "Leave it out.")

    @property
    def _is_batched(self) -> bool:
        return self.batch_size is not None and not self.two_phase

    def _departures(self, published: Preset) -> list[str]:
        """Flags that a published protocol leaves no room for."""
        modes = published.modes
        given = {
            "--max-new-tokens": self.max_new_tokens is not None,
            "--mode": self.mode is not None and modes is not None and not set(self.mode) <= set(modes),
            "--dtype": published.dtype != "auto" and self.dtype not in ("auto", published.dtype),
            "--until-ci": self.until_ci is not None,
            "--two-phase": self.two_phase,
            "--batch-size": self.batch_size is not None,
            "--lengths": self.lengths != "natural",
        }
        return [flag for flag, departs in given.items() if departs]


FIXED = (
    *(
        "model",
        "task",
        "task_options",
        "mode",
        "reasoning",
        "prompts",
        "max_new_tokens",
        "protocol",
        "scorer",
        "seed",
        "repeats",
    ),
    *("until_ci", "two_phase", "batch_size", "concurrency", "request_rate", "serve", "prompt_cache", "lengths"),
    *("weights", "tokenizer"),
    *("dtype", "quantization", "trust_remote_code", "engine", "variants", "power_limit_w"),
)
"""What a cell is made of; a resume cannot change it."""


class ModelEntry(Record):
    """One model of the catalogue, or one made up for an id, directory or file that is not in it."""

    name: str
    source: str
    revision: str = "main"
    parameters: int | None = None
    active_parameters: int | None = None
    aies_class: Literal["A", "B", "C"] | None = None
    dtype: str | None = None
    quantization: str | None = None
    license: str | None = None
    gated: bool | None = None
    prompts: str | None = None
    reasoning: str | None = None
    pair: str | None = None
    trust_remote_code: bool = False
    note: str | None = None

    @property
    def weight_bytes(self) -> float | None:
        """What the weights take up, in bytes, as the catalogue describes them; None: not known."""
        if self.parameters is None:
            return None
        bits = {"mxfp4": 4.25, "fp8": 8, "int8": 8, "int4": 4.5}.get(self.quantization or "")
        return self.parameters * (bits or {"float32": 32}.get(self.dtype or "", 16)) / 8


class Proof(Record):
    """Where a switch was seen to work in an output."""

    date: Annotated[str, BeforeValidator(str)]
    transformers: Annotated[str, BeforeValidator(str)]


class Mechanism(ReasoningSpec):
    """A reasoning mechanism of the catalogue, with what is known of it."""

    proven: Proof | None = None
    note: str | None = None

    def spec(self) -> ReasoningSpec:
        """What the stages need of it."""
        return ReasoningSpec(**{name: getattr(self, name) for name in ReasoningSpec.model_fields})


class Catalogue(Record):
    """models.yaml."""

    reasoning: dict[str, Mechanism]
    models: tuple[ModelEntry, ...]

    def entry(self, model: str) -> ModelEntry:
        """The entry for a name, a Hub id, a directory or a GGUF file, `@REVISION` allowed behind the first two.

        Raises:
            UnknownName: Not in the catalogue, and neither a Hub id nor a path that exists.
            UsageError: A path that does not exist.
        """
        if not model.strip():
            raise UsageError("The model's name is empty.", "`harness models` lists those known.")
        name, _, revision = model.partition("@")
        pinned = {"revision": revision} if revision else {}
        for entry in self.models:
            if name in (entry.name, entry.source):
                return entry.model_copy(update=pinned)
        path = Path(model).expanduser()
        if path.is_dir() or path.is_file():
            return ModelEntry(name=path.stem if path.is_file() else path.resolve().name, source=str(path.resolve()))
        if model.endswith(".gguf") or model.startswith((".", "/", "~")):
            raise UsageError(f"There is no file or directory {model!r}.", "Check the path.")
        if name.count("/") == 1 and all(name.split("/")):
            return ModelEntry(name=name, source=name, **pinned)
        names = [entry.name for entry in self.models]
        raise UnknownName(
            "model", model, names, " `harness models` lists them; a Hub id, a directory or a FILE.gguf works too."
        )

    def mechanism(self, entry: ModelEntry, name: str | None = None) -> ReasoningSpec | None:
        """How the entry's model is asked to think; None: it is not.

        Args:
            entry: The model.
            name: A mechanism to use instead of the entry's.

        Raises:
            UnknownName: No such mechanism.
        """
        name = name or entry.reasoning
        if name is not None and name not in self.reasoning:
            raise UnknownName("reasoning mechanism", name, self.reasoning)
        return self.reasoning[name].spec() if name else None


def load_catalogue(path: str | None = None) -> Catalogue:
    """The catalogue that ships, or a user's own.

    Raises:
        UsageError: The file is missing or does not validate.
        UnknownName: A mechanism or the other half of a pair that is not in it.
    """
    file = Path(path) if path else CATALOGUE
    catalogue = validated(Catalogue, load_yaml(file), str(file))
    names = {name for entry in catalogue.models for name in (entry.name, entry.source)}
    for entry in catalogue.models:
        if entry.reasoning and entry.reasoning not in catalogue.reasoning:
            raise UnknownName(f"reasoning mechanism of {entry.name}", entry.reasoning, catalogue.reasoning)
        if entry.pair is not None and entry.pair not in names:
            raise UnknownName(f"pair of {entry.name}", entry.pair, names, " It must be listed in the same file.")
    return catalogue


def load_run_spec(file: str | None, flags: Mapping[str, Any], overrides: tuple[str, ...] = ()) -> RunSpec:
    """A run file, then the flags over it, then `--set a.b=c` over both.

    Args:
        file: A YAML file with the keys of `RunSpec`, or None.
        flags: Only those that were given.
        overrides: `key=value`, the key dotted, the value YAML.

    Raises:
        UnknownName: A key that does not exist.
        UsageError: A value that does not validate, or no such file.
    """
    fields = {key.replace("-", "_"): value for key, value in load_yaml(Path(file)).items()} if file else {}
    fields.update(flags)
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise UsageError(f"--set {override!r} has no `=`.", "Write --set engine.attention=sdpa")
        *parents, last = key.replace("-", "_").split(".")
        place = fields
        if isinstance(fields.get("engine"), str):
            fields["engine"] = _engine(fields["engine"])
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise UsageError(f"--set {override!r}: {parent!r} has no parts.", "See `harness run --help`.")
        place[last] = yaml.load(value, Loader=_Loader)  # noqa: S506 - _Loader is a SafeLoader
    return validated(RunSpec, fields, file or "the command line")


def variant_cells(file: Path) -> dict[str, tuple[str, ...]]:
    """The cells of each variant of a run, by its run file, in the order in which the variants were named.

    The rest of the file is not looked at: what was measured can be read whatever else a version knows of.

    Raises:
        UsageError: The file cannot be read.
    """
    found = load_yaml(file).get("variant_cells")
    return {str(name): tuple(ids) for name, ids in found.items()} if isinstance(found, dict) else {}


def validated(kind: type[RecordType], fields: object, where: str) -> RecordType:
    """A record from untrusted fields, with errors in the user's words.

    Raises:
        UnknownName: A key that does not exist.
        UsageError: A value that does not validate.
    """
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            place: Any = kind
            for part in first["loc"][:-1]:
                known = place.model_fields.get(part) if isinstance(part, str) else None
                annotation = None if known is None else known.annotation
                for each in (annotation, *get_args(annotation)):  # of a tuple of records, the record
                    place = each if isinstance(each, type) and issubclass(each, Record) else place
            raise UnknownName("key", str(first["loc"][-1]), place.model_fields, f" In {where}.") from error
        raise UsageError(
            f"{key or where}: {first['msg'].removeprefix('Value error, ').lower()}, not {first.get('input')!r}.",
            f"Correct it in {where}.",
        ) from error


class _Loader(yaml.SafeLoader):
    """YAML 1.2's booleans: true and false only, so that `off` and `on` are names of modes, as people write them.

    A key that stands twice is refused, as YAML 1.2 has it: the first would be gone without a word.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping, each key once; what `<<` merges in may be overridden."""
        known: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in known:
                    raise yaml.constructor.ConstructorError(
                        problem=f"the key {key.value!r} stands twice in one mapping", problem_mark=key.start_mark
                    )
                known.add(key.value)
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(true|false)$"), list("tf"))


def load_yaml(path: Path, example: str = "model: qwen3-8b") -> dict[str, Any]:
    """A YAML file whose top level is a mapping.

    Args:
        path: The file.
        example: Of a key and its value, for whoever wrote something else.

    Raises:
        UsageError: Missing, not YAML, or not a mapping.
    """
    try:
        fields = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    except (yaml.YAMLError, ValueError) as error:  # a ValueError: bytes that are no text, or a date that does not exist
        raise UsageError(f"{path} is not YAML: {error}", "Correct it.") from error
    if not isinstance(fields, dict):
        raise UsageError(f"{path} holds no keys.", f"Write keys with values, such as `{example}`.")
    return fields
