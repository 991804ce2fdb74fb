"""Regular expressions as grammars: what describes a regular language in Python's syntax, and nothing else.

The whole text has to match, so `^` and `$` are allowed at the ends and mean nothing. Look-around, back references and word
borders have no counterpart in a grammar and are errors with their place.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

from llamacli.errors import GrammarSyntaxError
from llamacli.grammar.alphabet import complement, merged
from llamacli.grammar.nodes import Ranges
from llamacli.grammar.program import MAX_REPETITION
from llamacli.grammar.regex_parts import NAMED, SETS, Flags, Part, cases_of, other_case, quantifier, without_empty
from llamacli.grammar.writing import char_class, choice, literal, rules_text

_MAX_DEPTH: Final = 100
_HEX = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})")
_BOUNDS = re.compile(r"\{([0-9]*)(,?)([0-9]*)\}")
_GROUP = re.compile(r"\?(?:(:)|P?<([A-Za-z_]\w*)>|([aimsu]*)(?:-([ims]+))?([:)]))")


def from_regex(pattern: str) -> str:
    """The grammar of a regular expression. Raises `GrammarError` with the column where it has none."""
    reader = RegexReader(pattern)
    body = reader.read()
    return rules_text({"root": body.text or '""', **reader.rules})


class RegexReader:
    """Reads one regular expression. What a character is in the grammar, `characters` and `letter` say.

    After `read`, `starts` and `ends` tell whether it has an anchor there. `prefix` begins the names of `rules`.
    """

    def __init__(self, pattern: str, prefix: str = "") -> None:
        self._pattern = pattern
        self._prefix = prefix
        self._position = 0
        self._item_start = 0
        self._depth = 0
        self._flags = Flags()
        self.rules: dict[str, str] = {}
        self.starts = self.ends = False

    def characters(self, ranges: Ranges, *, negated: bool = False) -> Part:
        """One of the characters in merged ranges, or one of all others."""
        return Part(char_class(ranges, negated=negated) if ranges else ".")

    def letter(self, char: str) -> Part:
        """This character."""
        return Part(literal(char), letters=char)

    def read(self) -> Part:
        """The whole expression. Raises `GrammarSyntaxError` with the column where it has no grammar."""
        body = self._alternatives()
        if self._position < len(self._pattern):
            self.fail("this ) closes nothing")
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
        while self._position < len(self._pattern) and self._pattern[self._position] not in "|)":
            part = self._item()
            if part is None:
                continue
            part = self._repeated(part)
            if part.letters is not None and parts and parts[-1].letters is not None:
                letters = parts.pop().letters or ""
                part = Part(literal(letters + part.letters), letters=letters + part.letters, plain=False)
            parts.append(part)
        if len(parts) == 1:
            return parts[0]
        return Part(
            " ".join(part.text for part in parts if part.text),
            plain=False,
            empty=all(part.empty for part in parts),
            counted=any(part.counted for part in parts),
        )

    def _item(self) -> Part | None:
        """One item without its repetition; None for what matches nothing and says nothing, as an anchor."""
        self._item_start = self._position
        char = self._pattern[self._position]
        if char == "(":
            return self._group()
        if char == "[":
            return self._class()
        if char in "*+?" or (char == "{" and _BOUNDS.match(self._pattern, self._position)):
            self.fail("there is nothing to repeat here")
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
            self.fail(f"{char} is understood only at the {'start' if char == '^' else 'end'} of the whole expression")
        self._anchored(start=char == "^")

    def _anchored(self, *, start: bool) -> None:
        self.starts, self.ends = self.starts or start, self.ends or not start
        self._position += 1

    def _letter(self, code: int) -> Part:
        if code == 0:
            self._position = self._item_start
            self.fail("no text can hold a NUL character")
        cases = cases_of(code) if self._flags.ignore_case else [code]
        if len(cases) > 1:
            return self.characters(tuple((case, case) for case in cases))
        return self.letter(chr(code))

    def _escape(self) -> Part:
        """What follows a backslash outside of a class."""
        char = self._pattern[self._position : self._position + 1]
        if char and char in "dwsDWS":
            self._position += 1
            return self.characters(SETS[char.lower()], negated=char.isupper())
        at_end = not self._depth and self._position == (1 if char == "A" else len(self._pattern) - 1)
        if char and char in "AZz" and at_end:
            self._anchored(start=char == "A")
            return Part("", empty=True)
        return self._letter(self._escaped_code())

    def _escaped_code(self) -> int:
        char = self._pattern[self._position : self._position + 1]
        if not char:
            self.fail("a backslash ends the expression", back=1)
        if match := _HEX.match(self._pattern, self._position):
            code = int(match.group(1) or match.group(2) or match.group(3), 16)
            if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
                self.fail(f"U+{code:X} is no character", back=1)
            self._position = match.end()
            return code
        if char.isdigit() and char != "0":
            self.fail("a grammar has no back references", back=1)
        if char in "bB":
            self.fail("a grammar has no word borders", back=1)
        if char.isascii() and char.isalnum() and char not in NAMED:
            self.fail(f"\\{char} is not understood", back=1)
        self._position += 1
        return NAMED.get(char, ord(char))

    def _class(self) -> Part:
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
        if found == ((0, 0x10FFFF),):
            if negated:
                self._position = start
                self.fail("this class holds no character")
            return self.characters((), negated=True)
        return self.characters(found, negated=negated)

    def _class_member(self) -> Ranges:
        """A character, a range, or a set such as that of all digits."""
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
        """Reads `?:`, a name or flags. True for `(?i)`, which is no group but a setting for what follows."""
        match = _GROUP.match(self._pattern, self._position)
        if match is None:
            self._position = start
            self.fail("a grammar has no look-around, conditions or comments")
        _, _, on, off, closing = match.groups()
        for letters, value in ((on, True), (off, False)):
            self._flags.ignore_case = value if "i" in (letters or "") else self._flags.ignore_case
            self._flags.dot_all = value if "s" in (letters or "") else self._flags.dot_all
        self._position = match.end()
        return closing == ")"

    def _repeated(self, part: Part) -> Part:
        """The item with the repetition that follows it."""
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
        return Part(
            text + quantifier(low, high), plain=False, empty=low == 0 or part.empty, counted=(high or low) > 1 or part.counted
        )

    def _bounds(self) -> tuple[int, int | None] | None:
        char = self._pattern[self._position : self._position + 1]
        if char and char in "*+?":
            self._position += 1
            bounds: tuple[int, int | None] = (int(char == "+"), 1 if char == "?" else None)
        else:
            match = _BOUNDS.match(self._pattern, self._position)
            if match is None or not (match.group(1) or match.group(3)):
                return None
            low, comma, high = match.groups()
            bounds = (int(low or 0), int(high) if high else None if comma else int(low))
            if max(bounds[0], bounds[1] or 0) > MAX_REPETITION:
                self.fail(f"llama.cpp repeats at most {MAX_REPETITION:,} times")
            if bounds[1] is not None and bounds[1] < bounds[0]:
                self.fail("this repetition ends below where it starts")
            self._position = match.end()
        following = self._pattern[self._position : self._position + 1]
        if following == "?":
            self._position += 1  # lazy or not, the texts are the same
        elif following and following in "*+":
            self.fail("a repetition cannot be repeated or possessive")
        return bounds

    def fail(self, message: str, back: int = 0) -> NoReturn:
        """Raises the error for the place that was reached, `back` characters before it."""
        column = self._position - back + 1
        offset = len(self._pattern[: column - 1].encode("utf-8", "surrogatepass"))
        raise GrammarSyntaxError(f"regular expression, column {column}: {message}", column=column, offset=offset)
