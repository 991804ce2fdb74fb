"""The prompt of a conversation, and its tokens. Only the vocabulary is needed."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from llamacli.engine.chat.message import Message
from llamacli.engine.chat.prompt import Expand, Part, rendered_prompt
from llamacli.engine.chat.template import ChatTemplate
from llamacli.engine.media.placeholders import without_placeholders
from llamacli.engine.runtime.model import Model
from llamacli.engine.runtime.vocabulary import Vocabulary
from llamacli.engine.tokenization.documents import Chunk, text_document
from llamacli.engine.tokenization.documents import Part as DocumentPart
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


def conversation_chunk(
    vocabulary: Vocabulary, chat: ChatTemplate, messages: Sequence[Message], expand: Expand | None = None
) -> Chunk:
    """Return the prompt for messages, up to the answer, with its tokens. Raises as `ChatTemplate.render`.

    `expand` is needed for pictures and sounds, of which the text has nothing but the marks that enclose them.
    """
    rendered = chat.render(messages)
    prompt = rendered_prompt(vocabulary, rendered.parts, rendered.stops, expand)
    data = b"".join(_text(vocabulary, part, expand) for part in rendered.parts)
    added_bos = prompt.tokens[:1] == (vocabulary.bos,) and not data.startswith(_piece(vocabulary, vocabulary.bos))
    document = text_document("the conversation", data)
    return Chunk(DocumentPart(document, 0, data), array("i", prompt.tokens), int(added_bos), 0, adds_space(vocabulary))


def _text(vocabulary: Vocabulary, part: Part, expand: Expand | None) -> bytes:
    """Return the text of a part of a rendered prompt."""
    if part.media is None or expand is None:
        return part.text.encode()
    return b"".join(map(vocabulary.special_piece, without_placeholders(expand(part.media))))


def _piece(vocabulary: Vocabulary, token: int) -> bytes:
    """Return the text of BOS or EOS, empty if the vocabulary has none."""
    return vocabulary.special_piece(token) if token >= 0 else b""
