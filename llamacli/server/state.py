"""What the endpoints of one server share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from llamacli.backend.child.params import ChildParams
from llamacli.openai.responses.store import ResponseStore
from llamacli.server.batches.store import BatchStore
from llamacli.server.http.exchange import HttpLimits, Record
from llamacli.server.metrics import Metrics
from llamacli.server.models.pool import ModelPool
from llamacli.server.security.clients import Clients
from llamacli.server.security.origin import OriginRules

_NOTE_SECONDS = 0.005
"""Seconds after which a request that has ended is counted and logged: whoever asks next does not wait for that."""

_NOTES_AT_ONCE = 32
"""Requests that are counted and logged at once: if hundreds end together, running streams go on in between."""


@dataclass(slots=True, kw_only=True)
class ServerState:
    """The parts of a running server. `log` gets the record of each request that has ended, `on_failure` the error of a
    default model that cannot be loaded.

    `is_draining`: the server ends, and takes no new requests. `keeps_prompts`: records hold prompts and answers for the log.
    `drain` are the seconds that running answers get to finish when the server ends. `batches` is None if another server of
    this user runs them. `decoder` has the parameters of the process that decodes pictures and sounds.
    """

    pool: ModelPool
    clients: Clients
    origin: OriginRules
    metrics: Metrics
    batches: BatchStore | None = None
    responses: ResponseStore = field(default_factory=ResponseStore)
    limits: HttpLimits = field(default_factory=HttpLimits)
    decoder: ChildParams = field(default_factory=ChildParams)
    log: Callable[[Record], None] = lambda record: None
    on_failure: Callable[[Exception], None] = lambda error: None
    keeps_prompts: bool = False
    is_draining: bool = False
    drain: float = 30.0
    _ended: list[tuple[Record, str]] = field(default_factory=list, init=False)

    def note(self, record: Record, route: str) -> None:
        """Count and log a request that has ended, under the pattern of its path, soon."""
        self._ended.append((record, route))
        if len(self._ended) == 1:
            asyncio.get_running_loop().call_later(_NOTE_SECONDS, self.write_notes, _NOTES_AT_ONCE)

    def write_notes(self, most: int | None = None) -> None:
        """Count and log what has ended, now. If that is more than `most`, the rest follows when others had their turn."""
        ended, self._ended = self._ended[:most], self._ended[most or len(self._ended) :]
        if self._ended:
            asyncio.get_running_loop().call_soon(self.write_notes, most)
        for record, route in ended:
            self.metrics.count(record, route)
            self.log(record)
