"""Commands: a function's signature, in which groups of options are dataclasses, becomes a command line.

    @command(examples=(("Ask a question.", "llamacli run 'Why is the sky blue?'"),))
    def run(app: AppContext, prompt: PromptArgument = None, *, model: ModelOptions, sampling: SamplingOptions) -> None:

`app` is the context, a dataclass stands for the options that are its fields, anything else is one parameter. Every command also
has the options of `CommonOptions`, which are obeyed here; a parameter of that type receives them, one of type `Reread` a way
to read the command line again.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import importlib
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.help import format_help
from llamacli.cli.framework.logs import log_to
from llamacli.cli.framework.options import CommonOptions
from llamacli.cli.framework.parameters import Kind, adopt, kind_of, source_of
from llamacli.cli.framework.suggest import explained, reject_single_dash, with_numbers_apart
from llamacli.errors import UsageError

Example = tuple[str, str]
"""What it does, and the command line that does it."""

_GIVEN = "llamacli.given"


class Command(TyperCommand):
    """A command of ours: its defaults may come from the settings, and its usage errors say what was probably meant."""

    examples: tuple[Example, ...] = ()
    reads_settings = True
    """False for what must work while the settings are broken."""
    takes_numbers = False
    """True where `-1` is an argument and no option."""
    groups: Mapping[str, str] = {}
    """Commands, and groups of them, that are called by a word in the place of the first argument: `llamacli embed index`.

    Each with the module in which it is found under that name, which is imported when it is called.
    """

    def group(self, name: str) -> Group | Command:
        """One of `groups`."""
        found: Group | Command = getattr(importlib.import_module(self.groups[name]), name)
        return found

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Typer's context, with the settings as its defaults."""
        if args and args[0] in self.groups:
            return self.group(args[0]).make_context(f"{info_name} {args[0]}", args[1:], parent=parent, **extra)
        app = extra.get("obj") or parent.obj
        if self.reads_settings:
            extra["default_map"] = dict(app.read_defaults(app, self, args))
        return super().make_context(info_name, args, parent=parent, **extra)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the command line. What is wrong with it is said with a way out."""
        given = ctx.meta[_GIVEN] = list(args)
        reject_single_dash(self, given)
        if self.takes_numbers:
            args = with_numbers_apart(self, args)
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            raise explained(self, error, given) from error


class Group(TyperGroup):
    """A command that only has subcommands, such as `models`."""

    examples: tuple[Example, ...] = ()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses what stands before the subcommand."""
        if not args:
            console = ctx.obj.console
            console.write_error(format_help(ctx, width=console.width, bold=lambda text: console.styled(text, "bold")))
            raise typer.Exit(2)
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            raise explained(self, error, args) from error

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The subcommand that is named first."""
        found = self.get_command(ctx, args[0])
        if found is None:
            raise UsageError(f"no such command: {args[0]}", hint=self.near_command(ctx, args[0]))
        return args[0], found, args[1:]

    def near_command(self, ctx: Any, word: str) -> str:
        """What was probably meant by an unknown command."""
        near = difflib.get_close_matches(word, self.list_commands(ctx), n=1)
        return f"did you mean {near[0]}?" if near else f"{ctx.command_path} --help lists them"


def command(*, name: str | None = None, examples: tuple[Example, ...] = ()) -> Callable[[Callable[..., None]], Command]:
    """Makes a function a command. Its name is the function's unless given; its help is the docstring."""

    def decorate(function: Callable[..., None]) -> Command:
        signature = _Signature(function)
        builder = typer.Typer(add_completion=False, rich_markup_mode=None)
        own_name = name or function.__name__.rstrip("_").replace("_", "-")
        builder.command(own_name, cls=Command, add_help_option=False)(signature.callback())
        built = get_command(builder)
        assert isinstance(built, Command)
        for parameter in built.params:
            adopt(parameter, signature.kinds[parameter.name])
        built.examples = examples
        return built

    return decorate


def group(name: str, *commands: Command, help: str, examples: tuple[Example, ...] = ()) -> Group:  # noqa: A002
    """Puts commands under a name of their own: `llamacli models list`."""

    @command(name=name)
    def options() -> None:
        """Only its options are used."""

    built = Group(name=name, commands=list(commands), help=help, add_help_option=False, rich_markup_mode=None)
    built.params = [parameter for parameter in options.params if parameter.name == "help"]
    built.examples = examples
    return built


