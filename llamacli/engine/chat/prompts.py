"""Prompts of a model: from questions and messages to turns, before anything is evaluated."""

from __future__ import annotations

import dataclasses
import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llamacli.engine.chat.chat_turn import chat_turn
from llamacli.engine.chat.continuation import answer_tokens, check_start
from llamacli.engine.chat.infill import infill_prompt
from llamacli.engine.chat.message import Message, read_messages
from llamacli.engine.chat.prompt import Prompt, plain_prompt, rendered_prompt
from llamacli.engine.chat.question import Question
from llamacli.engine.chat.recommended_sampling import with_recommendations
from llamacli.engine.chat.rendering import Rendering
from llamacli.engine.chat.template import ChatTemplate
from llamacli.engine.chat.tools.faulty import FaultyTools
from llamacli.engine.chat.turn import Turn, text_turn
from llamacli.engine.constraint.guidance import Constraint
from llamacli.engine.media.media import Media, MediaKind
from llamacli.engine.params import SamplingParams
from llamacli.engine.runtime.logit_bias import Bias, resolve_biases
from llamacli.engine.runtime.model import Model
from llamacli.errors import TemplateError, UsageError

if TYPE_CHECKING:
    from llamacli.engine.media.encoder import MediaEncoder

logger = logging.getLogger(__name__)


class Prompting:
    """Maker of the prompts of a model. A base of `Engine`, which loads it."""

    def __init__(self, model: Model, encoder: MediaEncoder | None = None) -> None:
        self.model = model
        self.encoder = encoder
        self._templates: dict[str | None, ChatTemplate] = {}
        self._faulty_tools: defaultdict[str | None, FaultyTools] = defaultdict(FaultyTools)

    @property
    def has_chat_template(self) -> bool:
        """True if the model has a chat template."""
        return self.model.chat_template() is not None

    @property
    def recommended_sampling(self) -> dict[str, str]:
        """The sampling that the model's metadata recommends, as text by name."""
        return self.model.recommended_sampling()

    def sampling_defaults(self, base: SamplingParams) -> SamplingParams:
        """Return `base` with the recommendations of the model's metadata. Invalid ones are left out and logged."""
        return with_recommendations(base, self.recommended_sampling)

    def template(self, source: str | None = None) -> ChatTemplate:
        """Return the chat template by name or Jinja text; the model's own for None.

        Raises:
            TemplateError: if it does not parse, or the model has none.
        """
        if source not in self._templates:
            text = source if source is not None else self.model.chat_template()
            if text is None:
                raise TemplateError(
                    "this model has no chat template", hint="chat_template names one", parameter="chat_template"
                )
            vocabulary = self.model.vocabulary
            bos, eos = (
                vocabulary.special_piece(token).decode("utf-8", "replace") if token >= 0 else ""
                for token in (vocabulary.bos, vocabulary.eos)
            )
            self._templates[source] = ChatTemplate(text, bos=bos, eos=eos)
        return self._templates[source]

    def knows_tools(self, source: str | None = None) -> bool:
        """Return whether the chat template (see `template`) describes tools or renders their calls. Raises TemplateError."""
        capabilities = self.template(source).capabilities
        return capabilities.tools or capabilities.tool_calls

    def chat_prompt(self, messages: Sequence[dict[str, Any]], *, template: str | None = None) -> Prompt:
        """Return the prompt of OpenAI's messages.

        Raises:
            TemplateError: if there is no template, or it refuses the messages.
            UsageError: if the messages do not have OpenAI's form.
        """
        rendered = self.template(template).render(read_messages(list(messages)))
        return rendered_prompt(self.model.vocabulary, rendered.parts, rendered.stops)

    def text_prompt(self, text: str) -> Prompt:
        """Return a prompt that continues the text as it is."""
        return plain_prompt(self.model.vocabulary, text)

    def render(self, question: Question) -> Turn:
        """Return the turn of a question: the prompt in tokens, through a chat template if there is one, and its constraint.

        Raises:
            TemplateError: if the model's own template does not parse, or refuses the messages.
            UsageError: if a given template does so, or if the model cannot answer such a question.
        """
        turn = _turn(self, question, question.constraint.grammar if question.constraint is not None else None)
        if question.constraint is None and not question.tools:
            return turn
        tools = question.tools if question.tool_choice != "none" else ()
        requires_call = question.tool_choice == "required"
        return dataclasses.replace(turn, expected=question.constraint, requires_call=requires_call, tools=tools)

    def chat_turn(
        self,
        messages: Sequence[Message],
        rendering: Rendering | None = None,
        *,
        template: str | None = None,
        constraint: Constraint | None = None,
        budget: int | None = None,
    ) -> Turn:
        """Return the turn that answers messages (see `turn.chat_turn`), without the tools with which the template fails."""
        self.require_media(messages)
        chosen = self.template(template)

        def make(usable: Rendering) -> Turn:
            return chat_turn(
                self.model.vocabulary, chosen, messages, usable, constraint=constraint, budget=budget, expand=self.expand_media
            )

        return self._faulty_tools[template].render(chosen, rendering or Rendering(), make)

    def require_media(self, messages: Sequence[Message]) -> None:
        """Raise UsageError if the messages have pictures or sounds, and the model does not take them."""
        for message in messages:
            for media in message.media:
                if media.kind not in self.takes:
                    if self.model.vocab_only and self.model.params.mmproj is not None:
                        raise UsageError("the tokens of pictures and sound are known only with the model's weights")
                    from llamacli.engine.media.compatibility import refused_media  # only errors need it

                    raise refused_media(media.kind, has_projector=self.encoder is not None)

    @property
    def takes(self) -> tuple[MediaKind, ...]:
        """The kinds of media that the model takes beside text."""
        return self.encoder.kinds if self.encoder is not None else ()

    def expand_media(self, media: Media) -> list[int]:
        """Return the tokens and placeholders that stand for a picture or sound in a prompt."""
        return self.encoder.tokens(media) if self.encoder is not None else []

    def answer_tokens(
        self, turn: Turn, messages: Sequence[Message], rendering: Rendering, *, template: str | None = None
    ) -> tuple[int, ...]:
        """Return the tokens of a started answer to `turn`, the last of `messages` (see `continuation.answer_tokens`)."""
        chosen, vocabulary = self.template(template), self.model.vocabulary
        return self._faulty_tools[template].render(
            chosen, rendering, lambda usable: answer_tokens(vocabulary, chosen, turn, messages, usable, self.expand_media)
        )

    def ends_answer(self, token: int) -> bool:
        """Return whether a token ends an answer of this model."""
        return self.model.vocabulary.is_end(token)

    def text_turn(self, text: str, constraint: Constraint | None = None) -> Turn:
        """Return the turn that continues the text as it is."""
        return text_turn(self.text_prompt(text), constraint)

    def tokens_turn(self, tokens: Sequence[int], constraint: Constraint | None = None) -> Turn:
        """Return the turn that continues these tokens as they are.

        Raises:
            UsageError: if a token is not in the vocabulary.
        """
        text = self.detokenize(tokens).decode("utf-8", "replace")
        return text_turn(Prompt(text, tuple(tokens)), constraint)

    def detokenize(self, tokens: Sequence[int]) -> bytes:
        """Return the bytes of a text in tokens, those of control tokens included.

        Raises:
            UsageError: if a token is not in the vocabulary.
        """
        return self.model.vocabulary.detokenize(tokens, special=True)

    def pieces(self, tokens: Sequence[int]) -> list[bytes]:
        """Return the bytes of each token. Raises UsageError if one is not in the vocabulary."""
        return [self.model.vocabulary.special_piece(token) for token in tokens]

    def infill_turn(
        self, prefix: str, suffix: str, constraint: Constraint | None = None, *, files: Sequence[tuple[str, str]] = ()
    ) -> Turn:
        """Return the turn that fills the gap between two texts, beside files (names and texts) of the same project.

        Raises:
            UsageError: if the model does not support infill.
        """
        return text_turn(infill_prompt(self.model.vocabulary, prefix, suffix, files=files), constraint)

    def resolve_biases(self, biases: Sequence[Bias]) -> tuple[tuple[int, float], ...]:
        """Return biases by token id (see `logit_bias.resolve_biases`)."""
        return resolve_biases(self.model.vocabulary, biases)

    def close_templates(self) -> None:
        """Free the templates."""
        for template in self._templates.values():
            template.close()
        self._templates = {}


