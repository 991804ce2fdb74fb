"""Removal of the prose before a required tool call from the grammars of chat templates.

llama.cpp's grammar for a required call is `root ::= beginning thinking? until-7? tool-call`: any text, and a call eventually. A
model may write text up to the token limit. This module removes from the root rule what is between the thinking and the call.
The language only becomes smaller, so that the same parser reads the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from llamacli.errors import GrammarError
from llamacli.grammar.gbnf import parse
from llamacli.grammar.matcher import Matcher
from llamacli.grammar.syntax.nodes import (
    AnyNode,
    CharClass,
    Choice,
    Group,
    Literal,
    Node,
    Repeat,
    Rule,
    RuleReference,
    Sequence,
    walk,
)
from llamacli.grammar.syntax.parser import Parser

_SPACES = frozenset(map(ord, " \t\r\n"))
_PROSE, _SPACE, _CALL = "until-", "space", "tool"
"""llama.cpp's names of the rules for text up to a marker, for white space, and for calls."""


@dataclass(frozen=True, slots=True)
class _Cut:
    start: int
    end: int
    text: str = ""


def without_prose(text: str, prefix: str, thinking: Callable[[str], bool]) -> str:
    """Return the grammar with only calls after the thinking, or the same grammar if it is not of the known form.

    `prefix` is a text with which the grammar must begin; `thinking` returns whether a text marks the beginning of thinking.
    """
    parsed = Parser(text).parse()
    rules = {rule.name: rule for rule in parsed.rules}
    if parsed.problems or "root" not in rules:
        return text
    cuts = sorted(_cuts(rules["root"].body, rules, thinking), key=lambda cut: cut.start, reverse=True)
    cut = text
    for one in cuts:
        cut = cut[: one.start] + one.text + cut[one.end :]
    return cut if cuts and _begins(cut, prefix) else text


def _begins(text: str, prefix: str) -> bool:
    """Return whether the grammar is valid and begins with `prefix`."""
    try:
        matcher = Matcher(parse(text))
        return matcher.advance(matcher.start, prefix) is not None
    except GrammarError:
        return False


def _cuts(body: Choice, rules: Mapping[str, Rule], thinking: Callable[[str], bool]) -> Iterator[_Cut]:
    direct = [option for option in body.options if len(option.items) == 1 and _is_call(option.items[0])]
    if direct and len(direct) < len(body.options):
        yield from _other_options(body, direct)
        return
    for option in body.options:
        items = option.items
        call = next((number for number, item in enumerate(items) if _is_call(item)), None)
        if call is not None:
            yield from _before_call(items[:call], rules, thinking)
        elif items and isinstance(items[-1], Group):
            yield from _cuts(items[-1].body, rules, thinking)


def _other_options(body: Choice, direct: list[Sequence]) -> Iterator[_Cut]:
    """Yield the cuts of the options beside those that are a call and nothing else."""
    yield _Cut(body.options[0].start, direct[0].start)
    for one, following in pairwise(direct):
        yield _Cut(one.end, following.start, " | ")
    yield _Cut(direct[-1].end, body.options[-1].end)


def _before_call(items: tuple[Node, ...], rules: Mapping[str, Rule], thinking: Callable[[str], bool]) -> Iterator[_Cut]:
    """Yield the cuts among the items before a call."""
    yield from _preambles(items, rules)
    index = len(items) - 1
    while index >= 0 and (_is_space(items[index]) or _is_optional_literal(items[index])):
        index -= 1
    if index < 0:
        return
    item = items[index]
    if _may_be_no_prose(item, rules):
        before = index - 1
        while before >= 0 and _is_space(items[before]):
            before -= 1
        if before < 0 or not _opens(items[before], thinking):
            spaced = any(_is_space(other) for other in items[max(0, index - 1) : index + 2])
            yield _Cut(item.start, item.end, "" if spaced or not _takes_space(item, rules) else _SPACE)
    elif isinstance(item, Repeat) and (item.minimum, item.maximum) == (0, 1) and isinstance(item.item, Group):
        options = item.item.body.options
        if len(options) == 1 and not _thinks(options[0], thinking):
            yield _Cut(item.start, item.end)


def _preambles(items: tuple[Node, ...], rules: Mapping[str, Rule]) -> Iterator[_Cut]:
    """Yield cuts that turn messages of any kind before the call (gpt-oss) into messages of thinking."""
    if not {"any", "analysis"} <= rules.keys():
        return
    names = [[getattr(item, "name", "") for item in option.items] for option in rules["any"].body.options]
    for node in (node for item in items for node in walk(item)):
        if isinstance(node, RuleReference) and node.name == "any" and ["analysis"] in names:
            yield _Cut(node.start, node.end, "analysis")


def _is_call(item: AnyNode) -> bool:
    if isinstance(item, RuleReference):
        return item.name.startswith(_CALL) or f"{_CALL}-call" in item.name
    if isinstance(item, Group):
        return all(len(option.items) == 1 and _is_call(option.items[0]) for option in item.body.options)
    return False


def _is_space(item: Node) -> bool:
    return isinstance(item, RuleReference) and item.name == _SPACE


def _is_optional_literal(item: Node) -> bool:
    return isinstance(item, Repeat) and item.minimum == 0 and isinstance(item.item, Literal)


def _prose(item: Node) -> str:
    """Return the name of the rule for prose that an item refers to, or the empty string."""
    item = item.item if isinstance(item, Repeat) else item
    return item.name if isinstance(item, RuleReference) and item.name.startswith(_PROSE) else ""


def _may_be_no_prose(item: Node, rules: Mapping[str, Rule]) -> bool:
    rule = rules.get(_prose(item))
    if rule is None:
        return False
    is_optional = isinstance(item, Repeat) and item.minimum == 0
    return is_optional or any(not option.items for option in rule.body.options)


def _takes_space(item: Node, rules: Mapping[str, Rule]) -> bool:
    """Return whether white space can replace the prose: its end marker does not begin with any, and the rule exists."""
    classes = [node for node in walk(rules[_prose(item)].body) if isinstance(node, CharClass)]
    return _SPACE in rules and not any(low <= code <= high for node in classes for low, high in node.ranges for code in _SPACES)


def _opens(item: Node, thinking: Callable[[str], bool]) -> bool:
    item = item.item if isinstance(item, Repeat) else item
    return isinstance(item, Literal) and thinking("".join(map(chr, item.codes)))


def _thinks(option: Sequence, thinking: Callable[[str], bool]) -> bool:
    """Return whether a part of an answer is thinking, or contains no prose."""
    return any(_opens(item, thinking) for item in option.items) or not any(map(_prose, option.items))
