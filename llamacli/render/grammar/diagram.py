"""Railroad diagrams of a grammar as an SVG document."""

from __future__ import annotations

import io
from html import escape
from typing import Any, Final

import railroad

from llamacli.errors import GrammarError
from llamacli.grammar.analysis.linter import effective_rules
from llamacli.grammar.gbnf import Grammar
from llamacli.grammar.syntax import words
from llamacli.grammar.syntax.nodes import AnyNode, Choice, Group, Repeat, Rule, RuleReference, Sequence, fold, walk

_MOST_NODES: Final = 20_000
_DEEPEST: Final = 50
_IN_A_ROW: Final = 8
_MARGIN: Final = 20
_HEADING: Final = 30
_STYLE: Final = """
svg { background: #fff; }
text { font: 14px monospace; text-anchor: middle; }
text.heading { font: bold 16px sans-serif; text-anchor: start; }
path { stroke-width: 2; stroke: #333; fill: none; }
rect { stroke-width: 2; stroke: #333; fill: #eef6e4; }
g.non-terminal rect { fill: #e4eef6; }
g.comment text, text.comment { font: italic 12px sans-serif; }
"""


def format_diagram(grammar: Grammar) -> str:
    """Return an SVG document with one diagram per rule in effect.

    Raises:
        GrammarError: if the grammar is too large or nested too deep to be drawn.
    """
    rules = effective_rules(grammar).values()
    if sum(1 for rule in rules for _ in walk(rule.body)) > _MOST_NODES:
        raise GrammarError(f"the grammar is too large to be drawn: it has more than {_MOST_NODES:,} parts")
    parts: list[str] = []
    top, width = _MARGIN, 0.0
    for rule in rules:
        diagram = _diagram(rule)
        parts.append(f'<text class="heading" x="{_MARGIN}" y="{top + 16}">{escape(rule.name)}</text>\n')
        diagram.attrs.update(x=str(_MARGIN), y=str(top + _HEADING))
        drawn = io.StringIO()
        diagram.writeSvg(drawn.write)
        parts.append(drawn.getvalue() + "\n")
        top += _HEADING + int(float(diagram.attrs["height"])) + _MARGIN
        width = max(width, float(diagram.attrs["width"]))
    size = f'width="{int(width) + 2 * _MARGIN}" height="{top}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{_STYLE}</style>\n{"".join(parts)}</svg>\n'


def _diagram(rule: Rule) -> Any:
    depth: int = fold(rule.body, lambda node, below: max(below, default=0) + isinstance(node, Group | Repeat))
    if depth > _DEEPEST:
        raise GrammarError(f"the rule {rule.name} is nested too deep to be drawn: {depth} levels, at most {_DEEPEST}")
    diagram = railroad.Diagram(fold(rule.body, _item))
    diagram.format(_MARGIN)
    return diagram


def _item(node: AnyNode, below: list[Any]) -> Any:
    """Return the library's element for a node, given those of its children."""
    match node:
        case Sequence():
            return _sequence(below)
        case Choice():
            return below[0] if len(below) == 1 else railroad.Choice(0, *below)
        case Group():
            return below[0]
        case Repeat():
            return _repeat(node, below[0])
        case RuleReference():
            return railroad.NonTerminal(node.name)
    return railroad.Terminal(words.item(node))


def _sequence(items: list[Any]) -> Any:
    if not items:
        return railroad.Skip()
    rows = [items[start : start + _IN_A_ROW] for start in range(0, len(items), _IN_A_ROW)]
    drawn = [railroad.Sequence(*row) for row in rows]
    return drawn[0] if len(drawn) == 1 else railroad.Stack(*drawn)


def _repeat(node: Repeat, item: Any) -> Any:
    if node.maximum == 0:
        return railroad.Skip()
    if node.maximum == 1:
        return railroad.Optional(item) if node.minimum == 0 else item
    if node.maximum is None and node.minimum < 2:
        return railroad.OneOrMore(item) if node.minimum else railroad.ZeroOrMore(item)
    bounds = words.times(node.minimum, node.maximum).removesuffix(" of")
    repeated = railroad.OneOrMore(item, railroad.Comment(bounds))
    return repeated if node.minimum else railroad.Optional(repeated)
