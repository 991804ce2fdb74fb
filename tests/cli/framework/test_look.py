"""The look of text on a terminal: themes, the background that a terminal tells, and marks for locales without UTF-8."""

from __future__ import annotations

import os
import pty
import re
import select
import sys
import time

import pytest
from fakes import FakeEngine, invoke

from llamacli.cli.framework.console import Terminals
from llamacli.cli.framework.terminal.look import Look, is_unicode, stated_background
from llamacli.render.theme import DARK, LIGHT, parse_theme, plain

ON_TERMINAL = Terminals(stdin=True, stdout=True, stderr=True)
WARNING = "\x1b[{}mwarning:\x1b[0m"


@pytest.mark.parametrize(
    ("theme", "text", "shown"),
    [
        ("dark", "\x1b[33mx\x1b[0m", "\x1b[33mx\x1b[0m"),
        ("dark", "\x1b[1;34mx", "\x1b[1;94mx"),
        ("light", "\x1b[33mx\x1b[0m \x1b[36my", "\x1b[35mx\x1b[0m \x1b[34my"),
        ("light", "\x1b[93;1mx", "\x1b[35;1mx"),
        ("light,yellow=#8a5A00", "\x1b[33mx", "\x1b[38;2;138;90;0mx"),
        ("auto, dim=bright-black", "\x1b[2mx", "\x1b[90mx"),
        ("light", "\x1b[38;2;33;33;33mx \x1b[5D\x1b[K", "\x1b[38;2;33;33;33mx \x1b[5D\x1b[K"),
        ("light", "plain 33m", "plain 33m"),
    ],
)
def test_a_theme_replaces_colours(theme: str, text: str, shown: str) -> None:
    assert parse_theme(theme).apply(text) == shown


def test_no_colour_of_the_light_theme_is_a_light_one() -> None:
    for name in ("yellow", "cyan", "white", "bright-yellow", "bright-cyan", "bright-white", "bright-green"):
        assert LIGHT.colors[name] in ("magenta", "blue", "default", "green")
    assert LIGHT.prompt_color("cyan") == "ansiblue"
    assert DARK.prompt_color("bright-black") == "ansibrightblack"
    assert parse_theme("dark,cyan=#00ffff").prompt_color("cyan") == "#00ffff"


@pytest.mark.parametrize("theme", ["solarized", "", "dark,yellow", "dark,pink=red", "dark,red=pink", "light,red=#12345"])
def test_what_is_no_theme_is_a_usage_error(theme: str) -> None:
    result = invoke("run", "x", "--theme", theme)
    assert (result.status, "--theme" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "environ", "code"),
    [
        ((), {}, "33"),
        (("--theme", "light"), {}, "35"),
        ((), {"COLORFGBG": "0;15"}, "35"),
        ((), {"COLORFGBG": "15;default;0"}, "33"),
        ((), {"COLORFGBG": "15;default"}, "33"),
        (("--theme", "dark"), {"COLORFGBG": "0;15"}, "33"),
    ],
)
def test_the_theme_is_chosen(arguments: tuple[str, ...], environ: dict[str, str], code: str) -> None:
    result = invoke("run", "gem.gguf", *arguments, terminals=ON_TERMINAL, environ=environ)
    assert WARNING.format(code) in result.stderr


def test_the_theme_none_has_no_colours_and_the_settings_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[3" not in invoke("run", "gem.gguf", "--theme", "none", terminals=ON_TERMINAL).stderr
    result = invoke("run", "gem.gguf", terminals=ON_TERMINAL, defaults={"theme": "light"})
    assert WARNING.format("35") in result.stderr
    monkeypatch.setenv("LLAMACLI_THEME", "light,yellow=red")
    assert WARNING.format("31") in invoke("run", "gem.gguf", terminals=ON_TERMINAL).stderr


def test_highlighted_code_is_legible_on_a_light_background() -> None:
    code = '```py\nclass A:\n    """Text."""\n    x = 12  # why\n```\n'
    engine = FakeEngine(pieces=(code,))
    for theme, bad in (("light", "9[1-7]|33|36|37"), ("dark", "30|34")):
        shown = invoke("run", "x", "--theme", theme, terminals=ON_TERMINAL, engine=engine).stdout
        codes = {part for found in re.findall(r"\x1b\[([0-9;]*)m", shown) for part in found.split(";")}
        assert len(codes) > 2
        assert not [one for one in codes if re.fullmatch(bad, one)]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, True),
        ({"LANG": "en_US.UTF-8"}, True),
        ({"LANG": "C.utf8"}, True),
        ({"LANG": "C"}, False),
        ({"LANG": "de_DE.ISO-8859-1"}, False),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "POSIX"}, False),
        ({"LANG": "C", "LC_CTYPE": "en_US.UTF-8"}, True),
        ({"LANG": "en_US.UTF-8", "LC_ALL": ""}, True),
    ],
)
def test_the_locale_says_whether_there_is_unicode(environ: dict[str, str], expected: bool) -> None:
    assert is_unicode(environ) == expected
    assert Look(environ).is_plain == (not expected)


def test_marks_are_ascii_on_a_terminal_without_unicode_and_the_words_of_the_model_stay() -> None:
    engine = FakeEngine(pieces=("Grüße – it’s 3 × 4 …\n",))
    environ = {"LANG": "C", "NO_COLOR": "1"}
    shown = invoke("run", "x", "--stats", "--plain", terminals=ON_TERMINAL, engine=engine, environ=environ)
    assert shown.stdout == "Grüße - it's 3 * 4 ~\n"
    assert shown.stderr.isascii()
    assert " - " in shown.stderr
    piped = invoke("run", "x", "--stats", stdin=b"", terminals=Terminals(), engine=engine, environ=environ)
    assert (piped.stdout, " · " in piped.stderr) == ("Grüße – it’s 3 × 4 …\n", True)


def test_plain_marks_are_as_wide_as_the_others() -> None:
    text = "…·±–—→×•━╌█▉▏▒⏎␡─│┼⠁⠿"
    assert plain(text).isascii()
    assert len(plain(text)) == len(text)


def test_a_stated_background_is_read() -> None:
    expected = {"15;0": False, "0;15": True, "0;7": True, "12;8": False, "": None, "x": None, "0;99": None}
    assert {text: stated_background({"COLORFGBG": text}) for text in expected} == expected


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"\x1b]11;rgb:ffff/fafa/e0e0\x1b\\\x1b[?62;c", "True"),
        (b"\x1b]11;rgb:1c/1c/1c\x07\x1b[?1;2c", "False"),
        (b"\x1b[?1;2c", "None"),
        (b"", "None"),
    ],
)
def test_a_terminal_is_asked_for_its_background(reply: bytes, expected: str) -> None:
    script = "from llamacli.cli.framework.terminal.look import asked_background; print('is', asked_background({}))"
    process, terminal = pty.fork()
    if not process:
        os.execve(sys.executable, [sys.executable, "-c", script], {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    seen, end, answered = b"", time.monotonic() + 60, False
    while time.monotonic() < end and not re.search(rb"is (\w+)", seen):
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 1024)
        if b"\x1b[c" in seen and not answered:
            answered = True
            os.write(terminal, reply)
    os.waitpid(process, 0)
    os.close(terminal)
    found = re.search(rb"is (\w+)", seen)
    assert found is not None
    assert found[1].decode() == expected


def test_it_is_not_asked_over_a_network() -> None:
    from llamacli.cli.framework.terminal.look import asked_background

    assert asked_background({"SSH_CONNECTION": "10.0.0.1 22 10.0.0.2 22"}) is None
    assert asked_background({"TERM": "dumb"}) is None
