"""One turn of a conversation: the prompt, what holds the answer, and how the answer is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llamacli.engine.chat.message import Message
from llamacli.engine.chat.prompt import Prompt, rendered_prompt
from llamacli.engine.chat.template import ChatTemplate, RenderedPrompt, Rendering
from llamacli.engine.constraint.answer_constraint import AnswerConstraint
from llamacli.engine.constraint.guide import Guidance, Thinking, ThinkingState
from llamacli.engine.constraint.matcher import Constraint
from llamacli.engine.runtime.vocabulary import Vocabulary
from llamacli.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A prompt and what belongs to its answer.

    `answer_format` is for `AnswerParser`; None if the text of the answer is its content. `is_constrained`: a constraint ends
    the content, so that what the template writes after it is missing. `thinks`: the answer may start with reasoning. `is_chat`
    is False for text that is only continued. `expected` and `requires_call` are what `check_answer` checks.
    """

    prompt: Prompt
    guidance: Guidance | None = None
    answer_format: Mapping[str, Any] | None = None
    is_constrained: bool = False
    thinks: bool = False
    is_chat: bool = True
    expected: AnswerConstraint | None = None
    requires_call: bool = False


def text_turn(prompt: Prompt, constraint: Constraint | None = None) -> Turn:
    """A turn without a chat template: the text goes on."""
    return Turn(prompt=prompt, guidance=Guidance(constraint=constraint) if constraint else None, is_chat=False)


def chat_turn(
    vocabulary: Vocabulary,
    template: ChatTemplate,
    messages: Sequence[Message],
    rendering: Rendering,
    *,
    constraint: Constraint | None = None,
    budget: int | None = None,
) -> Turn:
    """The turn that answers `messages`.

    `constraint` holds the content of the answer, `budget` is how many tokens its thinking may take (None: no limit).

    Raises:
        TemplateError: the template refuses the messages.
        UsageError: tools with a template that knows none, or with a constraint.
    """
    uses_tools = bool(rendering.tools) and rendering.tool_choice != "none"
    if uses_tools:
        _check_tools(template, constraint)
    rendered = template.render(messages, rendering)
    state = thinking_state(rendered)
    is_constrained = constraint is not None
    if is_constrained and state == "possible" and not rendering.enable_thinking:
        state = "closed"
    if constraint is not None:
        from llamacli.engine.chat.framing import frame_of, framed  # only answers under a constraint pay for it

        frame = frame_of(template, rendered, messages, rendering)
        constraint = framed(constraint, rendered, frame, state)
        needs_parser = state in ("possible", "opened") or bool(frame.opening)
    else:
        constraint = _template_constraint(rendered, requires_call=uses_tools and rendering.tool_choice == "required")
        needs_parser = uses_tools or state != "none"
    thinking = None
    if state != "none":
        thinking = Thinking(start=rendered.thinking_start, ends=rendered.thinking_ends, opened=state == "opened", budget=budget)
    return Turn(
        prompt=turn_prompt(vocabulary, rendered, keeps_marks=needs_parser),
        guidance=_guidance(constraint, thinking),
        answer_format=rendered.answer_format if needs_parser else None,
        is_constrained=is_constrained,
        thinks=state in ("possible", "opened"),
    )


def thinking_state(rendered: RenderedPrompt) -> ThinkingState:
    """Whether the answer may begin with thinking, or the prompt has begun or ended it already."""
    if not rendered.thinking_start or not rendered.thinking_ends:
        return "none"
    _, begun, rest = rendered.generation_prompt.rpartition(rendered.thinking_start)
    if any(end in rest for end in rendered.thinking_ends):
        return "closed"
    return "opened" if begun else "possible"


def _check_tools(template: ChatTemplate, constraint: Constraint | None) -> None:
    if constraint is not None:
        raise UsageError("an answer cannot be held to a grammar or schema and call tools too", hint="use --tool-choice none")
    if not (template.capabilities.tools or template.capabilities.tool_calls):
        raise UsageError("this chat template knows no tools", hint="use another model, or --chat-template")


def _template_constraint(rendered: RenderedPrompt, *, requires_call: bool) -> Constraint | None:
    """The template's own grammar, for calls of tools. One from the beginning describes the end of the prompt, too."""
    grammar = rendered.grammar
    if grammar is None:
        return None
    if requires_call and not rendered.grammar_lazy:
        from llamacli.grammar.required_call import without_prose

        grammar = without_prose(grammar, rendered.generation_prompt, lambda text: _opens_thinking(rendered, text))
    return Constraint(
        grammar=grammar,
        prefix="" if rendered.grammar_lazy else rendered.generation_prompt,
        lazy=rendered.grammar_lazy,
        triggers=rendered.triggers,
        trusted=True,
    )


def _opens_thinking(rendered: RenderedPrompt, text: str) -> bool:
    """Whether a text ends with what begins thinking, or may do so, where a template that thinks does not tell its mark."""
    mark = rendered.thinking_start.strip()
    return text.rstrip().endswith(mark) if mark else rendered.supports_thinking


def _guidance(constraint: Constraint | None, thinking: Thinking | None) -> Guidance | None:
    """None where nothing would be looked at: thinking alone matters only for its budget."""
    if constraint is None and (thinking is None or thinking.budget is None):
        return None
    watched = thinking if thinking is not None and (thinking.budget is not None or (constraint and constraint.lazy)) else None
    return Guidance(constraint=constraint, thinking=watched)


def turn_prompt(vocabulary: Vocabulary, rendered: RenderedPrompt, *, keeps_marks: bool) -> Prompt:
    """The tokens of a rendered prompt. `keeps_marks`: the marks of thinking and of calls belong to the text of the answer."""
    prompt = rendered_prompt(vocabulary, rendered.parts, rendered.stops)
    if not keeps_marks:
        return prompt
    marks = (*rendered.preserved_tokens, rendered.thinking_start, *rendered.thinking_ends)
    ids = [vocabulary.tokenize(mark, special=True) for mark in marks if mark]
    preserved = frozenset(tokens[0] for tokens in ids if len(tokens) == 1)
    return Prompt(prompt.text, prompt.tokens, prompt.stops, preserved)
