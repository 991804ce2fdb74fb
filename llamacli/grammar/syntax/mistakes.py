"""Diagnosis of syntax errors: the likely mistake. Each function returns (message, start, end, hint)."""

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
    ("\ufeff", "remove the byte order mark from the file"),
    ("^", "a class is negated inside its brackets: [^...]"),
    ("/", "alternatives are separated by |"),
    ("\\", "escapes are allowed inside quotes or brackets"),
    ("&", "GBNF has no look-ahead"),
    ("::=", "start a new rule on its own line"),
)

_JSON_HINT = "give a JSON schema with -j or -jf, or convert it with `llamacli grammar from-schema`"


def at_rule(text: str, position: int) -> Finding:
    """Diagnose a character that neither continues nor starts a rule."""
    if text.startswith("_", position):
        return ("rule names cannot contain '_'", position, position + 1, "use letters, digits and '-'")
    if _is_json(text, position):
        return ("this is JSON, not a grammar", position, position + 1, _JSON_HINT)
    if text.startswith(("|", "*", "+", "?", "{", '"', "[", "("), position):
        return (
            f"a rule cannot start with {text[position]}", position, position + 1,
            "to continue a rule on the next line, end the line with |, or use parentheses",
        )  # fmt: skip
    if text.startswith(")", position):
        return ("unmatched )", position, position + 1, None)
    hint = next((hint for start, hint in _HINTS if text.startswith(start, position)), None)
    end = position + (3 if text.startswith("::=", position) else 1)
    return (f"unexpected {_shown(text[position:end])}", position, end, hint)


def at_definition(text: str, name: str, position: int) -> Finding:
    """Diagnose a rule's name that is not followed by `::=`."""
    if text.startswith("_", position):
        word = name + (_WORD.match(text, position).group() if _WORD.match(text, position) else "")  # type: ignore[union-attr]
        return (f"rule names cannot contain '_': {word[:60]}", position, position + 1, "use letters, digits and '-'")
    end = min(position + 1, len(text))
    for wrong in (":=", "=", ":", "->"):
        if text.startswith(wrong, position):
            return (f"expected ::= after {name[:60]}, not {wrong}", position, position + len(wrong), None)
    found = "the end" if position >= len(text) else "a line end" if text[position] in "\r\n" else _shown(text[position])
    hint = "to continue a rule on the next line, end the line with |, or use parentheses"
    return (f"expected ::= after {name[:60]}, found {found}", position, end, hint)


def in_group(text: str, opened: int, position: int) -> Finding:
    """Diagnose an unclosed group."""
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
    """Diagnose an invalid token reference."""
    if text[start] == "!" and not text.startswith("!<", start):
        return ("! must precede a token: !<token> or !<[id]>", start, start + 1, "[^...] negates a character class")
    if text.startswith("[", text.index("<", start) + 1):
        return ("a token id is written <[number]>", start, start + 1, None)
    return ("this token has no closing >", start, start + 1, 'for the character write "<"')


def at_bounds(text: str, start: int) -> Finding:
    """Diagnose an invalid `{`."""
    end = text.find("}", start, start + 40) + 1 or start + 1
    return ("a repetition is written {m}, {m,} or {m,n}, with numbers", start, end, 'for the character write "{"')


def _is_json(text: str, position: int) -> bool:
    """Return whether the whole text looks like a JSON object."""
    return not text[:position].strip("\ufeff \t\r\n") and re.match(r'\{\s*["}]', text[position:]) is not None


def _shown(text: str) -> str:
    return text if text.isprintable() and text != " " else f"U+{ord(text[0]):04X}"
