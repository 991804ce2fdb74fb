"""The look of text on a terminal: the theme for its background, and the characters of its locale."""

from __future__ import annotations

import os
import re
import select
import sys
import time
from collections.abc import Mapping
from typing import Literal

from llamacli.render.theme import AUTO, Theme, parse_theme, plain

ColorMode = Literal["auto", "always", "never"]

_ASK = b"\x1b]11;?\x1b\\\x1b[c"
"""Ask for the background colour, and for the kind of terminal, which every terminal answers, after any other answer."""

_BACKGROUND = rb"\x1b\]11;rgba?:([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})"
_KIND = rb"\x1b\[\?[0-9;]*c"
_PATIENCE_SECONDS = 0.2
_LIGHT = 0.5
_DARK_INDEXES = (*range(7), 8)


class Look:
    """The theme and the characters for the terminal of this environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._text = AUTO
        self._theme: Theme | None = None
        self.is_plain = not is_unicode(environ)

    def choose(self, text: str) -> None:
        """Choose a theme, as `parse_theme` reads it."""
        self._text, self._theme = text, None

    @property
    def theme(self) -> Theme:
        """The theme. `auto` is light if the environment says that the background is."""
        if self._theme is None:
            self._theme = parse_theme(self._text, is_light=stated_background(self._environ) or False)
        return self._theme

    def ask(self) -> None:
        """Ask the terminal for its background if the theme is `auto` and the environment does not state it."""
        if self._text.partition(",")[0] == AUTO and stated_background(self._environ) is None:
            self._theme = parse_theme(self._text, is_light=asked_background(self._environ) or False)

    def shown(self, text: str) -> str:
        """Return safe text as the terminal shows it: in the colours of the theme, with marks of its locale."""
        text = self.theme.apply(text)
        return plain(text) if self.is_plain else text

    def may_color(self, mode: ColorMode, *, is_terminal: bool) -> bool:
        """Return whether a stream may be coloured. `auto` colours terminals, unless the environment says otherwise."""
        if self.theme.name == "none" and mode != "always":
            return False
        if mode != "auto":
            return mode == "always"
        if self._environ.get("NO_COLOR"):
            return False
        if self._environ.get("FORCE_COLOR", "0") not in ("", "0"):
            return True
        return is_terminal and self._environ.get("TERM") != "dumb"


def is_unicode(environ: Mapping[str, str]) -> bool:
    """Return whether the locale has UTF-8. Without a locale it does: few terminals have not, and containers set none."""
    if sys.platform == "win32":
        return True
    name = next((environ[key] for key in ("LC_ALL", "LC_CTYPE", "LANG") if environ.get(key)), None)
    return name is None or re.search(r"utf-?8", name, re.IGNORECASE) is not None


def stated_background(environ: Mapping[str, str]) -> bool | None:
    """Return whether the background is light as COLORFGBG says (`15;0`), None if it says nothing."""
    index = environ.get("COLORFGBG", "").rpartition(";")[2]
    return int(index) not in _DARK_INDEXES if index.isdecimal() and int(index) < 16 else None


def asked_background(environ: Mapping[str, str]) -> bool | None:
    """Ask the terminal whether its background is light; None if it does not answer within a moment.

    Not over a network, where the answer may come so late that it would be taken for typed keys.
    """
    if sys.platform == "win32" or environ.get("SSH_CONNECTION") or environ.get("TERM") in ("dumb", "linux"):
        return None
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return None
    try:
        return _is_light(_answer(terminal))
    finally:
        os.close(terminal)


def _answer(terminal: int) -> bytes:
    """The terminal's answer, up to that about its kind. Keys that are typed already are left alone."""
    import termios
    import tty

    try:
        if os.tcgetpgrp(terminal) != os.getpgrp() or select.select([terminal], [], [], 0)[0]:
            return b""
        before = termios.tcgetattr(terminal)
        try:
            tty.setcbreak(terminal, termios.TCSANOW)
            os.write(terminal, _ASK)
            data, end = b"", time.monotonic() + _PATIENCE_SECONDS
            while not re.search(_KIND, data):
                if not select.select([terminal], [], [], max(end - time.monotonic(), 0))[0]:
                    break
                data += os.read(terminal, 1024)
            return data
        finally:
            termios.tcsetattr(terminal, termios.TCSANOW, before)
    except (OSError, termios.error):
        return b""


def _is_light(answer: bytes) -> bool | None:
    found = re.search(_BACKGROUND, answer)
    if found is None:
        return None
    red, green, blue = (int(part, 16) / (16 ** len(part) - 1) for part in found.groups())
    return bool(0.299 * red + 0.587 * green + 0.114 * blue > _LIGHT)
