"""Models of the Hugging Face hub, downloaded into the cache that other programs share.

The hub's HTTP API is called directly: huggingface_hub does not resume a download after its process has ended, and does not
verify the hash of a file downloaded over plain HTTP. Files already in the cache are used without contacting the hub.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from llamacli.errors import DownloadError, InvalidJSONError, ModelNotFoundError, UsageError
from llamacli.json_text import parse_json
from llamacli.store.files import paths
from llamacli.store.files.atomic import exclusive, publish
from llamacli.store.files.progress import OnProgress
from llamacli.store.models.hub_cache import Repository
from llamacli.store.models.quantization import (
    Candidate,
    RemoteFile,
    candidates,
    choose,
    choose_projector,
    memory_of_this_machine,
)

if TYPE_CHECKING:
    from llamacli.store.models.download import StatusError

_REFERENCE = re.compile(
    r"hf:(?P<repo>[^/:@]+/[^/:@]+)(?:@(?P<revision>[^:]+?))?(?:(?P<separator>[:/])(?P<selector>.+))?", re.DOTALL
)
_NAME = re.compile(r"\w[\w.-]*", re.ASCII)
_HEX = re.compile(r"[0-9a-f]+")
_ANSWER_LIMIT = 64 << 20


@dataclass(frozen=True, slots=True)
class HubReference:
    """A parsed `hf:user/repo[@revision][:quant-or-file]`. Its parts are validated: no path leads out of the cache."""

    repository: str
    selector: str | None = None
    revision: str = "main"

    def __str__(self) -> str:
        revision = "" if self.revision == "main" else f"@{self.revision}"
        return f"hf:{self.repository}{revision}" + (f":{self.selector}" if self.selector else "")


def parse(reference: str) -> HubReference:
    """Parse `hf:…`. Raises UsageError if it is malformed."""
    match = _REFERENCE.fullmatch(reference)
    repository = match["repo"] if match else ""
    revision = (match["revision"] if match else None) or "main"
    selector = match["selector"] if match else None
    good = all(_NAME.fullmatch(part) and ".." not in part and "--" not in part for part in repository.split("/"))
    if not good or len(repository) > 96 or not safe_path(revision) or not (selector is None or safe_path(selector)):
        hint = "write hf:user/repo, hf:user/repo:Q4_K_M or hf:user/repo:file.gguf"
        raise UsageError(f"invalid hub reference {reference}", hint=hint)
    return HubReference(repository, selector, revision)


def safe_path(path: str) -> bool:
    """Return whether an untrusted path is relative, printable and stays inside its folder, on every operating system."""
    parts = path.split("/")
    plain = path.isprintable() and not set(path) & set('\\:*?"<>|') and len(path) <= 1024
    return plain and all(part.strip(" .") and part == part.strip() and len(part) <= 255 for part in parts)


def fetch(
    reference: HubReference,
    *,
    offline: bool,
    on_progress: OnProgress,
    refresh: bool = False,
    memory: int | None = None,
    cache: Path | None = None,
    sha256: str | None = None,
    projector: bool = False,
) -> Path:
    """The first file of the model, downloaded unless it is in the cache. `refresh` fetches the newest revision.

    `memory` limits the size in bytes when choosing a quantization; None means this machine's memory. `cache` is the folder of
    another cache than the shared one. With `sha256` a file with another hash is refused. `projector`: the repository's
    projector of pictures or sound instead, of which the reference's selector names the file or the quantization.
    Raises ModelNotFoundError or DownloadError.
    """
    memory = memory_of_this_machine() if memory is None else memory
    repository = Repository(reference.repository, cache)
    if (offline or not refresh) and (path := _cached(reference, repository, memory, projector=projector)):
        return path
    if offline:
        raise DownloadError(
            f"{reference} is not on this machine, and --offline or HF_HUB_OFFLINE forbids downloading it",
            hint=f"run `llamacli models pull {reference}` while online",
        )
    commit, files = list_files(reference)
    chosen = _choose(candidates(files), reference, memory, projector=projector)
    if sha256 is not None and chosen.parts[0].sha256 != sha256:
        raise DownloadError(
            f"{chosen.name} of {reference.repository} is not the file that the catalogue names: its hash has changed",
            hint=f"`llamacli models pull {reference}` takes the new one",
        )
    return _fetch_parts(reference, repository, commit, chosen, on_progress)


def _choose(found: list[Candidate], reference: HubReference, memory: int, *, projector: bool) -> Candidate:
    if projector:
        return choose_projector(found, reference.selector, where=reference.repository)
    return choose(found, reference.selector, memory=memory, where=reference.repository)


def cached(reference: HubReference) -> Path | None:
    """The first file of the model if it is in the cache, else None. The hub is not contacted."""
    return _cached(reference, Repository(reference.repository), memory_of_this_machine())


def locate(reference: HubReference) -> tuple[tuple[str, ...], dict[str, str]]:
    """The URLs of the model's files on the hub, in order, and the headers to request them with. Nothing is downloaded.

    Raises ModelNotFoundError or DownloadError.
    """
    commit, files = list_files(reference)
    chosen = choose(candidates(files), reference.selector, memory=memory_of_this_machine(), where=reference.repository)
    return tuple(_address(reference, commit, part.path) for part in chosen.parts), _authorization()


def file_names(reference: HubReference, cache: Path | None = None) -> list[str]:
    """Return the names of a repository's files: of those in the cache if downloads are forbidden, else as the hub lists them.

    Raises ModelNotFoundError or DownloadError.
    """
    if not paths.offline_requested():
        return [file.path for file in list_files(reference)[1]]
    repository = Repository(reference.repository, cache)
    commit = repository.commit(reference.revision)
    return [file.path for file in repository.files(commit)] if commit is not None else []


def _cached(reference: HubReference, repository: Repository, memory: int, *, projector: bool = False) -> Path | None:
    commit = repository.commit(reference.revision)
    if commit is None:
        return None
    found = candidates(repository.files(commit))
    try:
        chosen = _choose(found, reference, memory, projector=projector)
    except ModelNotFoundError:
        return None
    return repository.path(commit, chosen.name)


def _fetch_parts(
    reference: HubReference, repository: Repository, commit: str, chosen: Candidate, on_progress: OnProgress
) -> Path:
    from llamacli.store.models.download import Source, StatusError, transfer  # deferred: cached models need no network

    for part in chosen.parts:
        digest = part.sha256 or part.git_sha1
        if digest is None:
            raise DownloadError(f"{reference}: the hub lists no hash for {part.path}")
        blob = repository.blob(digest)
        with exclusive(repository.lock_target(digest), on_progress, name=f"{digest}.lock"):
            if not blob.exists() and not _is_complete(repository.path(commit, part.path), part):
                blob.parent.mkdir(parents=True, exist_ok=True)
                source = Source(
                    url=_address(reference, commit, part.path),
                    label=f"downloading {part.path.rpartition('/')[2]}",
                    headers=_authorization(),
                    size=part.size,
                    sha256=part.sha256,
                    git_sha1=part.git_sha1,
                    plain_http=True,
                )
                incomplete = blob.with_name(f"{digest}.incomplete")
                try:
                    transfer(source, incomplete, on_progress)
                except StatusError as error:
                    raise _translate(error, reference) from error
                publish(incomplete, blob)
            if blob.exists():
                repository.link(digest, commit, part.path, reference.revision)
    return repository.path(commit, chosen.name)


def _address(reference: HubReference, commit: str, path: str) -> str:
    return f"{paths.hub_endpoint()}/{reference.repository}/resolve/{commit}/{quote(path)}"


def _is_complete(path: Path, part: RemoteFile) -> bool:
    """Return whether the snapshot holds the file itself, as on file systems without links."""
    return path.is_file() and path.stat().st_size == part.size


def list_files(reference: HubReference) -> tuple[str, list[RemoteFile]]:
    """The commit and the files of the revision. Raises ModelNotFoundError or DownloadError."""
    from llamacli.store.models.download import StatusError

    revision = quote(reference.revision, safe="")
    try:
        document = ask(f"/api/models/{reference.repository}/revision/{revision}?blobs=true")
        commit = document["sha"]
        if not re.fullmatch(r"[0-9a-f]{40}", commit):
            raise ValueError(commit)
        return commit, [file for one in document["siblings"] if (file := _remote_file(one))]
    except StatusError as error:
        raise _translate(error, reference) from error
    except DownloadError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise not_the_hub() from error


def ask(path: str) -> Any:
    """Return a JSON document of the hub's API. Raises DownloadError, StatusError if the hub refuses."""
    from llamacli.store.models.download import open_url

    headers = {"Accept": "application/json"} | _authorization()
    try:
        with open_url(f"{paths.hub_endpoint()}{path}", headers, plain_http=True) as answer:
            return parse_json(answer.read(_ANSWER_LIMIT))
    except (InvalidJSONError, OSError) as error:
        raise not_the_hub() from error


