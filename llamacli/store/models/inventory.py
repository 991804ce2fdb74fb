"""The models on this machine: list, locate and remove them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from llamacli.errors import DownloadError, ModelError, ModelNotFoundError, UsageError
from llamacli.store.files.atomic import disk_errors, exclusive
from llamacli.store.files.progress import ignore_progress
from llamacli.store.models import catalogue, hub, hub_catalogue, other_apps, resolve, web
from llamacli.store.models.hub_cache import Repository, repositories
from llamacli.store.models.quantization import Candidate, candidates, choose, models_among, quantization_of
from llamacli.store.models.references import SCHEMES, expand_alias
from llamacli.store.models.split import part_names

Home = Literal["llamacli", "hub", "web", "LM Studio", "ollama"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """A model on this machine. `reference` names it, `home` is the program that keeps it, `size` its total size in bytes.

    `aliases` are its names in the settings.
    """

    reference: str
    path: Path
    home: Home
    size: int
    quantization: str | None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Removed:
    """The removed files and the bytes freed. Files that another revision still needs free nothing."""

    paths: tuple[Path, ...]
    freed: int


def stored(aliases: Mapping[str, str]) -> list[StoredModel]:
    """All complete models on this machine: llamacli's own first, then the hub's, then those of other programs."""
    found = [*_of_the_catalogue(), *_of_the_web(), *_of_the_hub(), *_of_other_apps()]
    names: dict[Path, list[str]] = {}
    for alias in aliases:
        with contextlib.suppress(UsageError, ModelError, OSError):
            path = locate(alias, aliases)
            names.setdefault(path.resolve(), []).append(alias)
    return [_with_aliases(one, names.get(one.path.resolve(), [])) for one in found]


def locate(reference: str | None, aliases: Mapping[str, str]) -> Path:
    """The file of a model on this machine, without downloading. Raises ModelNotFoundError if it is not downloaded."""
    try:
        return resolve.resolve(reference, aliases=aliases, offline=True)
    except DownloadError as error:
        name = reference or catalogue.DEMO.name
        hint = f"`llamacli models pull {name}` downloads it"
        raise ModelNotFoundError(f"{name} is not on this machine", hint=hint) from error


def absolute_reference(reference: str, aliases: Mapping[str, str]) -> str:
    """`reference` with a relative path made absolute. Raises ModelError or UsageError if it cannot be a model."""
    target = expand_alias(reference, aliases)
    if target.startswith("hf:"):
        hub.parse(target)
    elif target.startswith(("https://", "http://")):
        web.locate(target)
    elif not catalogue.is_name(target):
        path = locate(reference, aliases)
        if target == reference and not target.startswith(SCHEMES):
            return str(path.absolute())
    return reference


def remove(reference: str, aliases: Mapping[str, str]) -> Removed:
    """Remove a model that llamacli downloaded. Raises ModelNotFoundError, UsageError for a model that is not llamacli's."""
    target = expand_alias(reference, aliases)
    entry = catalogue.find(target)
    if entry is not None:
        return _unlink([entry.path] if entry.path.exists() else [], reference)
    if named := hub_catalogue.find(target):
        target = named.reference
    if target.startswith(("https://", "http://")):
        hub_reference = web.hub_reference(target)
        if hub_reference is None:
            return _remove_web(target)
        target = hub_reference
    if target.startswith("hf:"):
        return _remove_from_hub(hub.parse(target))
    if target.startswith(("ollama:", "lmstudio:")):
        program = "`ollama rm`" if target.startswith("ollama:") else "LM Studio"
        raise UsageError(f"{reference} belongs to another program", hint=f"remove it with {program}")
    path = resolve.resolve(target, offline=True)
    raise UsageError(f"{path} was not downloaded by llamacli", hint="remove it with rm")


def _of_the_catalogue() -> Iterator[StoredModel]:
    for entry in catalogue.ENTRIES:
        if entry.is_present():
            yield _model(entry.name, entry.path, "llamacli")


def _of_the_web() -> Iterator[StoredModel]:
    for model in web.stored():
        yield _model(model.address, model.path, "web")


