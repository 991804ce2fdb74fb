"""Scanner for regular expressions: position, escapes, character classes, bounds and errors."""

from __future__ import annotations

import re
from typing import Final, NoReturn

from llamacli.errors import GrammarSyntaxError
from llamacli.grammar.program.alphabet import complement, merged
from llamacli.grammar.program.code import MAX_REPETITION
from llamacli.grammar.regex.parts import NAMED, SETS, Flags, other_case
from llamacli.grammar.syntax.nodes import Ranges

BOUNDS: Final = re.compile(r"\{([0-9]*)(,?)([0-9]*)\}")
_HEX = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})")


class Scanner:
    """A position in a regular expression, and the flags that apply there."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._position = 0
        self._flags = Flags()

    def fail(self, message: str, back: int = 0) -> NoReturn:
        """Raise the error at the current position, `back` characters before it."""
        column = self._position - back + 1
        offset = len(self._pattern[: column - 1].encode("utf-8", "surrogatepass"))
        raise GrammarSyntaxError(f"regular expression, column {column}: {message}", column=column, offset=offset)

    def _escaped_code(self) -> int:
        char = self._pattern[self._position : self._position + 1]
        if not char:
            self.fail("a backslash ends the expression", back=1)
        if match := _HEX.match(self._pattern, self._position):
            code = int(match.group(1) or match.group(2) or match.group(3), 16)
            if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
                self.fail(f"U+{code:X} is not a character", back=1)
            self._position = match.end()
            return code
        if char.isdigit() and char != "0":
            self.fail("back references are not supported", back=1)
        if char in "bB":
            self.fail("word boundaries are not supported", back=1)
        if char.isascii() and char.isalnum() and char not in NAMED:
            self.fail(f"unknown escape \\{char}", back=1)
        self._position += 1
        return NAMED.get(char, ord(char))

    def _class_ranges(self) -> tuple[Ranges, bool]:
        """Scan a class in brackets. Return its merged ranges, and whether it is negated."""
        start = self._position
        self._position += 1
        negated = self._pattern.startswith("^", self._position)
        self._position += negated
        ranges: list[tuple[int, int]] = []
        first = True
        while first or not self._pattern.startswith("]", self._position):
            if self._position >= len(self._pattern):
                self._position = start
                self.fail("this class has no closing bracket")
            first = False
            ranges += self._class_member()
        self._position += 1
        if self._flags.ignore_case:
            ranges += other_case(ranges)
        found = merged(tuple(ranges))
        if negated and found == ((0, 0x10FFFF),):
            self._position = start
            self.fail("this class matches no character")
        return found, negated

    def _class_member(self) -> Ranges:
        """Scan a character, a range, or the set of a backslash and a letter."""
        char = self._pattern[self._position]
        following = self._pattern[self._position + 1 : self._position + 2]
        if char == "\\" and following and following in "dwsDWS":
            self._position += 2
            found = SETS[following.lower()]
            return complement(found) if following.isupper() else found
        low = high = self._class_code()
        is_range = self._pattern.startswith("-", self._position) and not self._pattern.startswith("-]", self._position)
        if is_range and self._position + 1 < len(self._pattern):
            self._position += 1
            high = self._class_code()
            if high < low:
                self.fail("this range is reversed", back=1)
        return ((low, high),)

    def _class_code(self) -> int:
        char = self._pattern[self._position]
        self._position += 1
        if char == "\\":
            if self._pattern.startswith("b", self._position):
                self._position += 1
                return 8
            return self._escaped_code()
        return ord(char)

    def _bounds(self) -> tuple[int, int | None] | None:
        char = self._pattern[self._position : self._position + 1]
        if char and char in "*+?":
            self._position += 1
            bounds: tuple[int, int | None] = (int(char == "+"), 1 if char == "?" else None)
        else:
            match = BOUNDS.match(self._pattern, self._position)
            if match is None or not (match.group(1) or match.group(3)):
                return None
            low, comma, high = match.groups()
            bounds = (int(low or 0), int(high) if high else None if comma else int(low))
            if max(bounds[0], bounds[1] or 0) > MAX_REPETITION:
                self.fail(f"llama.cpp repeats at most {MAX_REPETITION:,} times")
            if bounds[1] is not None and bounds[1] < bounds[0]:
                self.fail("the upper bound of this repetition is less than the lower bound")
            self._position = match.end()
        following = self._pattern[self._position : self._position + 1]
        if following == "?":
            self._position += 1  # lazy or not, the texts are the same
        elif following and following in "*+":
            self.fail("a repetition cannot be repeated or possessive")
        return bounds
