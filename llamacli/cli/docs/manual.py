"""Man pages, in the macros of man(7)."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator

from llamacli import __version__
from llamacli.cli.docs.pages import Page
from llamacli.cli.docs.topics import ENVIRONMENT, EXIT_STATUS, FILES, MODELS, OUTPUT, SETTINGS
from llamacli.cli.framework.help import Row, Section, sentence
from llamacli.cli.framework.parameters import ENVIRONMENT_PREFIX

COMMON = "Common"
"""The panel that every command has: a page shows it once."""

_OPTION = re.compile(r"(?<![\w-])(--?[a-zA-Z][\w-]*)")
_QUOTED = re.compile(r"`([^`]+)`")


def format_manual(page: Page, program: Page) -> str:
    """The man page of the program, of a command, or of a group with all its commands."""
    title = page.name.upper().replace("-", r"\-")
    blocks = [
        '.\\" Written by llamacli.cli.documentation from the options as they are: do not edit.',
        f'.TH "{title}" "1" "" "llamacli {__version__}" "llamacli manual"',
        ".nh\n.ad l",  # an option or a path that is hyphenated, or spread over the line, cannot be read
        *_section("Name", [_wrapped(f"{escaped(page.name)} \\- {styled(_lower(page.summary))}")]),
        *_section("Synopsis", [_synopsis(page)]),
        *_section("Description", [_prose(page.help)]),
        *(_program(page) if not page.path else _group(page) if page.is_group else _command(page)),
        *_section("Exit status", [_definition(str(number), text) for number, text in EXIT_STATUS]),
        *_section("Environment", list(_environment(page))),
    ]
    if not page.path:
        blocks += _section("Files", [_definition(name, text) for name, text in FILES])
    own = page.below() if page.path and page.is_group else (page,)
    examples = [example for one in own for example in one.examples]
    blocks += _section("Examples", [_example(what, line) for line, what in {line: what for what, line in examples}.items()])
    blocks += _section("See also", [_see_also(page, program)])
    return "\n".join(blocks) + "\n"


def with_manual(program: Page) -> list[Page]:
    """The pages that have a man page of their own: all but those of the commands in a group."""
    return [
        program,
        *(one for child in program.children for one in (child, *child.children) if one is child or not child.is_group),
    ]


def _command(page: Page) -> Iterator[str]:
    yield from _section("Options", [_options(part) for part in page.sections])
    if page.path == ("chat",):
        yield from _section("Slash commands", list(_slash_commands()))


def _slash_commands() -> Iterator[str]:
    """What a conversation understands, as /help groups it."""
    from llamacli.repl.commands.registry import COMMANDS, grouped
    from llamacli.repl.dispatch import COMMAND_MODULES

    assert COMMAND_MODULES  # which register the commands
    yield _prose("A line is a command if its first word is a slash and a name. A space before it makes it text for the model.")
    for title, commands in grouped(COMMANDS.values()).items():
        rows = [f".TP\n\\fB{escaped(one.usage)}\\fR\n{_filled(one.about + '.')}" for one in commands]
        yield "\n".join([f".SS {escaped(title)}", *rows])


def _group(page: Page) -> Iterator[str]:
    parts = []
    for child in page.children:
        own = [_rows(part.rows) for part in child.sections if part.title != COMMON]
        parts += [f".SS {escaped(_usage_words(child))}", _prose(child.help).removeprefix(".PP\n"), *own]
    yield from _section("Commands", parts)
    common = next(part for part in page.children[0].sections if part.title == COMMON)
    yield from _section("Common options", [_rows(common.rows)])


def _program(page: Page) -> Iterator[str]:
    for part in page.sections:
        yield from _section(part.title, [_rows(part.rows)])
    for title, text in (("Models", MODELS), ("Settings", SETTINGS), ("Input and output", OUTPUT)):
        yield from _section(title, [_prose(text)])


def _environment(page: Page) -> Iterator[str]:
    own = page.below() if page.is_group else (page,)
    switches = [switch for one in own for switch in one.switches if switch.names[-1] not in ("--help", "--version")]
    if page.path:
        settable = any(switch.variable for switch in switches)
        others = dict.fromkeys(_long(switch.names) for switch in switches if not switch.variable)
        text = (
            f"A variable sets an option: it is called {ENVIRONMENT_PREFIX} and the option's long name in capitals, "
            f"with _ for -, as {ENVIRONMENT_PREFIX}PROFILE for --profile. What is on the command line comes before it."
        )
        if settable and others:
            text += f" No variable sets {', '.join(others)}."
        yield _prose(text)
    has = {name for switch in switches for name in switch.names}
    yield from (_definition(name, text) for name, text, option in ENVIRONMENT if not page.path or option in has)


def _options(part: Section) -> str:
    return f".SS {escaped(part.title)}\n{_rows(part.rows)}"


def _rows(rows: Iterable[Row]) -> str:
    return "\n".join(f".TP\n{_names(row.names)}\n{_filled(sentence(row.help) + '.')}" for row in rows)


def _names(names: str) -> str:
    """Names in bold, what stands for a value in italics."""
    if not names.startswith("-"):
        return f"\\fI{escaped(names)}\\fR" if names.isupper() else f"\\fB{escaped(names)}\\fR"
    *others, last = names.split(", ")
    last, _, value = last.partition(" ")
    text = ", ".join(f"\\fB{escaped(name)}\\fR" for name in (*others, last))
    return f"{text} \\fI{escaped(value)}\\fR" if value else text


def _synopsis(page: Page) -> str:
    calls = [child.usage for child in page.children] if page.path and page.is_group else [page.usage]
    return "\n.br\n".join(_call(call) for call in calls)


def _call(usage: str) -> str:
    """A usage line: what is written as it stands is bold, what is replaced is italic."""
    words = []
    for word in usage.split():
        name = word.strip("[].")
        shown = escaped(word)
        words.append(shown.replace(escaped(name), f"\\fI{escaped(name)}\\fR") if name.isupper() else f"\\fB{shown}\\fR")
    return " ".join(words)


def _usage_words(page: Page) -> str:
    return page.usage.removeprefix("llamacli ").replace(" [OPTIONS]", "")


def _example(what: str, line: str) -> str:
    return f".PP\n{_filled(what)}\n.PP\n.RS 4\n.nf\n{_line(escaped(line))}\n.fi\n.RE"


def _definition(term: str, text: str) -> str:
    return f".TP\n\\fB{escaped(term)}\\fR\n{_filled(text)}"


def _see_also(page: Page, program: Page) -> str:
    others = [one for one in with_manual(program) if one.path != page.path]
    return _line(",\n".join(f"\\fB{escaped(one.name)}\\fR(1)" for one in others))


def _section(title: str, parts: list[str]) -> list[str]:
    return [f".SH {escaped(title.upper())}", parts[0].removeprefix(".PP\n"), *parts[1:]] if parts else []


def _prose(text: str) -> str:
    """Paragraphs. Those that are indented stay as they are."""
    blocks = []
    for block in text.split("\n\n"):
        if block.startswith((" ", "|")):
            lines = "\n".join(_line(escaped(line)) for line in block.splitlines())
            blocks.append(f".PP\n.nf\n{lines}\n.fi")
        else:
            blocks.append(f".PP\n{_filled(' '.join(block.split()))}")
    return "\n".join(blocks)


def styled(text: str) -> str:
    """Text with options and what stands in backticks in bold."""
    parts = _QUOTED.split(text)
    return "".join(f"\\fB{escaped(part)}\\fR" if place % 2 else _bold_options(part) for place, part in enumerate(parts))


def _bold_options(text: str) -> str:
    parts = _OPTION.split(text)
    return "".join(f"\\fB{escaped(part)}\\fR" if place % 2 else escaped(part) for place, part in enumerate(parts))


def escaped(text: str) -> str:
    """Text that stands for itself: no escapes, no hyphens where a dash was typed, plain quotes, ASCII only."""
    text = text.replace("\\", "\\(rs").replace("-", "\\-")
    text = text.replace("'", "\\(aq").replace('"', "\\(dq").replace("`", "\\(ga").replace("^", "\\(ha").replace("~", "\\(ti")
    return "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in text)


def _line(text: str) -> str:
    """Lines of text, none of which begins with a dot or a quote: that would be a request."""
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in text.split("\n"))


def _filled(text: str) -> str:
    """Styled text in lines of at most 80 characters; the formatter fills them again."""
    return _wrapped(styled(text))


def _wrapped(text: str) -> str:
    return _line(textwrap.fill(text, 80, break_on_hyphens=False, break_long_words=False))


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _long(names: tuple[str, ...]) -> str:
    return next(name for name in names if name.startswith("--"))
