"""All tools of a conversation: which there are, which the model is told about, which may run without asking."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from llamacli.engine.chat.message import Tool
from llamacli.errors import UsageError
from llamacli.tools.outcome import Outcome

Run = Callable[[str, threading.Event, Callable[[str], None]], Outcome]
"""Runs a call: its arguments as JSON text, what stops it, and what gets its output as it comes."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool and what runs it. `origin` says for people what that is."""

    tool: Tool
    origin: str
    run: Run


class Toolbox:
    """Tools by name. `allowed` are those that run without asking, also such as are not here yet."""

    def __init__(self, offers: Iterable[Offer] = (), allowed: Iterable[str] = ()) -> None:
        self._offers: dict[str, Offer] = {}
        self._off: set[str] = set()
        self.allowed = set(allowed)
        self.add(offers)

    def __len__(self) -> int:
        return len(self._offers)

    def add(self, offers: Iterable[Offer]) -> None:
        """More tools. Raises UsageError for a name that is taken."""
        for offer in offers:
            if offer.tool.name in self._offers:
                raise UsageError(f"there are two tools {offer.tool.name}")
            self._offers[offer.tool.name] = offer

    @property
    def offers(self) -> tuple[Offer, ...]:
        """All tools, in the order in which they were added."""
        return tuple(self._offers.values())

    @property
    def enabled(self) -> tuple[Tool, ...]:
        """What the model is told about."""
        return tuple(offer.tool for name, offer in self._offers.items() if name not in self._off)

    def is_enabled(self, name: str) -> bool:
        """Whether there is such a tool, and the model may call it."""
        return name in self._offers and name not in self._off

    def switch(self, name: str, *, on: bool) -> None:
        """Enables or disables a tool. Raises UsageError if there is none of this name."""
        self.find(name)
        (self._off.discard if on else self._off.add)(name)

    def find(self, name: str) -> Offer:
        """The tool of a name. Raises UsageError if there is none."""
        if name not in self._offers:
            raise UsageError(f"there is no tool {name}", hint=f"there are {', '.join(self._offers)}" if self._offers else None)
        return self._offers[name]

    def check(self, name: str, arguments: str) -> str:
        """The arguments of a call, JSON text, as they are run: an object that fits the tool's schema.

        Raises:
            UsageError: there is no such tool, or they are not such an object. The text is for the model.
        """
        if not self.is_enabled(name):
            there = ", ".join(tool.name for tool in self.enabled)
            raise UsageError(f"there is no tool {name}; there are {there}" if there else f"there is no tool {name}")
        try:
            document = json.loads(arguments or "{}", parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"the arguments are no JSON: {error}") from None
        if not isinstance(document, dict):
            raise UsageError("the arguments must be an object")
        check_fit(document, self._offers[name].tool.parameters)
        return json.dumps(document, ensure_ascii=False)


def check_schema(schema: Any) -> None:
    """Whether the parameters of a tool are a JSON schema of an object. Raises UsageError."""
    import jsonschema

    if schema is None:
        return
    if schema.get("type", "object") != "object":
        raise UsageError("its parameters must be a schema of an object")
    try:
        jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator).check_schema(schema)
    except jsonschema.SchemaError as error:
        raise UsageError(f"its parameters are no JSON schema: {error.message}") from None
    except RecursionError:
        raise UsageError("its parameters are nested too deep") from None


def check_fit(document: Any, schema: Any) -> None:
    """Whether arguments fit a schema. References to other documents are never fetched. Raises UsageError."""
    import jsonschema
    import referencing

    if schema is None:
        return
    nowhere: referencing.Registry[Any] = referencing.Registry()
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        wrong: Any = jsonschema.exceptions.best_match(kind(schema, registry=nowhere).iter_errors(document))
    except RecursionError:
        raise UsageError("the arguments are nested too deep") from None
    except referencing.exceptions.Unresolvable as error:
        raise UsageError(f"the arguments cannot be checked: the schema refers to {error.ref}") from None
    if wrong is not None:
        pointer = "".join(f"/{part}" for part in wrong.absolute_path)
        raise UsageError(f"the arguments do not fit the schema at #{pointer}: {wrong.message}")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
