"""The log of `run`: a table of entries, and one entry whole."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from llamacli.engine.params import GenerationParams, SamplingParams
from llamacli.render.columns import format_columns
from llamacli.render.text import columns, escape, escape_line
from llamacli.render.wrap import cut, wrap
from llamacli.store.sessions.log import LogEntry
from llamacli.units import counted, format_speed

_PREVIEW = 60
_AROUND = 24
"""Characters that a match has before it."""


def format_entries(entries: Sequence[LogEntry], *, width: int | None, word: str = "") -> str:
    """A line for each entry: its number, time, model, and the beginning of its prompt, or what is around `word`."""
    rows = [
        (str(one.id), format_time(one.created), escape_line(one.model), escape_line(_preview(one, word))) for one in entries
    ]
    return format_columns(rows, right=(0,), width=width, names=2)


def format_entry(entry: LogEntry, *, width: int | None) -> str:
    """One entry: what it is, its messages and its answers."""
    document = entry.document
    facts = [
        ("entry", str(entry.id)),
        ("time", format_time(entry.created)),
        ("model", escape_line(entry.model)),
        ("after", f"entry {document['continues']}" if document.get("continues") else ""),
        ("speed", _speed(document)),
        ("settings", _settings(document.get("settings"))),
    ]
    label = max(columns(name) for name, _ in facts)
    lines = [line for name, text in facts if text for line in wrap(text, width, first=f"{name:<{label}}  ")]
    texts = [(str(one.get("role")), one.get("content")) for one in _dicts(document.get("messages"))]
    texts = texts or [("prompt", entry.prompt)]
    texts += [("answer", _answer(one)) for one in _dicts(document.get("answers"))]
    parts = [f"--- {escape_line(role)}\n{escape(text if isinstance(text, str) else '').rstrip()}" for role, text in texts]
    return "\n".join(["\n".join(lines), *parts]) + "\n"


def format_markdown(entries: Sequence[LogEntry]) -> str:
    """Entries as a Markdown document."""
    parts = []
    for entry in entries:
        parts.append(f"## {entry.id}: {format_time(entry.created)}, {entry.model}\n\n**Prompt**\n\n{entry.prompt}\n")
        parts += [f"**Answer**\n\n{_answer(one)}\n" for one in _dicts(entry.document.get("answers"))]
    return "\n".join(parts)


def format_time(seconds: float) -> str:
    """A time of day, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _preview(entry: LogEntry, word: str) -> str:
    for text in (entry.prompt, entry.answer):
        line = " ".join(text.split())
        place = line.casefold().find(word.casefold()) if word else 0
        if place >= 0:
            start = max(place - _AROUND, 0)
            return ("…" if start else "") + cut(line[start:], _PREVIEW)
    return cut(" ".join(entry.prompt.split()), _PREVIEW)


def _answer(message: Mapping[str, Any]) -> str:
    calls = [f"{one.get('name')} {one.get('arguments')}" for one in _dicts_of_calls(message.get("tool_calls"))]
    content = message.get("content")
    return "\n".join([*([content] if isinstance(content, str) and content else []), *calls])


def _dicts_of_calls(value: object) -> list[dict[str, Any]]:
    return [one["function"] for one in _dicts(value) if isinstance(one.get("function"), dict)]


def _dicts(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _speed(document: Mapping[str, Any]) -> str:
    usage, timings = document.get("usage"), document.get("timings")
    if not isinstance(usage, dict) or not isinstance(timings, dict):
        return ""
    count, rate = usage.get("completion_tokens"), timings.get("predicted_per_second")
    if not isinstance(count, int) or not isinstance(rate, int | float):
        return ""
    return f"{counted(count, 'token')} at {format_speed(rate)}, {document.get('finish_reason')}"


def _settings(value: object) -> str:
    """The settings that differ from the defaults, and the seed."""
    if not isinstance(value, dict):
        return ""
    defaults = {**dataclasses.asdict(GenerationParams()), **dataclasses.asdict(SamplingParams()), "logit_bias": {}}
    changed = {
        name: found
        for name, found in value.items()
        if name in defaults and found != (list(defaults[name]) if isinstance(defaults[name], tuple) else defaults[name])
    }
    return escape_line(", ".join(f"{name} {found}" for name, found in changed.items()))