def _turn(engine: Prompting, question: Question, constraint: Constraint | None) -> Turn:
    if question.media and question.is_text:
        raise UsageError("pictures and sounds belong to a message of a chat: text alone is continued without them")
    if question.gap is not None:
        return engine.infill_turn(*question.gap, constraint, files=question.files)
    if question.tokens:
        return engine.tokens_turn(question.tokens, constraint)
    if question.raw:
        return engine.text_turn(question.text, constraint)
    if question.template is None and not engine.has_chat_template:
        return _plain_turn(engine, question, constraint)
    try:
        turn = _chat_turn(engine, question, constraint)
    except TemplateError as error:
        if question.template is None:
            raise
        message = f"chat_template: {error.message}"  # the model is sound
        raise UsageError(message, hint=error.hint, parameter="chat_template") from error
    if (question.reasoning == "on" or question.budget is not None) and not turn.thinks:
        logger.warning("this chat template does not support reasoning: the reasoning settings have no effect")
    return turn


def _chat_turn(engine: Prompting, question: Question, constraint: Constraint | None) -> Turn:
    messages, rendering = question.messages, _rendering(question)
    start = check_start(messages) if question.continues_last else None
    if start is not None:
        messages = messages[:-1]
    turn = engine.chat_turn(messages, rendering, template=question.template, constraint=constraint, budget=question.budget)
    if start is None:
        return turn
    tokens = engine.answer_tokens(turn, (*messages, start), rendering, template=question.template)
    return dataclasses.replace(turn, start=start, started=tokens)


def _plain_turn(engine: Prompting, question: Question, constraint: Constraint | None) -> Turn:
    """The turn for a model without a chat template: the text is continued."""
    unusable = (
        (question.system is not None, "a system prompt"),
        (question.conversation, "messages"),
        (question.tools, "tools"),
        (question.media, "pictures and sounds"),
    )
    for given, name in unusable:
        if given:
            raise UsageError(
                f"this model has no chat template: {name} cannot be used",
                hint="chat_template names one",
                parameter="chat_template",
            )
    logger.info("this model has no chat template: the text is continued as it is")
    return engine.text_turn(question.text, constraint)


def _rendering(question: Question) -> Rendering:
    return Rendering(
        tools=question.tools,
        tool_choice=question.tool_choice,
        parallel_tool_calls=question.parallel_tool_calls,
        enable_thinking=question.reasoning != "off",
        reasoning_format=question.reasoning_format,
        variables=question.variables,
    )
