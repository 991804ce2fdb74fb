"""Looks at a chat template's text: whether its tags match, what it has room for, and whether it does anything unusual.

Templates are programs that come with a model. llama.cpp runs them in an interpreter of its own that reaches neither files nor
Python, but other programs have run them with a full Jinja, and a template can always put words in front of the model that
nobody asked for. Nothing here executes a template, and no search here takes longer than in proportion to the text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llamacli.gguf.soundness import Finding, Severity
from llamacli.gguf.text import has_controls, printable

MAX_TEMPLATE = 1 << 17
"""Characters of a template that is looked at; real ones have up to 30,000."""

LONG_PROSE = 40
"""Characters of prose from which a text that a template adds by itself is worth a note."""

_TAG = re.compile(r"\{#.*?#\}|\{%[-+]?\s*(?P<word>\w*)(?P<rest>.*?)[-+]?%\}|\{\{(?P<value>.*?)\}\}|\{[#%{]", re.DOTALL)
_BLOCKS = ("if", "for", "macro", "call", "filter", "generation", "raw", "block")
_MIDDLES = {"elif": ("if",), "else": ("if", "for")}
_STRING = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_CONTENT_TEST = re.compile(
    r"('(?:[^'\\]|\\.){3,80}'|\"(?:[^\"\\]|\\.){3,80}\")\s{1,8}(?:not\s{1,8})?in\s{1,8}"
    r"(?:\w{1,40}(?:\.|\[['\"]))?(?:content|text|prompt|query)\b"
)
_CONTENT_PARTS = ("audio", "blocks", "file", "image", "image_url", "parts", "text", "type", "url", "value", "video")
_MESSAGE_PARTS = ("content", "reasoning", "role", "thinking", "tool")
_STRUCTURE = frozenset((*_CONTENT_PARTS, *_MESSAGE_PARTS))
"""What a message's content can be asked for when it is a list or an object, and not prose."""

_UNUSUAL: tuple[tuple[re.Pattern[str], Severity, str], ...] = (
    (re.compile(r"__\w+?__"), "error", "reaches for Python's internals"),
    (re.compile(r"\|\s{0,8}attr\s{0,8}\("), "error", "reads attributes by computed names"),
    (re.compile(r"\b(?:lipsum|cycler|joiner|get_flashed_messages|url_for)\b"), "error", "uses a known way out of a sandbox"),
    (re.compile(r"\b(?:os|sys|subprocess|builtins|importlib)\s?\.\s?\w|\b(?:popen|eval|exec)\s?\("), "error", "calls Python"),
    (re.compile(r"\{%[-+]?\s{0,8}(?:include|import|from|extends)\b"), "error", "loads another file"),
    (re.compile(r"\brange\s?\(\s?\d{6}"), "warning", "loops a very large number of times"),
    (re.compile(r"https?://", re.IGNORECASE), "note", "contains an address"),
)

Tags = Sequence[re.Match[str]]


@dataclass(frozen=True, slots=True)
class Features:
    """What a template's text has room for. Only rendering it can tell whether it works."""

    tools: bool
    system_role: bool
    reasoning: bool


def features(text: str) -> Features:
    """What a template seems to support, by the names in it."""
    code = " ".join(tag.group() for tag in _tags(text[:MAX_TEMPLATE]) if not tag.group().startswith("{#"))
    complaints = [found.lower() for found in re.findall(r"raise_exception\(\s{0,8}['\"]([^'\"]{0,300})", code)]
    refuses_system = any(re.search(r"system.*(?:not|n't|un) ?support", complaint) for complaint in complaints)
    any_role = re.search(r"\[\s?['\"]role['\"]\s?\]|\.role\b", code)
    return Features(
        tools=bool(re.search(r"\btools\b", code)),
        system_role=not refuses_system and bool(any_role or "system" in code),
        reasoning=bool(
            re.search(r"reasoning_content|enable_thinking|reasoning_effort|<think>|\bthinking\b|<\|channel\|>", text)
        ),
    )


