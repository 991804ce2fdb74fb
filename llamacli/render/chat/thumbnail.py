"""Thumbnails of pictures on terminals that show pixels: kitty's protocol, iTerm2's, or sixels.

Sources: https://sw.kovidgoyal.net/kitty/graphics-protocol, https://iterm2.com/documentation-images.html, and the manual of
DEC's VT330/VT340, chapter 14.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Literal

from llamacli.engine.media.media import Media, new_image, png

Protocol = Literal["kitty", "iterm2", "sixel"]
Thumbnails = Literal["auto", "on", "off"]

_SIDE = 120
"""Pixels of the longer side, at most."""
_ROWS = 6
_CHUNK = 4096
_KITTY = ("xterm-kitty", "xterm-ghostty")
_SIXEL = ("foot", "foot-extra", "mlterm", "mintty", "contour", "contour-latest")
_LEVELS = 6
"""Levels of each colour of a sixel picture's palette."""


def protocol_of(environ: Mapping[str, str], wanted: Thumbnails = "auto") -> Protocol | None:
    """Return the protocol by which this terminal shows pictures, by its environment; None if it shows none, or is not to.

    A multiplexer shows none. Over ssh, where they are slow, only `on` shows any.
    """
    if wanted == "off" or environ.get("TMUX") or environ.get("STY"):
        return None
    if wanted == "auto" and (environ.get("SSH_CONNECTION") or environ.get("SSH_TTY")):
        return None
    terminal, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM", "")
    if terminal in _KITTY or environ.get("KITTY_WINDOW_ID") or program == "ghostty":
        return "kitty"
    if program in ("iTerm.app", "WezTerm") or environ.get("LC_TERMINAL") == "iTerm2":
        return "iterm2"
    return "sixel" if terminal in _SIXEL or program == "mintty" else None


def format_thumbnail(picture: Media, protocol: Protocol) -> str:
    """Return what a terminal shows as a small version of a picture, and a newline after it."""
    return _WRITERS[protocol](_reduced(picture)) + "\n"


def _reduced(picture: Media) -> Media:
    """Return the picture with every n-th pixel of every n-th row."""
    step = -(-max(picture.width, picture.height) // _SIDE)
    if step <= 1:
        return picture
    data, row = picture.data, 3 * picture.width
    columns, rows = range(0, picture.width, step), range(0, picture.height, step)
    pixels = b"".join(data[y * row + 3 * x : y * row + 3 * x + 3] for y in rows for x in columns)
    return new_image(len(columns), len(rows), pixels)


def _kitty(picture: Media) -> str:
    text = base64.b64encode(picture.data).decode()
    chunks = [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)]
    keys = f"a=T,q=2,f=24,s={picture.width},v={picture.height},r={_ROWS},"
    last = len(chunks) - 1
    return "".join(f"\x1b_G{keys if not n else ''}m={int(n < last)};{chunk}\x1b\\" for n, chunk in enumerate(chunks))


def _iterm2(picture: Media) -> str:
    data = png(picture)
    keys = f"inline=1;size={len(data)};height={_ROWS};preserveAspectRatio=1"
    return f"\x1b]1337;File={keys}:{base64.b64encode(data).decode()}\x07"


def _sixel(picture: Media) -> str:
    """Return sixels: bands of six rows, each colour of a band as a run of characters with a bit for each row."""
    width, height = picture.width, picture.height
    data = picture.data
    levels = bytes(value * _LEVELS >> 8 for value in data)
    colours = [(levels[at] * _LEVELS + levels[at + 1]) * _LEVELS + levels[at + 2] for at in range(0, len(levels), 3)]
    palette = "".join(_sixel_colour(one) for one in sorted(set(colours)))
    bands = []
    for top in range(0, height, 6):
        rows = [colours[y * width : (y + 1) * width] for y in range(top, min(top + 6, height))]
        lines = []
        for colour in sorted({one for row in rows for one in row}):
            bits = (sum((row[x] == colour) << bit for bit, row in enumerate(rows)) for x in range(width))
            lines.append(f"#{colour}" + "".join(chr(63 + mask) for mask in bits))
        bands.append("$".join(lines))
    return f'\x1bPq"1;1;{width};{height}{palette}{"-".join(bands)}\x1b\\'


def _sixel_colour(number: int) -> str:
    """Return the definition of a colour of the palette: its red, green and blue in percent."""
    rest, blue = divmod(number, _LEVELS)
    red, green = divmod(rest, _LEVELS)
    share = 100 // (_LEVELS - 1)
    return f"#{number};2;{red * share};{green * share};{blue * share}"


_WRITERS: dict[Protocol, Callable[[Media], str]] = {"kitty": _kitty, "iterm2": _iterm2, "sixel": _sixel}
