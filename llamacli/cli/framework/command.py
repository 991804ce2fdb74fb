"""Commands: a function's signature, in which groups of options are dataclasses, becomes a command line.

    @command(examples=(("Ask a question.", "llamacli run 'Why is the sky blue?'"),))
    def run(app: AppContext, prompt: PromptArgument = None, *, model: ModelOptions, sampling: SamplingOptions) -> None:

`signature` says what each kind of parameter stands for.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.effect import check_effect
from llamacli.cli.framework.help import format_help
from llamacli.cli.framework.options.common import CommonOptions
from llamacli.cli.framework.options.template import TEMPLATE_OPTION
from llamacli.cli.framework.parameters import UNSET, Option
from llamacli.cli.framework.signature import GIVEN, Reread, Signature, options_of
from llamacli.cli.framework.spellings.environment import unknown_variables
from llamacli.cli.framework.spellings.foreign import adopt
from llamacli.cli.framework.spellings.suggest import explained, option_names, reject_single_dash, with_numbers_apart
from llamacli.errors import LlamacliError, UsageError

__all__ = ["Command", "Example", "Group", "Reread", "command", "group"]

Example = tuple[str, str]
"""The comment on a command line, and the command line."""


class Command(TyperCommand):
    """A command whose defaults may come from the settings, and whose usage errors suggest what was probably meant."""

    examples: tuple[Example, ...] = ()
    common: tuple[str, ...] = ()
    """The options that `--help` shows, by one of their names; all if it is empty."""
    reads_settings = True
    """False for a command that must work while the settings are broken."""
    takes_numbers = False
    """True where `-1` is an argument, not an option."""
    loads_with: str | None = None
    """The option that makes the command load a model; None if no option decides that."""
    changes_models = False
    """True if the model can be changed while the command runs, also from one on a server to one on this machine."""
    groups: Mapping[str, str] = {}
    """Subcommands and groups that the first argument may name, as in `llamacli embed index`, and the modules that define them.

    A module is imported when its command is called.
    """

    def __init__(
        self, name: str, signature: Signature, *, examples: tuple[Example, ...] = (), common: tuple[str, ...] = ()
    ) -> None:
        super().__init__(
            name=name,
            params=list(signature.parameters),
            help=inspect.getdoc(signature.function),
            add_help_option=False,
            rich_markup_mode=None,
        )
        self.examples = examples
        self.common = common
        self._signature = signature
        self._parser: Any = None

    def group(self, name: str) -> Group | Command:
        """One of `groups`."""
        found: Group | Command = getattr(importlib.import_module(self.groups[name]), name)
        return found

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Typer's context, with the settings as its defaults."""
        if args and args[0] in self.groups:
            return self.group(args[0]).make_context(f"{info_name} {args[0]}", args[1:], parent=parent, **extra)
        options = option_names(self)
        valued = {name for name, one in options.items() if not one.is_flag and not one.count}
        args = adopt(args, options, valued)
        if self.reads_settings:
            app = extra.get("obj") or parent.obj
            given = self._given(args)
            if "help" not in given and "help_all" not in given:
                extra["default_map"] = self._defaults(app, given, self._unset(given))
        return super().make_context(info_name, args, parent=parent, **extra)

    def make_parser(self, ctx: Any) -> Any:
        """Typer's parser, which is made once: each command line is parsed for the settings first, then for the command."""
        if self._parser is None:
            self._parser = super().make_parser(ctx)
        self._parser.ctx = ctx
        return self._parser

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line. Errors come with a hint."""
        given = ctx.meta[GIVEN] = list(args)
        ctx.meta[UNSET] = self._unset(self._given(args))
        reject_single_dash(self, given)
        if self.takes_numbers:
            args = with_numbers_apart(self, args)
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            raise explained(self, error, given) from error

    def invoke(self, ctx: Any) -> None:
        """Call the function. Its errors about parameters name the flags of this command."""
        if self.reads_settings:
            for name, near in unknown_variables(ctx.obj.console.environ):
                ctx.obj.console.warn(f"{name} sets nothing" + (f" (did you mean {near}?)" if near else ""))
        check_effect(ctx, self.params, loads_with=self.loads_with, changes_models=self.changes_models)
        try:
            self._signature.call(ctx)
        except LlamacliError as error:
            if error.parameter is not None:
                from llamacli.cli.framework.spellings.wording import flags_of, word_parameters

                word_parameters(error, flags_of(self.params))
            raise

    def from_environment(self, app: AppContext) -> dict[str, Any]:
        """The arguments of the function as they are without a command line. Raises UsageError, SettingsError."""
        with self.make_context(self.name, [], obj=app) as ctx:
            return self._signature.arguments(ctx)

    @property
    def settable(self) -> list[Option]:
        """The options that the settings may hold: those that an environment variable can set, too."""
        return [one for one in self.params if isinstance(one, Option) and one.envvar is not None]

    def _unset(self, given: Mapping[str, Any]) -> Collection[str]:
        """The names of the options that the environment and the settings do not set. Raises UsageError."""
        if "unset" not in given and all(one.name not in given for one in self.settable if one.clears):
            return ()
        from llamacli.cli.framework.settings.unset import unset_names

        return unset_names(self.settable, given)

    def _defaults(self, app: AppContext, given: Mapping[str, Any], unset: Collection[str]) -> dict[str, object]:
        """The settings, and over them the options of the prompt template, if there is one. Raises UsageError."""
        settable = [one for one in self.settable if one.name not in unset]
        if all(one.name != TEMPLATE_OPTION for one in self.params):
            return dict(app.read_defaults(app.console.environ, settable, given))
        from llamacli.cli.framework.settings.templates import defaults_with_template

        return defaults_with_template(app, [one for one in self.params if isinstance(one, Option)], settable, given)

    def _given(self, arguments: Sequence[str]) -> dict[str, Any]:
        """The unconverted values on the command line; empty if it is wrong, which `parse_args` reports."""
        context = self.context_class(self, resilient_parsing=True)
        try:
            values, _, _ = self.make_parser(context).parse_args(args=list(arguments))
        except typer.TyperException:
            return {}
        return dict(values)


class Group(TyperGroup):
    """A command that only has subcommands, such as `models`."""

    examples: tuple[Example, ...] = ()
    common: tuple[str, ...] = ()

    def __init__(
        self,
        name: str,
        *,
        help: str,  # noqa: A002  # Typer's name
        commands: Sequence[Command] = (),
        options: Sequence[Option] = (),
        examples: tuple[Example, ...] = (),
    ) -> None:
        super().__init__(
            name=name, commands=list(commands), params=[*options, _help_option()], help=help, add_help_option=False,
            rich_markup_mode=None,
        )  # fmt: skip
        self.examples = examples

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words before the subcommand. Errors come with a hint."""
        if not args:
            console = ctx.obj.console
            console.write_error(format_help(ctx, width=console.width, bold=lambda text: console.styled(text, "bold")))
            raise typer.Exit(2)
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            raise explained(self, error, args) from error

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The name of the subcommand, the subcommand, and its words. Raises UsageError if it is unknown."""
        found = self.get_command(ctx, args[0])
        if found is None:
            raise UsageError(f"no such command: {args[0]}", hint=self.near_command(ctx, args[0]))
        return args[0], found, args[1:]

    def near_command(self, ctx: Any, word: str) -> str:
        """A hint about an unknown command."""
        near = difflib.get_close_matches(word, self.list_commands(ctx), n=1)
        return f"did you mean {near[0]}?" if near else f"{ctx.command_path} --help lists them"


def command(
    *, name: str | None = None, examples: tuple[Example, ...] = (), common: tuple[str, ...] = ()
) -> Callable[[Callable[..., None]], Command]:
    """Make a function a command. Its default name is the function's; its help is the docstring.

    `common` are the options that `--help` shows, where all of them are more than a screen.
    """

    def decorate(function: Callable[..., None]) -> Command:
        called = name or function.__name__.rstrip("_").replace("_", "-")
        return Command(called, Signature(function), examples=examples, common=common)

    return decorate


def group(name: str, *commands: Command, help: str, examples: tuple[Example, ...] = ()) -> Group:  # noqa: A002
    """Put commands under a common name: `llamacli models list`."""
    return Group(name, commands=commands, help=help, examples=examples)


def _help_option() -> Option:
    found = next(one for one in options_of(CommonOptions) if one.name == "help")
    assert isinstance(found, Option)
    return found
