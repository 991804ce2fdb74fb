"""Fields that a server has refused: found out once, remembered, and left out from then on."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Protocol

from llamacli.backend.remote.problem import Refusal

_ESSENTIAL = {"model", "messages", "prompt", "input", "tools", "suffix", "stream"}
_SILENT = {"stream_options", "parallel_tool_calls", "top_logprobs", "n"}
"""Fields without which the answers are the same: what they ask for is had in another way."""
_OTHER_NAMES = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_CODES = {"unsupported_parameter", "unsupported_value", "unknown_parameter"}
_UNSUPPORTED = re.compile(
    r"unsupported|not support|unknown|unrecogni[sz]ed|unexpected|not permitted|not allowed|extra (input|field)|invalid field",
    re.IGNORECASE,
)


class FieldMemory(Protocol):
    """What remembers the refused fields of servers, beyond this process if it can."""

    def names(self, server: str, model: str) -> Collection[str]:
        """Return the fields that a server is known to refuse for a model."""

    def add(self, server: str, model: str, names: Collection[str]) -> None:
        """Remember all fields that a server refuses for a model."""


class ProcessMemory:
    """A memory as long as the process."""

    _refused: ClassVar[dict[tuple[str, str], frozenset[str]]] = {}

    def names(self, server: str, model: str) -> Collection[str]:
        """Return the fields that a server is known to refuse for a model."""
        return self._refused.get((server, model), frozenset())

    def add(self, server: str, model: str, names: Collection[str]) -> None:
        """Remember all fields that a server refuses for a model."""
        self._refused[server, model] = frozenset(names)


class RefusedFields:
    """The fields that a server refuses for a model."""

    def __init__(self, server: str, model: str, memory: FieldMemory | None = None) -> None:
        self._server, self._model = server, model
        self._memory = memory or ProcessMemory()
        self._names = set(self._memory.names(server, model))

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def add(self, name: str) -> None:
        """Remember a field that has no effect on the server."""
        self._learned([name])

    def fitting(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a document without them; a limit of tokens gets its other name."""
        kept = {}
        for name, value in body.items():
            other = _OTHER_NAMES.get(name)
            if name not in self._names:
                kept[name] = value
            elif other is not None and other not in self._names:
                kept[other] = value
        return kept

    def missing(self, body: Mapping[str, Any]) -> list[str]:
        """Return the fields of a document that are left out and make a difference."""
        kept = self.fitting(body)
        return [name for name in body if name not in kept and _OTHER_NAMES.get(name) not in kept and name not in _SILENT]

    def learn(self, refusal: Refusal, sent: Mapping[str, Any]) -> bool:
        """Remember the field that a server refuses for not knowing it; return False if it refuses something else."""
        if not refusal.is_about_request or not (refusal.code in _CODES or _UNSUPPORTED.search(refusal.message)):
            return False
        named = re.split(r"[.\[]", refusal.parameter)[0]
        candidates = [named] if named else [name for name in sent if re.search(rf"\b{re.escape(name)}\b", refusal.message)]
        found = [name for name in candidates if name in sent and name not in _ESSENTIAL and name not in self._names]
        if found:
            self._learned(found)
        return bool(found)

    def _learned(self, names: Collection[str]) -> None:
        self._names = self._names | set(names)  # threads read the old set
        self._memory.add(self._server, self._model, self._names)
