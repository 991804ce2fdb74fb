"""The files and batches of a server's clients on disk, as OpenAI's documents."""

from __future__ import annotations

import time
from pathlib import Path

from llamacli.store.serving.records import Document, RecordStore

INPUT, OUTPUT = "batch", "batch_output"
"""The purposes of files."""

RUNNING = ("validating", "in_progress", "finalizing", "cancelling")
"""The states of a batch that is not done."""


class BatchStore:
    """Files and batches in a folder. Each owner (the name of a key) sees its own only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.files = RecordStore(folder / "files", "file-")
        self.batches = RecordStore(folder / "batches", "batch_")

    def hold(self) -> bool:
        """Take the folder for this process, until it ends. Return False if another process has it."""
        from filelock import FileLock, Timeout

        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = FileLock(self._folder / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def add_file(self, owner: str, name: str, purpose: str, data: bytes) -> Document:
        """Keep a file, and return its document. Raises StorageError if the disk is full."""
        identity = self.files.new_id()
        self.files.write(self.files.path(identity, ".data"), data)
        document: Document = {
            "id": identity,
            "object": "file",
            "bytes": len(data),
            "created_at": int(time.time()),
            "filename": name,
            "purpose": purpose,
            "status": "processed",
        }
        self.files.put(owner, document)
        return document

    def data_path(self, identity: str) -> Path:
        """Return the content of a file."""
        return self.files.path(identity, ".data")

    def results_path(self, identity: str) -> Path:
        """Return the results of a batch so far, in the order in which they came."""
        return self.batches.path(identity, ".results")

    def add_batch(self, owner: str, file_id: str, endpoint: str, window: str, metadata: Document | None) -> Document:
        """Keep a new batch, and return its document. Raises StorageError if the disk is full."""
        now = int(time.time())
        document: Document = {
            "id": self.batches.new_id(),
            "object": "batch",
            "endpoint": endpoint,
            "errors": None,
            "input_file_id": file_id,
            "completion_window": window,
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": now,
            "in_progress_at": None,
            "expires_at": now + 24 * 3600,
            "finalizing_at": None,
            "completed_at": None,
            "failed_at": None,
            "expired_at": None,
            "cancelling_at": None,
            "cancelled_at": None,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "metadata": metadata,
        }
        self.batches.put(owner, document)
        return document
