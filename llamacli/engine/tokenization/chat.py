"""The prompt of a conversation, and its tokens. Only the vocabulary is needed."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from llamacli.engine.chat.message import Message
from llamacli.engine.chat.prompt import rendered_prompt
from llamacli.engine.chat.template import ChatTemplate
from llamacli.engine.runtime.model import Model
from llamacli.engine.runtime.vocabulary import Vocabulary
from llamacli.engine.tokenization.documents import Chunk, Part, text_document
from llamacli.engine.tokenization.tokenizer import adds_space
from llamacli.errors import TemplateError


def open_template(model: Model, template: str | None = None) -> ChatTemplate:
    """Open a chat template, by default the model's own. The caller closes it.

    Raises:
        TemplateError: if the model has none, or it does not parse.
    """
    source = template if template is not None else model.chat_template()
    if source is None:
        raise TemplateError("this model has no chat template", hint="chat_template selects one", parameter="chat_template")
    bos, eos = (_piece(model.vocabulary, token) for token in (model.vocabulary.bos, model.vocabulary.eos))
    return ChatTemplate(source, bos=bos.decode("utf-8", "replace"), eos=eos.decode("utf-8", "replace"))


def conversation_chunk(vocabulary: Vocabulary, chat: ChatTemplate, messages: Sequence[Message]) -> Chunk:
    """Return the prompt for messages, up to the answer, with its tokens. Raises as `ChatTemplate.render`."""
    rendered = chat.render(messages)
    prompt = rendered_prompt(vocabulary, rendered.parts, rendered.stops)
    data = prompt.text.encode()
    added_bos = prompt.tokens[:1] == (vocabulary.bos,) and not data.startswith(_piece(vocabulary, vocabulary.bos))
    document = text_document("the conversation", data)
    return Chunk(Part(document, 0, data), array("i", prompt.tokens), int(added_bos), 0, adds_space(vocabulary))


def _piece(vocabulary: Vocabulary, token: int) -> bytes:
    """Return the text of BOS or EOS, empty if the vocabulary has none."""
    return vocabulary.special_piece(token) if token >= 0 else b""
