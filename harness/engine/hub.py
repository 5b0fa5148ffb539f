"""The Hub's client and its errors, translated into ours.

Knows huggingface_hub's exceptions, wherever in a chain of causes they stand: transformers wraps them in plain
`OSError`s. Must not know torch or transformers. The client is imported on first use.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from harness.errors import EnvironmentFault, HarnessError, ModelUnavailable, UsageError

INSTALL_COMMAND = "pip install 'inference-energy-harness[transformers]'"


def huggingface_hub() -> Any:  # the client has types, and the base install has no client
    """The Hub's client.

    Raises:
        EnvironmentFault: It is not installed.
    """
    try:
        module = importlib.import_module("huggingface_hub")
        importlib.import_module("huggingface_hub.errors")
    except ImportError as error:
        raise EnvironmentFault("The package huggingface_hub is missing.", f"`{INSTALL_COMMAND}`") from error
    return module


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and everything that it was raised from, outermost first."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def is_answer(error: BaseException) -> bool:
    """Whether the Hub was reached and said no, as opposed to not being reached at all."""
    answer: type[BaseException] = huggingface_hub().errors.HfHubHTTPError
    status = next((_status(cause) for cause in causes(error) if isinstance(cause, answer)), None)
    return status is not None and status < 500


def hub_fault(error: BaseException, name: str, revision: str) -> HarnessError | None:
    """What the Hub, or its absence, means for this model; None: the error is not about the Hub.

    Args:
        error: What was caught; its chain of causes is looked through, most telling class first.
        name: Hub name of the model.
        revision: Branch, tag or commit that was asked for.
    """
    kinds = huggingface_hub().errors
    chain = list(causes(error))

    def among(*classes: type[BaseException]) -> BaseException | None:
        return next((cause for cause in chain if isinstance(cause, classes)), None)

    answer = among(kinds.HfHubHTTPError)
    status = _status(answer)
    if among(kinds.GatedRepoError) or (status in (401, 403) and not among(kinds.RepositoryNotFoundError)):
        return ModelUnavailable(
            f"{name} is gated: its licence must be accepted first, with the account whose token is used here.",
            f"Accept it at https://huggingface.co/{name}, then `hf auth login` (or set HF_TOKEN).",
        )
    if among(kinds.RepositoryNotFoundError):
        return ModelUnavailable(
            f"The Hub has no model {name}, or it is private and not visible with this token.",
            "Check the name at https://huggingface.co/models; for a private model, `hf auth login` "
            "(or set HF_TOKEN). `harness models` lists the known ones.",
        )
    if among(kinds.RevisionNotFoundError):
        return UsageError(f"{name} has no revision {revision!r}.", f"See https://huggingface.co/{name}/commits/main.")
    if among(kinds.HFValidationError):
        return UsageError(f"{name!r} is not a possible name on the Hub.", "A Hub name looks like Qwen/Qwen3-0.6B.")
    if answer is not None:
        return ModelUnavailable(
            f"The Hub answered with status {status} when asked for {name}.",
            "Look at https://status.huggingface.co and try again.",
        )
    offline = among(kinds.OfflineModeIsEnabled, kinds.LocalEntryNotFoundError, kinds.HTTPError, ConnectionError)
    if offline or "couldn't connect to" in str(error):
        return unreachable(name, revision)
    return None


def unreachable(name: str, revision: str) -> ModelUnavailable:
    """No network, or offline mode, and the model is not in the local cache."""
    at = "" if revision == "main" else f" --revision {revision}"
    return ModelUnavailable(
        f"{name} is not in the local cache, and the Hub cannot be reached from here.",
        f"On a machine with network: `hf download {name}{at}`, then bring its cache here (HF_HOME), "
        "or give the model's directory instead of its name. If HF_HUB_OFFLINE is set, unset it.",
    )


def _status(error: BaseException | None) -> int | None:
    """The HTTP status of the Hub's answer."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None
