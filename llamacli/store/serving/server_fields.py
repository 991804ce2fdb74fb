"""The request fields that servers were found to refuse, kept for some days: a server may be replaced by a newer one."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from llamacli.errors import InvalidJSONError
from llamacli.json_text import parse_json
from llamacli.store.files.atomic import replace_file
from llamacli.store.files.records import has_shape, is_text, is_time

DAYS = 7
MOST_SERVERS = 200
_MOST_BYTES = 1 << 20
_SHAPE = {"*": {"fields": [is_text], "time": is_time}}

logger = logging.getLogger(__name__)


class ServerFields:
    """Refused fields by server and model in a file. Without a disk it remembers nothing, which costs a request."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self, server: str, model: str) -> Collection[str]:
        """Return the fields that a server is known to refuse for a model."""
        found = self._read().get(_key(server, model))
        return frozenset(found["fields"]) if found is not None else frozenset()

    def add(self, server: str, model: str, names: Collection[str]) -> None:
        """Remember all fields that a server refuses for a model."""
        entries = self._read()
        entries.pop(_key(server, model), None)
        newest = dict(list(entries.items())[-MOST_SERVERS + 1 :])
        newest[_key(server, model)] = {"fields": sorted(names), "time": int(time.time())}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._path, json.dumps(newest).encode())
        except OSError as error:
            logger.info("cannot write %s: %s", self._path, error.strerror or error)

    def _read(self) -> dict[str, Any]:
        """The entries that are not too old; none if the file is missing or was altered."""
        try:
            with self._path.open("rb") as file:
                document = parse_json(file.read(_MOST_BYTES), source=str(self._path))
        except (OSError, InvalidJSONError):
            return {}
        if not isinstance(document, dict) or not has_shape(document, _SHAPE):
            return {}
        oldest = time.time() - DAYS * 86400
        return {key: entry for key, entry in document.items() if entry["time"] > oldest}


def _key(server: str, model: str) -> str:
    return f"{server} {model}"
