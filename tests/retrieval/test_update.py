"""An index and the files of a folder: what changed is read, the rest stays, and what went is removed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from llamacli.documents.read import read_bytes
from llamacli.engine.embedding.outcome import Embedded, NotEmbedded, Outcome
from llamacli.errors import CapacityError, UsageError
from llamacli.retrieval import source_file
from llamacli.retrieval.update import Tally, Update, make_plan
from llamacli.store.vectors.entries import Root
from llamacli.store.vectors.index import VectorIndex

MADE_WITH = {"fingerprint": "f", "dimensions": "4", "pooling": "mean", "attention": "non-causal"}


class Embedder:
    """Makes a vector of a text's hash; notes the texts, fails for "bad" and stops after `most`."""

    def __init__(self, most: int = 10**6) -> None:
        self.most = most
        self.texts: list[str] = []

    def __call__(self, texts: Sequence[str]) -> Iterator[Outcome]:
        for number, text in enumerate(texts):
            if len(self.texts) >= self.most:
                raise KeyboardInterrupt
            self.texts.append(text)
            if "bad" in text:
                yield NotEmbedded(number, CapacityError("too bad"))
                continue
            row = np.frombuffer(hashlib.sha256(text.encode()).digest()[:4], np.uint8).astype(np.float32) - 127
            yield Embedded(number, (row / np.linalg.norm(row))[None].astype(np.float32), (1,))


def update(db: Path, folder: Path, embed: Embedder | None = None, *, size: int = 50) -> Tally:
    with VectorIndex(db, create=True) as index:
        index.require(MADE_WITH)
        run = Update(index, make_plan(index, Root(str(folder), size, 0)), read_bytes, embed or Embedder(), lambda *_: None)
        run.run()
        return run.tally


def counts(tally: Tally) -> tuple[int, int, int, int]:
    return tally.new, tally.changed, tally.removed, tally.unchanged


def texts(db: Path) -> dict[str, str | None]:
    """The place of each text."""
    with VectorIndex(db) as index:
        numbers = [number for part, _ in index.vectors(16) for number in part]
        return {(entry := index.entry(number)).text: entry.place for number in numbers}


