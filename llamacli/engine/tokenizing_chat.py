"""A conversation as the model would read it, and its tokens. The vocabulary alone is enough for that."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from llamacli.engine.chat import ChatTemplate
from llamacli.engine.message import read_messages
from llamacli.engine.model import Model
from llamacli.engine.prompt import rendered_prompt
from llamacli.engine.tokenizing import Chunk, adds_space
from llamacli.engine.tokenizing_text import Part, text_document
from llamacli.errors import TemplateError


def conversation_chunk(model: Model, name: str, messages: Sequence[dict[str, Any]], *, template: str | None = None) -> Chunk:
    """The prompt that asks for the answer to OpenAI-shaped messages, with its tokens.

    Raises:
        TemplateError: there is no template, or it refuses the messages.
        UsageError: messages that are not shaped like OpenAI's.
    """
    vocabulary = model.vocabulary
    source = template if template is not None else model.chat_template()
    if source is None:
        raise TemplateError("this model has no chat template", hint="--chat-template names one")
    bos, eos = (vocabulary.special_piece(token) if token >= 0 else b"" for token in (vocabulary.bos, vocabulary.eos))
    with ChatTemplate(source, bos=bos.decode("utf-8", "replace"), eos=eos.decode("utf-8", "replace")) as chat:
        rendered = chat.render(read_messages(list(messages)))
    prompt = rendered_prompt(vocabulary, rendered.parts, rendered.stops)
    data = prompt.text.encode()
    added_bos = prompt.tokens[:1] == (vocabulary.bos,) and not data.startswith(bos)
    document = text_document(name, data)
    return Chunk(Part(document, 0, data), array("i", prompt.tokens), int(added_bos), 0, adds_space(vocabulary))
