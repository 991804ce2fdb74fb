"""Search on the hub, and what changed there since a download."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode

from llamacli.errors import DownloadError, ModelError, ModelNotFoundError, UsageError
from llamacli.store.models import hub
from llamacli.store.models.hub_cache import Repository, repositories
from llamacli.store.models.quantization import Candidate, candidates, choose, models_among

_AT_ONCE = 8

State = Literal["current", "changed", "removed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModel:
    """A repository with GGUF files. `quantization` and `size` are those of the file that `pull` would choose.

    `updated` is a date as the hub writes it; `licence` None if it states none.
    """

    repository: str
    quantization: str | None
    size: int | None
    fits: bool
    quantizations: tuple[str, ...]
    downloads: int
    licence: str | None
    updated: str

    @property
    def reference(self) -> str:
        """The reference that `pull` takes."""
        return f"hf:{self.repository}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A downloaded file and what the hub has in its place. Hashes are in hexadecimal, `new` None if the file is gone."""

    reference: str
    state: State
    old: str
    new: str | None


def search(words: str, *, limit: int, memory: int) -> list[FoundModel]:
    """Repositories with GGUF files whose names have the words, the last updated first. `memory` is in bytes.

    Raises:
        DownloadError: if the hub cannot be reached or refuses.
    """
    query = urlencode({"search": words, "filter": "gguf", "sort": "lastModified", "direction": -1, "limit": limit})
    documents = [one for one in _ask(f"/api/models?{query}") if isinstance(one, dict)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda document: _found(document, memory), documents)
        return [one for one in found if one is not None]


def changes() -> Iterator[Upstream]:
    """Compare each model in the cache of the hub with what its branch has now, by hash.

    Raises:
        DownloadError: if the hub cannot be reached or refuses.
    """
    for repository in repositories():
        commit = repository.commit("main")
        if commit is None:
            continue
        local = [part for one in models_among(candidates(repository.files(commit))) for part in one.parts]
        if local:
            yield from _compared(repository, commit, [part.path for part in local])


def _compared(repository: Repository, commit: str, files: list[str]) -> Iterator[Upstream]:
    try:
        upstream = {file.path: file.sha256 or file.git_sha1 for file in hub.list_files(hub.HubReference(repository.name))[1]}
    except ModelNotFoundError:
        upstream = {}  # the repository is gone
    for path in files:
        pointer = repository.path(commit, path)
        if not pointer.is_symlink():
            continue  # a file system without links: the cache has no hash
        old, new = pointer.readlink().name, upstream.get(path)
        state: State = "removed" if new is None else "current" if new == old else "changed"
        yield Upstream(reference=f"hf:{repository.name}:{path}", state=state, old=old, new=new)


def _found(document: dict[str, Any], memory: int) -> FoundModel | None:
    """A repository of the hub's list, whose files a second request lists; None if it has no model that can be used."""
    name = document.get("id")
    try:
        reference = hub.parse(f"hf:{name}")
        models = models_among(candidates(hub.list_files(reference)[1]))
        chosen = _chosen(models, memory, reference)
    except (ModelError, UsageError):
        return None
    tags = [tag for tag in document.get("tags") or () if isinstance(tag, str)]
    downloads, updated = document.get("downloads"), document.get("lastModified") or document.get("createdAt")
    return FoundModel(
        repository=reference.repository,
        quantization=chosen.quantization,
        size=chosen.size,
        fits=chosen.size is not None and chosen.size <= memory,
        quantizations=tuple(sorted({one.quantization for one in models if one.quantization})),
        downloads=downloads if isinstance(downloads, int) else 0,
        licence=next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), None),
        updated=updated[:10] if isinstance(updated, str) else "",
    )


def _chosen(models: list[Candidate], memory: int, reference: hub.HubReference) -> Candidate:
    try:
        return choose(models, None, memory=memory, where=reference.repository)
    except UsageError:  # several files of the preferred quantization
        return models[0]


def _ask(path: str) -> list[Any]:
    from llamacli.store.models.download import StatusError

    try:
        document = hub.ask(path)
    except StatusError as error:
        raise DownloadError(f"the hub responded {error.status} to a search", hint="try again later") from error
    if not isinstance(document, list):
        raise hub.not_the_hub()
    return document
