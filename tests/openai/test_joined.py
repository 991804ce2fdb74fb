"""Pieces that come together: their text is one piece, and nothing changes its order."""

from __future__ import annotations

import pytest

from llamacli.engine.events import Delta, Piece, Token, ToolCallDelta
from llamacli.openai.client.answer import joined

CALL = Delta(tool_call=ToolCallDelta(0, "id", "name", "{}"))
TOKEN = Token(0, 7, b"t", "t", -0.5, ())


def text(content: str, index: int = 0) -> Piece:
    return Piece(index, (Delta(content),))


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([], []),
        ([text("a")], [text("a")]),
        ([text("a"), text("b"), text("c")], [text("abc")]),
        ([text("a"), text("b", 1), text("c", 1), text("d")], [text("a"), text("bc", 1), text("d")]),
        (
            [Piece(0, (Delta("", "hm"),)), Piece(0, (Delta("", "m"), Delta("a"))), text("b")],
            [Piece(0, (Delta("", "hmm"), Delta("ab")))],
        ),
        ([text("a"), Piece(0, (CALL,)), text("b"), text("c")], [text("a"), Piece(0, (CALL,)), text("bc")]),
        ([text("a"), Piece(0, (Delta("t"),), TOKEN), text("b")], [text("a"), Piece(0, (Delta("t"),), TOKEN), text("b")]),
    ],
)
def test_adjacent_text_is_joined(pieces: list[Piece], expected: list[Piece]) -> None:
    assert list(joined(pieces)) == expected
