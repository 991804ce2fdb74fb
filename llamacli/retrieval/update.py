"""An index brought up to date with the files of a root: what is new or changed is read, split and embedded, the rest stays.

A file is unchanged if its size and time are, or its content is. Of a changed one only those passages are embedded whose text is
new. Files are saved with all their passages or not at all, every few seconds: what an interruption loses is small, and the next
update goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from llamacli.engine.embedding.outcome import Embedded, Outcome
from llamacli.errors import LlamacliError, UsageError
from llamacli.retrieval.folder import FolderScan, FoundFile, file_at
from llamacli.retrieval.passages import split
from llamacli.retrieval.source_file import ReadDocument, SourceFile, read_source
from llamacli.store.vectors.entries import FileState, NewFile, Passage, Root, identity_of
from llamacli.store.vectors.index import VectorIndex

_PASSAGES_AT_ONCE = 4096
_COMMIT_SECONDS = 2.0

Embed = Callable[[Sequence[str]], Iterator[Outcome]]
"""From texts to their outcomes, in order. It is only called when there are texts."""

OnProgress = Callable[[int, int, int], None]
"""Receives the bytes of the files that are done, of all that changed, and the passages that are done."""


@dataclass(slots=True)
class Tally:
    """What an update did. `unread` says why files that may hold text were left out; files that vanish are not among them."""

    new: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    binary: int = 0
    unread: list[str] = field(default_factory=list)
    failed: int = 0
    first_failure: LlamacliError | None = None

    @property
    def has_changes(self) -> bool:
        """True if a file was added, changed or removed."""
        return bool(self.new or self.changed or self.removed)


@dataclass(frozen=True, slots=True)
class Plan:
    """The difference between a root and its files in the index. `known` are the latter, by id.

    `is_named`: the root is a file, not a folder.
    """

    root: Root
    known: dict[str, FileState]
    changed: tuple[FoundFile, ...]
    gone: tuple[str, ...]
    unreadable: tuple[str, ...]
    is_named: bool


@dataclass(slots=True)
class _Job:
    """A file that was read, and the vectors of its passages by text. `missing` are the texts that wait for theirs."""

    found: FoundFile
    source: SourceFile
    passages: tuple[Passage, ...]
    vectors: dict[str, bytes]
    missing: list[str]
    has_failed: bool = False


def make_plan(index: VectorIndex, root: Root) -> Plan:
    """Compare a root with the index.

    Raises:
        UsageError: if it does not exist, or is empty now: a disk that is not mounted is no reason to remove its files.
    """
    known = index.files(root.path)
    if root not in index.roots():  # or split otherwise
        known = {name: replace(state, mtime=0, digest=b"") for name, state in known.items()}
    is_folder = Path(root.path).is_dir()
    forget = f"llamacli embed index rm {index.path} {root.path} forgets it"
    if is_folder:
        scan = FolderScan(root.path, frozenset(f"{index.path.resolve()}{end}" for end in ("", "-journal", "-wal", "-shm")))
        found = list(scan.files())
        unreadable = tuple(scan.unreadable)
        if root.path in unreadable:
            raise UsageError(f"cannot read the folder {root.path}")
    elif (named := file_at(root.path)) is not None:
        found, unreadable = [named], ()
    else:
        raise UsageError(f"{root.path} does not exist", hint=forget)
    if known and not found:
        raise UsageError(f"{root.path} has no files now", hint=forget)
    states = {identity_of(one.path): one for one in found}
    changed = tuple(one for name, one in states.items() if name not in known or not known[name].is_like(one.size, one.mtime))
    hidden = tuple(f"{identity_of(folder)}/" for folder in unreadable)
    gone = tuple(name for name in known if name not in states and not name.startswith(hidden))
    return Plan(root, known, changed, gone, unreadable, is_named=not is_folder)


class Update:
    """One update of an index by a plan. `tally` counts what is done so far."""

    def __init__(self, index: VectorIndex, plan: Plan, read: ReadDocument, embed: Embed, on_progress: OnProgress) -> None:
        self._index = index
        self._plan = plan
        self._read = read
        self._embed = embed
        self._on_progress = on_progress
        self._total = sum(found.size for found in plan.changed)
        self._bytes = self._passages = 0
        self._has_root = False
        self._committed = time.monotonic()
        gone = set(plan.gone)
        self.tally = Tally(unchanged=sum(state.is_text for name, state in plan.known.items() if name not in gone))
        self.tally.unread += [f"cannot read the folder {folder}" for folder in plan.unreadable]

    def run(self) -> None:
        """Read, embed and save. An interruption leaves what is done."""
        try:
            for identity in self._plan.gone:
                self._index.remove_file(identity)
                self.tally.removed += self._plan.known[identity].is_text
            for jobs in self._batches():
                self._embed_jobs(jobs)
            if self._index.count():
                self._put_root()
        finally:
            self._index.commit()

    def _batches(self) -> Iterator[list[_Job]]:
        """Yield files that have new passages, many together."""
        jobs: list[_Job] = []
        size = 0
        for found in self._plan.changed:
            job = self._job(found)
            if job is None:
                self._count_done(found)
            elif job.missing:
                jobs.append(job)
                size += len(job.missing)
            else:
                self._finish(job)
            if size >= _PASSAGES_AT_ONCE:
                yield jobs
                jobs, size = [], 0
        yield jobs

    def _job(self, found: FoundFile) -> _Job | None:
        """Read a file. Return None if its content is as before, or cannot be read: then the index keeps what it has."""
        identity = identity_of(found.path)
        before = self._plan.known.get(identity)
        try:
            source = read_source(found, self._read, is_named=self._plan.is_named)
        except FileNotFoundError:  # it is removed by the next update
            return None
        except OSError as error:
            self.tally.unread.append(f"cannot read {found.path}: {error.strerror or error}")
            return None
        if before is not None and before.digest == source.state.digest and before.digest:
            self._put_file(NewFile(self._plan.root.path, identity, source.state, None))
            return None
        if source.reason:
            self.tally.unread.append(source.reason)
            return None
        if source.document is None:
            self.tally.binary += 1
            return _Job(found, source, (), {}, [])
        passages = split(source.document, self._plan.root.size, self._plan.root.overlap)
        vectors = self._index.passage_vectors(identity) if before is not None else {}
        missing = [text for text in dict.fromkeys(passage.text for passage in passages) if text not in vectors]
        return _Job(found, source, passages, vectors, missing)

    def _embed_jobs(self, jobs: Sequence[_Job]) -> None:
        """Embed the new passages of some files, and save each file that is complete."""
        texts = [(job, text) for job in jobs for text in job.missing]
        if not texts:
            return
        outcomes = self._embed([text for _, text in texts])
        for (job, text), outcome in zip(texts, outcomes, strict=True):
            if isinstance(outcome, Embedded):
                job.vectors[text] = outcome.little_endian
            else:
                job.has_failed = True
                self.tally.failed += 1
                self.tally.first_failure = self.tally.first_failure or outcome.error
            self._passages += 1
            if text is job.missing[-1]:
                self._finish(job)
            self._on_progress(self._bytes, self._total, self._passages)

    def _finish(self, job: _Job) -> None:
        """Save a file. One with passages that have no vector is read again by the next update."""
        identity, state = identity_of(job.found.path), job.source.state
        passages = [(passage, job.vectors[passage.text]) for passage in job.passages if passage.text in job.vectors]
        if job.has_failed:
            state = replace(state, mtime=0, digest=b"")
        self._put_file(NewFile(self._plan.root.path, identity, state, passages))
        before = self._plan.known.get(identity)
        if before is None or not before.is_text:
            self.tally.new += state.is_text
        else:
            self.tally.changed += 1
            self.tally.unchanged -= 1
        self._count_done(job.found)

    def _put_file(self, new: NewFile) -> None:
        self._put_root()
        self._index.put_file(new)

    def _put_root(self) -> None:
        """Save the root before its first file."""
        if not self._has_root:
            self._index.put_root(self._plan.root)
            self._has_root = True

    def _count_done(self, found: FoundFile) -> None:
        self._bytes += found.size
        self._on_progress(self._bytes, self._total, self._passages)
        if time.monotonic() - self._committed >= _COMMIT_SECONDS:
            self._index.commit()
            self._committed = time.monotonic()
