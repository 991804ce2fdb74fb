"""Documents in passages: whole paragraphs and sections, with the lines or pages where they are."""

from __future__ import annotations

from itertools import pairwise

import pytest

from llamacli.documents.document import Document, Part
from llamacli.retrieval.passages import estimate_tokens, split


def document(text: str, name: str = "a.md") -> Document:
    return Document(name, "text", (Part(text),))


def places(text: str, name: str = "a.md", size: int = 200, overlap: int = 0) -> list[str]:
    return [passage.place for passage in split(document(text, name), size, overlap)]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.md", "", []),
        ("a.md", " \n\n\t\n", []),
        ("a.md", "one line", ["1-1"]),
        ("a.md", "\n\nintro\n\n# One\ntext\n\n## Two\n\ntext\n", ["3-3", "5-6", "8-10"]),
        ("a.md", "# Title\n\n## Section\ntext", ["1-4"]),  # a heading alone is no passage
        ("a.md", "Title\n=====\ntext\n\nNext\n----\ntext\n", ["1-3", "5-7"]),
        ("a.md", "# One\n```\n# a comment\nx = 1\n```\n", ["1-5"]),
        ("a.py", "# a comment\nx = 1\n# another\ny = 2\n", ["1-4"]),
        ("a.txt", "old\r\nends\r\n\r\nof lines", ["1-4"]),
    ],
)
def test_sections_are_passages(name: str, text: str, expected: list[str]) -> None:
    assert places(text, name) == expected


def test_passages_end_between_paragraphs_and_rather_before_lines_that_are_not_indented() -> None:
    paragraphs = "\n\n".join(" ".join(["word"] * 30) for _ in range(5))
    assert places(paragraphs, size=70) == ["1-3", "5-7", "9-9"]
    source = "def one():\n    a\n\n    b\n\ndef two():\n    c\n\n    d\n\n    e\n"
    assert places(source, "x.py", size=14) == ["1-4", "6-11"]


def test_passages_overlap_where_they_were_cut_and_nothing_is_lost() -> None:
    lines = [f"line {number} of a long paragraph" for number in range(1, 41)]
    passages = split(document("\n".join(lines)), 50, 15)
    spans = [tuple(map(int, passage.place.split("-"))) for passage in passages]
    assert spans[0][0] == 1
    assert spans[-1][1] == 40
    for (_, end), (start, _) in pairwise(spans):
        assert start <= end < start + 3
    for passage, (start, end) in zip(passages, spans, strict=True):
        assert passage.text == "\n".join(lines[start - 1 : end])
        assert estimate_tokens(passage.text) <= 50


def test_a_long_line_is_split_between_words() -> None:
    text = "word " * 100 + "x" * 2000
    passages = split(document(text), 50, 0)
    assert {passage.place for passage in passages} == {"1-1"}
    assert "".join(passage.text for passage in passages) == text
    assert max(estimate_tokens(passage.text) for passage in passages) <= 50
    assert all(passage.text.endswith("word ") for passage in passages[:2])


def test_pages_are_places() -> None:
    pages = Document("a.pdf", "pdf", (Part("first\n\nparagraph", "page 1"), Part("second", "page 3")))
    assert [(passage.text, passage.place) for passage in split(pages)] == [
        ("first\n\nparagraph", "page 1"),
        ("second", "page 3"),
    ]