def age(folder: Path) -> None:
    """Make all files old, so that their time proves that they are unchanged."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (1_600_000_000, 1_600_000_000))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    (docs / "sub").mkdir(parents=True)
    (docs / "a.md").write_text("# One\nfirst\n\n# Two\nsecond\n")
    (docs / "sub/b.txt").write_text("third\n")
    (docs / "image.bin").write_bytes(b"\0\1\2" * 100)
    age(docs)
    return docs


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "x.db"


def test_only_what_changed_is_read_and_embedded(folder: Path, db: Path) -> None:
    first = update(db, folder)
    assert (counts(first), first.binary) == ((2, 0, 0, 0), 1)
    assert texts(db) == {"# One\nfirst": "1-2", "# Two\nsecond": "4-5", "third": "1-1"}
    embed = Embedder()
    assert counts(update(db, folder, embed)) == (0, 0, 0, 2)
    assert embed.texts == []
    (folder / "a.md").write_text("new beginning\n\n# One\nfirst\n\n# Two\nchanged\n")
    assert counts(update(db, folder, embed)) == (0, 1, 0, 1)
    assert embed.texts == ["new beginning", "# Two\nchanged"]
    assert texts(db) == {"# One\nfirst": "3-4", "third": "1-1", "new beginning": "1-1", "# Two\nchanged": "6-7"}


def test_a_file_with_another_time_and_the_same_content_is_unchanged(folder: Path, db: Path) -> None:
    update(db, folder)
    os.utime(folder / "a.md", (1_700_000_000, 1_700_000_000))
    embed = Embedder()
    assert counts(update(db, folder, embed)) == (0, 0, 0, 2)
    with VectorIndex(db) as index:
        assert make_plan(index, Root(str(folder), 50, 0)).changed == ()


def test_a_file_that_was_just_written_is_read_again(folder: Path, db: Path, monkeypatch) -> None:
    monkeypatch.setattr(source_file, "_UNSURE_NS", 3600 * 10**9)
    (folder / "a.md").write_text("aa")
    update(db, folder)
    stamp = (folder / "a.md").stat().st_mtime_ns
    (folder / "a.md").write_text("bb")
    os.utime(folder / "a.md", ns=(stamp, stamp))  # the same size, at the same time
    assert counts(update(db, folder)) == (0, 1, 0, 1)
    assert "bb" in texts(db)


def test_files_that_went_or_are_ignored_now_are_removed(folder: Path, db: Path) -> None:
    update(db, folder)
    (folder / "sub/b.txt").unlink()
    (folder / ".gitignore").write_text("a.md\n")
    assert counts(update(db, folder)) == (0, 0, 2, 0)
    assert texts(db) == {}


def test_a_folder_that_is_gone_or_cannot_be_read_keeps_its_files(folder: Path, db: Path, monkeypatch) -> None:
    update(db, folder)
    scandir = os.scandir

    def refused(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    tally = update(db, folder)
    assert (counts(tally), tally.unread) == ((0, 0, 0, 2), [f"cannot read the folder {folder / 'sub'}"])
    monkeypatch.undo()
    folder.rename(folder.with_name("moved"))
    with pytest.raises(UsageError, match="does not exist"):
        update(db, folder)
    folder.mkdir()  # as where a disk is mounted
    with pytest.raises(UsageError, match="has no files now"):
        update(db, folder)
    assert len(texts(db)) == 3


def test_a_file_that_cannot_be_read_keeps_its_passages(folder: Path, db: Path, monkeypatch) -> None:
    update(db, folder)
    (folder / "a.md").write_text("changed")
    opened = Path.open

    def refused(path: Path, *arguments, **how):
        if path.name == "a.md":
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **how)

    monkeypatch.setattr(Path, "open", refused)
    tally = update(db, folder)
    assert (counts(tally), tally.unread) == ((0, 0, 0, 2), [f"cannot read {folder / 'a.md'}: Permission denied"])
    monkeypatch.undo()
    assert "# One\nfirst" in texts(db)
    assert counts(update(db, folder)) == (0, 1, 0, 1)


def test_an_interruption_keeps_whole_files_and_the_next_update_goes_on(folder: Path, db: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        update(db, folder, Embedder(most=2))
    assert set(texts(db)) == {"# One\nfirst", "# Two\nsecond"}
    embed = Embedder()
    assert counts(update(db, folder, embed)) == (1, 0, 0, 1)
    assert embed.texts == ["third"]


def test_a_passage_without_a_vector_is_tried_again(folder: Path, db: Path) -> None:
    (folder / "a.md").write_text("# One\nfirst\n\n# Two\nbad\n")
    age(folder)
    tally = update(db, folder)
    assert (tally.failed, str(tally.first_failure)) == (1, "too bad")
    assert "# One\nfirst" in texts(db)
    embed = Embedder()
    update(db, folder, embed)
    assert embed.texts == ["# Two\nbad"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"caf\xe9 is not UTF-8", "is not UTF-8 text"),
        (b"%PDF-1.4 damaged", "is a damaged PDF document"),
        (b"x" * 2000, "is larger than"),
    ],
)
def test_a_file_that_holds_no_text_is_told_and_tried_again(folder: Path, db: Path, monkeypatch, data, reason) -> None:
    monkeypatch.setattr(source_file, "LARGEST_FOUND", 1000)
    (folder / "odd.txt").write_bytes(data)
    for _ in range(2):
        (told,) = update(db, folder).unread
        assert str(folder / "odd.txt") in told
        assert reason in told


def test_a_file_that_changes_while_it_is_read(folder: Path, db: Path, monkeypatch) -> None:
    path, changes = folder / "a.md", iter(range(100))
    fstat = os.fstat

    def changing(descriptor: int):
        with path.open("a") as file:
            file.write(f"\nmore {next(changes)}")
        return fstat(descriptor)

    monkeypatch.setattr(os, "fstat", changing)
    update(db, folder)
    monkeypatch.undo()
    assert counts(update(db, folder)) == (0, 1, 0, 1)
    assert counts(update(db, folder)) == (0, 0, 0, 2)


def test_passages_of_another_size_are_split_anew_with_the_vectors_that_fit(folder: Path, db: Path) -> None:
    (folder / "a.md").write_text("\n\n".join(f"paragraph {number} of a few words" for number in range(4)))
    update(db, folder, size=50)
    embed = Embedder()
    assert counts(update(db, folder, embed, size=10)) == (0, 2, 0, 0)
    assert len(embed.texts) == 4
    assert len(texts(db)) == 5


def test_two_updates_at_once_leave_what_one_would(folder: Path, db: Path) -> None:
    class Twice(Embedder):
        def __call__(self, texts: Sequence[str]) -> Iterator[Outcome]:
            update(db, folder)
            yield from super().__call__(texts)

    update(db, folder, Twice())
    assert texts(db) == {"# One\nfirst": "1-2", "# Two\nsecond": "4-5", "third": "1-1"}
    with VectorIndex(db) as index:
        assert index.count() == 3


def test_the_index_does_not_index_itself(folder: Path) -> None:
    db = folder / "x.db"
    update(db, folder)
    assert counts(update(db, folder)) == (0, 0, 0, 2)
