"""Responses that later requests continue, kept in memory."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from llamacli.engine.chat.message import Message

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResponse:
    """A response, the input items of its request, and the conversation up to its answer without the instructions."""

    response: Document
    items: tuple[Document, ...]
    conversation: tuple[Message, ...]

    @property
    def id(self) -> str:
        """The id of the response."""
        found: str = self.response["id"]
        return found


class ResponseStore:
    """The last responses of each owner: at most `most` of all, of at most `most_bytes` of JSON. Safe from any thread.

    An owner (the name of a key) sees its own responses only. Those that were not used for the longest time go first; the
    conversation of a response stays whole when an earlier one goes.
    """

    def __init__(self, *, most: int = 1000, most_bytes: int = 64 << 20) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], tuple[StoredResponse, int]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, owner: str, stored: StoredResponse) -> None:
        """Keep a response. One that is larger than the whole store is not kept."""
        size = len(json.dumps([stored.response, stored.items]))
        with self._lock:
            if size > self._most_bytes:
                return
            self._kept[owner, stored.id] = (stored, size)
            self._bytes += size
            while len(self._kept) > self._most or self._bytes > self._most_bytes:
                _, (_, oldest) = self._kept.popitem(last=False)
                self._bytes -= oldest

    def find(self, owner: str, response_id: str) -> StoredResponse | None:
        """Return a response of an owner, or None."""
        with self._lock:
            found = self._kept.get((owner, response_id))
            if found is None:
                return None
            self._kept.move_to_end((owner, response_id))
            return found[0]

    def remove(self, owner: str, response_id: str) -> bool:
        """Forget a response. Return whether it was there."""
        with self._lock:
            found = self._kept.pop((owner, response_id), None)
            self._bytes -= found[1] if found is not None else 0
            return found is not None


def deleted_document(response_id: str) -> Document:
    """Return the document that says that a response was removed."""
    return {"id": response_id, "object": "response", "deleted": True}


def items_document(stored: StoredResponse, *, after: str | None = None, limit: int = 20, newest_first: bool = True) -> Document:
    """Return a page of the input items of a response, from the one behind the id `after`."""
    items = list(reversed(stored.items)) if newest_first else list(stored.items)
    start = next((place + 1 for place, item in enumerate(items) if item["id"] == after), 0)
    page = items[start : start + limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else "",
        "last_id": page[-1]["id"] if page else "",
        "has_more": start + limit < len(items),
    }


def count_document(tokens: int) -> Document:
    """Return the document that says how many tokens a prompt has."""
    return {"object": "response.input_tokens", "input_tokens": tokens}
