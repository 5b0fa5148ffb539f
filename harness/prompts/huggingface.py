"""The Hub's client: a revision becomes a commit, a commit becomes rows. Nothing else here knows its libraries.

`datasets` is an optional extra. No code of a data set's repository is run.

What was not run: `load_dataset` of a repository id, because this project's machines cannot reach the Hub. What was:
`dataset_info` against a local server that answers as the Hub does (a commit, gated, unknown, no such revision), a
Hub that cannot be reached, the cache that `hf download` fills (laid out by hand), and `load_dataset` on local
directories with the Hub's layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness.errors import EnvironmentFault, HarnessError, ModelUnavailable, UsageError
from harness.prompts.rows import Table

INSTALL = "pip install 'inference-energy-harness[hub]'"
TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A data set at a commit. `directory` is a local copy; None: the rows are fetched."""

    repository: str
    commit: str
    directory: Path | None = None


class Hub(Protocol):
    """What a Hub source needs of the Hub."""

    def resolve(self, repository: str, revision: str) -> Snapshot:
        """The commit behind a branch, a tag or a commit.

        Raises:
            ModelUnavailable: Unknown, gated or not reachable.
            UsageError: No such revision.
        """
        ...

    def read(
        self, snapshot: Snapshot, configuration: str | None, split: str | None, *, whole: bool = False
    ) -> tuple[str, Table]:
        """The split that was read, and its rows.

        Args:
            snapshot: What to read of.
            configuration: None: the data set's own.
            split: None: the only one, or `test`.
            whole: Also columns of images, sounds, lists and structures.

        Raises:
            ModelUnavailable: It cannot be fetched.
            UsageError: No such configuration or split.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HuggingFace:
    """The Hub through `huggingface_hub` and `datasets`. None: the libraries' own cache and address."""

    cache_dir: Path | None = None
    endpoint: str | None = None

    def resolve(self, repository: str, revision: str) -> Snapshot:
        """Ask the Hub; where it cannot be reached, look into the cache that `hf download` fills.

        Raises:
            EnvironmentFault: The `hub` extra is not installed.
            ModelUnavailable: Unknown, gated, or neither reachable nor in the cache.
            UsageError: No such revision.
        """
        _, hub = _libraries()
        try:
            info = hub.HfApi(endpoint=self.endpoint).dataset_info(repository, revision=revision, timeout=TIMEOUT_S)
            return Snapshot(repository=repository, commit=info.sha)
        except hub.errors.HfHubHTTPError as error:  # the Hub answered, and said no
            raise hub_error(error, repository, revision) from error
        except (_transport_error(hub), OSError) as error:
            try:
                found = hub.snapshot_download(
                    repository, repo_type="dataset", revision=revision, local_files_only=True, cache_dir=self.cache_dir
                )
            except (OSError, ValueError):
                raise hub_error(error, repository, revision) from error
            return Snapshot(repository=repository, commit=Path(found).name, directory=Path(found))

    def read(
        self, snapshot: Snapshot, configuration: str | None, split: str | None, *, whole: bool = False
    ) -> tuple[str, Table]:
        """Columns of text, numbers and class labels; of the `whole`, images and sounds as {"bytes", "path"}.

        Nothing is decoded: rows are taken as they are stored, so that neither Pillow nor an audio library is needed.

        Raises:
            EnvironmentFault: The `hub` extra is not installed.
            ModelUnavailable: It cannot be fetched or read.
            UsageError: No such configuration or split.
        """
        datasets, hub = _libraries()
        datasets.disable_progress_bars()  # the run has its own, and none where output is piped
        path, revision = str(snapshot.directory), None
        if snapshot.directory is None:
            path, revision = snapshot.repository, snapshot.commit
        try:
            if split is None:
                names = datasets.get_dataset_split_names(path, configuration, revision=revision)
                split = _only_split(names, snapshot.repository)
            data = datasets.load_dataset(
                path, name=configuration, split=split, revision=revision, cache_dir=_text(self.cache_dir)
            )
        except ValueError as error:  # an unknown configuration or split; the message lists those that exist
            raise UsageError(
                f"Hub data set {snapshot.repository}: {' '.join(str(error).split())}",
                "Name both: `hub:ID@REVISION:COLUMN:SPLIT:CONFIGURATION`.",
            ) from error
        except (_transport_error(hub), OSError, datasets.exceptions.DatasetsError) as error:
            raise hub_error(error, snapshot.repository, snapshot.commit) from error
        features = data.features
        kept = [name for name, feature in features.items() if whole or isinstance(feature, _flat(datasets))]
        rows = data.select_columns(kept).to_list()
        for row in rows:
            row.update({name: _classes_named(row[name], features[name], datasets) for name in kept})
        origin = f"Hub data set {snapshot.repository} ({split})"
        numbered = list(enumerate(rows, start=1))
        columns = tuple(kept)
        return split, Table(origin=origin, unit="row", rows=numbered, columns=columns, folder=snapshot.directory)


