"""Texts and tokens as arguments."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llamacli.errors import UsageError

if TYPE_CHECKING:
    from llamacli.engine.embedding.window import Text

PromptLike = str | Sequence[int]

TextLike = str | Sequence[int]
"""A text, or its tokens."""

_PROMPT = "a prompt is a text or a list of token ids"


def several(prompt: PromptLike | Sequence[PromptLike]) -> list[PromptLike]:
    """Return the prompts of an argument: a text, a list of token ids, or a list of texts and lists of token ids.

    Raises:
        UsageError: if it is something else; the message names the item.
    """
    if isinstance(prompt, str):
        return [prompt]
    items = _items(prompt, "prompt")
    if not any(isinstance(item, Iterable) for item in items):
        return [token_ids(items, "prompt")]
    for place, item in enumerate(items):
        if not isinstance(item, Iterable):
            raise UsageError(f"prompt[{place}] is {item!r} among other prompts, where {_PROMPT}")
    return [item if isinstance(item, str) else token_ids(item, f"prompt[{place}]") for place, item in enumerate(items)]


def token_ids(tokens: Iterable[Any], name: str) -> list[int]:
    """Return token ids as Python's integers, from integers of any kind, NumPy's too. `name` is for messages.

    Raises:
        UsageError: if an item is not an integer.
    """
    found = []
    for place, item in enumerate(_items(tokens, name)):
        try:
            found.append(operator.index(item))
        except TypeError:
            raise UsageError(f"{name}[{place}] is {item!r}, where a token id is an integer") from None
    return found


def _items(values: Any, name: str) -> list[Any]:
    if isinstance(values, str | bytes | bytearray | Mapping) or not isinstance(values, Iterable):
        raise UsageError(f"{name} is of type {type(values).__name__}, where {_PROMPT}")
    return list(values)


def texts_of(given: Any) -> list[Text]:
    """Return the inputs of an embedding: texts, and tuples of token ids.

    Raises:
        UsageError: if an item is something else.
    """
    if isinstance(given, str):
        return [given]
    if isinstance(given, bytes) or not isinstance(given, Iterable):
        raise UsageError(f"input is of type {type(given).__name__}, where a text or a list of texts is needed")
    items = list(given)
    if items and not any(isinstance(item, Iterable) for item in items):
        return [tuple(token_ids(items, "input"))]
    for place, item in enumerate(items):
        if isinstance(item, bytes) or not isinstance(item, Iterable):
            raise UsageError(f"input[{place}] is {item!r}, where a text is needed")
    return [item if isinstance(item, str) else tuple(token_ids(item, f"input[{place}]")) for place, item in enumerate(items)]
