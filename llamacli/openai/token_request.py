"""`/tokenize`, `/detokenize` and `/apply-template`, as llama-server and vLLM have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llamacli.engine.chat.question import Question
from llamacli.openai.chat_request import read_question
from llamacli.openai.fields import Fields
from llamacli.openai.response import Document
from llamacli.openai.text_request import is_tokens, read_text


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizeRequest:
    """A text to be tokenized; `with_pieces`: the text of each token is told, too."""

    text: str
    add_special: bool
    special: bool
    with_pieces: bool


def read_tokenize(document: Any) -> TokenizeRequest:
    """Read a request of `/tokenize`. Raises UsageError."""
    fields = Fields(document)
    name = "prompt" if "prompt" in fields else "content"  # vLLM's and llama-server's
    special = "add_special_tokens" if "add_special_tokens" in fields else "add_special"
    request = TokenizeRequest(
        text=fields.required_text(name),
        add_special=fields.flag(special),
        special=fields.flag("parse_special", default=True),
        with_pieces=fields.flag("with_pieces"),
    )
    fields.value("model")
    fields.finish()
    return request


def tokens_document(tokens: Sequence[int], pieces: Sequence[bytes] | None) -> Document:
    """Return the document of tokens; a piece that is not UTF-8 is a list of its bytes."""
    if pieces is None:
        return {"tokens": list(tokens), "count": len(tokens)}
    found = [{"id": token, "piece": _text_or_bytes(piece)} for token, piece in zip(tokens, pieces, strict=True)]
    return {"tokens": found, "count": len(tokens)}


def _text_or_bytes(piece: bytes) -> str | list[int]:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)


def read_detokenize(document: Any) -> tuple[int, ...]:
    """Read a request of `/detokenize`. Raises UsageError."""
    fields = Fields(document)
    tokens = fields.value("tokens")
    found = read_text(tokens, fields, "tokens") if is_tokens(tokens) else () if tokens == [] else None
    if not isinstance(found, tuple):
        raise fields.fault("tokens", "must be a list of token ids")
    fields.value("model")
    fields.finish()
    return found


def read_template(document: Any) -> Question:
    """Read a request of `/apply-template`: what of a chat becomes its prompt. Raises UsageError, GrammarError."""
    fields = Fields(document)
    question = read_question(fields)
    fields.value("model")
    fields.finish()
    return question
