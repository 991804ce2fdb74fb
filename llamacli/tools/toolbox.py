"""The tools of a conversation: the known, the enabled, and those that may run without confirmation."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from llamacli.engine.chat.message import Tool
from llamacli.errors import SchemaError, UsageError
from llamacli.json_text import parse_json
from llamacli.tools.outcome import Outcome

Run = Callable[[str, threading.Event, Callable[[str], None]], Outcome]
"""The function that runs a call, with its arguments as JSON text, a cancellation event and a receiver of its output."""


Check = Callable[[Tool], None]
"""A further check of a tool, such as whether calls can be constrained by its parameters. Raises LlamacliError."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool and the function that runs it. `origin` describes its source to the user."""

    tool: Tool
    origin: str
    run: Run


class Toolbox:
    """Tools by name. The `allowed` ones run without confirmation; they may be added later."""

    def __init__(self, offers: Iterable[Offer] = (), allowed: Iterable[str] = ()) -> None:
        self._offers: dict[str, Offer] = {}
        self._off: set[str] = set()
        self.allowed = set(allowed)
        self.add(offers)

    def __len__(self) -> int:
        return len(self._offers)

    def add(self, offers: Iterable[Offer]) -> None:
        """Add tools. Raises UsageError if a name is taken."""
        for offer in offers:
            if offer.tool.name in self._offers:
                raise UsageError(f"two tools are named {offer.tool.name}")
            self._offers[offer.tool.name] = offer

    @property
    def offers(self) -> tuple[Offer, ...]:
        """All tools, in order of addition."""
        return tuple(self._offers.values())

    @property
    def enabled(self) -> tuple[Tool, ...]:
        """The tools offered to the model."""
        return tuple(offer.tool for name, offer in self._offers.items() if name not in self._off)

    def is_enabled(self, name: str) -> bool:
        """Return whether the tool exists and is enabled."""
        return name in self._offers and name not in self._off

    def switch(self, name: str, *, on: bool) -> None:
        """Enable or disable a tool. Raises UsageError if it does not exist."""
        self.find(name)
        (self._off.discard if on else self._off.add)(name)

    def find(self, name: str) -> Offer:
        """The tool with this name. Raises UsageError if it does not exist."""
        if name not in self._offers:
            raise UsageError(f"unknown tool {name}", hint=f"known: {', '.join(self._offers)}" if self._offers else None)
        return self._offers[name]

    def check(self, name: str, arguments: str) -> str:
        """Validate the arguments of a call, JSON text, and return them as a JSON object.

        Raises:
            UsageError: if the tool does not exist or the arguments do not match its schema. The message is for the model.
        """
        if not self.is_enabled(name):
            known = ", ".join(tool.name for tool in self.enabled)
            raise UsageError(f"unknown tool {name}; available tools: {known}" if known else f"unknown tool {name}")
        document = parse_json(arguments or "{}", source="arguments")
        if not isinstance(document, dict):
            raise UsageError("the arguments must be an object")
        check_fit(document, self._offers[name].tool.parameters)
        return json.dumps(document, ensure_ascii=False)


def accept_any(tool: Tool) -> None:
    """Accept any tool: the default of a `Check`."""


def check_schema(schema: Any) -> None:
    """Raise UsageError unless the parameters of a tool are a JSON schema of an object."""
    import jsonschema

    if schema is None:
        return
    if schema.get("type", "object") != "object":
        raise UsageError("its parameters must be a JSON schema of an object")
    try:
        jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator).check_schema(schema)
    except jsonschema.SchemaError as error:
        raise UsageError(f"its parameters are not a valid JSON schema: {error.message}") from None
    except RecursionError:
        raise UsageError("its parameters are nested too deeply") from None


def check_fit(document: Any, schema: Any) -> None:
    """Raise UsageError unless the arguments match the schema. References to other documents are never fetched."""
    if schema is None:
        return
    from llamacli.grammar.schema.validation import find_mismatch

    try:
        mismatch = find_mismatch(document, schema)
    except SchemaError as error:
        raise UsageError(f"the arguments cannot be checked: {error.message}") from None
    if mismatch is not None:
        raise UsageError(f"the arguments do not match the schema at {mismatch}")
