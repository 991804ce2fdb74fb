"""Single options and arguments: how they are declared, and how their text becomes a value.

Typer would convert with pydantic, of which the import takes longer than the rest of the start together; so `process_value`
converts here, and only what a command line needs. Values come from the command line, the environment or the settings, in that
order, and every one of them goes through the same conversion.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import typer
from typer.core import TyperArgument, TyperOption

from llamacli.errors import UsageError

ENVIRONMENT_PREFIX = "LLAMACLI_"

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def option(
    *names: str,
    help: str,  # noqa: A002  # Typer's name
    metavar: str | None = None,
    parser: Callable[[str], object] | None = None,
    shows: object = None,
    panel: str | None = None,
    count: bool = False,
    callback: Callable[..., object] | None = None,
    environment: bool = True,
) -> Any:
    """Declares an option, to stand in an `Annotated`. Names are llama.cpp's; the first long one also names it in the settings.

    `parser` raises ValueError with the reason. `shows` is the default for people to read, where the real one is None or speaks
    for itself badly. The environment variable is LLAMACLI_ and the first long name.
    """
    return typer.Option(
        *names,
        help=help,
        metavar=metavar,
        parser=parser,
        show_default=False if shows is None else str(shows),
        rich_help_panel=panel,
        count=count,
        callback=callback,
        is_eager=callback is not None,
        expose_value=callback is None,
        envvar=environment_variable(names) if environment else None,
    )


def argument(*, metavar: str, help: str, parser: Callable[[str], object] | None = None) -> Any:  # noqa: A002
    """Declares a positional argument, to stand in an `Annotated`. `parser` raises ValueError with the reason."""
    return typer.Argument(metavar=metavar, help=help, parser=parser, show_default=False)


def environment_variable(names: Sequence[str]) -> str:
    """The variable that sets an option: `--ctx-size` is LLAMACLI_CTX_SIZE."""
    long = next(name for name in names if name.startswith("--"))
    return ENVIRONMENT_PREFIX + long.partition("/")[0].strip().removeprefix("--").replace("-", "_").upper()


@dataclass(frozen=True, slots=True)
class Kind:
    """What a parameter's text becomes: `convert` raises ValueError; `metavar` stands for the value in help."""

    convert: Callable[[str], object]
    metavar: str
    choices: tuple[str, ...] = ()
    multiple: bool = False


def kind_of(annotation: Any, parser: Callable[[str], object] | None = None) -> Kind:
    """The kind for a type: `X`, `X | None`, or `tuple[X, ...]` (given many times), of str, int, float, bool, Path and Literal.

    With a parser X is what it returns. One that returns a tuple takes the whole list in one text: `-ts 3,1`.
    """
    annotation = _without_none(annotation)
    if typing.get_origin(annotation) is tuple and (parser is None or _without_none(_result_of(parser)) != annotation):
        inner = kind_of(typing.get_args(annotation)[0], parser)
        return Kind(inner.convert, inner.metavar, inner.choices, multiple=True)
    if parser is not None:
        return Kind(parser, "VALUE")
    if typing.get_origin(annotation) is Literal:
        choices = tuple(str(choice) for choice in typing.get_args(annotation))
        return Kind(_choice_parser(typing.get_args(annotation)), "|".join(choices), choices)
    return _KINDS[annotation]


class Option(TyperOption):
    """An option whose value is converted here."""

    kind: Kind

    def process_value(self, ctx: typer.Context, value: Any) -> Any:  # type: ignore[override]  # the base names its private class
        """The value, converted unless it is the built-in default."""
        if value is None or source_of(ctx, self.name) == "DEFAULT":
            value = () if value is None and self.multiple else value
        elif self.multiple:
            given = [value] if isinstance(value, str) else value
            value = tuple(_convert(self, ctx, item) for item in given)
        elif not (self.is_flag and isinstance(value, bool)) and not (self.count and isinstance(value, int)):
            value = _convert(self, ctx, value)
        return self.callback(ctx, self, value) if self.callback is not None else value

    def value_from_envvar(self, ctx: typer.Context) -> str | Sequence[str] | None:  # type: ignore[override]
        """The variable's text; an option that may be given many times takes one value from each line."""
        text = self.resolve_envvar_value(ctx)
        return text.splitlines() if text and self.multiple else text

    def get_error_hint(self) -> str:
        """The option's names, for messages about it."""
        return "/".join(self.opts)


