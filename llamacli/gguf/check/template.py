"""Static checks of chat templates: matching tags, supported features, unusual code.

Templates are programs that come with a model. llama.cpp's interpreter reaches neither files nor Python, but other programs
run templates with a full Jinja, and any template can add text to the prompt that the user did not write. Nothing here executes
a template, and all searches take linear time.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llamacli.gguf.check.finding import Finding, Severity
from llamacli.gguf.text import has_controls, printable

MAX_TEMPLATE = 1 << 17
"""Length in characters of the longest template that is checked; real ones have up to 30,000."""

LONG_PROSE = 40
"""Length in characters from which prose that a template adds is worth a note."""

GO_TEMPLATE = "is a Go template, as Ollama uses them, not Jinja"

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
"""Keys and types of structured content, which templates test for as a matter of course."""

_UNUSUAL: tuple[tuple[re.Pattern[str], Severity, str], ...] = (
    (re.compile(r"__\w+?__"), "error", "reaches for Python's internals"),
    (re.compile(r"\|\s{0,8}attr\s{0,8}\("), "error", "reads attributes by computed names"),
    (re.compile(r"\b(?:lipsum|cycler|joiner|get_flashed_messages|url_for)\b"), "error", "uses a known sandbox escape"),
    (re.compile(r"\b(?:os|sys|subprocess|builtins|importlib)\s?\.\s?\w|\b(?:popen|eval|exec)\s?\("), "error", "calls Python"),
    (re.compile(r"\{%[-+]?\s{0,8}(?:include|import|from|extends)\b"), "error", "loads another file"),
    (re.compile(r"\brange\s?\(\s?\d{6}"), "warning", "has a loop with 100,000 or more iterations"),
    (re.compile(r"https?://", re.IGNORECASE), "note", "contains a URL"),
)

_GO = re.compile(r"\{\{-?\s{0,8}(?:\.[A-Z]\w{0,40}|(?:if|range|with|template|define)\s{1,8}(?:[.$(\"]|\w{1,20}\s{1,8}[.$(]))")
"""An action of Go's text/template, which is never valid Jinja."""

Tags = Sequence[re.Match[str]]


@dataclass(frozen=True, slots=True)
class Features:
    """The features that a template's text suggests. Only rendering shows whether they work."""

    tools: bool
    system_role: bool
    reasoning: bool


def features(text: str) -> Features:
    """Return what a template seems to support, by the names in it."""
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


def is_go_template(text: str) -> bool:
    """Return whether a template is in the language of Go, as Ollama's are, not in Jinja."""
    return _GO.search(text[:MAX_TEMPLATE]) is not None


def template_findings(name: str, text: str) -> Iterator[Finding]:
    """Yield what is wrong or unusual in a template, each with its line."""
    subject = f"template {printable(name, 40)}"
    if has_controls(text):
        yield Finding("warning", subject, "contains control or invisible characters")
    if len(text) > MAX_TEMPLATE:
        yield Finding("warning", subject, f"is {len(text)} characters long, too long to be checked")
        return
    if is_go_template(text):
        yield Finding("error", subject, GO_TEMPLATE)
        return
    tags = _tags(text)
    yield from _structure(subject, text, tags)
    for pattern, severity, what in _UNUSUAL:
        for match in pattern.finditer(text):
            if severity == "note" or _is_code(tags, match.start()):
                yield _at(subject, text, match.start(), severity, f"{what}: {printable(match.group(), 40)}")
                break
    yield from _triggers(subject, text, tags)
    yield from _prose(subject, text, tags)


def _tags(text: str) -> list[re.Match[str]]:
    """Return all tags and comments; the last may be unclosed."""
    found = []
    for match in _TAG.finditer(text):
        found.append(match)
        if _is_open(match):  # the search for the end of each later one would be in vain as well
            break
    return found


def _is_open(tag: re.Match[str]) -> bool:
    return len(tag.group()) == 2


def _at(subject: str, text: str, position: int, severity: Severity, message: str) -> Finding:
    return Finding(severity, f"{subject}, line {text.count(chr(10), 0, position) + 1}", message)


def _structure(subject: str, text: str, tags: Tags) -> Iterator[Finding]:
    """Yield the first unclosed tag, or block that does not nest."""
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
                problem = f"{printable(word, 30)} does not match the open block"
        elif word in _MIDDLES and (not stack or stack[-1][0] not in _MIDDLES[word]):
            problem = f"{word} outside of a block"
        if problem:
            yield _at(subject, text, tag.start(), "error", problem)
            return
    if stack:
        yield _at(subject, text, stack[-1][1], "error", f"{stack[-1][0]} is never closed")


def _triggers(subject: str, text: str, tags: Tags) -> Iterator[Finding]:
    """Yield the first test for words in a message. Templates normally test only for markup, such as '</think>'."""
    for match in _CONTENT_TEST.finditer(text):
        literal = match.group(1)[1:-1]
        if re.fullmatch(r"[\w .,!?-]+", literal) and literal not in _STRUCTURE and _is_code(tags, match.start()):
            yield _at(subject, text, match.start(), "warning", f"tests a message for the words {printable(literal, 40)!r}")
            return


def _prose(subject: str, text: str, tags: Tags) -> Iterator[Finding]:
    """Yield the first prose that the template adds to the prompt by itself."""
    end = 0
    for tag in tags:
        pieces = [(end, text[end : tag.start()])]
        if "raise_exception" not in tag.group() and not tag.group().startswith("{#"):
            pieces += [(tag.start() + one.start(), one.group()[1:-1]) for one in _STRING.finditer(tag.group())]
        end = tag.end()
        for position, piece in pieces:
            words = re.sub(r"<[^<>]*>|\\n|\s+", " ", piece[:2000]).strip()
            if len(words) >= LONG_PROSE and len(re.findall(r"[^\W\d_]{2,}", words)) >= 6:
                yield _at(subject, text, position, "note", f"adds its own text: {printable(words, 60)!r}")
                return


def _is_code(tags: Tags, position: int) -> bool:
    """Return whether a position is inside a tag, and outside of strings and comments."""
    number = bisect_right(tags, position, key=lambda tag: tag.start()) - 1
    if number < 0 or position >= tags[number].end() or tags[number].group().startswith("{#"):
        return False
    at = position - tags[number].start()
    return not any(one.start() < at < one.end() - 1 for one in _STRING.finditer(tags[number].group()))
