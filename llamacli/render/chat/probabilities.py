"""The tokens of an answer with their numbers and probabilities, legible without colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llamacli.render.text import columns
from llamacli.render.tokenize.view import Paint, visible

if TYPE_CHECKING:
    from llamacli.engine.events import TokenLogprob

_BANDS = ((0.9, "", ""), (0.5, "32", "green <90%"), (0.2, "33", "yellow <50%"), (0.0, "1;31", "red <20%"))
"""Minimum probabilities, their styles and the explanation of these. Nearly certain tokens stand out least."""

_HINT = "/probs N lists alternatives · /pick N ALT uses one"
_DIM = "2"
_GAP = 2
_LONGEST = 40


def format_probabilities(tokens: Sequence[tuple[bytes, float | None]], paint: Paint, width: int) -> str:
    """Return rows of pieces above their numbers and probabilities.

    `tokens` are pieces with natural-log probabilities, None where they are unknown.
    """
    rows: list[str] = []
    cells: list[tuple[str, str, str, int]] = []
    used = 0
    for number, (piece, logprob) in enumerate(tokens, start=1):
        text, below = _cut(visible(piece)), f"{number}:{percent(logprob)}"
        size = max(columns(text), len(below))
        if cells and used + size > width:
            rows.append(_row(cells, paint))
            cells, used = [], 0
        cells.append((text, below, _style(logprob), size))
        used += size + _GAP
        if piece.endswith(b"\n"):
            rows.append(_row(cells, paint))
            cells, used = [], 0
    if cells:
        rows.append(_row(cells, paint))
    return "".join(rows)


def format_legend(tokens: Sequence[tuple[bytes, float | None]], *, color: bool) -> str:
    """Return the explanation of the colours that the tokens have, if there are any, and of what to do next."""
    styles = {_style(logprob) for _, logprob in tokens} if color else set()
    colors = ", ".join(text for _, style, text in _BANDS if text and style in styles)
    return f"{colors} · {_HINT}" if colors else _HINT


def format_alternatives(
    found: Sequence[TokenLogprob], chosen: int, before: bytes, number: int, paint: Paint, width: int
) -> str:
    """Return a line for each alternative to token `number`, the best first, with * at the chosen one.

    `before` is the text before the token.
    """
    head = f"token {number}"
    text = visible(before)
    if text:
        room = max(width - len(head) - len(" after …") - 1, 8)
        while columns(text) > room:
            text = text[1:]
            head = f"token {number} after …"
        head += text if head.endswith("…") else f" after {text}"
    pieces = [_cut(visible(one.piece)) or "(end)" for one in found]
    size = max(map(columns, pieces), default=0)
    lines = [paint(head, _DIM)]
    for rank, (one, piece) in enumerate(zip(found, pieces, strict=True), start=1):
        mark = "*" if one.id == chosen else " "
        padded = paint(piece, _style(one.logprob)) + " " * (size - columns(piece))
        lines.append(f"{mark} {rank:>2}  {padded}  {100 * math.exp(one.logprob):>6.2f} %")
    if all(one.id != chosen for one in found):
        lines.append(paint("the chosen token is less probable than these", _DIM))
    return "\n".join(lines) + "\n"


def percent(logprob: float | None) -> str:
    """Return a probability in whole percent, `–` if it is unknown: such a token was forced."""
    if logprob is None or math.isnan(logprob):
        return "–"
    share = 100 * math.exp(logprob)
    return "<1%" if share < 0.5 else f"{share:.0f}%"


def _style(logprob: float | None) -> str:
    if logprob is None or math.isnan(logprob):
        return _DIM
    share = math.exp(logprob)
    return next(style for least, style, _ in _BANDS if share >= least)


def _cut(text: str) -> str:
    return text if columns(text) <= _LONGEST else text[: _LONGEST // 2] + "…"


def _row(cells: Sequence[tuple[str, str, str, int]], paint: Paint) -> str:
    gap = " " * _GAP
    pieces = gap.join((paint(text, style) if style else text) + " " * (size - columns(text)) for text, _, style, size in cells)
    numbers = gap.join(below.ljust(size) for _, below, _, size in cells)
    return f"{pieces.rstrip()}\n{paint(numbers.rstrip(), _DIM)}\n"
