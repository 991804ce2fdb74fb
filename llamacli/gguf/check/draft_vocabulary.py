"""Whether a model can draft for another one: a token must have the same number in both."""

from __future__ import annotations

from itertools import chain

from llamacli.errors import UsageError
from llamacli.gguf.arrays import read_bytes, read_string_lists
from llamacli.gguf.check.vocabulary import MODEL, TOKENS
from llamacli.gguf.model import ModelFiles
from llamacli.gguf.source import FileSource
from llamacli.gguf.text import printable

_FIRST = 5
"""Tokens before this one may differ: beginnings, ends and padding, whose texts are not part of any text."""

_LONGEST = 24


def check_draft_vocabulary(target: ModelFiles, draft: ModelFiles) -> None:
    """Check that the tokens which both vocabularies have are the same; either may have more at its end.

    Raises:
        UsageError: if they are not; the message says what differs.
    """
    kinds = [files.header.text(MODEL) for files in (target, draft)]
    if kinds[0] != kinds[1]:
        raise _refusal(target, draft, f"its tokenizer is {kinds[1]}, that of the model {kinds[0]}")
    arrays = [files.header.array(TOKENS) for files in (target, draft)]
    if None in arrays:
        return  # a vocabulary without texts has nothing to compare
    first, second = (one for one in arrays if one is not None)
    with FileSource(target.locations[0]) as one, FileSource(draft.locations[0]) as other:
        if first.size == second.size and all(
            a == b for a, b in zip(read_bytes(one, first), read_bytes(other, second), strict=True)
        ):
            return
        texts = (
            chain.from_iterable(read_string_lists(source, files.header, lazy))
            for source, files, lazy in ((one, target, first), (other, draft, second))
        )
        for token, (ours, its) in enumerate(zip(*texts, strict=False)):
            if ours != its and token >= _FIRST:
                raise _refusal(target, draft, f"token {token} is {_quoted(its)}, that of the model {_quoted(ours)}")


def _refusal(target: ModelFiles, draft: ModelFiles, reason: str) -> UsageError:
    return UsageError(
        f"{draft.header.name} has another vocabulary than {target.header.name}: {reason}",
        hint="use a smaller model of the same family",
        parameter="draft_model",
    )


def _quoted(text: bytes) -> str:
    return f'"{printable(text.decode("utf-8", "replace"), _LONGEST)}"'
