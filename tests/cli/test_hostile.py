"""Everything that is shown on a terminal is harmless, whatever text from outside is in it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from fakes import FakeEngine, invoke

from llamacli.cli.framework.console import Terminals
from llamacli.render.text import escape, escape_line, harmless

CONTROLS = [*map(chr, range(0x01, 0x09)), *map(chr, range(0x0B, 0x20)), *map(chr, range(0x7F, 0xA0))]
HIDDEN = [
    "\xad",
    "\u034f",
    "\u180e",
    "\u200b",
    "\u2028",
    "\u202e",
    "\u2066",
    "\u2800",
    "\u3164",
    "\ufeff",
    "\U000e0041",
    "\U000e0101",
]
HOSTILE = "".join(["a", *CONTROLS, *HIDDEN, "z"])
NAME = HOSTILE.replace("/", "")[:80]
ANSWER = (
    f"**bold {HOSTILE}**\n\n| {HOSTILE} | b |\n|---|---|\n| 1 | {HOSTILE} |\n\n[{HOSTILE}](http://{HOSTILE})\n```\n{HOSTILE}\n```\n",
)

OURS = re.compile(r"\x1b\[[0-9;]*[mKADJ]|\r(?=\x1b)")

COMMAND_LINES = [
    ("run", HOSTILE),
    ("run", "-x", "x"),
    ("run", "--echo", HOSTILE),
    ("run", "--dry-run", HOSTILE),
    ("run", "--json", "x"),
    ("run", "-f", NAME, "x"),
    ("run", "-f", f"no{NAME}", "x"),
    ("run", "-m", HOSTILE, "x"),
    ("run", "--grammar", f'root ::= "{HOSTILE}', "x"),
    ("run", "--grammar-file", "wrong.gbnf", "x"),
    ("run", "--regex", f"({HOSTILE}", "x"),
    ("run", "-j", f'{{"{HOSTILE}', "x"),
    ("run", "-jf", "schema.json", "x"),
    ("run", "--messages", "messages.json"),
    ("run", "--tools", "tools.json", "x"),
    ("run", "--input", "rows.jsonl"),
    ("run", f"--{HOSTILE}"),
    ("run", "--temp", HOSTILE, "x"),
    ("run", "x", HOSTILE),
    (HOSTILE,),
    ("grammar", "check", "wrong.gbnf"),
    ("grammar", "check", f"no{NAME}"),
    ("grammar", "from-regex", f"({HOSTILE}"),
    ("grammar", "from-schema", "schema.json"),
    ("info", NAME),
    ("models", "show", HOSTILE),
    ("config", "set", HOSTILE, "1"),
    ("config", "check", "config.toml"),
    ("config", "set", "temp", HOSTILE),
    ("tokenize", "-f", f"no{NAME}"),
    ("embed", "-f", f"no{NAME}"),
    ("bench", "history", HOSTILE),
    ("bench", "-o", HOSTILE),
    ("chat", "--script", "script.txt"),
    ("chat", "--script", f"no{NAME}"),
    ("chat", "--tools", HOSTILE, "--script", "script.txt"),
]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    typed = HOSTILE.replace("\r", "").replace("\x0b", "").replace("\x0c", "").replace("\u2028", "").replace("\x1c", "")
    for name, text in {
        NAME: HOSTILE,
        "wrong.gbnf": f'root ::= "{HOSTILE}\n',
        "schema.json": json.dumps({"type": "object", "properties": {HOSTILE: {"type": HOSTILE}}}),
        "messages.json": json.dumps([{"role": HOSTILE, "content": "x"}]),
        "tools.json": json.dumps([{"type": "function", "function": {"name": HOSTILE, "parameters": {"type": HOSTILE}}}]),
        "rows.jsonl": json.dumps({"prompt": HOSTILE, "custom_id": HOSTILE, "temperature": HOSTILE}) + f"\n{{{HOSTILE}\n",
        "config.toml": f"[defaults]\n{json.dumps(HOSTILE.replace(chr(0xE0041), '').replace(chr(0xE0101), ''))} = 1\n",
        "script.txt": f"{typed}\n/set {typed} 1\n/{typed}\n",
    }.items():
        Path(name).write_text(text, encoding="utf-8")


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("arguments", COMMAND_LINES, ids=lambda words: " ".join(words)[:20].encode("ascii", "ignore").decode())
@pytest.mark.parametrize("terminals", [Terminals(stdin=True, stdout=True, stderr=True), Terminals(stdin=True, stderr=True)])
def test_a_terminal_gets_nothing_hostile(arguments: tuple[str, ...], terminals: Terminals) -> None:
    result = invoke(*arguments, terminals=terminals, engine=FakeEngine(pieces=ANSWER))
    shown = result.stderr + (result.stdout if terminals.stdout else "")
    found = {char for char in OURS.sub("", shown) if char in CONTROLS or char in HIDDEN}
    assert not found, shown


def test_what_this_program_writes_stays() -> None:
    for ours in (
        "\x1b[1;31mred\x1b[0m\n",
        "\r\x1b[Kstatus",
        "\x1b[3A\r\x1b[Jlive",
        "wo\x1b[2D\x1b[K\nword",
        "\x1b]52;c;aGk=\x07",
        "⣿⠀",
        "👩\u200d🔬 ❤\ufe0f",
    ):
        assert harmless(ours) == ours


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x9b31m", "\\u009b31m"),
        ("\x1b]0;title\x07", "\\u001b]0;title\\u0007"),
        ("\x1b[2K\x1b[5n", "\x1b[2K\\u001b[5n"),
        ("a\rb", "a\\u000db"),
        ("\u202e\xad", "\\u202e\\u00ad"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_the_rest_is_marked(text: str, shown: str) -> None:
    assert harmless(text) == shown


def test_marks_of_text_from_outside() -> None:
    assert escape("\x1b\x9b\xad\u2800\u3164\u034f\U000e0101") == "\\x1b\\x9b\\xad\\u2800\\u3164\\u034f\\U000e0101"
    assert escape_line("a\tb\nc\rd") == "a\\tb\\nc\\rd"
