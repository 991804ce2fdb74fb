"""`--help` and `--help-all`: the facts of the man pages and the completions, laid out for the width of the terminal."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from llamacli.cli.framework.parameters import ENVIRONMENT_PREFIX, Argument, Option
from llamacli.render.wrap import wrap
from llamacli.values import dataclass

MAX_WIDTH = 100
_NAMES_WIDTH, _COMMANDS_WIDTH, _EXAMPLE_WIDTH = 30, 18, 44
_NARROW = 60

_BRIEF = r"[:;] |\.( |$)"
"""The end of the first words of an option's help."""

ARGUMENTS = "Arguments"
COMMON = "Common options"
_COMMON_EXAMPLES = 3
"""Examples that a page of common options shows."""

_SCREEN_LINES = 23
"""Lines of a screen, above the prompt."""

OPTIONS = "Options"
"""The section of the options without a panel, such as those of a group of commands."""

ENVIRONMENT_NOTE = (
    f"Most options can be set by an environment variable: {ENVIRONMENT_PREFIX} and the option's long name, "
    f"as in {ENVIRONMENT_PREFIX}CTX_SIZE=8192. Defaults are in brackets."
)


@dataclass(frozen=True, slots=True)
class Row:
    """A command, an argument or an option: its names, and what it does."""

    names: str
    help: str


@dataclass(frozen=True, slots=True)
class Section:
    """Rows under one title."""

    title: str
    rows: tuple[Row, ...]


def format_help(ctx: typer.Context, *, width: int, bold: Callable[[str], str], whole: bool = True) -> str:
    """Return the help of a command or a group, at most `width` columns wide. `bold` styles headings.

    Unless it is the `whole`, a command with many options shows its common ones, in a page of at most 45 lines of 80 columns.
    """
    owner: Any = ctx.command
    width = max(min(width, MAX_WIDTH), 24)
    call = "\n".join(wrap(usage(ctx), width, first=f"{bold('Usage:')} ", rest="  "))
    if not whole and owner.common:
        return "\n\n".join([call, *_common_blocks(ctx, width, bold)]) + "\n"
    blocks = [call, *paragraphs(owner.help or "", width)]
    short = isinstance(owner, TyperGroup)
    blocks += [_section(part, width, bold, short=short) for part in sections(ctx)]
    if owner.examples:
        blocks.append(_examples(owner.examples, bold("Examples:"), width if short else 0))
    if not short:
        blocks.append(_filled(ENVIRONMENT_NOTE, width))
    elif len(blocks) > 1 and not {"\n"}.intersection(blocks[-1] + blocks[-2]):
        blocks[-2:] = ["\n".join(blocks[-2:])]  # single lines need no space between them
    text = "\n\n".join(blocks) + "\n"
    if short and text.count("\n") > _SCREEN_LINES:
        head, _, tail = text.rpartition("\n\n")
        return f"{head}\n{tail}"
    return text


def _common_blocks(ctx: typer.Context, width: int, bold: Callable[[str], str]) -> list[str]:
    """The first two paragraphs, the common options (the first words about each), some examples, and where the rest is."""
    owner: Any = ctx.command
    by_name = {name: one for one in owner.params if isinstance(one, Option) for name in (*one.opts, *one.secondary_opts)}
    options = [by_name[name] for name in (*owner.common, "--help", "--help-all")]
    rows = tuple(Row(spelling(one, most=2), re.split(_BRIEF, one.help or "")[0]) for one in options)
    arguments = [part for part in sections(ctx) if part.title == ARGUMENTS]
    blocks = paragraphs(owner.help or "", width)[:2]
    blocks += [_section(part, width, bold, short=False) for part in (*arguments, Section(COMMON, rows))]
    blocks.append(_examples(owner.examples[:_COMMON_EXAMPLES], bold("Examples:"), 0))
    count = sum(isinstance(one, Option) and not one.hidden for one in owner.params)
    more = f"{ctx.command_path} --help-all shows all {count} options; `llamacli help` lists guides."
    return [*blocks, _filled(more, width)]


def usage(ctx: typer.Context) -> str:
    """The synopsis in one line: `llamacli run [OPTIONS] [PROMPT]`."""
    pieces = [ctx.command_path]
    if isinstance(ctx.command, TyperGroup):
        return " ".join([*pieces, "COMMAND [OPTIONS] ..."])
    pieces.append("[OPTIONS]")
    for parameter in ctx.command.params:
        if isinstance(parameter, Argument):
            name = (parameter.metavar or parameter.name) + ("..." if parameter.nargs == -1 else "")
            pieces.append(name if parameter.required else f"[{name}]")
    return " ".join(pieces)


