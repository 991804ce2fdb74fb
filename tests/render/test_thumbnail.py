"""Thumbnails: which terminals show them, and that what they get is the picture."""

from __future__ import annotations

import base64
import io
import re

import pytest
from PIL import Image

from llamacli.engine.media.media import Media, new_image
from llamacli.render.chat.thumbnail import format_thumbnail, protocol_of


def picture(width: int, height: int) -> Media:
    """Red on the left, blue on the right."""
    row = b"\xff\0\0" * (width // 2) + b"\0\0\xff" * (width - width // 2)
    return new_image(width, height, row * height)


@pytest.mark.parametrize(
    ("environ", "wanted", "found"),
    [
        ({"TERM": "xterm-kitty"}, "auto", "kitty"), ({"TERM_PROGRAM": "ghostty"}, "auto", "kitty"),
        ({"TERM_PROGRAM": "iTerm.app"}, "auto", "iterm2"), ({"TERM": "foot"}, "auto", "sixel"),
        ({"TERM": "xterm-256color"}, "auto", None), ({"TERM": "xterm-kitty"}, "off", None),
        ({"TERM": "xterm-kitty", "TMUX": "x"}, "on", None),
        ({"TERM": "xterm-kitty", "SSH_CONNECTION": "x"}, "auto", None),
        ({"TERM": "xterm-kitty", "SSH_CONNECTION": "x"}, "on", "kitty"),
    ],
)  # fmt: skip
def test_the_environment_says_which_terminal_shows_pictures(environ, wanted, found):
    assert protocol_of(environ, wanted) == found


@pytest.mark.parametrize(("width", "height", "size"), [(8, 4, (8, 4)), (240, 60, (120, 30)), (1000, 3000, (40, 120))])
def test_kitty_gets_pixels(width, height, size):
    chunks = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", format_thumbnail(picture(width, height), "kitty"))
    data = base64.b64decode("".join(text for _, text in chunks))
    assert f"s={size[0]},v={size[1]}" in chunks[0][0]
    assert [keys.endswith("m=1") for keys, _ in chunks] == [True] * (len(chunks) - 1) + [False]
    assert (len(data), data[:3], data[-3:]) == (3 * size[0] * size[1], b"\xff\0\0", b"\0\0\xff")


def test_iterm_gets_a_file():
    text = format_thumbnail(picture(300, 100), "iterm2")
    data = base64.b64decode(text.partition(":")[2].partition("\x07")[0])
    with Image.open(io.BytesIO(data)) as image:
        assert (image.size, image.getpixel((0, 0)), image.getpixel((99, 33))) == ((100, 34), (255, 0, 0), (0, 0, 255))


def test_sixels_have_each_colour_once():
    text = format_thumbnail(picture(4, 7), "sixel")
    assert text == '\x1bPq"1;1;4;7#5;2;0;0;100#180;2;100;0;0#5??~~$#180~~??-#5??@@$#180@@??\x1b\\\n'
