"""Themes: which colours of a terminal stand for ours, and plain characters for terminals without Unicode.

The program writes eight colours. A theme replaces those that are hard to read on its background, also in highlighted code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field

from llamacli.values import dataclass

_NAMES = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_COLORS = {
    **{name: str(30 + number) for number, name in enumerate(_NAMES)},
    **{f"bright-{name}": str(90 + number) for number, name in enumerate(_NAMES)},
    "default": "39",
    "dim": "2",
}
"""The SGR code of each colour; `dim` is ours for what matters less."""

_PROMPT_NAMES = {"white": "ansigray", "bright-white": "ansiwhite", "default": "ansidefault", "dim": "ansibrightblack"}
_HEX = r"#[0-9a-f]{6}"
_STYLE = r"\x1b\[([0-9;]+)m"


@dataclass(frozen=True, slots=True)
class Theme:
    """Replacements of colours by name. `name` is `dark`, `light` or `none`, before changes of the user's."""

    name: str
    colors: Mapping[str, str] = field(default_factory=dict)

    def apply(self, text: str) -> str:
        """Return text with its colours replaced."""
        if not self.colors or "\x1b[" not in text:
            return text
        codes = {_COLORS[name]: _code(color) for name, color in self.colors.items()}

        def replaced(match: re.Match[str]) -> str:
            parts = match[1].split(";")
            return match[0] if "38" in parts else f"\x1b[{';'.join(codes.get(part, part) for part in parts)}m"

        return re.sub(_STYLE, replaced, text)

    def prompt_color(self, name: str) -> str:
        """Return the name that the prompt line's library has for one of our colours."""
        color = self.colors.get(name, name)
        return color if color.startswith("#") else _PROMPT_NAMES.get(color, f"ansi{color.replace('-', '')}")


DARK = Theme("dark", {"blue": "bright-blue"})
LIGHT = Theme(
    "light",
    {
        "yellow": "magenta", "cyan": "blue", "white": "default",
        **{f"bright-{name}": name for name in ("red", "green", "blue", "magenta")},
        "bright-yellow": "magenta", "bright-cyan": "blue", "bright-white": "default",
    },
)  # fmt: skip
NONE = Theme("none")

_THEMES = {theme.name: theme for theme in (DARK, LIGHT, NONE)}
AUTO = "auto"
THEME_HELP = "auto|dark|light|none[,COLOR=COLOR]"


def parse_theme(text: str, *, is_light: bool = False) -> Theme:
    """Parse a theme: a name, and colours to replace, as in `light,yellow=#8a5a00`. `auto` is what `is_light` says.

    Raises:
        ValueError: if it is neither.
    """
    first, *changes = [part.strip() for part in text.lower().split(",")]
    base = (LIGHT if is_light else DARK) if first == AUTO else _THEMES.get(first)
    if base is None:
        raise ValueError(f"'{first}' is not {THEME_HELP}")
    colors = dict(base.colors)
    for change in changes:
        name, _, color = change.partition("=")
        if name not in _COLORS or not (color in _COLORS or re.fullmatch(_HEX, color)):
            raise ValueError(f"'{change}' is not COLOR=COLOR; colours are {', '.join(_COLORS)} and #rrggbb")
        colors[name] = color
    return Theme(base.name, colors)


def _code(color: str) -> str:
    """The SGR code of a colour."""
    if color in _COLORS:
        return _COLORS[color]
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return f"38;2;{red};{green};{blue}"


_PLAIN = {
    ord(char): mark
    for mark, chars in {
        "-": "–—─━╌╴╶╭╮╰╯├┤┬┴┼·", "|": "│┃", "#": "█▉▊▋▌▍▎▏▒░▓▁▂▃▄▅▆▇", "*": "•×", "~": "…", "+": "±", ">": "→", "$": "⏎",
        "?": "␡", '"': "“”", "'": "‘’", " ": "\u2800",
    }.items()
    for char in chars
} | dict.fromkeys(range(0x2801, 0x2900), "*")  # fmt: skip
"""A plain character for each that the program uses in its own texts, one for one, so that columns stay."""


def plain(text: str) -> str:
    """Return text with the marks and lines of the program in ASCII; other characters stay.

    >>> plain("12 MiB … 3 tokens/s · done")
    '12 MiB ~ 3 tokens/s - done'
    """
    return text if text.isascii() else text.translate(_PLAIN)
