"""What the grammar workbench found, as text and as JSON documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llamacli.grammar import Grammar
from llamacli.grammar.explain import RuleInWords
from llamacli.grammar.keywords import NotEnforced
from llamacli.grammar.matcher import Expected, Match
from llamacli.grammar.places import Places
from llamacli.grammar.problems import Problem
from llamacli.grammar.words import quoted
from llamacli.render.text import escape_line

_MOST_EXPECTED = 12


def format_problem(name: str, places: Places, problem: Problem) -> str:
    """`file:line:column: error: message [kind]`, the line with carets, and the hint."""
    place = places.at(problem.start)
    lines = [f"{name}:{place.line}:{place.column}: {problem.severity}: {problem.message} [{problem.kind}]"]
    lines += ["    " + line for line in places.excerpt(problem.start, problem.end)]
    if problem.hint:
        lines.append(f"    {problem.hint}")
    return "\n".join(lines) + "\n"


def problem_document(name: str, places: Places, problem: Problem) -> dict[str, Any]:
    """A problem for an editor: lines and columns count from 1, offsets are bytes."""
    start, end = places.at(problem.start), places.at(problem.end)
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


def format_sound(name: str, grammar: Grammar) -> str:
    """That the grammar itself is right, and how large it is."""
    rules, elements = len(grammar.rules), len(grammar.program.code)
    return f"{name}: sound, {rules:,} {'rule' if rules == 1 else 'rules'}, {elements:,} elements\n"


def format_match(name: str, text: str, match: Match) -> str:
    """The verdict on one text: where it stops, what was expected there, and the longest prefix that matches."""
    if match.matches:
        return f"{name}: matches\n"
    place = match.place
    at_end = match.stop == len(text)
    excerpt = Places(text).excerpt(match.stop)
    where = f"  line {place.line}, column {place.column}, byte {place.offset}"
    lines = [f"{name}: does not match", where + ":" if excerpt else where, *("    " + line for line in excerpt)]
    met = "the text ends here" if at_end else f"found {quoted(text[match.stop])}"
    lines.append(f"  {met}; expected {_listed(match.expected, may_end=match.may_end)}")
    accepted = f"{quoted(text[: match.stop])} ({_characters(match.stop)})" if match.stop else "nothing"
    if match.longest is None:
        whole = "no beginning of the text is a whole match"
    elif match.longest == match.stop:
        whole = "which is a whole match"
    else:
        whole = f"the longest whole match in it has {_characters(match.longest)}"
    lines.append(f"  accepted: {accepted}; {whole}")
    return "\n".join(lines) + "\n"


def match_document(name: str, text: str, match: Match) -> dict[str, Any]:
    """The same for programs. `expected` and the place are null where the text matches."""
    place = match.place
    stops = None if match.matches else {"line": place.line, "column": place.column, "offset": place.offset}
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
    """What may come next: in words, the rule, and the ranges of code points."""
    return {
        "words": expected.words,
        "rule": expected.rule,
        "ranges": [list(pair) for pair in expected.ranges],
        "negated": expected.negated,
    }


def format_expected(expected: Sequence[Expected], *, may_end: bool) -> str:
    """What may come next, a line each."""
    lines = [f"{one.words}  ({one.rule})" for one in expected]
    if may_end:
        lines.append("the end")
    return "\n".join(lines) + "\n" if lines else ""


def format_tokens(rows: Sequence[tuple[int, bytes, float, float]], total: int, mass: float) -> str:
    """Allowed tokens: id, piece, the model's probability, and the share among those that are allowed."""
    lines = [f"{'token':>8}  {'share':>7}  {'probability':>11}  piece"]
    for token, piece, probability, share in rows:
        shown = quoted(piece.decode("utf-8", "backslashreplace")) if piece else "the end"
        lines.append(f"{token:>8}  {share:>6.1%}  {probability:>11.3g}  {shown}")
    rest = total - len(rows)
    more = f", {rest:,} of them not shown" if rest else ""
    lines.append(f"{total:,} tokens are allowed, with {mass:.3g} of the model's probability{more}")
    return "\n".join(lines) + "\n"


def format_rules(rules: Sequence[RuleInWords]) -> str:
    """Each rule in words, who uses it, and an example."""
    blocks = []
    for rule in rules:
        lines = [f"{rule.name}: {rule.words}"]
        if rule.used_by:
            lines.append(f"    used by {', '.join(rule.used_by)}")
        if rule.example is not None:
            lines.append(f"    for example {quoted(rule.example)}" + (" or nothing" if rule.may_be_empty else ""))
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def format_not_enforced(finding: NotEnforced) -> str:
    """One keyword that the grammar does not hold the text to, on one line."""
    return escape_line(f"{finding.path}: {finding.keyword} is not enforced: {finding.reason}")


def format_cases(failed: Sequence[tuple[int, str, bool]], total: int) -> str:
    """The cases that went wrong (line, text, whether it should match), and how many went right."""
    lines = [
        f"line {line}: {quoted(text)} " + ("should match and does not" if valid else "should not match and does")
        for line, text, valid in failed
    ]
    lines.append(f"{total - len(failed):,} of {total:,} cases passed")
    return "\n".join(lines) + "\n"


def _characters(count: int) -> str:
    return "1 character" if count == 1 else f"{count:,} characters"


def _listed(expected: Sequence[Expected], *, may_end: bool) -> str:
    shown = [f"{one.words} ({one.rule})" for one in expected[:_MOST_EXPECTED]]
    if len(expected) > _MOST_EXPECTED:
        shown.append(f"{len(expected) - _MOST_EXPECTED} other things")
    if may_end:
        shown.append("the end")
    if not shown:
        return "nothing that a text can hold"
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " or " + shown[-1]
