"""Text from outside (a model, a file's metadata, a file's name) made safe for a terminal.

`escape` and its variants mark what is hostile in one piece of text. `harmless` is the last gate: everything that is shown
passes it, with our own colours and cursor movements left alone.
"""

from __future__ import annotations

import re

_C0 = "\x00-\x08\x0b-\x1f"  # control characters, except tab and newline
_C1 = "\x7f-\x9f"  # as UTF-8 they are CSI, OSC and others to many terminals
_ORDER = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional controls change the order of the text
_UNSEEN = (
    "\xad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u2028\u2029\u2060-\u2065\u206a-\u206f\u2800\u3164\ufeff\uffa0\ufff9-\ufffb"
    "\U000e0000-\U000e0fff"  # tags and further variation selectors
)
_BYTES = "\ud800-\udfff"  # bytes of a file name that are not UTF-8

# They are compiled when they are first used: most commands need none of them.
_HOSTILE = f"[{_C0}{_C1}{_ORDER}{_UNSEEN}{_BYTES}]"
_NEVER_OURS = f"[{_C1}{_ORDER}{_UNSEEN.replace(chr(0x2800), '')}]"  # the plots draw with U+2800
_CONTROL = f"[{_C0}]"
_OURS = (
    "\r(?=\x1b\\[)|\x1b\\[[0-9;]*[mKADJ]"  # colours, and the cursor movements of progress bars and live answers
    "|\x1b\\]52;c;[A-Za-z0-9+/=]*\x07"  # /copy
    "|\x1b_G(?:a=T,q=2,f=24,s=\\d+,v=\\d+,r=\\d+,)?m=[01];[A-Za-z0-9+/=]*\x1b\\\\"  # thumbnails: kitty's,
    "|\x1b\\]1337;File=inline=1;[a-zA-Z0-9=;]*:[A-Za-z0-9+/=]*\x07"  # iTerm2's,
    '|\x1bPq"[0-9;]*[#0-9;?-~$-]*\x1b\\\\'  # and sixels
)
_INVISIBLE = "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
"""Characters that Python takes for printable, though they are invisible."""


def harmless(text: str) -> str:
    r"""Text for a terminal, in which only the escape sequences that this program writes are left; the rest become `\u001b`.

    >>> harmless("\x1b[1mbold\x1b[0m \x1b]0;title\x07 \x9b31m")
    '\x1b[1mbold\x1b[0m \\u001b]0;title\\u0007 \\u009b31m'
    """
    text = re.sub(_NEVER_OURS, _json_mark, text)
    if not re.search(_CONTROL, text):
        return text
    parts, end = [], 0
    for ours in re.finditer(_OURS, text):
        parts += [re.sub(_CONTROL, _json_mark, text[end : ours.start()]), ours[0]]
        end = ours.end()
    return "".join([*parts, re.sub(_CONTROL, _json_mark, text[end:])])


def escape(text: str) -> str:
    r"""Mark every character that could control a terminal or hide something, as `\x1b` or `\u202e`.

    Tab and newline stay, as do the joiners and variation selectors that scripts and emoji need (U+200C, U+200D, U+FE0F).
    """
    return re.sub(_HOSTILE, _mark, text)


def escape_line(text: str) -> str:
    r"""Mark like `escape`, for one line: tab and newline become `\t` and `\n`."""
    return escape(text).replace("\n", "\\n").replace("\t", "\\t")


def escape_all(text: str) -> str:
    r"""Mark every invisible character except the space, as JSON does: `\n`, `\u200b`.

    For text that the user must agree to. Joiners and variation selectors are marked too, though some scripts use them.
    """
    if text.isprintable() and not re.search(_INVISIBLE, text):
        return text
    import json  # rarely needed, and a start without it is faster

    return "".join(char if char.isprintable() and not re.match(_INVISIBLE, char) else json.dumps(char)[1:-1] for char in text)


def columns(text: str) -> int:
    """The columns that text takes on a terminal: none for colours and combining characters, two for wide ones."""
    if text.isascii() and "\x1b" not in text:
        return len(text)
    import unicodedata  # rarely needed, and a start without it is faster

    plain = re.sub(_OURS, "", text)
    hidden = sum(unicodedata.combining(char) != 0 or unicodedata.category(char) in ("Cf", "Me", "Mn") for char in plain)
    return len(plain) - hidden + sum(unicodedata.east_asian_width(char) in "WF" for char in plain)


def _json_mark(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _mark(match: re.Match[str]) -> str:
    character = match[0]
    if character == "\r":
        return "\\r"
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # Python's stand-in for a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
