"""What to say where a grammar cannot be read on: the likely mistake. Each returns (message, start, end, hint)."""

from __future__ import annotations

import re

Finding = tuple[str, int, int, str | None]

_WORD = re.compile(r"[\w.$-]+")
_HINTS = (
    ("//", "comments begin with #"),
    ("/*", "comments begin with #"),
    (";", "rules end at the end of the line"),
    (",", "items of a sequence are separated by spaces"),
    ("'", "literals take double quotes"),
    ("`", "literals take double quotes"),
    ("“", 'literals take plain double quotes, "'),
    ("\ufeff", "the file begins with a byte order mark: save it without"),
    ("^", "a class is negated inside its brackets: [^...]"),
    ("/", "alternatives are separated by |"),
    ("\\", "escapes stand inside quotes or brackets"),
    ("&", "GBNF has no look-ahead"),
    ("::=", "a new rule starts on a line of its own"),
)


def at_rule(text: str, position: int) -> Finding:
    """A character that neither continues a rule nor starts one."""
    if text.startswith("_", position):
        return ("rule names cannot hold '_'", position, position + 1, "use letters, digits and '-'")
    if text.startswith(("|", "*", "+", "?", "{", '"', "[", "("), position):
        return (
            f"a rule cannot start with {text[position]}", position, position + 1,
            "to go on over a line end, put | at the end of the line before, or the whole in parentheses",
        )  # fmt: skip
    if text.startswith(")", position):
        return ("this ) closes nothing", position, position + 1, None)
    hint = next((hint for start, hint in _HINTS if text.startswith(start, position)), None)
    end = position + (3 if text.startswith("::=", position) else 1)
    return (f"unexpected {_shown(text[position:end])}", position, end, hint)


def at_definition(text: str, name: str, position: int) -> Finding:
    """After a rule's name something else than `::=`."""
    if text.startswith("_", position):
        word = name + (_WORD.match(text, position).group() if _WORD.match(text, position) else "")  # type: ignore[union-attr]
        return (f"rule names cannot hold '_': {word[:60]}", position, position + 1, "use letters, digits and '-'")
    end = min(position + 1, len(text))
    for wrong in (":=", "=", ":", "->"):
        if text.startswith(wrong, position):
            return (f"expected ::= after {name[:60]}, not {wrong}", position, position + len(wrong), None)
    found = "the end" if position >= len(text) else "a line end" if text[position] in "\r\n" else _shown(text[position])
    hint = "to go on over a line end, put | at the end of the line before, or the whole in parentheses"
    return (f"expected ::= after {name[:60]}, found {found}", position, end, hint)


def in_group(text: str, opened: int, position: int) -> Finding:
    """A group that is not closed where nothing can continue it."""
    line = text.count("\n", 0, opened) + 1
    column = opened - text.rfind("\n", 0, opened)
    where = f"the group opened at line {line}, column {column}"
    if position >= len(text):
        return (f"{where} is not closed", opened, opened + 1, "add )")
    message, start, end, hint = at_rule(text, position)
    if text.startswith("::=", position):
        return (f"{where} is not closed before this rule", start, end, "add )")
    return (f"{message} in {where}", start, end, hint)


def at_token(text: str, start: int) -> Finding:
    """A token reference that is none."""
    if text[start] == "!" and not text.startswith("!<", start):
        return ("! must stand before a token: !<token> or !<[id]>", start, start + 1, "[^...] negates a character class")
    if text.startswith("[", text.index("<", start) + 1):
        return ("a token id is written <[number]>", start, start + 1, None)
    return ("this token has no closing >", start, start + 1, 'for the character write "<"')


def at_bounds(text: str, start: int) -> Finding:
    """A `{` that begins no repetition."""
    end = text.find("}", start, start + 40) + 1 or start + 1
    return ("a repetition is written {m}, {m,} or {m,n}, with numbers", start, end, 'for the character write "{"')


def _shown(text: str) -> str:
    return text if text.isprintable() and text != " " else f"U+{ord(text[0]):04X}"
