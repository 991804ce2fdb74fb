"""Man pages of section 1: the program, and each command or group of commands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from llamacli.cli.docs.pages import Page
from llamacli.cli.docs.roff import (
    bold,
    code,
    definition,
    escaped,
    filled,
    page_head,
    plain_lines,
    prose,
    section,
    styled,
    wrapped,
)
from llamacli.cli.docs.topics import ENVIRONMENT, EXIT_STATUS, FILES, MODELS, OUTPUT, SETTINGS
from llamacli.cli.framework.help import Row, Section, sentence
from llamacli.cli.framework.parameters import ENVIRONMENT_PREFIX
from llamacli.cli.help.topics import TOPICS

COMMON = "Common"
"""The panel that every command has: a page shows it once."""


def format_manual(page: Page, program: Page) -> str:
    """Write the man page of the program, of a command, or of a group with all its commands."""
    blocks = [
        *page_head(page.name, 1, "the options"),
        *section("Name", [wrapped(f"{escaped(page.name)} \\- {styled(_lower(page.summary))}")]),
        *section("Synopsis", [_synopsis(page)]),
        *section("Description", [prose(page.help)]),
        *(_program(page) if not page.path else _group(page) if page.is_group else _command(page)),
        *section("Exit status", [definition(str(number), text) for number, text in EXIT_STATUS]),
        *section("Environment", list(_environment(page))),
    ]
    if not page.path:
        blocks += section("Files", [definition(name, text) for name, text in FILES])
    own = page.below() if page.path and page.is_group else (page,)
    examples = [example for one in own for example in one.examples]
    blocks += section("Examples", [_example(what, line) for line, what in {line: what for what, line in examples}.items()])
    blocks += section("See also", [_see_also(page, program)])
    return "\n".join(blocks) + "\n"


def with_manual(program: Page) -> list[Page]:
    """The pages that have a man page: all but those of the commands in a group."""
    return [
        program,
        *(one for child in program.children for one in (child, *child.children) if one is child or not child.is_group),
    ]


def _command(page: Page) -> Iterator[str]:
    yield from section("Options", [_options(part) for part in page.sections])
    if page.path == ("chat",):
        yield from section("Slash commands", list(_slash_commands()))


def _slash_commands() -> Iterator[str]:
    """The commands of a conversation, as /help groups them."""
    from llamacli.repl.commands.registry import COMMANDS, grouped
    from llamacli.repl.dispatch import COMMAND_MODULES

    assert COMMAND_MODULES  # importing them registers the commands
    yield prose("A line is a command if its first word is a slash and a name. A space before it makes it text for the model.")
    for title, commands in grouped(COMMANDS.values()).items():
        rows = [f".TP\n{bold(one.usage)}\n{filled(one.about + '.')}" for one in commands]
        yield "\n".join([f".SS {escaped(title)}", *rows])


def _group(page: Page) -> Iterator[str]:
    parts = []
    for child in page.children:
        own = [_rows(part.rows) for part in child.sections if part.title != COMMON]
        parts += [f".SS {escaped(_usage_words(child))}", prose(child.help).removeprefix(".PP\n"), *own]
    yield from section("Commands", parts)
    common = next(part for part in page.children[0].sections if part.title == COMMON)
    yield from section("Common options", [_rows(common.rows)])


def _program(page: Page) -> Iterator[str]:
    for part in page.sections:
        yield from section(part.title, [_rows(part.rows)])
    yield from section("Guides", [definition(f"llamacli help {topic.name}", f"{topic.summary}.") for topic in TOPICS])
    for title, text in (("Models", MODELS), ("Settings", SETTINGS), ("Input and output", OUTPUT)):
        yield from section(title, [prose(text)])


def _environment(page: Page) -> Iterator[str]:
    own = page.below() if page.is_group else (page,)
    switches = [
        switch for one in own for switch in one.switches if switch.names[-1] not in ("--help", "--help-all", "--version")
    ]
    if page.path:
        settable = any(switch.variable for switch in switches)
        others = dict.fromkeys(_long(switch.names) for switch in switches if not switch.variable)
        text = (
            f"A variable sets an option. Its name is {ENVIRONMENT_PREFIX} and the option's long name in capitals, "
            f"with _ for -: {ENVIRONMENT_PREFIX}PROFILE is --profile. The command line comes before it."
        )
        if settable and others:
            text += f" No variable sets {', '.join(others)}."
        yield prose(text)
    has = {name for switch in switches for name in switch.names}
    yield from (definition(name, text) for name, text, option in ENVIRONMENT if not page.path or option in has)


def _options(part: Section) -> str:
    return f".SS {escaped(part.title)}\n{_rows(part.rows)}"


def _rows(rows: Iterable[Row]) -> str:
    return "\n".join(f".TP\n{_names(row.names)}\n{filled(sentence(row.help) + '.')}" for row in rows)


def _names(names: str) -> str:
    """Names in bold, placeholders of values in italics."""
    if not names.startswith("-"):
        return f"\\fI{escaped(names)}\\fR" if names.isupper() else bold(names)
    *others, last = names.split(", ")
    last, _, value = last.partition(" ")
    text = ", ".join(bold(name) for name in (*others, last))
    return f"{text} \\fI{escaped(value)}\\fR" if value else text


def _synopsis(page: Page) -> str:
    calls = [child.usage for child in page.children] if page.path and page.is_group else [page.usage]
    return "\n.br\n".join(_call(call) for call in calls)


def _call(usage: str) -> str:
    """A usage line: literal words in bold, placeholders in italics."""
    words = []
    for word in usage.split():
        name = word.strip("[].")
        shown = escaped(word)
        words.append(shown.replace(escaped(name), f"\\fI{escaped(name)}\\fR") if name.isupper() else f"\\fB{shown}\\fR")
    return " ".join(words)


def _usage_words(page: Page) -> str:
    return page.usage.removeprefix("llamacli ").replace(" [OPTIONS]", "")


def _example(what: str, line: str) -> str:
    return f".PP\n{filled(what)}\n{code(line)}"


def _see_also(page: Page, program: Page) -> str:
    commands = [f"{bold(one.name)}(1)" for one in with_manual(program) if one.path != page.path]
    guides = [f"{bold(one.page)}(7)" for one in TOPICS if not page.path or "-".join(page.path) in one.commands]
    return plain_lines(",\n".join([*commands, *guides]))


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _long(names: tuple[str, ...]) -> str:
    return next(name for name in names if name.startswith("--"))
