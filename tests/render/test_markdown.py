"""Markdown on a terminal: nothing of an answer disappears."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from llamacli.render.chat.answer import MarkdownView
from llamacli.render.chat.markdown import markdown_rows
from llamacli.render.chat.markdown_parser import unfinished_from


def rendered(text: str, width: int = 80) -> str:
    return "\n".join(row for row, _ in markdown_rows(text, width, color=False))


@pytest.mark.parametrize(
    "text",
    [
        "Dear <name>, use List<String>",
        "<script>alert(1)</script>",
        "Write <your name here>.",
        "<div>\ninside <b>bold</b>\n</div>",
        "<!-- a comment -->",
        r"\(x^2\) and \[a_1 * b_1 * c\] with \{ \, \; \\ \frac{1}{2}",
        "\\[\na\n- b\n= c\n\\]",
        "$$\nx\n\n- y\n$$",
        "$a*b*c$ and $x_1 _y$",
        "2*3*4, a*b*c, (a)*b*(c), 2**3 and 4**5",
        "Call __init__ and __dict__.",
        "*args and **kwargs",
        "costs $5*2 and 3*$7",
        r"regex \d+\.\[a-z\]\(x\|y\)",
        "[1]: http://example.org 'title'",
        "!alt text",
        "AT&T &copy 2*",
        "1) one",
        "| a | b |\n|---|---|\n| 1 | 2 | extra |",
    ],
)
def test_what_is_not_markup_stays_as_it_is(text: str) -> None:
    assert re.sub(r"\s", "", rendered(text)).removeprefix("•") == re.sub(r"\s", "", text.replace("1) one", "1 one"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("**bold** *it* _it_ ~~no~~ `code`", "bold it it no code"),
        ("**C**entral **P**rocessing", "Central Processing"),
        (r"5 \* 3 \_x\_ \`", "5 * 3 _x_ `"),
        ("[text](http://x/ä)", "text (http://x/ä)"),
        ('[text](http://x "Title")', 'text (http://x "Title")'),
        ("![alt](picture.png)", "!alt (picture.png)"),
        ("<https://example.org>", "https://example.org"),
        ("`List<String> \\(x\\)`", r"List<String> \(x\)"),
        ("# Title #\n\ntext", "Title\n\ntext"),
        ("007. one\n3. two", " 007 one\n   3 two"),
        ("```python main.py\nx = 1\n```", "python main.py\nx = 1"),
        ("&lt;b&gt; &amp;", "<b> &"),
    ],
)
def test_markup_is_rendered(text: str, shown: str) -> None:
    assert rendered(text) == shown


def test_long_words_in_tables_are_wrapped_not_cut() -> None:
    text = f"| name | value |\n|---|---|\n| short | {'x' * 200} |\n| {'y' * 50} | z |"
    for width in (20, 40, 80):
        assert (rendered(text, width).count("x"), rendered(text, width).count("y")) == (200, 50)
        assert "…" not in rendered(text, width)


def test_a_table_that_does_not_fit_stays_as_it_is() -> None:
    row = "|".join(f"c{number}" for number in range(30))
    text = f"before\n\n|{row}|\n|{'---|' * 30}\n|{row}|\n\nafter **bold**"
    shown = rendered(text, 20)
    assert shown.startswith("before\n\n")
    assert shown.endswith("\n\nafter bold")
    assert re.sub(r"\s", "", shown).count("|c7|c8|") == 2


PIECES = (
    "word", "größer", "東京", "🦙", "x", "1", "42", "007", " ", "  ", "    ", "\n", "\n\n", "\t", "*", "**", "_", "__", "~~",
    "`", "``", "```", "~~~", "```python\n", "#", "# ", "- ", "* ", "+ ", "1. ", "2) ", "> ", "|", "|---|---|\n",
    "| a | b |\n", "---", "***", "===", "<", ">", "</b>", "<b>", "<div>\n", "<!--", "-->", "<name>", "<http://x>", "<a@b.de>",
    "\\", "\\(", "\\)", "\\[\n", "\\]\n", "\\*", "$", "$$", "$$\n", "[", "]", "(", ")", "](", "[a](b)", "![i](j)", "[r]: u\n",
    '"t"', "&", "&lt;", "&#65;", "&x", "!", "=", ":", ";", "http://e.org", "a@b.org", "\x1b[2J", "\u202e", "\x00", "\r\n",
    "^", "{", "}", "\xa0", "e\u0301", "\u200d",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=40).map("".join) | st.text(max_size=60)
INFO = re.compile(r"(?:`{3,}|~{3,})[ \t]*[^\s`~]*|&#?\w+;")
"""Languages of code and entities, which are markup."""


def symbols(text: str) -> Counter[str]:
    return Counter(char for char in text if (char.isalnum() if char.isascii() else not char.isspace() and cell_len(char)))


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.sampled_from((8, 20, 40, 80)))
def test_every_character_of_any_answer_is_shown(text: str, width: int) -> None:
    from llamacli.render.text import escape

    text = text.replace("\r\n", "\n").encode("utf-8", "replace").decode()
    shown, wanted = symbols(rendered(text, width)), symbols(INFO.sub("", escape(text)))
    assert not wanted - shown


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.integers(1, 9), st.booleans())
def test_every_character_of_a_growing_answer_is_shown(text: str, step: int, grows: bool) -> None:
    from llamacli.render.text import escape

    written: list[str] = []
    view = MarkdownView(written.append, lambda: (60, 24), color=False, shows_reasoning=True, grows=grows, clock=lambda: 0.0)
    for start in range(0, len(text), step):
        view.add(text[start : start + step])
    view.finish()
    out = re.sub(r"\x1b\[\d+A\r\x1b\[J", "", "".join(written))
    wanted = symbols(INFO.sub("", escape(text.replace("\r\n", "\n").encode("utf-8", "replace").decode())))
    assert not wanted - symbols(out)


@given(TEXTS)
def test_the_boundary_of_finished_blocks_is_the_start_of_a_line(text: str) -> None:
    index = unfinished_from(text)
    assert index == 0 or text[index - 1] == "\n"
