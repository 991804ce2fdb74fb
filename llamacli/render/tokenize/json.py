"""Tokens as JSON. Documents are written while they are tokenized, so that none is in memory as a whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llamacli.render.tokenize.view import Count, total_of

if TYPE_CHECKING:
    from llamacli.engine.tokenization.compare import Comparison

Token = tuple[int, bytes, tuple[int, int] | None, bool]
"""An id, its bytes, its span in the document (byte offsets from and to, None if unknown), and whether it is a control token."""


class TokenObjects:
    """Formatter of tokens. Caches the parts that are the same at every occurrence of a token."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[str, str]] = {}

    def format(self, tokens: Sequence[Token]) -> str:
        """Return the comma-separated objects."""
        return ", ".join([self._one(*token) for token in tokens])

    def _one(self, token: int, piece: bytes, span: tuple[int, int] | None, special: bool) -> str:
        parts = self._known.get(token)
        if parts is None:
            text = json.dumps(piece.decode("utf-8", "replace"))
            begin = f'{{"id": {token}, "piece": {text}, "bytes": "{piece.hex()}", '
            parts = self._known[token] = (begin, f', "special": {str(special).lower()}}}')
        start, end = span if span is not None else ("null", "null")
        return f'{parts[0]}"start": {start}, "end": {end}{parts[1]}'


def begin_document(**fields: Any) -> str:
    """Return an object up to its tokens."""
    return json.dumps(fields)[:-1] + (", " if fields else "") + '"tokens": ['


def end_document(count: Count) -> str:
    """Return the rest of the object."""
    return "], " + json.dumps(sizes(count))[1:]


def json_text(name: str) -> str:
    """Return the name of a file as valid UTF-8, with U+FFFD for other bytes."""
    return name if name.isascii() else name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def sizes(count: Count) -> dict[str, Any]:
    """Return the size of a document, or its error."""
    if count.error is not None:
        return {"error": {"message": json_text(str(count.error)), "type": type(count.error).__name__}}
    return {
        "count": count.tokens,
        "bytes": count.bytes,
        "bytes_per_token": count.bytes / count.tokens if count.tokens else 0.0,
    }


def counts_document(model: str, counts: Sequence[Count]) -> dict[str, Any]:
    """Return the counts of documents."""
    if len(counts) == 1:
        return {"model": model, **sizes(counts[0])}
    documents = [{"name": json_text(count.name), **sizes(count)} for count in counts]
    return {"model": model, "documents": documents, **sizes(total_of(counts))}


def extensions_document(model: str, groups: Sequence[tuple[str, int, Count]]) -> dict[str, Any]:
    """Return the counts by file extension."""
    extensions = [{"extension": json_text(extension), "files": files, **sizes(count)} for extension, files, count in groups]
    return {"model": model, "extensions": extensions, **sizes(total_of([count for _, _, count in groups]))}


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison of vocabularies."""
    return {
        "models": [
            {"model": count.name, "count": count.tokens, "bytes": count.bytes, "bytes_per_token": count.bytes_per_token}
            for count in comparison.counts
        ],
        "differences": [
            {
                "document": json_text(difference.document),
                "start": difference.start,
                "end": difference.end,
                "pieces": [[piece.decode("utf-8", "backslashreplace") for piece in pieces] for pieces in difference.pieces],
            }
            for difference in comparison.differences
        ],
    }
