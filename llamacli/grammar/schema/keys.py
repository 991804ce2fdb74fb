"""Names of additional properties: all strings but the declared names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from llamacli.grammar.schema.rules import Rules
from llamacli.grammar.syntax.writer import char_class, choice, literal

_ESCAPES: Final = {'"': '"', "\\": "\\", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}
_PLAIN: Final = r'[^"\\\x7F\x00-\x1F]'
_SPECIAL: Final = ((0x00, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x7F))


def other_names(rules: Rules, names: Iterable[str], hint: str) -> str:
    """Return a rule for JSON strings other than `names`.

    Each character is written in one way only, so that a declared name cannot slip through as an escape.
    """
    rest = rules.add("key-char", f"{_PLAIN} | [\\\\] {_letters(_ESCAPES.values())}")
    children: dict[str, set[str]] = {"": set()}
    ends = set(names)
    for name in ends:
        for length, char in enumerate(name):
            children.setdefault(name[:length], set()).add(char)
            children.setdefault(name[: length + 1], set())
    known = {prefix: rules.reserve(f"{hint}-{i}") for i, prefix in enumerate(sorted(children))}
    for prefix, chars in children.items():
        options = [] if prefix in ends else [""]
        options += [f"{_written(char)} {known[prefix + char]}" for char in sorted(chars) if _written(char)]
        plain = sorted({(ord(char), ord(char)) for char in chars}.union(_SPECIAL))
        options.append(f"{char_class(tuple(plain), negated=True)} {rest}*")
        if letters := [letter for char, letter in _ESCAPES.items() if char not in chars]:
            options.append(f"[\\\\] {_letters(letters)} {rest}*")
        rules.set(known[prefix], choice(options))
    return rules.add(hint, f'"\\"" {known[""]} "\\""')


def _written(char: str) -> str:
    """Return a character as the grammar writes it; empty if it never does."""
    if char in _ESCAPES:
        return literal("\\" + _ESCAPES[char])
    code = ord(char)
    return "" if any(low <= code <= high for low, high in _SPECIAL) or 0xD800 <= code <= 0xDFFF else literal(char)


def _letters(letters: Iterable[str]) -> str:
    return char_class(tuple((ord(letter), ord(letter)) for letter in sorted(letters)))