def _of_the_hub() -> Iterator[StoredModel]:
    for repository in repositories():
        commit = repository.commit("main")
        chosen = models_among(candidates(repository.files(commit))) if commit else []
        quantizations = [one.quantization for one in chosen]
        for one in chosen:
            unique = one.quantization is not None and quantizations.count(one.quantization) == 1
            selector = one.quantization if unique else one.name
            yield _model(f"hf:{repository.name}:{selector}", repository.path(commit or "", one.name), "hub")


def _of_other_apps() -> Iterator[StoredModel]:
    for one in other_apps.stored():
        yield _model(one.reference, one.path, "ollama" if one.reference.startswith("ollama:") else "LM Studio")


def _model(reference: str, path: Path, home: Home) -> StoredModel:
    parts = [path.with_name(name) for name in part_names(path.name)]
    size = sum(part.stat().st_size for part in parts if part.exists())
    return StoredModel(reference=reference, path=path, home=home, size=size, quantization=quantization_of(path.name))


def _with_aliases(one: StoredModel, aliases: list[str]) -> StoredModel:
    return replace(one, aliases=tuple(aliases))


def _remove_web(address: str) -> Removed:
    path = web.locate(address).path
    parts = [path.with_name(name) for name in part_names(path.name)]
    if not path.parent.is_dir():
        return _unlink([], address)
    with exclusive(path, ignore_progress):
        found = [part for part in parts if part.exists()]
        rest = [*path.parent.glob(".*.incomplete*"), path.with_name(web.ADDRESS_NAME)]
        removed = _unlink(found, address)
        for one in rest:
            one.unlink(missing_ok=True)
    for one in path.parent.glob(".*.lock"):
        one.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # the folder holds files of others
        path.parent.rmdir()
    return removed


def _remove_from_hub(reference: hub.HubReference) -> Removed:
    repository = Repository(reference.repository)
    snapshots = repository.folder / "snapshots"
    commits = sorted(folder.name for folder in snapshots.iterdir()) if snapshots.is_dir() else []
    if reference.revision != "main":
        commits = [commit for commit in [repository.commit(reference.revision)] if commit]
    found: dict[str, Candidate] = {}
    for commit in commits:
        found |= {one.name: one for one in candidates(repository.files(commit))}
    chosen = _chosen(reference, list(found.values()))
    pointers = [
        pointer
        for commit in commits
        for part in chosen.parts
        if (pointer := repository.path(commit, part.path)).is_symlink() or pointer.exists()
    ]
    blobs = {pointer.parent / pointer.readlink() for pointer in pointers if pointer.is_symlink()}
    freed = _unlink([pointer for pointer in pointers if not pointer.is_symlink()], str(reference), empty=True).freed
    for pointer in pointers:
        pointer.unlink(missing_ok=True)
    still = {other.resolve() for other in snapshots.rglob("*") if other.is_symlink()}
    loose = [blob for blob in blobs if blob.parent.resolve() == (repository.folder / "blobs").resolve()]
    freed += _unlink([blob for blob in loose if blob.resolve() not in still], str(reference), empty=True).freed
    return Removed(tuple(pointers), freed)


def _chosen(reference: hub.HubReference, found: list[Candidate]) -> Candidate:
    """The one model to remove: an ambiguous reference is an error."""
    if reference.selector is None and len(found) > 1:
        names = ", ".join(one.quantization or one.name for one in found)
        raise UsageError(f"{reference} has {len(found)} models on this machine", hint=f"name one: {names}")
    if not found:
        raise ModelNotFoundError(f"{reference} is not on this machine", hint="see `llamacli models list`")
    return choose(found, reference.selector or found[0].name, memory=0, where=f"{reference.repository} on this machine")


def _unlink(files: list[Path], reference: str, *, empty: bool = False) -> Removed:
    if not files and not empty:
        raise ModelNotFoundError(f"{reference} is not on this machine", hint="see `llamacli models list`")
    freed = 0
    for file in files:
        with disk_errors(file):
            size = file.lstat().st_size
            file.unlink()
            freed += size
    return Removed(tuple(files), freed)
