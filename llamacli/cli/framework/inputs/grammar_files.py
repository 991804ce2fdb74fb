"""Input files of the grammar commands, and built-in grammars."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from llamacli.cli.framework.inputs.files import STDIN, read_text_file
from llamacli.cli.framework.parameters import argument, option
from llamacli.errors import GrammarError, GrammarSyntaxError, InvalidJSONError, UsageError
from llamacli.json_text import parse_json

if TYPE_CHECKING:
    from llamacli.cli.framework.console import Console
    from llamacli.grammar.gbnf import Grammar

GrammarArgument = Annotated[
    str,
    argument(
        metavar="FILE", help="GBNF file, - for standard input, or the name of a built-in grammar (`llamacli grammar show`)."
    ),
]

RootOption = Annotated[str, option("--root", metavar="RULE", help="Name of the start rule.", environment=False)]


@dataclass(frozen=True, slots=True)
class Source:
    """A text and its name in messages."""

    name: str
    text: str


def read_grammar(console: Console, name: str) -> Source:
    """Return the text of a grammar, not yet parsed. A file takes precedence over a built-in grammar of the same name.

    Raises:
        UsageError: if neither exists.
    """
    from llamacli.grammar.builtins import builtin, builtin_names

    if name == STDIN:
        return Source("standard input", console.read_input())
    path = Path(name)
    known = builtin(name) if not path.exists() else None
    if known is not None:
        return Source(name, known.text)
    if not path.exists() and not path.is_symlink() and "/" not in name and "." not in name:
        raise UsageError(f"no such file or built-in grammar: {name}", hint=f"built-in grammars: {', '.join(builtin_names())}")
    return Source(name, read_text_file(path))


def parse_grammar(console: Console, source: Source, root: str) -> Grammar:
    """Return the parsed grammar; show the line of an error on standard error before raising it.

    Raises:
        GrammarSyntaxError: if it is invalid; the message begins with the file and the location.
    """
    from llamacli.grammar.gbnf import parse
    from llamacli.grammar.location import LineIndex
    from llamacli.render.grammar.text import format_excerpt

    try:
        return parse(source.text, root)
    except GrammarSyntaxError as error:
        index = len(source.text.encode("utf-8", "surrogatepass")[: error.offset].decode("utf-8", "surrogatepass"))
        for line in format_excerpt(LineIndex(source.text), index, width=console.error_width):
            console.write_error(f"{line}\n")
        raise error.named(source.name) from error


def read_lines(console: Console, files: Iterable[Path]) -> list[str]:
    """Return the non-empty lines of files, without line ends."""
    texts = [console.read_input() if str(file) == STDIN else read_text_file(file) for file in files]
    return [line for text in texts for line in text.splitlines() if line]


def read_json(console: Console, name: str) -> object:
    """Return a JSON document from a file or standard input.

    Raises:
        GrammarError: if it is not valid JSON.
    """
    text = console.read_input() if name == STDIN else read_text_file(Path(name))
    try:
        return parse_json(text, source="standard input" if name == STDIN else name)
    except InvalidJSONError as error:
        raise GrammarError(error.message) from error