def sections(ctx: typer.Context) -> list[Section]:
    """The subcommands, arguments and options by panel, in the order of their declaration."""
    panels: dict[str, list[Row]] = {}
    owner = ctx.command
    if isinstance(owner, TyperGroup):
        for name in owner.list_commands(ctx):
            title, summary = command_summary(owner, ctx, name)
            panels.setdefault(title, []).append(Row(name, summary))
    for parameter in owner.params:
        if isinstance(parameter, Argument):
            panels.setdefault(ARGUMENTS, []).append(Row(parameter.metavar or parameter.name, sentence(parameter.help or "")))
        elif isinstance(parameter, Option) and not parameter.hidden:
            panel = parameter.rich_help_panel if isinstance(owner, TyperCommand) else None
            panels.setdefault(panel or OPTIONS, []).append(Row(spelling(parameter), described(parameter)))
    return [Section(title, tuple(rows)) for title, rows in panels.items()]


def command_summary(owner: TyperGroup, ctx: typer.Context, name: str) -> tuple[str, str]:
    """The panel and the one-line help of a subcommand, without importing it if the group knows them."""
    known = getattr(owner, "summaries", {})
    if name in known:
        panel, summary = known[name]
        return str(panel), str(summary)
    found = owner.get_command(ctx, name)
    text = inspect.cleandoc((found.help if found else None) or "")
    return "Commands", text.partition("\n")[0].removesuffix(".")


def spelling(option: Option, *, most: int | None = None) -> str:
    """The names and the value of an option: `-c, --ctx-size N`, `--mmap, --no-mmap`. `most` limits the number of names."""
    names = ", ".join([*option.opts, *option.secondary_opts][:most])
    if option.is_flag or option.count:
        return names
    return f"{names} {option.metavar or option.kind.metavar}"


def described(option: Option) -> str:
    """The help of an option, with the default in brackets."""
    default = default_text(option)
    text = sentence(option.help or "")
    return f"{text} [{default}]" if default else text


def sentence(text: str) -> str:
    """The text without its full stop. Three dots stay: they stand for more of the same."""
    return text if text.endswith("...") else text.removesuffix(".")


def default_text(option: Option) -> str | None:
    """The default as help shows it, or None if it says nothing."""
    if isinstance(option.show_default, str):
        return option.show_default
    value = option.default
    if value is None or value is False or value in ((), "", 0) or option.count:
        return None
    return "on" if value is True else str(value)


def paragraphs(text: str, width: int) -> list[str]:
    """The paragraphs of a docstring, wrapped. Indented ones and tables stay unchanged."""
    blocks = inspect.cleandoc(text).split("\n\n") if text else []
    return [block if block.startswith((" ", "|")) else _filled(block, width) for block in blocks]


def _filled(text: str, width: int) -> str:
    return "\n".join(wrap(" ".join(text.split()), width))


def _section(part: Section, width: int, bold: Callable[[str], str], *, short: bool) -> str:
    """A heading and its rows. `short` is for groups, whose help fits a screen: their few options share a line."""
    title = bold(part.title + ":")
    if short and part.title == OPTIONS:
        return f"{title} {'; '.join(row.names for row in part.rows)}"
    column = _COMMANDS_WIDTH if short else _NAMES_WIDTH
    return "\n".join([title, *(_layout(row, width, column) for row in part.rows)])


def _examples(examples: Sequence[tuple[str, str]], heading: str, width: int) -> str:
    """The examples below their heading; a single one of a group is beside it, if `width` columns are enough."""
    lines = [_example(what, line, width) for what, line in examples]
    alone = f"{heading} {lines[0].strip()}"
    return alone if len(lines) == 1 and len(alone) <= width else "\n".join([heading, *lines])


def _example(what: str, line: str, width: int) -> str:
    """A command line with its comment beside it, or above it if `width` columns are too few."""
    beside = f"  {line:<{_EXAMPLE_WIDTH}}  # {sentence(what)}"
    return beside if len(beside) <= width else f"  # {what}\n  {line}"


def _layout(row: Row, width: int, column: int) -> str:
    column = 2 if width < _NARROW else column
    indent = " " * (6 if width < _NARROW else column)
    lines = wrap(row.help, width, first=indent) if row.help else []
    names = f"  {row.names}"
    if len(names) + 2 > column or not lines:
        return "\n".join([*wrap(row.names, width, first="  ", rest=" " * 6), *lines])
    return "\n".join([names.ljust(column) + lines[0].lstrip(), *lines[1:]])
