"""What happens before a `Llama` loads its model: the file is found, and logging is set."""

from __future__ import annotations

import logging
from os import PathLike, fspath
from pathlib import Path

from llamacli.errors import UsageError

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
