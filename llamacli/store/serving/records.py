"""Records of a server: one JSON file each, written whole or not at all, seen by their owner only."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llamacli.errors import InvalidJSONError, StorageError
from llamacli.json_text import parse_json
from llamacli.store.files.atomic import replace_file

Document = dict[str, Any]


class RecordStore:
    """Records by id in a folder. `prefix` begins their ids, so that no request names another file."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self.folder = folder
        self._prefix = prefix
        self._id = re.compile(re.escape(prefix) + r"[0-9a-f]{24}")

    def new_id(self) -> str:
        """Return an id that no record has."""
        return self._prefix + secrets.token_hex(12)

    def path(self, identity: str, suffix: str) -> Path:
        """Return the file of a record that has this suffix."""
        return self.folder / f"{identity}{suffix}"

    def put(self, owner: str, document: Document) -> None:
        """Write a record, or replace it. Raises StorageError if the disk is full or read-only."""
        self.write(self.path(document["id"], ".json"), json.dumps({"owner": owner, "document": document}).encode())

    def write(self, path: Path, data: bytes) -> None:
        """Write a file whole or not at all. Raises StorageError if the disk is full or read-only."""
        with disk_errors(path):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace_file(path, data)

    def find(self, owner: str, identity: str) -> Document | None:
        """Return a record of an owner, None if there is none."""
        if not self._id.fullmatch(identity):
            return None
        found = self._read(self.path(identity, ".json"))
        return found[1] if found is not None and found[0] == owner else None

    def all(self) -> Iterator[tuple[str, Document]]:
        """Yield all records with their owners, the newest first."""
        paths = [path for path in self.folder.glob("*.json") if self._id.fullmatch(path.stem)]
        found = [record for record in map(self._read, paths) if record is not None]
        yield from sorted(found, key=lambda record: (record[1].get("created_at", 0), record[1]["id"]), reverse=True)

    def remove(self, identity: str, *suffixes: str) -> None:
        """Remove a record, and its files with these suffixes."""
        for suffix in (".json", *suffixes):
            self.path(identity, suffix).unlink(missing_ok=True)

    @staticmethod
    def _read(path: Path) -> tuple[str, Document] | None:
        """The owner and the document of a record; None if it is missing or damaged."""
        try:
            record = parse_json(path.read_bytes())
        except (OSError, InvalidJSONError):
            return None
        if not isinstance(record, dict) or not isinstance(record.get("document"), dict):
            return None
        document = record["document"]
        return (str(record.get("owner", "")), document) if document.get("id") == path.stem else None


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Raise StorageError for what the disk refuses."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot write {path.name}: {error.strerror or error}") from error
