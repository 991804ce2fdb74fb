"""A conversation as the model would read it, and its tokens. The vocabulary alone is enough for that."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from llamacli.engine.chat.message import read_messages
from llamacli.engine.chat.prompt import rendered_prompt
from llamacli.engine.chat.template import ChatTemplate
from llamacli.engine.runtime.model import Model
from llamacli.engine.runtime.vocabulary import Vocabulary
from llamacli.engine.tokenization.documents import Part, text_document
from llamacli.engine.tokenization.tokenizer import Chunk, adds_space
from llamacli.errors import TemplateError


def open_template(model: Model, template: str | None = None) -> ChatTemplate:
    """The chat template, by default the model's own; to be closed.

    Raises:
        TemplateError: there is none, or it does not parse.
    """
    source = template if template is not None else model.chat_template()
    if source is None:
        raise TemplateError("this model has no chat template", hint="--chat-template names one")
    bos, eos = (_piece(model.vocabulary, token) for token in (model.vocabulary.bos, model.vocabulary.eos))
    return ChatTemplate(source, bos=bos.decode("utf-8", "replace"), eos=eos.decode("utf-8", "replace"))


def conversation_chunk(vocabulary: Vocabulary, chat: ChatTemplate, name: str, messages: Sequence[dict[str, Any]]) -> Chunk:
    """The prompt that asks for the answer to OpenAI-shaped messages, with its tokens.

    Raises:
        TemplateError: the template refuses the messages.
        UsageError: messages that are not shaped like OpenAI's.
    """
    rendered = chat.render(read_messages(list(messages)))
    prompt = rendered_prompt(vocabulary, rendered.parts, rendered.stops)
    data = prompt.text.encode()
    added_bos = prompt.tokens[:1] == (vocabulary.bos,) and not data.startswith(_piece(vocabulary, vocabulary.bos))
    document = text_document(name, data)
    return Chunk(Part(document, 0, data), array("i", prompt.tokens), int(added_bos), 0, adds_space(vocabulary))


def _piece(vocabulary: Vocabulary, token: int) -> bytes:
    """The text of BOS or EOS, empty where the vocabulary has none."""
    return vocabulary.special_piece(token) if token >= 0 else b""