def template_findings(name: str, text: str) -> Iterator[Finding]:
    """What is wrong or unusual with a template, each with its line."""
    place = f"template {printable(name, 40)}"
    if has_controls(text):
        yield Finding("warning", place, "contains control or invisible characters")
    if len(text) > MAX_TEMPLATE:
        yield Finding("warning", place, f"is {len(text)} characters long; it was not looked into")
        return
    tags = _tags(text)
    yield from _structure(place, text, tags)
    for pattern, severity, what in _UNUSUAL:
        for match in pattern.finditer(text):
            if severity == "note" or _is_code(tags, match.start()):
                yield _at(place, text, match.start(), severity, f"{what}: {printable(match.group(), 40)}")
                break
    yield from _triggers(place, text, tags)
    yield from _prose(place, text, tags)


def _tags(text: str) -> list[re.Match[str]]:
    """All tags and comments; the last may be one that is never closed."""
    found = []
    for match in _TAG.finditer(text):
        found.append(match)
        if _is_open(match):  # each later one would be searched for its end in vain as well
            break
    return found


def _is_open(tag: re.Match[str]) -> bool:
    return len(tag.group()) == 2


def _at(place: str, text: str, position: int, severity: Severity, message: str) -> Finding:
    return Finding(severity, f"{place}, line {text.count(chr(10), 0, position) + 1}", message)


def _structure(place: str, text: str, tags: Tags) -> Iterator[Finding]:
    """Tags that are not closed, and blocks that do not nest; the first such place."""
    stack: list[tuple[str, int]] = []
    for tag in tags:
        word = tag["word"] or ""
        problem = None
        if _is_open(tag):
            problem = f"{tag.group()} is never closed"
        elif word in _BLOCKS or (word == "set" and "=" not in _STRING.sub("", tag["rest"])):
            stack.append((word, tag.start()))
        elif word.startswith("end"):
            if not stack or stack.pop()[0] != word[3:]:
                problem = f"{printable(word, 30)} does not close what is open"
        elif word in _MIDDLES and (not stack or stack[-1][0] not in _MIDDLES[word]):
            problem = f"{word} outside of an if"
        if problem:
            yield _at(place, text, tag.start(), "error", problem)
            return
    if stack:
        yield _at(place, text, stack[-1][1], "error", f"{stack[-1][0]} is never closed")


def _triggers(place: str, text: str, tags: Tags) -> Iterator[Finding]:
    """Tests of what a message says. Tests for markup, such as '</think>', are how templates work; tests for words are not."""
    for match in _CONTENT_TEST.finditer(text):
        literal = match.group(1)[1:-1]
        if re.fullmatch(r"[\w .,!?-]+", literal) and literal not in _STRUCTURE and _is_code(tags, match.start()):
            yield _at(place, text, match.start(), "warning", f"acts on a word in a message: {printable(literal, 40)!r}")
            return


def _prose(place: str, text: str, tags: Tags) -> Iterator[Finding]:
    """The first prose that the template puts in front of the model by itself."""
    end = 0
    for tag in tags:
        pieces = [(end, text[end : tag.start()])]
        if "raise_exception" not in tag.group() and not tag.group().startswith("{#"):
            pieces += [(tag.start() + one.start(), one.group()[1:-1]) for one in _STRING.finditer(tag.group())]
        end = tag.end()
        for position, piece in pieces:
            words = re.sub(r"<[^<>]*>|\\n|\s+", " ", piece[:2000]).strip()
            if len(words) >= LONG_PROSE and len(re.findall(r"[^\W\d_]{2,}", words)) >= 6:
                yield _at(place, text, position, "note", f"adds a text of its own: {printable(words, 60)!r}")
                return


def _is_code(tags: Tags, position: int) -> bool:
    """Whether a place is inside a tag, and outside of strings and comments."""
    number = bisect_right(tags, position, key=lambda tag: tag.start()) - 1
    if number < 0 or position >= tags[number].end() or tags[number].group().startswith("{#"):
        return False
    at = position - tags[number].start()
    return not any(one.start() < at < one.end() - 1 for one in _STRING.finditer(tags[number].group()))