def hub_error(error: Exception, repository: str, revision: str) -> HarnessError:
    """A library's error as one of ours, with the way on."""
    _, hub = _libraries()
    page = f"https://huggingface.co/datasets/{repository}"
    name = f"{repository}@{revision}"
    if isinstance(error, hub.errors.GatedRepoError):
        return ModelUnavailable(
            f"The Hub data set {name} is gated.", f"Accept its terms at {page}, then run `hf auth login`."
        )
    if isinstance(error, hub.errors.RepositoryNotFoundError):
        return ModelUnavailable(
            f"The Hub has no data set {repository!r}, or does not show it to you.",
            f"Check the spelling at {page}; if it is private, run `hf auth login`.",
        )
    if isinstance(error, hub.errors.RevisionNotFoundError):
        return UsageError(f"The Hub data set {repository} has no revision {revision!r}.", f"See {page}/tree/main.")
    return ModelUnavailable(
        f"The Hub data set {name} could not be read: {type(error).__name__}: {' '.join(str(error).split())}",
        f"Where there is a network: `hf download --repo-type dataset {repository} --revision {revision}`, then copy "
        f"the Hugging Face cache (HF_HOME) here. Or give a file: `--prompts FILE:COLUMN` or `NAME=FILE`.",
    )


def _libraries() -> tuple[Any, Any]:
    try:
        import datasets
        import huggingface_hub
    except ImportError as error:
        raise EnvironmentFault(f"Prompts from the Hub need the package `{error.name}`.", f"{INSTALL}.") from error
    return datasets, huggingface_hub


def _transport_error(hub: Any) -> type[Exception]:
    """The root of the errors of whichever HTTP library this version of `huggingface_hub` is built on.

    It has been requests, httpx and httpx2; the Hub's own error is always derived from that library's.
    """
    base: type[Exception] = hub.errors.HfHubHTTPError.__bases__[0]
    return base


def _flat(datasets: Any) -> tuple[type, ...]:
    return (datasets.Value, datasets.ClassLabel)


def _classes_named(value: Any, feature: Any, datasets: Any) -> Any:
    """The value with every class as its name, not its position in a list; in lists and structures too."""
    if isinstance(feature, datasets.ClassLabel):
        return None if value is None or value < 0 else feature.int2str(value)  # below zero: the class is kept secret
    if value is None:
        return None
    if isinstance(feature, dict):
        return {name: _classes_named(value[name], each, datasets) for name, each in feature.items()}
    of_items = getattr(feature, "feature", None)
    if isinstance(value, list) and of_items is not None:
        return [_classes_named(item, of_items, datasets) for item in value]
    return value


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _only_split(names: list[str], repository: str) -> str:
    if len(names) == 1:
        return names[0]
    if "test" in names:
        return "test"
    raise UsageError(
        f"The Hub data set {repository} has the splits {', '.join(names)}, and none is called test.",
        "Name one: `hub:ID@REVISION:COLUMN:SPLIT`.",
    )
