"""Regular expressions as grammars, in Python's syntax as far as it describes regular languages.

The whole text has to match: `^` and `$` are allowed at the ends and have no effect. Look-around, back references and word
boundaries have no counterpart in a grammar and are errors with a column.
"""

from __future__ import annotations

import re
from typing import Final

from llamacli.grammar.regex.parts import SETS, Flags, Part, cases_of, joined, repetition, without_empty
from llamacli.grammar.regex.scanner import BOUNDS, Scanner
from llamacli.grammar.syntax.nodes import Ranges
from llamacli.grammar.syntax.writer import char_class, choice, literal, rules_text

_MAX_DEPTH: Final = 100
MAX_OPTIONAL: Final = 32
"""Largest number of optional items in a row."""
_GROUP = re.compile(r"\?(?:(:)|P?<([A-Za-z_]\w*)>|([aimsu]*)(?:-([ims]+))?([:)]))")


def from_regex(pattern: str) -> str:
    """Return the grammar of a regular expression.

    Raises:
        GrammarSyntaxError: if it has none; `column` says where.
    """
    reader = RegexReader(pattern)
    body = reader.read()
    return rules_text({"root": body.text or '""', **reader.rules})


class RegexReader(Scanner):
    """Converter of one regular expression. Subclasses define the grammar of a character with `characters` and `letter`.

    After `read`, `starts` and `ends` are true if the expression has an anchor there. `prefix` begins the names of `rules`.
    """

    def __init__(self, pattern: str, prefix: str = "") -> None:
        super().__init__(pattern)
        self._prefix = prefix
        self._item_start = 0
        self._depth = 0
        self.rules: dict[str, str] = {}
        self.starts = self.ends = False

    def characters(self, ranges: Ranges, *, negated: bool = False) -> Part:
        """Return the part for one of the characters in merged ranges, or if negated for any other."""
        return Part(char_class(ranges, negated=negated) if ranges else ".")

    def letter(self, char: str) -> Part:
        """Return the part for one character."""
        return Part(literal(char), letters=char)

    def read(self) -> Part:
        """Return the part for the whole expression.

        Raises:
            GrammarSyntaxError: if it has no grammar; `column` says where.
        """
        body = self._alternatives()
        if self._position < len(self._pattern):
            self.fail("unmatched )")
        return body

    def _alternatives(self) -> Part:
        options = [self._sequence()]
        while self._pattern.startswith("|", self._position):
            self._position += 1
            options.append(self._sequence())
        if len(options) == 1:
            return options[0]
        return Part(
            choice([option.text for option in options]),
            plain=False,
            empty=any(option.empty for option in options),
            counted=any(option.counted for option in options),
            options=tuple(options),
        )

    def _sequence(self) -> Part:
        parts: list[Part] = []
        columns: list[int] = []
        while self._position < len(self._pattern) and self._pattern[self._position] not in "|)":
            part = self._item()
            if part is not None:
                parts.append(self._repeated(part))
                columns.append(self._item_start)
        parts = joined(parts)
        self._limit_optional(parts, columns)
        if len(parts) == 1:
            return parts[0]
        return Part(
            " ".join(part.text for part in parts if part.text),
            plain=False,
            empty=all(part.empty for part in parts),
            counted=any(part.counted for part in parts),
        )

    def _limit_optional(self, parts: list[Part], columns: list[int]) -> None:
        """Refuse long runs of optional items: a token of n letters makes llama.cpp try all subsets of n items."""
        run = 0
        for part in parts:
            run = run + 1 if part.empty and part.text else 0 if part.text else run
            if run > MAX_OPTIONAL:
                self._position = columns[0]
                self.fail(f"more than {MAX_OPTIONAL} optional items follow one another: llama.cpp would not terminate")

    def _item(self) -> Part | None:
        """Read one item without its repetition. Return None for an anchor or flags, which add nothing to the grammar."""
        self._item_start = self._position
        char = self._pattern[self._position]
        if char == "(":
            return self._group()
        if char == "[":
            return self._class()
        if char in "*+?" or (char == "{" and BOUNDS.match(self._pattern, self._position)):
            self.fail("nothing to repeat")
        if char in "^$":
            self._anchor(char)
            return None
        self._position += 1
        if char == ".":
            return self.characters(() if self._flags.dot_all else ((0x0A, 0x0A),), negated=True)
        if char == "\\":
            return self._escape()
        return self._letter(ord(char))

    def _anchor(self, char: str) -> None:
        at_end = not self._depth and (self._position == 0 if char == "^" else self._position == len(self._pattern) - 1)
        if not at_end:
            self.fail(f"{char} is supported only at the {'start' if char == '^' else 'end'} of the whole expression")
        self._anchored(start=char == "^")

    def _anchored(self, *, start: bool) -> None:
        self.starts, self.ends = self.starts or start, self.ends or not start
        self._position += 1

    def _letter(self, code: int) -> Part:
        if code == 0:
            self._position = self._item_start
            self.fail("no text can contain a NUL character")
        cases = cases_of(code) if self._flags.ignore_case else [code]
        if len(cases) > 1:
            return self.characters(tuple((case, case) for case in cases))
        return self.letter(chr(code))

    def _escape(self) -> Part:
        """Read what follows a backslash outside of a class."""
        char = self._pattern[self._position : self._position + 1]
        if char and char in "dwsDWS":
            self._position += 1
            return self.characters(SETS[char.lower()], negated=char.isupper())
        at_end = not self._depth and self._position == (1 if char == "A" else len(self._pattern) - 1)
        if char and char in "AZz" and at_end:
            self._anchored(start=char == "A")
            return Part("", empty=True)
        return self._letter(self._escaped_code())

    def _class(self) -> Part:
        ranges, negated = self._class_ranges()
        if ranges == ((0, 0x10FFFF),):
            return self.characters((), negated=True)
        return self.characters(ranges, negated=negated)

    def _group(self) -> Part | None:
        start = self._position
        self._position += 1
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            self.fail(f"groups are nested more than {_MAX_DEPTH} deep", back=1)
        flags = Flags(self._flags.ignore_case, self._flags.dot_all)
        if self._pattern.startswith("?", self._position) and self._group_prefix(start):
            self._depth -= 1
            return None
        body = self._alternatives()
        if not self._pattern.startswith(")", self._position):
            self._position = start
            self.fail("this group has no closing parenthesis")
        self._position += 1
        self._depth -= 1
        self._flags = flags
        if not body.text or (body.plain and not body.options):
            return body
        return Part(f"({body.text})", empty=body.empty, counted=body.counted, options=body.options)

    def _group_prefix(self, start: int) -> bool:
        """Read `?:`, a name or flags. Return True for `(?i)`, which is not a group but sets flags for the rest."""
        match = _GROUP.match(self._pattern, self._position)
        if match is None:
            self._position = start
            self.fail("look-around, conditions and comments are not supported")
        _, _, on, off, closing = match.groups()
        for letters, value in ((on, True), (off, False)):
            self._flags.ignore_case = value if "i" in (letters or "") else self._flags.ignore_case
            self._flags.dot_all = value if "s" in (letters or "") else self._flags.dot_all
        self._position = match.end()
        return closing == ")"

    def _repeated(self, part: Part) -> Part:
        """Return the item with the repetition that follows it."""
        bounds = self._bounds()
        if bounds is None:
            return part
        low, high = bounds
        if part.empty and part.options:
            # llama.cpp takes a repeated group with an empty alternative for left recursion.
            part, low = without_empty(part), 0
        if high == 0 or not part.text:
            return Part("", empty=True)
        text = part.text if part.plain or part.letters is not None else f"({part.text})"
        if part.counted and (low > 1 or (high or 0) > 1):
            # llama.cpp multiplies nested bounds, but not through a rule.
            name = f"{self._prefix}part-{len(self.rules) + 1}"
            self.rules[name] = part.text
            text = name
        if part.empty and (high or low) > MAX_OPTIONAL:
            self.fail(f"an item that can be empty is repeated more than {MAX_OPTIONAL} times", back=1)
        return repetition(text, low, high, empty=part.empty, counted=part.counted)
