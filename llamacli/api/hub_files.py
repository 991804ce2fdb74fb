"""Files of the Hugging Face hub for `Llama.from_pretrained`."""

from __future__ import annotations

import fnmatch
import os
import shutil
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from llamacli.errors import DownloadError, ModelNotFoundError
from llamacli.gguf.split import part_names
from llamacli.store.files import paths
from llamacli.store.files.progress import ignore_progress
from llamacli.store.models import hub

_SNAPSHOTS = "snapshots"


def find_hub_file(
    repo_id: str,
    filename: str | None,
    additional_files: Sequence[str],
    *,
    local_dir: str | PathLike[str] | None,
    cache_dir: str | PathLike[str] | None,
) -> Path:
    """Return the file of a repository of the Hugging Face hub, downloaded if necessary (see `Llama.from_pretrained`)."""
    cache = Path(cache_dir) if cache_dir is not None else None

    def fetched(pattern: str | None) -> Path:
        name = f"hf:{repo_id}" if pattern is None else f"hf:{repo_id}:{_matching(repo_id, pattern, cache)}"
        path = hub.fetch(hub.parse(name), offline=paths.offline_requested(), on_progress=ignore_progress, cache=cache)
        return path if local_dir is None else _placed(path, Path(local_dir))

    path, *_ = [fetched(name) for name in (filename, *additional_files)]
    return path


def _matching(repo_id: str, pattern: str, cache: Path | None) -> str:
    """Return the one file that a pattern matches; a name is one.

    Raises:
        ModelNotFoundError: if none or several match.
    """
    if not any(mark in pattern for mark in "*?["):
        return pattern
    names = hub.file_names(hub.parse(f"hf:{repo_id}"), cache)
    found = [name for name in names if fnmatch.fnmatch(name, pattern)]
    if len(found) != 1:
        problem = "no file matches" if not found else f"{len(found)} files match"
        known = ", ".join((found or names)[:8])
        raise ModelNotFoundError(f"{repo_id}: {problem} {pattern}", hint=f"there are {known}" if known else None)
    return found[0]


def _placed(path: Path, folder: Path) -> Path:
    """Return a cached file in a folder, under its name in the repository and with its other parts.

    It is a hard link, which takes no space, or a copy where the file system has none.
    """
    snapshot = next(parent for parent in path.parents if parent.parent.name == _SNAPSHOTS)
    first = folder / path.relative_to(snapshot)
    for name in part_names(path.name):
        source, target = path.with_name(name).resolve(), first.with_name(name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if not (target.exists() and target.samefile(source)):
                _put(source, target)
        except OSError as error:
            raise DownloadError(f"cannot write {target}: {error.strerror or error}") from error
    return first


def _put(source: Path, target: Path) -> None:
    """Link or copy a file under a temporary name, then give it its own."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        try:
            temporary.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, temporary)
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
