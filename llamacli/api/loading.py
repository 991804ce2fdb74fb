"""What happens before a `Llama` loads its model: the file is found, and logging is set."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path

from llamacli.errors import ModelNotFoundError, UsageError

DEFAULT_CONTEXT = 2048
"""Tokens of context of each call, unless n_ctx says otherwise: the cache is taken at once, for all parallel calls."""


def find_model(reference: str | PathLike[str] | None) -> Path:
    """Return the file of a reference, as `-m` does: a path, a hub's model, an alias of the settings, a catalogue's name.

    Raises:
        ModelNotFoundError, DownloadError: if there is none.
        UsageError: if it is neither a text nor a path.
    """
    try:
        name = fspath(reference)  # type: ignore[arg-type]  # anything else is a TypeError
    except TypeError:
        raise UsageError(f"model_path must be a text or a path, not {reference!r}", parameter="model_path") from None
    if not isinstance(reference, str):
        return Path(name)
    from llamacli.store.files import paths
    from llamacli.store.models import references, resolve

    if references.is_path(name) or Path(name).is_file():
        return resolve.resolve(f"./{name}" if not references.is_path(name) else name)
    from llamacli.store.settings import settings  # only words and addresses pay for it

    return resolve.resolve(name, aliases=settings.load(paths.settings_file(), paths.project_settings_file()).aliases())


def find_hub_file(
    repo_id: str,
    filename: str | None,
    additional_files: Sequence[str],
    *,
    local_dir: str | PathLike[str] | None,
    cache_dir: str | PathLike[str] | None,
) -> Path:
    """Return the file of a repository of the Hugging Face hub, downloaded if necessary (see `Llama.from_pretrained`)."""
    if local_dir is not None or cache_dir is not None:
        raise UsageError("files of the hub are kept in its shared cache", hint="set HF_HOME to keep them elsewhere")
    from llamacli.store.models import hub, resolve

    def file_of(pattern: str) -> Path:
        if not any(mark in pattern for mark in "*?["):
            return resolve.resolve(f"hf:{repo_id}:{pattern}")
        names = hub.file_names(hub.parse(f"hf:{repo_id}"))
        found = [name for name in names if fnmatch.fnmatch(name, pattern)]
        if len(found) != 1:
            problem = "no file matches" if not found else f"{len(found)} files match"
            known = ", ".join((found or names)[:8])
            raise ModelNotFoundError(f"{repo_id}: {problem} {pattern}", hint=f"there are {known}" if known else None)
        return resolve.resolve(f"hf:{repo_id}:{found[0]}")

    path = file_of(filename) if filename is not None else resolve.resolve(f"hf:{repo_id}")
    for name in additional_files:
        file_of(name)
    return path


def context_size(path: Path, wanted: int | None) -> int:
    """Return the context size of each call: the given one, else the default or the trained size, if that is less."""
    if wanted is not None:
        return wanted
    from llamacli.gguf.check.loadable import check_loadable

    header = check_loadable(path)
    trained = header.integer(f"{header.architecture}.context_length")
    return min(DEFAULT_CONTEXT, trained or DEFAULT_CONTEXT)


def set_verbose(verbose: bool) -> None:
    """Log to stderr, or log no more than warnings again."""
    if verbose:
        logging.basicConfig()
    logging.getLogger("llamacli").setLevel(logging.INFO if verbose else logging.WARNING)
