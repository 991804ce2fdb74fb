"""The words of a shell's command line, as far as its risks need them: every shell quotes a little differently."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_OPERATOR = r"\|\||&&|;;|&>>|&>|\d*>>|\d*>\||\d*>&|\d*>|<<<|<<|<\(|<|\$\(|[|;&(){}`\n]"
_TOKEN = re.compile(
    rf"""(?P<space>(?:[ \t\r]|\\\n)+)
    |(?P<comment>(?<![^\s;|&(])\#[^\n]*)
    |(?P<word>(?:\\.|'[^']*'?|"(?:\\.|[^"\\])*"?|(?!{_OPERATOR})[^\s'"\\])+)
    |(?P<operator>{_OPERATOR})
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_QUOTED = re.compile(r"""\\(.)|'([^']*)'?|"((?:\\.|[^"\\])*)"?""", re.DOTALL)
_REDIRECTIONS = re.compile(r"[&\d]*(?:>>|>\||>&|>|<<<|<<|<)|&>>|&>")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")


@dataclass(frozen=True, slots=True)
class Simple:
    """A simple command: its words without quotes, its redirections with their targets, and the operator before it."""

    words: tuple[str, ...]
    redirections: tuple[tuple[str, str], ...]
    after: str


def simple_commands(line: str) -> Iterator[Simple]:
    """Yield the simple commands of a line, those of substitutions and groups included; assignments before them are left out."""
    words: list[str] = []
    redirections: list[tuple[str, str]] = []
    after, pending = "", ""
    for match in _TOKEN.finditer(line):
        text = match[0]
        if match["word"] is not None:
            word = unquoted(text)
            if pending:
                redirections.append((pending, word))
                pending = ""
            elif words or not _ASSIGNMENT.match(text):
                words.append(word)
        elif text in ("{", "}") and words:  # the file of find -exec, not a group
            words.append(text)
        elif match["operator"] is not None and _REDIRECTIONS.fullmatch(text):
            pending = text
        elif match["operator"] is not None:
            if words or redirections:
                yield Simple(tuple(words), tuple(redirections), after)
            words, redirections, after, pending = [], [], text, ""
    if words or redirections:
        yield Simple(tuple(words), tuple(redirections), after)


def unquoted(word: str) -> str:
    """Return a word without its quotes.

    >>> unquoted("'r'm" + '"x y"')
    'rmx y'
    """
    return _QUOTED.sub(lambda match: next(part for part in match.groups() if part is not None), word)
