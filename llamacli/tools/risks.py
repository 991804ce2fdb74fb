"""What a command line may do that cannot be undone: a warning from its words, not a proof that it is harmless.

A word counts wherever it stands, as an argument too, since programs such as `xargs`, `find -exec` and `sh -c` run their
arguments: a mark too many costs less than one too few.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from llamacli.tools.risk_words import ARGUMENTS, BUILT_IN, CODE, OPTIONS, PROGRAMS, VALUED_OPTIONS, WRAPPERS, RiskKind
from llamacli.tools.shell import SHELLS
from llamacli.tools.shell_words import Simple, simple_commands

_DEPTH = 4
"""Command lines within quoted arguments of command lines."""

_HARMLESS_TARGETS = re.compile(r"/dev/(?:null|std(?:out|err)|tty)|&?\d+|&?-|")
_PROGRAM = re.compile(r"[\w./+-]+|\[\[?")
_DURATION = re.compile(r"\d+(?:\.\d+)?[smhd]?")
_SUFFIXED = re.compile(r"(mkfs)\..+")


@dataclass(frozen=True, slots=True)
class Risk:
    """A kind of risk, and the words of the command line that have it."""

    kind: RiskKind
    words: tuple[str, ...]


def find_risks(line: str) -> tuple[Risk, ...]:
    """Return the risks of a command line, each kind once, the words in their order.

    >>> find_risks("sudo rm -r cache && git push")
    (Risk(kind='deletes', words=('rm',)), Risk(kind='sends', words=('git push',)), Risk(kind='root', words=('sudo',)))
    """
    found: dict[RiskKind, dict[str, None]] = {}
    for kind, word in _findings(line, _DEPTH):
        found.setdefault(kind, {})[word] = None
    kinds: tuple[RiskKind, ...] = ("deletes", "overwrites", "sends", "root", "stops", "runs")
    return tuple(Risk(kind, tuple(found[kind])) for kind in kinds if kind in found)


def find_missing(line: str, path: str | None) -> tuple[str, ...]:
    """Return the programs of a command line that are not on the `path`; without the words that are built into shells."""
    names = dict.fromkeys(name for one in simple_commands(line) for name in _programs(one))
    return tuple(name for name in names if name not in BUILT_IN and shutil.which(name, path=path) is None)


def _findings(line: str, depth: int) -> Iterator[tuple[RiskKind, str]]:
    for kind, pattern in CODE:
        yield from ((kind, match[0]) for match in re.finditer(pattern, line))
    for one in simple_commands(line):
        yield from _of_words(one)
        for operator, target in one.redirections:
            if ">" in operator and ">>" not in operator and not _HARMLESS_TARGETS.fullmatch(target):
                yield "overwrites", f"{operator} {target}"
        if depth:
            for word in one.words:
                if re.search(r"[\s;|&$`]", word):
                    yield from _findings(word, depth - 1)


def _of_words(one: Simple) -> Iterator[tuple[RiskKind, str]]:
    names = [_name(word) for word in one.words]
    for place, name in enumerate(names):
        rest = one.words[place + 1 :]
        for kind, programs in PROGRAMS.items():
            if name in programs and not (name == "tee" and {"-a", "--append"}.intersection(rest)):
                yield kind, name
        for kind, tools, arguments in ARGUMENTS:
            if name in tools:
                yield from ((kind, f"{name} {word}") for word in rest if word in arguments)
        for kind, tools, form in OPTIONS:
            if name in tools:
                yield from ((kind, f"{name} {word}") for word in rest if re.fullmatch(form, word))
    if one.after in ("|", "<("):
        yield from (("runs", f"| {name}") for name in map(_name, _programs(one)) if name in SHELLS or _runs_input(names))


def _runs_input(names: list[str]) -> bool:
    """Return whether an interpreter gets its program from the pipe."""
    return names[:1] in (["python"], ["python3"], ["perl"], ["ruby"], ["node"]) and names[1:] in ([], ["-"])


def _programs(one: Simple) -> Iterator[str]:
    """Yield the program of a simple command, and before it those that run it, such as sudo."""
    words = iter(one.words)
    wrapper = ""
    for word in words:
        if word in VALUED_OPTIONS.get(wrapper, ()):
            next(words, "")
        elif word.startswith("-") or "=" in word or _DURATION.fullmatch(word):
            continue
        elif not _PROGRAM.fullmatch(word):
            return
        else:
            yield word
            wrapper = _name(word)
            if wrapper not in WRAPPERS:
                return


def _name(word: str) -> str:
    """The name of a program without its folder."""
    name = word.rpartition("/")[2] or word
    suffixed = _SUFFIXED.fullmatch(name)
    return suffixed[1] if suffixed else name
