"""What the endpoints of one server share."""

from __future__ import annotations

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
