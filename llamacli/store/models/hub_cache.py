"""The cache of the Hugging Face hub, in the layout that huggingface_hub, transformers and llama.cpp share.

    models--USER--REPO/
      blobs/SHA256                 the files, named by their hash; SHA256.incomplete during the download
      refs/REVISION                a text file with a commit
      snapshots/COMMIT/PATH        links to ../../blobs/SHA256

See https://huggingface.co/docs/huggingface_hub/guides/manage-cache.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llamacli.errors import UsageError
from llamacli.store.files import paths
from llamacli.store.files.atomic import disk_errors
from llamacli.store.models.quantization import RemoteFile

_COMMIT = re.compile(r"[0-9a-f]{40}")
_FOLDER = re.compile(r"models--(?P<user>[\w.-]+?)--(?P<repo>[\w.-]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository's folder in a cache, which may not exist. `cache` is the folder of all, None the shared one."""

    name: str
    cache: Path | None = None

    @property
    def root(self) -> Path:
        """The folder of the cache."""
        return self.cache if self.cache is not None else paths.hub_cache()

    @property
    def folder(self) -> Path:
        """The folder. `name` has been validated: one slash, no `..`."""
        return self.root / ("models--" + self.name.replace("/", "--"))

    def blob(self, digest: str) -> Path:
        """The path of the file with this hash."""
        return self.folder / "blobs" / digest

    def lock_target(self, digest: str) -> Path:
        """The path to lock while downloading a blob, the one that huggingface_hub locks."""
        return self.root / ".locks" / self.folder.name / digest

    def commit(self, revision: str) -> str | None:
        """The commit of a branch, tag or commit, None if the cache does not contain it."""
        if _COMMIT.fullmatch(revision):
            return revision if (self.folder / "snapshots" / revision).is_dir() else None
        try:
            commit = (self.folder / "refs" / revision).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return commit if _COMMIT.fullmatch(commit) else None

    def files(self, commit: str) -> list[RemoteFile]:
        """The completely downloaded GGUF files of a snapshot. Dangling links are omitted."""
        snapshot = self.folder / "snapshots" / commit
        return [
            RemoteFile(file.relative_to(snapshot).as_posix(), file.stat().st_size)
            for file in sorted(snapshot.rglob("*"))
            if file.suffix.lower() == ".gguf" and file.is_file()
        ]

    def path(self, commit: str, file: str) -> Path:
        """The path of a file of a snapshot. Raises UsageError if the name leads out of the snapshot."""
        snapshot = self.folder / "snapshots" / commit
        path = snapshot / file
        if ".." in path.parts or not path.is_relative_to(snapshot) or not _within(path.parent, self.folder):
            raise UsageError(f"the file name {file} points outside the repository {self.name}")
        return path

    def link(self, digest: str, commit: str, file: str, revision: str) -> Path:
        """Link the finished blob under its name in the snapshot, and record the commit of `revision`."""
        path = self.path(commit, file)
        blob = self.blob(digest)
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            try:
                path.symlink_to(os.path.relpath(blob, path.parent))
            except OSError:  # a file system without links: move the blob itself, as huggingface_hub does
                blob.replace(path)
            if not _COMMIT.fullmatch(revision):
                self._record(revision, commit)
        return path

    def _record(self, revision: str, commit: str) -> None:
        reference = self.folder / "refs" / revision
        reference.parent.mkdir(parents=True, exist_ok=True)
        temporary = reference.with_name(f".{reference.name}.{os.getpid()}")
        temporary.write_text(commit, encoding="ascii")
        temporary.replace(reference)


def repositories() -> Iterator[Repository]:
    """The model repositories in the cache, sorted by name."""
    try:
        folders = sorted(paths.hub_cache().iterdir())
    except OSError:
        return
    for folder in folders:
        match = _FOLDER.fullmatch(folder.name)
        if match and folder.is_dir():
            yield Repository(f"{match['user']}/{match['repo']}")


def _within(path: Path, folder: Path) -> bool:
    """Return whether `path`, with links resolved, is inside `folder`."""
    return path.resolve().is_relative_to(folder.resolve())