class Argument(TyperArgument):
    """A positional argument whose value is converted here."""

    kind: Kind

    def process_value(self, ctx: typer.Context, value: Any) -> Any:  # type: ignore[override]
        """The value, converted unless it is the built-in default."""
        if value is None or value == ():
            if self.required:
                required = [one.metavar or one.name for one in ctx.command.params if isinstance(one, Argument) and one.required]
                hint = f"write {' '.join([ctx.command_path, *required])}"
                raise UsageError(f"{self.metavar or self.name} is missing", hint=hint)
            return () if self.nargs == -1 else None
        if source_of(ctx, self.name) == "DEFAULT":
            return value
        if self.nargs == -1:
            return tuple(_convert(self, ctx, item) for item in value)
        return _convert(self, ctx, value)

    def get_error_hint(self) -> str:
        """The argument's name, for messages about it."""
        return self.metavar or self.name


def source_of(ctx: typer.Context, name: str) -> str:
    """Where a value came from: COMMANDLINE, ENVIRONMENT, DEFAULT_MAP (the settings) or DEFAULT."""
    source = ctx.get_parameter_source(name)
    return source.name if source is not None else "DEFAULT"


def adopt(parameter: object, kind: Kind) -> None:
    """Makes a parameter that Typer built from a signature one of ours: Typer cannot be told which classes to build."""
    if isinstance(parameter, TyperOption):
        parameter.__class__ = Option
    elif isinstance(parameter, TyperArgument):
        parameter.__class__ = Argument
    if isinstance(parameter, (Option, Argument)):
        parameter.kind = kind


def parse_bool(text: str) -> bool:
    """A switch in the environment or in the settings."""
    word = text.strip().lower()
    if word not in _TRUE + _FALSE:
        raise ValueError(f"'{text}' is neither true nor false")
    return word in _TRUE


def parse_text(text: str) -> str:
    """Text, which must have been UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("the text is not valid UTF-8") from None
    return text


def parse_raw_text(text: str) -> str:
    """Text as it came: the names of files need not be UTF-8, and what is not is kept as surrogates."""
    return text


def parse_int(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"'{text}' is not a whole number") from None


def parse_float(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"'{text}' is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"'{text}' is not a finite number")
    return value


def parse_path(text: str) -> Path:
    """The path of a file or a directory."""
    if not text:
        raise ValueError("the path is empty")
    return Path(text)


def _choice_parser(choices: tuple[Any, ...]) -> Callable[[str], object]:
    def parse(text: str) -> object:
        for choice in choices:
            if str(choice) == text:
                return choice
        raise ValueError(f"'{text}' is not one of {', '.join(map(str, choices))}")

    return parse


def _convert(parameter: Option | Argument, ctx: typer.Context, value: object) -> object:
    """`value` is text, or what a settings file holds."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    try:
        return parameter.kind.convert(text)
    except ValueError as error:
        where = {"ENVIRONMENT": str(parameter.envvar), "DEFAULT_MAP": f"the setting {_setting(parameter)}"}
        hint = where.get(source_of(ctx, parameter.name), parameter.get_error_hint())
        raise typer.BadParameter(str(error), ctx=ctx, param=parameter, param_hint=hint) from None


def _setting(parameter: Option | Argument) -> str:
    """How an option is called in the settings: its first long name without the dashes."""
    return next((name for name in parameter.opts if name.startswith("--")), parameter.name).removeprefix("--")


def _result_of(parser: Callable[[str], object]) -> Any:
    return typing.get_type_hints(parser).get("return")


def _without_none(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next(part for part in typing.get_args(annotation) if part is not types.NoneType)
    return annotation


_KINDS = {
    bool: Kind(parse_bool, ""),
    int: Kind(parse_int, "N"),
    float: Kind(parse_float, "N"),
    str: Kind(parse_text, "TEXT"),
    Path: Kind(parse_path, "FILE"),
}
