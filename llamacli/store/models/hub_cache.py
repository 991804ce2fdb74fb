"""The cache of the Hugging Face hub, in the layout that huggingface_hub, transformers and llama.cpp share.

    models--USER--REPO/
      blobs/SHA256                 the files, named by their hash; SHA256.incomplete while they are fetched
      refs/REVISION                a text file that holds a commit
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
    """A repository's folder in the cache. It need not exist."""

    name: str

    @property
    def folder(self) -> Path:
        """Where it is. `name` has been checked: one slash, no dots that lead elsewhere."""
        return paths.hub_cache() / ("models--" + self.name.replace("/", "--"))

    def blob(self, digest: str) -> Path:
        """Where the file with this hash belongs."""
        return self.folder / "blobs" / digest

    def lock_target(self, digest: str) -> Path:
        """What to lock while fetching a blob: the file that huggingface_hub locks."""
        return paths.hub_cache() / ".locks" / self.folder.name / digest

    def commit(self, revision: str) -> str | None:
        """The commit that a branch, a tag or a commit stands for, as far as the cache knows."""
        if _COMMIT.fullmatch(revision):
            return revision if (self.folder / "snapshots" / revision).is_dir() else None
        try:
            commit = (self.folder / "refs" / revision).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return commit if _COMMIT.fullmatch(commit) else None

    def files(self, commit: str) -> list[RemoteFile]:
        """The GGUF files of a snapshot that are there whole. Links that lead nowhere are left out."""
        snapshot = self.folder / "snapshots" / commit
        return [
            RemoteFile(file.relative_to(snapshot).as_posix(), file.stat().st_size)
            for file in sorted(snapshot.rglob("*"))
            if file.suffix.lower() == ".gguf" and file.is_file()
        ]

    def path(self, commit: str, file: str) -> Path:
        """Where a file of a snapshot is. Raises UsageError if the name leads out of the snapshot."""
        snapshot = self.folder / "snapshots" / commit
        path = snapshot / file
        if ".." in path.parts or not path.is_relative_to(snapshot) or not _within(path.parent, self.folder):
            raise UsageError(f"the file name {file} leads out of the repository {self.name}")
        return path

    def link(self, digest: str, commit: str, file: str, revision: str) -> Path:
        """Show the finished blob under its name in the snapshot, and note what `revision` stands for."""
        path = self.path(commit, file)
        blob = self.blob(digest)
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            try:
                path.symlink_to(os.path.relpath(blob, path.parent))
            except OSError:  # a file system without links: the blob itself moves, as huggingface_hub does it
                blob.replace(path)
            if not _COMMIT.fullmatch(revision):
                self._note(revision, commit)
        return path

    def _note(self, revision: str, commit: str) -> None:
        reference = self.folder / "refs" / revision
        reference.parent.mkdir(parents=True, exist_ok=True)
        temporary = reference.with_name(f".{reference.name}.{os.getpid()}")
        temporary.write_text(commit, encoding="ascii")
        temporary.replace(reference)


def repositories() -> Iterator[Repository]:
    """The repositories of the cache that can hold models, in order of their names."""
    try:
        folders = sorted(paths.hub_cache().iterdir())
    except OSError:
        return
    for folder in folders:
        match = _FOLDER.fullmatch(folder.name)
        if match and folder.is_dir():
            yield Repository(f"{match['user']}/{match['repo']}")


def _within(path: Path, folder: Path) -> bool:
    """Whether `path` lies in `folder` once every link on the way is followed."""
    return path.resolve().is_relative_to(folder.resolve())
