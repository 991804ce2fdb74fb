"""Grammars that match one of a list of texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from llamacli.errors import GrammarError
from llamacli.grammar.syntax.writer import choice, literal, rules_text

_PLAIN: Final = 64
"""Largest number of texts in a flat list. More are sorted and share prefixes, because llama.cpp follows every alternative at
every character."""
_INLINE: Final = 8
"""Largest number of texts in a group; more get a rule."""


def from_choices(texts: Iterable[str]) -> str:
    """Return the grammar of exactly these texts.

    Raises:
        GrammarError: if there are none, or one contains a NUL character.
    """
    unique = list(dict.fromkeys(texts))
    if not unique:
        raise GrammarError("no texts to choose from")
    for text in unique:
        if "\0" in text:
            raise GrammarError(f"a choice contains a NUL character, which no grammar can match: {text[:40]!r}")
    if len(unique) <= _PLAIN:
        return rules_text({"root": choice([literal(text) for text in unique])})
    return _Tree(sorted(unique)).text()


class _Tree:
    """Tree of sorted texts, as rules that branch where the texts differ."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts
        self._rules: dict[str, str] = {}
        self._pending = [("root", 0, len(texts), 0)]
        self._number = 0

    def text(self) -> str:
        while self._pending:
            name, first, end, length = self._pending.pop()
            self._rules[name] = self._branches(first, end, length)
        return rules_text(self._rules)

    def _branches(self, first: int, end: int, length: int) -> str:
        """Return the alternatives of the texts from `first` to `end`, which share their first `length` characters."""
        options = []
        texts = self._texts
        while first < end:
            if len(texts[first]) == length:
                options.append('""')
                first += 1
                continue
            after = first + 1
            while after < end and texts[after][length] == texts[first][length]:
                after += 1
            shared = _shared(texts[first], texts[after - 1])
            options.append(self._option(first, after, length, shared))
            first = after
        return " | ".join(options)

    def _option(self, first: int, end: int, length: int, shared: int) -> str:
        start = literal(self._texts[first][length:shared])
        if end - first == 1:
            return start
        if end - first <= _INLINE:
            return f"{start} ({self._branches(first, end, shared)})"
        self._number += 1
        self._pending.append((f"choice-{self._number}", first, end, shared))
        return f"{start} choice-{self._number}"


def _shared(first: str, second: str) -> int:
    """Return the length of the common prefix; for sorted texts, that of the first and the last is that of all."""
    length = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        length += 1
    return length
