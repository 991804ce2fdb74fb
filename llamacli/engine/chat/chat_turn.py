"""The turn that answers messages through a chat template."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from llamacli.engine.chat.message import Message
from llamacli.engine.chat.prompt import Expand, Prompt, rendered_prompt
from llamacli.engine.chat.rendering import PromptTemplate, RenderedPrompt, Rendering
from llamacli.engine.chat.turn import Turn
from llamacli.engine.constraint.guidance import Constraint, Guidance, Thinking, ThinkingState
from llamacli.engine.runtime.vocabulary import Vocabulary
from llamacli.errors import UsageError


def chat_turn(
    vocabulary: Vocabulary,
    template: PromptTemplate,
    messages: Sequence[Message],
    rendering: Rendering,
    *,
    constraint: Constraint | None = None,
    budget: int | None = None,
    expand: Expand | None = None,
) -> Turn:
    """Return the turn that answers `messages`.

    `constraint` is for the content of the answer, `budget` is the number of tokens of its reasoning (None: no limit). Messages
    with pictures or sounds need `expand`.

    Raises:
        TemplateError: if the template refuses the messages.
        UsageError: if tools are used with a constraint.
    """
    uses_tools = bool(rendering.tools) and rendering.tool_choice != "none"
    if uses_tools and constraint is not None:
        raise UsageError(
            "a grammar or schema cannot be used with tools", hint="set tool_choice to none", parameter="tool_choice"
        )
    rendered = render(template, messages, rendering)
    state = thinking_state(rendered)
    is_constrained = constraint is not None
    if is_constrained and state == "possible" and not rendering.enable_thinking:
        state = "closed"
    if constraint is not None:
        from llamacli.engine.chat.framing import frame_of, framed  # needed only with a constraint

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
        prompt=turn_prompt(vocabulary, rendered, keeps_marks=needs_parser, expand=expand),
        guidance=_guidance(constraint, thinking),
        answer_format=rendered.answer_format if needs_parser else None,
        is_constrained=is_constrained,
        thinks=state in ("possible", "opened"),
    )


def render(template: PromptTemplate, messages: Sequence[Message], rendering: Rendering) -> RenderedPrompt:
    """Return the rendered prompt. If the template knows no tools, they and their calls have a generic form in it.

    Raises:
        TemplateError: if the template refuses the messages.
    """
    if rendering.tools or any(message.tool_calls or message.role == "tool" for message in messages):
        from llamacli.engine.chat.tools import generic  # needed with tools only

        if not generic.knows_tools(template):
            return generic.render(template, messages, rendering)
    return template.render(messages, rendering)


def thinking_state(rendered: RenderedPrompt) -> ThinkingState:
    """Return whether the answer may start with reasoning, or the prompt has started or ended it."""
    if not rendered.thinking_start or not rendered.thinking_ends:
        return "none"
    _, begun, rest = rendered.generation_prompt.rpartition(rendered.thinking_start)
    if any(end in rest for end in rendered.thinking_ends):
        return "closed"
    return "opened" if begun else "possible"


def _template_constraint(rendered: RenderedPrompt, *, requires_call: bool) -> Constraint | None:
    """The template's own grammar for tool calls. A grammar that is not lazy includes the end of the prompt."""
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
    """Return whether text ends with the start of reasoning, or may, if a template that reasons does not name its mark."""
    mark = rendered.thinking_start.strip()
    return text.rstrip().endswith(mark) if mark else rendered.supports_thinking


def _guidance(constraint: Constraint | None, thinking: Thinking | None) -> Guidance | None:
    """The guidance, None if there is nothing to watch: reasoning alone matters only for its budget."""
    if constraint is None and (thinking is None or thinking.budget is None):
        return None
    watched = thinking if thinking is not None and (thinking.budget is not None or (constraint and constraint.lazy)) else None
    return Guidance(constraint=constraint, thinking=watched)


def turn_prompt(vocabulary: Vocabulary, rendered: RenderedPrompt, *, keeps_marks: bool, expand: Expand | None = None) -> Prompt:
    """Return the tokens of a rendered prompt. `keeps_marks`: the marks of reasoning and calls belong to the answer's text."""
    prompt = rendered_prompt(vocabulary, rendered.parts, rendered.stops, expand)
    if not keeps_marks:
        return prompt
    marks = (*rendered.preserved_tokens, rendered.thinking_start, *rendered.thinking_ends)
    ids = [vocabulary.tokenize(mark, special=True) for mark in marks if mark]
    preserved = frozenset(tokens[0] for tokens in ids if len(tokens) == 1)
    return dataclasses.replace(prompt, preserved=preserved)
