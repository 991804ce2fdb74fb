"""The start of the constrained part of an answer: after the thinking and the text that a chat template puts before the content.

That text is found by rendering a known answer, so that no table of models is needed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from llamacli.engine.chat.message import Message
from llamacli.engine.chat.rendering import PromptTemplate, RenderedPrompt, Rendering
from llamacli.engine.constraint.guidance import Constraint, ThinkingState
from llamacli.errors import TemplateError
from llamacli.grammar.syntax.writer import char_class, choice, literal, rules_text

_REASON, _CONTENT = "Rq7sonProbe", "Cq7ntentProbe"
_GAP = "[ \\t\\r\\n]{0,4}"


@dataclass(frozen=True, slots=True)
class Frame:
    """Text that must precede the content: without thinking, and after the end of thinking."""

    opening: str = ""
    after_thinking: str = ""


def frame_of(template: PromptTemplate, rendered: RenderedPrompt, messages: Sequence[Message], rendering: Rendering) -> Frame:
    """Return the frame that a template puts before the content of an answer; empty if it cannot be determined."""
    rendering = dataclasses.replace(rendering, add_generation_prompt=False)
    return Frame(
        _opening(rendered, _rendered(template, [*messages, Message("assistant", _CONTENT)], rendering)),
        _after_thinking(
            rendered, _rendered(template, [*messages, Message("assistant", _CONTENT, reasoning_content=_REASON)], rendering)
        ),
    )


def _rendered(template: PromptTemplate, messages: Sequence[Message], rendering: Rendering) -> str:
    try:
        return template.render(messages, rendering).text
    except TemplateError:
        return ""


def _opening(rendered: RenderedPrompt, text: str) -> str:
    head, found, _ = text.partition(_CONTENT)
    if not found or not head.startswith(rendered.text):
        return ""
    opening = head[len(rendered.text) :]
    start, ends = rendered.thinking_start, rendered.thinking_ends
    if start and start in opening:  # an empty thinking block, which the answer may omit
        opening = _after_first(opening, ends)
    return opening if opening.strip() else ""


def _after_thinking(rendered: RenderedPrompt, text: str) -> str:
    _, _, rest = text.partition(_REASON)
    between, found, _ = rest.partition(_CONTENT)
    after = _after_first(between, rendered.thinking_ends) if found else ""
    return after if after.strip() else ""


def _after_first(text: str, ends: Sequence[str]) -> str:
    """Return the text after the first of `ends`, or an empty string."""
    found = [(text.find(end), end) for end in ends if end in text]
    return text[min(found)[0] + len(min(found)[1]) :] if found else ""


def framed(constraint: Constraint, rendered: RenderedPrompt, frame: Frame, state: ThinkingState) -> Constraint:
    """Extend a constraint of the content to one of the whole answer, with thinking and frame before it."""
    if state in ("none", "closed") and not frame.opening:
        return constraint
    name = "answer-frame"
    while name in constraint.grammar:
        name += "-x"
    opening = literal(frame.opening) if frame.opening else ""
    rules = {}
    if state in ("possible", "opened"):
        after = literal(frame.after_thinking) if frame.after_thinking else _GAP
        thinking = f"{name}-0 {after}"
        rules = until_rules(f"{name}-", _own_ends(rendered.thinking_ends))
        begun = f"({choice([f'{literal(rendered.thinking_start)} {thinking}', opening])})"
        opening = thinking if state == "opened" else begun
    rules = {name: f"{opening} {constraint.root}", **rules}
    grammar = constraint.grammar if constraint.grammar.endswith("\n") else constraint.grammar + "\n"
    return dataclasses.replace(constraint, grammar=grammar + rules_text(rules), root=name)


def _own_ends(ends: Sequence[str]) -> list[str]:
    """Return the ends of thinking without those that start something else, such as a tool call."""
    return [end for end in ends if end.strip() == ends[0].strip()]


def until_rules(prefix: str, ends: Sequence[str]) -> dict[str, str]:
    """Return rules that match any text up to and including the first of `ends`; the first rule is `prefix` + "0".

    They are the states of an Aho-Corasick automaton (Aho, Corasick, "Efficient string matching", CACM 1975).
    """
    states = list(dict.fromkeys(end[:length] for end in ends for length in range(len(end))))
    alphabet = sorted({char for end in ends for char in end})
    rules = {}
    for number, state in enumerate(states):
        options = []
        known = [(ord(char), ord(char)) for char in alphabet]
        for char in alphabet:
            text = state + char
            if any(text.endswith(end) for end in ends):
                options.append(literal(char))
            else:
                target = next(text[i:] for i in range(len(text) + 1) if text[i:] in states)
                options.append(f"{literal(char)} {prefix}{states.index(target)}")
        options.append(f"{char_class(tuple(known), negated=True)} {prefix}0")
        rules[f"{prefix}{number}"] = choice(options)
    return rules