class Reread:
    """The command line that runs, read again. A parameter of this type receives it."""

    def __init__(self, ctx: typer.Context, parts: Sequence[_Part]) -> None:
        self._ctx = ctx
        self._parts = parts

    def __call__(self, *words: str) -> dict[str, Any]:
        """The arguments of the function, by name, as they would be with these words on the command line too.

        Environment and settings count again, those of a profile or a model that the words name.

        Raises:
            UsageError, SettingsError: the words make no sense, or the settings do not any more.
        """
        given: list[str] = self._ctx.meta[_GIVEN]
        place = given.index("--") if "--" in given else len(given)
        ctx = self._ctx.command.make_context(
            self._ctx.info_name, [*given[:place], *words, *given[place:]], parent=self._ctx.parent, obj=self._ctx.obj
        )
        return {part.name: _assemble(part, ctx.params) for part in self._parts}

    def given(self, name: str) -> bool:
        """Whether the value of this parameter is from the command line, not from the environment or the settings."""
        return source_of(self._ctx, name) == "COMMANDLINE"


@dataclass(frozen=True, slots=True)
class _Part:
    """One parameter of the function, and the names of the options that make it."""

    name: str
    type: Any
    options: tuple[str, ...]


class _Signature:
    """A function's parameters, taken apart into options and put together again."""

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function
        self.kinds: dict[str, Kind] = {}
        self.parts: list[_Part] = []
        self.app_name: str | None = None
        self.common_name: str | None = None
        self.reread_name: str | None = None
        self._parameters: dict[str, inspect.Parameter] = {}
        hints = typing.get_type_hints(function, include_extras=True)
        for name, parameter in inspect.signature(function).parameters.items():
            if hints[name] is AppContext:
                self.app_name = name
            elif hints[name] is CommonOptions:
                self.common_name = name
            elif hints[name] is Reread:
                self.reread_name = name
            elif dataclasses.is_dataclass(hints[name]):
                self.parts.append(self._group(name, hints[name]))
            else:
                self._add(name, hints[name], parameter.default)
                self.parts.append(_Part(name, None, (name,)))
        self.common = self._group("", CommonOptions)

    def callback(self) -> Callable[..., None]:
        """The function that Typer calls, with one parameter for each option."""

        def call(ctx: typer.Context, **values: Any) -> None:
            app = ctx.obj
            common = _assemble(self.common, values)
            app.console.color = common.color
            arguments = {part.name: _assemble(part, values) for part in self.parts}
            if self.app_name is not None:
                arguments[self.app_name] = app
            if self.common_name is not None:
                arguments[self.common_name] = common
            if self.reread_name is not None:
                arguments[self.reread_name] = Reread(ctx, self.parts)
            with log_to(app.console, common.verbose):
                self.function(**arguments)

        context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        call.__signature__ = inspect.Signature([context, *self._parameters.values()])  # type: ignore[attr-defined]
        call.__annotations__ = {}
        call.__doc__ = self.function.__doc__
        return call

    def _group(self, name: str, options: Any) -> _Part:
        hints = typing.get_type_hints(options, include_extras=True)
        fields = dataclasses.fields(options)
        for field in fields:
            default = field.default if field.default is not dataclasses.MISSING else inspect.Parameter.empty
            self._add(field.name, hints[field.name], default, getattr(options, "PANEL", None))
        return _Part(name, options, tuple(field.name for field in fields if field.name in self.kinds))

    def _add(self, name: str, annotation: Any, default: Any, panel: str | None = None) -> None:
        if name in self.kinds:
            raise TypeError(f"{self.function.__name__} has two options called {name}")
        base, declared = typing.get_args(annotation)
        info = copy.copy(declared)  # one declaration serves many commands, in different panels
        kind = self.kinds[name] = kind_of(base, info.parser)
        info.rich_help_panel = info.rich_help_panel or panel
        if getattr(info, "count", False):
            shown: Any = int
        elif base is bool or (kind.metavar == "" and not kind.multiple):
            shown = bool
        else:
            shown = list[str] if kind.multiple else str
        self._parameters[name] = inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=typing.Annotated[shown, info]
        )


def _assemble(part: _Part, values: dict[str, Any]) -> Any:
    """One argument of the function. Typer makes lists of what is given many times; ours are tuples."""
    ready = {
        name: tuple(values[name]) if isinstance(values[name], list) else values[name] for name in part.options if name in values
    }
    return part.type(**ready) if part.type is not None else ready[part.name]
