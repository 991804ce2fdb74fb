"""A tool call on the terminal: the call, for the user to confirm, and its result, folded."""

from __future__ import annotations

import json
from collections.abc import Callable

from llamacli.errors import InvalidJSONError
from llamacli.json_text import parse_json
from llamacli.render.text import escape_all
from llamacli.units import counted

_LONGEST, _HEAD, _TAIL = 1500, 1000, 300
_ROWS = 8
_INDENT = "  "


def format_call(name: str, arguments: str, width: int, *, whole: bool = False) -> str:
    """Return a call, with its arguments on one line if they fit. Invisible characters are marks.

    The middle of very long arguments is left out, with a note, unless `whole` is set.
    """
    try:
        document = parse_json(arguments)
        text = json.dumps(document, ensure_ascii=False)
        if len(name) + 1 + len(text) > width:
            text = json.dumps(document, ensure_ascii=False, indent=2)
    except InvalidJSONError:
        text = arguments
    if len(text) > _LONGEST and not whole:
        missing = len(text) - _HEAD - _TAIL
        text = f"{text[:_HEAD]}\n[… {missing} characters; v shows them …]\n{text[-_TAIL:]}"
    return "\n".join(escape_all(line) for line in f"{name} {text}".split("\n"))


class FoldedOutput:
    """Rows of a growing result, each cut at the width of the terminal. After a few rows only their number is shown."""

    def __init__(self, write: Callable[[str], None], width: int, *, color: bool) -> None:
        self._write = write
        self._width = max(width - len(_INDENT) - 1, 8)
        self._color = color
        self._line = ""
        self._rows = 0
        self._cut = False

    def add(self, text: str) -> None:
        """Add more of the result."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._show(line)
        if len(self._line) > 4 * self._width:  # the end of a long line is not shown
            self._line = self._line[: 4 * self._width]
            self._cut = True

    def finish(self, hint: str) -> None:
        """Complete the result. `hint` says how to see the hidden rows."""
        if self._line:
            self._show(self._line)
            self._line = ""
        hidden = self._rows - _ROWS
        if hidden > 0:
            self._put(f"… {counted(hidden, 'more row')}: {hint}")
        elif self._cut:
            self._put(f"… {hint}")

    def _show(self, line: str) -> None:
        self._rows += 1
        if self._rows > _ROWS:
            return
        from rich.cells import cell_len, set_cell_size

        text = escape_all(line.removesuffix("\r").expandtabs(4))
        if cell_len(text) > self._width:
            self._cut = True
            text = set_cell_size(text, self._width - 1) + "…"
        self._put(text)

    def _put(self, text: str) -> None:
        self._write(f"\x1b[2m{_INDENT}{text}\x1b[0m\n" if self._color else f"{_INDENT}{text}\n")
