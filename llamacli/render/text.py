"""Text from outside (a model, a file's metadata, a file's name) made harmless for a terminal."""

from __future__ import annotations

import re

_HOSTILE = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, but for tab and newline
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # the order of what is shown
    "\u200b\u2028\u2029\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # what is not shown at all
    "\ud800-\udfff"  # bytes of a file name that are not UTF-8
    "]"
)

_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]")
"""What Python takes for printable, though nothing is to be seen of it."""


def escape(text: str) -> str:
    r"""`text` with every character that could steer a terminal or hide something shown as `\x1b` or `\u202e`.

    Tab and newline stay. The joiners that scripts and emoji need (U+200C, U+200D) stay as well.
    """
    return _HOSTILE.sub(_mark, text)


def escape_line(text: str) -> str:
    r"""Like `escape`, for what must stay on one line: tab and newline become `\t` and `\n`."""
    return escape(text).replace("\n", "\\n").replace("\t", "\\t")


def escape_all(text: str) -> str:
    r"""`text` with every character that cannot be seen, but for the common space, as JSON writes it: `\n`, `\u200b`.

    For what somebody is asked to agree to. Joiners and variation selectors are shown too, though text in some scripts has them.
    """
    if text.isprintable() and not _INVISIBLE.search(text):
        return text
    import json  # rarely needed, and a start without it is faster

    return "".join(char if char.isprintable() and not _INVISIBLE.match(char) else json.dumps(char)[1:-1] for char in text)


def _mark(match: re.Match[str]) -> str:
    character = match[0]
    if character == "\r":
        return "\\r"
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python carries a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
