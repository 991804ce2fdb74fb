"""Single options and arguments: how they are declared, and how their text becomes a value.

Typer's parameters convert values with pydantic, whose import takes longer than the rest of the start together. So `Option` and
`Argument` override `process_value` and convert only what a command line needs. A value comes from the command line, the
environment or the settings, in that order, and each source goes through the same conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperArgument, TyperOption

from llamacli.cli.framework.kinds import Kind, kind_of
from llamacli.errors import LlamacliError, UsageError
from llamacli.values import dataclass

ENVIRONMENT_PREFIX = "LLAMACLI_"

UNSET = "llamacli.unset"
"""The key of a context's `meta` under which the names of options are kept that the environment does not set."""

_NO_TYPE: Any = None  # Typer describes types for its own conversion, which is not used here


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class OptionDeclaration:
    """An option without its type, name and default, which the annotated parameter or field provides."""

    names: tuple[str, ...]
    help: str
    metavar: str | None
    parser: Callable[[str], object] | None
    shows: str | None
    panel: str | None
    count: bool
    callback: Callable[[typer.Context, Any], object] | None
    environment: bool
    sets: str | None
    needs: tuple[str, ...]
    loads: bool | None
    clears: tuple[str, ...]

    def build(self, name: str, annotation: Any, default: object, panel: str | None = None, *, loads: bool = False) -> Option:
        """The option of one command. Its own panel and `loads` come before those of its group."""
        kind = kind_of(annotation, self.parser)
        loads = loads if self.loads is None else self.loads
        return Option(self, name, kind, default=default, panel=self.panel or panel, loads=loads)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ArgumentDeclaration:
    """An argument without its type, name and default."""

    metavar: str
    help: str
    parser: Callable[[str], object] | None

    def build(self, name: str, annotation: Any, default: object, panel: str | None = None, *, loads: bool = False) -> Argument:
        """The argument of one command; arguments share one panel."""
        return Argument(self, name, kind_of(annotation, self.parser), default=default)


REQUIRED: Any = object()
"""The default of an argument that must be given."""


def option(
    *names: str,
    help: str,  # noqa: A002  # Typer's name
    metavar: str | None = None,
    parser: Callable[[str], object] | None = None,
    shows: object = None,
    panel: str | None = None,
    count: bool = False,
    callback: Callable[[typer.Context, Any], object] | None = None,
    environment: bool = True,
    sets: str | None = None,
    needs: tuple[str, ...] = (),
    loads: bool | None = None,
    clears: tuple[str, ...] = (),
) -> OptionDeclaration:
    """Declare an option inside `Annotated`. Names are llama.cpp's; the first long one is also its name in the settings.

    `parser` raises ValueError with the reason. `shows` is the default as help prints it, where the real one is None or says
    little. `sets` is the engine's parameter (`n_ctx`), where it has another name than the option. The environment variable is
    LLAMACLI_ and the first long name. `needs` and `loads`: see `effect`; `clears`: see `settings.unset`.
    """
    return OptionDeclaration(
        names=names, help=help, metavar=metavar, parser=parser, shows=None if shows is None else str(shows), panel=panel,
        count=count, callback=callback, environment=environment, sets=sets, needs=needs, loads=loads, clears=clears,
    )  # fmt: skip


def argument(*, metavar: str, help: str, parser: Callable[[str], object] | None = None) -> ArgumentDeclaration:  # noqa: A002
    """Declare a positional argument inside `Annotated`. `parser` raises ValueError with the reason."""
    return ArgumentDeclaration(metavar=metavar, help=help, parser=parser)


def environment_variable(names: Sequence[str]) -> str:
    """The variable that sets an option: `--ctx-size` is LLAMACLI_CTX_SIZE."""
    long = next(name for name in names if name.startswith("--"))
    return ENVIRONMENT_PREFIX + long.partition("/")[0].strip().removeprefix("--").replace("-", "_").upper()


def environment_variables(names: Sequence[str]) -> tuple[str, ...]:
    """The variables of all long spellings: `--predict` and `--n-predict` are LLAMACLI_PREDICT and LLAMACLI_N_PREDICT."""
    return tuple(environment_variable([name]) for name in names if name.startswith("--"))


