"""A function's signature as a command line: its parameters become options, and their values become its arguments.

The context stands for the outside world, a dataclass for the options that are its fields (or that its `declared()` lists),
anything else is one option or argument. Every command also has the options of `CommonOptions`; a parameter of that type
receives them, one of type `Reread` reads the command line again.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import typer

from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options.common import CommonOptions
from llamacli.cli.framework.parameters import REQUIRED, Argument, Option, source_of
from llamacli.cli.framework.terminal.logs import log_to
from llamacli.values import dataclass, fields_of

GIVEN = "llamacli.given"
"""The key of a context's `meta` under which the words of the command line are kept."""


@dataclass(frozen=True, slots=True)
class Part:
    """One parameter of the function: its name, the dataclass if it is a group, and the names of its options."""

    name: str
    type: Any
    options: tuple[str, ...]

    def value(self, values: dict[str, Any]) -> Any:
        """The argument of the function, from the values of all options."""
        if self.type is None:
            return values[self.name]
        ready = {name: values[name] for name in self.options if name in values}
        return self.type(ready) if hasattr(self.type, "declared") else self.type(**ready)


class Reread:
    """The command line that runs, read again."""

    def __init__(self, ctx: typer.Context, parts: Sequence[Part]) -> None:
        self._ctx = ctx
        self._parts = parts

    def __call__(self, *words: str, app: AppContext | None = None) -> dict[str, Any]:
        """The arguments of the function, by name, as they would be with these words added to the command line.

        The environment and the settings count again, including those of a profile or a model that the words name. `app` takes
        the place of the outside world.

        Raises:
            UsageError, SettingsError: the words or the settings are wrong.
        """
        given: list[str] = self._ctx.meta[GIVEN]
        end = given.index("--") if "--" in given else len(given)
        ctx = self._ctx.command.make_context(
            self._ctx.info_name, [*given[:end], *words, *given[end:]], parent=self._ctx.parent, obj=app or self._ctx.obj
        )
        return {part.name: part.value(ctx.params) for part in self._parts}

    def given(self, name: str) -> bool:
        """Return whether the value of this parameter is from the command line, not from the environment or the settings."""
        return source_of(self._ctx, name) == "COMMANDLINE"


class Signature:
    """A function's parameters, taken apart into options and put together again."""

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function
        self.parameters: list[Option | Argument] = []
        self._parts: list[Part] = []
        self._received: dict[type, str] = {}
        hints = inspect.get_annotations(function, eval_str=True)
        for name, parameter in inspect.signature(function).parameters.items():
            hint = hints[name]
            if hint in (AppContext, CommonOptions, Reread):
                self._received[hint] = name
            elif isinstance(hint, type):  # a group; an option is `Annotated`
                self._parts.append(self._group(name, hint))
            else:
                default = REQUIRED if parameter.default is inspect.Parameter.empty else parameter.default
                self._add([_built(name, hint, default)])
                self._parts.append(Part(name, None, (name,)))
        self._common = self._group("", CommonOptions)

    def call(self, ctx: typer.Context) -> None:
        """Call the function with the values of a parsed command line."""
        app, values = ctx.obj, ctx.params
        common = self._common.value(values)
        app.console.color = common.color
        app.console.look.choose(common.theme)
        app.console.ignores_input = common.no_stdin
        app.interrupts.start()
        with log_to(app.console, common.verbose):
            self.function(**self.arguments(ctx))

    def arguments(self, ctx: typer.Context) -> dict[str, Any]:
        """The arguments of the function from a parsed command line."""
        received = {AppContext: ctx.obj, CommonOptions: self._common.value(ctx.params), Reread: Reread(ctx, self._parts)}
        arguments = {part.name: part.value(ctx.params) for part in self._parts}
        return arguments | {name: received[kind] for kind, name in self._received.items()}

    def _group(self, name: str, group: Any) -> Part:
        options = list(options_of(group))
        self._add(options)
        return Part(name, group, tuple(option.name for option in options))

    def _add(self, parameters: Sequence[Option | Argument]) -> None:
        known = {parameter.name for parameter in self.parameters}
        for parameter in parameters:
            if parameter.name in known:
                raise TypeError(f"{self.function.__name__} has two options called {parameter.name}")
        self.parameters += parameters


def options_of(group: Any) -> Iterator[Option | Argument]:
    """The options of a group, in the panel that it names."""
    if hasattr(group, "declared"):
        yield from group.declared()
        return
    hints: dict[str, Any] = {}
    for base in reversed(group.__mro__):
        hints |= inspect.get_annotations(base, eval_str=True)
    panel, loads = getattr(group, "PANEL", None), getattr(group, "LOADS", False)
    for field in fields_of(group):
        default = REQUIRED if field.default is dataclasses.MISSING else field.default
        yield _built(field.name, hints[field.name], default, panel, loads=loads)


def _built(name: str, annotation: Any, default: object, panel: str | None = None, *, loads: bool = False) -> Option | Argument:
    base, declared = typing.get_args(annotation)
    built: Option | Argument = declared.build(name, base, default, panel, loads=loads)
    return built
