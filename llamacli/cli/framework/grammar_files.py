"""Where the grammar commands read from: files, standard input, and the grammars that come with llamacli."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from llamacli.cli.framework.files import STDIN, read_text_file
from llamacli.cli.framework.parameters import argument, option
from llamacli.errors import GrammarError, GrammarSyntaxError, UsageError

if TYPE_CHECKING:
    from llamacli.cli.framework.console import Console
    from llamacli.grammar import Grammar

GrammarArgument = Annotated[
    str,
    argument(metavar="FILE", help="A GBNF file, - for standard input, or a built-in grammar: `llamacli grammar show`."),
]

RootOption = Annotated[
    str, option("--root", metavar="RULE", help="The rule that the whole text has to match.", environment=False)
]


@dataclass(frozen=True, slots=True)
class Source:
    """A text with the name that messages call it."""

    name: str
    text: str


def read_grammar(console: Console, name: str) -> Source:
    """The text of a grammar, not looked at yet. A file goes before a built-in grammar of the same name.

    Raises:
        UsageError: there is neither.
    """
    from llamacli.grammar.builtins import builtin, builtin_names

    if name == STDIN:
        return Source("standard input", console.read_input())
    path = Path(name)
    known = builtin(name) if not path.exists() else None
    if known is not None:
        return Source(name, known.text)
    if not path.exists() and "/" not in name and "." not in name:
        raise UsageError(f"no such file or built-in grammar: {name}", hint=f"built in are {', '.join(builtin_names())}")
    return Source(name, read_text_file(path))


def parse_grammar(console: Console, source: Source, root: str) -> Grammar:
    """The grammar; where it is wrong, the line is shown on standard error before the error goes on.

    Raises:
        GrammarSyntaxError: it is wrong; the message begins with the file and the place.
    """
    from llamacli.grammar import parse
    from llamacli.grammar.places import Places

    try:
        return parse(source.text, root)
    except GrammarSyntaxError as error:
        index = len(source.text.encode("utf-8", "surrogatepass")[: error.offset].decode("utf-8", "surrogatepass"))
        for line in Places(source.text).excerpt(index):
            console.write_error(f"    {line}\n")
        raise error.named(source.name) from error


def write_file(path: Path, text: str) -> None:
    """Replaces a file, or the one that a link leads to, whole or not at all; its permissions stay. Devices are written to.

    Raises:
        UsageError: it cannot be written.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():
        write_device(path, text)
        return
    part = target.with_name(f".{target.name}.partial")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        if target.exists():
            part.chmod(target.stat().st_mode)
        part.replace(target)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error


def read_lines(console: Console, files: Iterable[Path]) -> list[str]:
    """The lines of files, without their ends and without empty ones."""
    texts = [console.read_input() if str(file) == STDIN else read_text_file(file) for file in files]
    return [line for text in texts for line in text.splitlines() if line]


def read_json(console: Console, name: str) -> object:
    """A JSON document from a file or standard input.

    Raises:
        GrammarError: it is no JSON.
    """
    import json

    text = console.read_input() if name == STDIN else read_text_file(Path(name))
    shown = "standard input" if name == STDIN else name
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise GrammarError(f"{shown}:{error.lineno}:{error.colno}: this is no JSON: {error.msg}") from error
    except RecursionError:
        raise GrammarError(f"{shown}: the JSON is nested too deep") from None


def write_device(path: Path, text: str) -> None:
    """Writes to what is no regular file, such as a pipe. Raises UsageError if it cannot be written."""
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