class Option(TyperOption):
    """An option that converts its own value. `sets` is the engine's parameter that it sets, by default its own name."""

    def __init__(
        self, declared: OptionDeclaration, name: str, kind: Kind, *, default: object, panel: str | None, loads: bool
    ) -> None:
        super().__init__(
            param_decls=[name, *declared.names],
            type_descriptor=_NO_TYPE,
            default=default,
            metavar=declared.metavar,
            expose_value=declared.callback is None,
            is_eager=declared.callback is not None,
            envvar=list(environment_variables(declared.names)) if declared.environment else None,
            show_default=False if declared.shows is None else declared.shows,
            is_flag=kind.is_switch and not declared.count,
            multiple=kind.multiple,
            count=declared.count,
            help=declared.help,
            rich_help_panel=panel,
        )
        self.kind = kind
        self.sets = declared.sets or name
        self.needs = declared.needs
        self.loads = loads
        self.clears = declared.clears
        self.variables = environment_variables(declared.names) if declared.environment else ()
        self._action = declared.callback

    def process_value(self, ctx: typer.Context, value: Any) -> Any:  # type: ignore[override]  # the base names its private class
        """The value, converted unless it is the built-in default."""
        if value is not None and source_of(ctx, self.name) != "DEFAULT":
            value = self._converted(ctx, value)
        return self._action(ctx, value) if self._action is not None else value

    def _converted(self, ctx: typer.Context, value: Any) -> Any:
        if self.multiple:
            return tuple(_convert(self, ctx, item) for item in ([value] if isinstance(value, str) else value))
        if (self.is_flag and isinstance(value, bool)) or (self.count and isinstance(value, int)):
            return value
        return _convert(self, ctx, value)

    def variable_in(self, environ: Mapping[str, str]) -> str | None:
        """The variable that sets the option in this environment, None if none does."""
        return next((name for name in self.variables if environ.get(name)), None)

    def value_from_envvar(self, ctx: typer.Context) -> str | Sequence[str] | None:  # type: ignore[override]
        """The variable's text; an option that can be repeated takes one value from each line. None if it is unset."""
        if self.name in ctx.meta.get(UNSET, ()):
            return None
        text = self.resolve_envvar_value(ctx)
        return text.splitlines() if text and self.multiple else text

    def get_error_hint(self) -> str:
        """The option's names, for messages about it."""
        return "/".join(self.opts)


class Argument(TyperArgument):
    """A positional argument that converts its own value."""

    def __init__(self, declared: ArgumentDeclaration, name: str, kind: Kind, *, default: object) -> None:
        super().__init__(
            param_decls=[name],
            type_descriptor=_NO_TYPE,
            required=default is REQUIRED,
            nargs=-1 if kind.multiple else None,
            default=None if default is REQUIRED else default,
            metavar=declared.metavar,
            help=declared.help,
            show_default=False,
        )
        self.kind = kind

    def process_value(self, ctx: typer.Context, value: Any) -> Any:  # type: ignore[override]
        """The value, converted unless it is the built-in default. Raises UsageError if it is missing."""
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
    """The source of a value: COMMANDLINE, ENVIRONMENT, DEFAULT_MAP (the settings) or DEFAULT."""
    source = ctx.get_parameter_source(name)
    return source.name if source is not None else "DEFAULT"


def _convert(parameter: Option | Argument, ctx: typer.Context, value: object) -> object:
    """Convert text, or a value from a settings file."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    try:
        return parameter.kind.convert(text)
    except LlamacliError:
        raise
    except ValueError as error:
        where = {"ENVIRONMENT": _variable(parameter, ctx), "DEFAULT_MAP": f"the setting {_setting(parameter)}"}
        hint = where.get(source_of(ctx, parameter.name), parameter.get_error_hint())
        raise typer.BadParameter(str(error), ctx=ctx, param=parameter, param_hint=hint) from None


def _variable(parameter: Option | Argument, ctx: typer.Context) -> str:
    """The variable that an option's value came from."""
    if not isinstance(parameter, Option):
        return parameter.name
    return parameter.variable_in(ctx.obj.console.environ) or next(iter(parameter.variables), parameter.name)


def _setting(parameter: Option | Argument) -> str:
    """An option's name in the settings: its first long name without the dashes."""
    return next((name for name in parameter.opts if name.startswith("--")), parameter.name).removeprefix("--")
