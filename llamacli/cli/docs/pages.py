"""The facts about every command, as man pages and completions need them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import typer
from typer.core import TyperGroup

from llamacli.cli.framework.command import Example
from llamacli.cli.framework.help import Section, command_summary, sections, sentence, usage
from llamacli.cli.framework.parameters import Argument, Option
from llamacli.cli.framework.settings.settings import all_keys
from llamacli.cli.help.topics import TOPICS
from llamacli.cli.program import Program
from llamacli.cli.registry import REGISTRY

Dynamic = Literal["models", "fetched", "profiles", "sessions", "keys", "values", "runs", "templates"]
"""The kinds of names that `llamacli --complete` lists, see `cli/complete.py`."""


_SPECIAL: dict[tuple[str, tuple[str, ...]], Dynamic] = {
    ("VALUE", ("config", "set")): "values",
    ("MODEL", ("models", "rm")): "fetched",
}


@dataclass(frozen=True, slots=True)
class Value:
    """The candidates for a value: words, names that the program lists, files; none if it is empty.

    `files` is the ending of their names, `*` for any.
    """

    words: tuple[str, ...] = ()
    dynamic: Dynamic | None = None
    files: str | None = None


_NAMED = {
    "MODEL": Value(dynamic="models", files=".gguf"),
    "OTHER": Value(dynamic="models", files=".gguf"),
    "TEMPLATE": Value(dynamic="templates", files="*"),
}
"""The candidates for values that have the same names in every command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """An option. `value` is None for one without a value; `metavar` stands for the value in help.

    `variable` is the environment variable that sets it, None if none does.
    """

    names: tuple[str, ...]
    summary: str
    metavar: str
    value: Value | None
    repeats: bool
    variable: str | None


@dataclass(frozen=True, slots=True)
class Positional:
    """A positional argument. One that `repeats` is the last."""

    metavar: str
    summary: str
    value: Value
    repeats: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A command, a group of commands or the program. `path` holds the words after `llamacli`: `("models", "pull")`.

    A command may have children too: groups of commands about the same matter, as `embed` has `embed index`.
    """

    path: tuple[str, ...]
    summary: str
    help: str
    usage: str
    sections: tuple[Section, ...]
    switches: tuple[Switch, ...]
    positionals: tuple[Positional, ...]
    examples: tuple[Example, ...]
    children: tuple[Page, ...]
    is_group: bool

    @property
    def name(self) -> str:
        """The name of the man page: `llamacli-models`."""
        return "-".join(("llamacli", *self.path))

    def below(self) -> Iterator[Page]:
        """Iterate over this page and all below it."""
        yield self
        for child in self.children:
            yield from child.below()


def read_program() -> Page:
    """Collect the pages of the whole program, as a tree."""
    program = Program(REGISTRY)
    return _page(program, typer.Context(program, info_name="llamacli"), (), "run local language models from the terminal")


def _page(owner: Any, ctx: typer.Context, path: tuple[str, ...], summary: str) -> Page:
    options = [one for one in owner.params if isinstance(one, Option) and not one.hidden]
    arguments = [one for one in owner.params if isinstance(one, Argument)]
    return Page(
        path=path,
        summary=summary,
        help=inspect.cleandoc(owner.help or ""),
        usage=usage(ctx),
        sections=tuple(sections(ctx)),
        switches=tuple(_switch(one, path) for one in options),
        positionals=tuple(_positional(one, path) for one in arguments),
        examples=owner.examples,
        children=tuple(_children(owner, ctx, path)),
        is_group=isinstance(owner, TyperGroup),
    )


def _children(owner: Any, ctx: typer.Context, path: tuple[str, ...]) -> Iterator[Page]:
    if not isinstance(owner, TyperGroup):
        for name in owner.groups:
            group = owner.group(name)
            summary = sentence(inspect.cleandoc(group.help or "").partition("\n")[0])
            yield _page(group, typer.Context(group, info_name=f"{ctx.command_path} {name}"), (*path, name), summary)
        return
    for name in owner.list_commands(ctx):
        found = owner.get_command(ctx, name)
        context = typer.Context(found, info_name=name, parent=ctx)  # type: ignore[arg-type]  # every listed name exists
        yield _page(found, context, (*path, name), command_summary(owner, ctx, name)[1])


def _switch(option: Option, path: tuple[str, ...]) -> Switch:
    takes_value = not (option.is_flag or option.count)
    metavar = (option.metavar or option.kind.metavar) if takes_value else ""
    summary = sentence(option.help or "")
    return Switch(
        names=(*option.opts, *option.secondary_opts),
        summary=summary,
        metavar=metavar,
        value=value_of(metavar, summary, option.kind.choices, path) if takes_value else None,
        repeats=bool(option.multiple or option.count),
        variable=option.variables[0] if option.variables else None,
    )


def _positional(argument: Argument, path: tuple[str, ...]) -> Positional:
    metavar, summary = argument.metavar or argument.name, sentence(argument.help or "")
    value = value_of(metavar, summary, argument.kind.choices, path)
    return Positional(metavar=metavar, summary=summary, value=value, repeats=argument.nargs == -1)


def value_of(metavar: str, summary: str, choices: tuple[str, ...], path: tuple[str, ...]) -> Value:
    """Derive the candidates for a value from its help: files for FILE, auto and all for `auto|all|N`, and so on."""
    text = summary.lower()
    match metavar, path:
        case _ if choices:
            return Value(words=choices)
        case _ if (metavar, path) in _SPECIAL:
            return Value(dynamic=_SPECIAL[metavar, path])
        case "NAME", _ if "profile" in text:
            return Value(dynamic="profiles")
        case "NAME", ("chat",) if "session" in text:
            return Value(dynamic="sessions")
        case "RUN", ("bench", *_):
            return Value(dynamic="runs")
        case "A" | "B", ("bench", "compare"):
            return Value(dynamic="runs", files="*")
        case "KEY", ("config", *_):
            return Value(words=_keys(), dynamic="keys")
        case "TYPE" | "TOPIC", _:
            return Value(words=_listed(path))
        case _ if metavar in _NAMED:
            return _NAMED[metavar]
    files = "*" if {"FILE", "PATH", "OUT", "CASES"}.intersection(re.split(r"[^A-Z]", metavar)) else None
    if "built-in grammar" in text:
        return Value(words=_grammars(), files=files)
    if metavar == "NAME|FILE" and "chat template" in text:
        return Value(words=_templates(), files=files)
    words = metavar.split("|") if "|" in metavar else []
    return Value(words=tuple(word for word in words if word.islower()), files=files)


def _keys() -> tuple[str, ...]:
    return tuple(dict.fromkeys(key.name for key in all_keys().values()))


def _listed(path: tuple[str, ...]) -> tuple[str, ...]:
    """The words for a type or a topic: a fixed list for some commands."""
    if path == ("help",):
        return (*(topic.name for topic in TOPICS), *(entry.name for entry in REGISTRY))
    if path == ("models", "quantize"):
        from llamacli.engine.quantization.types import TYPES

        return tuple(TYPES)
    return ()


def _grammars() -> tuple[str, ...]:
    from llamacli.grammar.builtins import builtin_names

    return tuple(builtin_names())


def _templates() -> tuple[str, ...]:
    from llamacli.engine.chat.builtin_templates import builtin_templates

    return builtin_templates()
