"""Results of the grammar commands as text and JSON documents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from llamacli.grammar.analysis.explanation import RuleInWords
from llamacli.grammar.gbnf import Grammar
from llamacli.grammar.location import LineIndex
from llamacli.grammar.matcher import Expected, Match
from llamacli.grammar.schema.not_enforced import NotEnforced
from llamacli.grammar.syntax.problems import Problem
from llamacli.grammar.syntax.words import quoted
from llamacli.render.text import escape_line
from llamacli.render.wrap import wrap
from llamacli.units import counted, out_of

_MOST_EXPECTED = 12
_INDENT = " " * 4
_MARKS = 2
"""Columns of the ellipses around an excerpt."""


def format_problem(name: str, line_index: LineIndex, problem: Problem, *, width: int | None = None) -> str:
    """Return `file:line:column: error: message [kind]`, the line with carets, and the hint."""
    location = line_index.location(problem.start)
    message = f"{name}:{location.line}:{location.column}: {problem.severity}: {problem.message} [{problem.kind}]"
    lines = wrap(message, width, rest=_INDENT)
    lines += format_excerpt(line_index, problem.start, problem.end, width=width)
    if problem.hint:
        lines += wrap(problem.hint, width, first=_INDENT)
    return "\n".join(lines) + "\n"


def format_excerpt(line_index: LineIndex, start: int, end: int | None = None, *, width: int | None = None) -> list[str]:
    """Return the line of a position and a line of carets, both indented."""
    room = None if width is None else width - len(_INDENT) - _MARKS
    return [_INDENT + line for line in line_index.excerpt(start, end, room)]


def problem_document(name: str, line_index: LineIndex, problem: Problem) -> dict[str, Any]:
    """Return a problem for an editor: lines and columns count from 1, offsets are in bytes."""
    start, end = line_index.location(problem.start), line_index.location(problem.end)
    return {
        "file": name,
        "severity": problem.severity,
        "kind": problem.kind,
        "message": problem.message,
        "hint": problem.hint,
        "line": start.line,
        "column": start.column,
        "offset": start.offset,
        "end_line": end.line,
        "end_column": end.column,
        "end_offset": end.offset,
    }


def format_sound(name: str, grammar: Grammar, *, width: int | None = None) -> str:
    """Return that the grammar is valid, and its size."""
    rules, elements = len(grammar.rules), len(grammar.program.code)
    text = f"{name}: valid, {counted(rules, 'rule')}, {counted(elements, 'element')}"
    return "\n".join(wrap(text, width, rest=_INDENT)) + "\n"


def format_match(name: str, text: str, match: Match, *, width: int | None = None) -> str:
    """Return the result for one text: where it fails, what was expected there, and the longest prefix that matches."""
    if match.matches:
        return f"{name}: matches\n"
    location = match.location
    at_end = match.stop == len(text)
    excerpt = format_excerpt(LineIndex(text), match.stop, width=width)
    where = f"  line {location.line}, column {location.column}, byte {location.offset}"
    lines = [f"{name}: does not match", where + ":" if excerpt else where, *excerpt]
    met = "the text ends here" if at_end else f"found {quoted(text[match.stop])}"
    lines += wrap(f"  {met}; expected {_listed(match.expected, may_end=match.may_end)}", width, rest=_INDENT)
    accepted = f"{quoted(text[: match.stop])} ({_characters(match.stop)})" if match.stop else "nothing"
    if match.longest is None:
        whole = "no prefix is a complete match"
    elif match.longest == match.stop:
        whole = "which is a complete match"
    else:
        whole = f"its longest complete match has {_characters(match.longest)}"
    lines += wrap(f"  accepted: {accepted}; {whole}", width, rest=_INDENT, breaks_words=True)
    return "\n".join(lines) + "\n"


def match_document(name: str, text: str, match: Match) -> dict[str, Any]:
    """Return the result as a document. `expected` and `stop` are null if the text matches."""
    at = match.location
    stops = None if match.matches else {"line": at.line, "column": at.column, "offset": at.offset}
    return {
        "text": name,
        "matches": match.matches,
        "stop": stops,
        "accepted": text[: match.stop],
        "longest": None if match.longest is None else text[: match.longest],
        "expected": None if match.matches else [expected_document(expected) for expected in match.expected],
        "may_end": match.may_end,
    }


def expected_document(expected: Expected) -> dict[str, Any]:
    """Return what may come next: a description, the rule, and the ranges of code points."""
    return {
        "words": expected.words,
        "rule": expected.rule,
        "ranges": [list(pair) for pair in expected.ranges],
        "negated": expected.negated,
    }


def format_expected(expected: Sequence[Expected], *, may_end: bool, width: int | None = None) -> str:
    """Return what may come next, one per line."""
    lines = [line for one in expected for line in wrap(f"{one.words}  ({one.rule})", width, rest=_INDENT)]
    if may_end:
        lines.append("end of text")
    return "\n".join(lines) + "\n" if lines else ""


def format_tokens(rows: Sequence[tuple[int, bytes, float]], number: int, *, width: int | None = None) -> str:
    """Return the first `number` allowed tokens: id, share among all allowed ones, the model's probability, and piece.

    `rows` are (id, piece, probability); an empty piece is the end of the text.
    """
    mass = math.fsum(probability for _, _, probability in rows)
    lines = [f"{'token':>8}  {'share':>7}  {'probability':>11}  piece"]
    for token, piece, probability in rows[:number]:
        shown = quoted(piece.decode("utf-8", "backslashreplace")) if piece else "end of text"
        start = f"{token:>8}  {_share(probability, mass):>6.1%}  {probability:>11.3g}  "
        lines += wrap(start + shown, width, rest=" " * 10, breaks_words=True)
    rest = max(len(rows) - number, 0)
    more = f" ({rest:,} not shown)" if rest else ""
    lines += wrap(f"{len(rows):,} allowed tokens with {mass:.3g} of the probability{more}", width, rest=_INDENT)
    return "\n".join(lines) + "\n"


def tokens_document(rows: Sequence[tuple[int, bytes, float]], number: int) -> dict[str, Any]:
    """Return the first `number` allowed tokens as members of a document, with the number and the probability of all."""
    mass = math.fsum(probability for _, _, probability in rows)
    tokens = [
        {
            "id": token,
            "piece": piece.decode("utf-8", "replace"),
            "bytes": list(piece),
            "probability": probability,
            "share": _share(probability, mass),
        }
        for token, piece, probability in rows[:number]
    ]
    return {"tokens": tokens, "allowed_tokens": len(rows), "allowed_probability": mass}


def _share(probability: float, mass: float) -> float:
    return probability / mass if mass else 0.0


def format_rules(rules: Sequence[RuleInWords], *, width: int | None = None) -> str:
    """Return each rule in words, with its users and an example."""
    blocks = []
    for rule in rules:
        lines = wrap(f"{rule.name}: {rule.words}", width, rest="  ")
        if rule.used_by:
            lines += wrap(f"used by {', '.join(rule.used_by)}", width, first=_INDENT)
        if rule.example is not None:
            example = f"for example {quoted(rule.example)}" + (" or empty" if rule.may_be_empty else "")
            lines += wrap(example, width, first=_INDENT, breaks_words=True)
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def format_not_enforced(finding: NotEnforced) -> str:
    """Return a keyword that the grammar does not enforce, on one line."""
    return escape_line(f"{finding.path}: {finding.keyword} is not enforced: {finding.reason}")


def format_cases(failed: Sequence[tuple[int, str, bool]], total: int, *, width: int | None = None) -> str:
    """Return the failed cases (line, text, whether it should match), and the number of passed ones."""
    lines: list[str] = []
    for line, text, valid in failed:
        verdict = "should match, but does not" if valid else "should not match, but does"
        lines += wrap(f"line {line}: {quoted(text)} {verdict}", width, rest=_INDENT, breaks_words=True)
    lines.append(f"{out_of(total - len(failed), total, 'case')} passed")
    return "\n".join(lines) + "\n"


def _characters(count: int) -> str:
    return counted(count, "character")


def _listed(expected: Sequence[Expected], *, may_end: bool) -> str:
    shown = [f"{one.words} ({one.rule})" for one in expected[:_MOST_EXPECTED]]
    if len(expected) > _MOST_EXPECTED:
        shown.append(f"{len(expected) - _MOST_EXPECTED} others")
    if may_end:
        shown.append("end of text")
    if not shown:
        return "nothing that a text can contain"
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " or " + shown[-1]