def not_the_hub() -> DownloadError:
    """The error for a response that is not in the hub's form."""
    return DownloadError(
        f"{paths.hub_endpoint()} did not respond like the Hugging Face hub",
        hint="a login page or a proxy may be in the way; check HF_ENDPOINT too",
    )


def _authorization() -> dict[str, str]:
    token = paths.hub_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _remote_file(sibling: dict[str, Any]) -> RemoteFile | None:
    """Parse a file of the hub's listing; None if its name or hash could lead out of the cache."""
    path, size = sibling["rfilename"], sibling.get("size")
    sha256 = (sibling.get("lfs") or {}).get("sha256")
    git_sha1 = sibling.get("blobId")
    if not safe_path(path) or not isinstance(size, int | None) or isinstance(size, bool) or (size or 0) < 0:
        return None
    if sha256 is not None:
        return RemoteFile(path, size, sha256=sha256) if _HEX.fullmatch(sha256) and len(sha256) == 64 else None
    if git_sha1 is not None and not (_HEX.fullmatch(git_sha1) and len(git_sha1) == 40):
        return None
    return RemoteFile(path, size, git_sha1=git_sha1)


def _translate(error: StatusError, reference: HubReference) -> DownloadError | ModelNotFoundError:
    """Translate an HTTP error of the hub."""
    code = error.headers.get("X-Error-Code", "")
    name, page = reference.repository, f"{paths.hub_endpoint()}/{reference.repository}"
    with_token = paths.hub_token() is not None
    if code == "GatedRepo" or (error.status == 403 and code != "RepoNotFound"):
        if with_token:
            return DownloadError(f"{name} is gated, and your token has no access to it", hint=f"request access at {page}")
        return DownloadError(f"{name} is gated", hint=f"accept its terms at {page}, then set HF_TOKEN to your token")
    if code == "RevisionNotFound":
        return ModelNotFoundError(f"{name} has no revision {reference.revision}")
    if code == "EntryNotFound":
        return ModelNotFoundError(f"{name} no longer has that file", hint="try again: the repository has just changed")
    if error.status == 401 and with_token:
        return DownloadError(f"the hub refuses your token, or {name} does not exist", hint="check HF_TOKEN and the name")
    if error.status in (401, 404):
        return ModelNotFoundError(f"repository {name} not found on the hub", hint="if it is private, set HF_TOKEN")
    if error.status == 429:
        return DownloadError("the hub limits the requests from this address", hint="wait some minutes, or set HF_TOKEN")
    return DownloadError(f"the hub responded {error.status} for {name}", hint="try again later")
