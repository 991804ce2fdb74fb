"""Templates of llamacli: TOML files, and Markdown files with front matter.

    description = "Translate a text"
    system = "You are a translator."
    prompt = "Translate into {language}: {input}"

    [variables]
    language = "English"

    [options]
    temp = 0

In Markdown the text is the prompt, and the keys are in front of it between lines of `+++` (TOML) or `---` (YAML).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llamacli.errors import UsageError
from llamacli.store.templates.template import PromptTemplate, Scope
from llamacli.store.templates.text import INPUT, TemplateText

KEYS = ("description", "system", "prompt", "variables", "options", "example")

_FENCES = {"+++": "TOML", "---": "YAML"}


def read_toml(text: str, name: str, path: Path, scope: Scope) -> PromptTemplate:
    """Parse a TOML template. Raises UsageError."""
    return _template(parse_toml(text, path), name, path, scope)


def read_markdown(text: str, name: str, path: Path, scope: Scope) -> PromptTemplate:
    """Parse a Markdown template. Raises UsageError."""
    lines = text.splitlines(keepends=True)
    fence = lines[0].strip() if lines else ""
    if fence not in _FENCES:
        return _template({"prompt": text.strip()}, name, path, scope)
    end = next((number for number, line in enumerate(lines[1:], 1) if line.strip() == fence), None)
    if end is None:
        raise UsageError(f"{path}: the front matter has no end", hint=f"put a line of {fence} after it")
    front = "".join(lines[1:end])
    document = parse_toml(front, path) if _FENCES[fence] == "TOML" else parse_yaml(front, path)
    if "prompt" in document:
        raise UsageError(f"{path}: prompt is the text below the front matter, not a key")
    body = "".join(lines[end + 1 :]).strip()
    return _template({**document, "prompt": body} if body else document, name, path, scope)


def parse_toml(text: str, path: Path) -> Mapping[str, Any]:
    """Parse TOML. Raises UsageError."""
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: invalid TOML: {error}") from error
    except RecursionError:
        raise UsageError(f"{path}: nested too deeply") from None


def parse_yaml(text: str, path: Path) -> Mapping[str, Any]:
    """Parse a YAML mapping of plain data: tags that make objects are errors. Raises UsageError."""
    import yaml

    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        reason = getattr(error, "problem", None) or "it cannot be parsed"
        raise UsageError(f"{path}: invalid YAML{where}: {reason}") from error
    except RecursionError:
        raise UsageError(f"{path}: nested too deeply") from None
    except ValueError as error:  # a date such as 2024-99-99
        raise UsageError(f"{path}: invalid YAML: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise UsageError(f"{path}: expected keys and values")
    return document


def text_of(document: Mapping[str, Any], key: str, path: Path) -> str | None:
    """Return the text at a key, None without one. Raises UsageError if it is not text."""
    value = document.get(key)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{path}: {key} must be text")
    return value


def table_of(document: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    """Return the table at a key, empty without one. Raises UsageError if it is not a table."""
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise UsageError(f"{path}: {key} must be a table of names and values")
    return value


def defaults_of(document: Mapping[str, Any], key: str, path: Path) -> dict[str, str]:
    """Return the default values of variables at a key. Raises UsageError unless they are texts, numbers or switches."""
    found = {}
    for name, value in table_of(document, key, path).items():
        if isinstance(value, bool):
            found[name] = str(value).lower()
        elif isinstance(value, str | int | float):
            found[name] = str(value)
        else:
            raise UsageError(f"{path}: the default of {name} must be text or a number")
    return found


def _template(document: Mapping[str, Any], name: str, path: Path, scope: Scope) -> PromptTemplate:
    for key in document:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1, cutoff=0.7)
            hint = f"did you mean {near[0]}?" if near else "options such as temp belong in [options]"
            raise UsageError(f"{path}: unknown key {key}", hint=hint)
    system, prompt = text_of(document, "system", path), text_of(document, "prompt", path)
    template = PromptTemplate(
        name=name,
        path=path,
        scope=scope,
        description=text_of(document, "description", path) or "",
        system=TemplateText.with_braces(system) if system else None,
        prompt=TemplateText.with_braces(prompt.strip("\n")) if prompt and prompt.strip() else None,
        variables=defaults_of(document, "variables", path),
        options=table_of(document, "options", path),
        example=text_of(document, "example", path) or "",
    )
    check_template(template)
    return template


def check_template(template: PromptTemplate) -> None:
    """Raise UsageError for a template without an effect, with unused defaults, or with the user's text in the system prompt."""
    path = template.path
    if template.system is None and template.prompt is None and not template.options and not template.messages:
        raise UsageError(f"{path}: the template is empty", hint="it needs a prompt, a system prompt or options")
    if template.system is not None and INPUT in template.system.variables:
        raise UsageError(f"{path}: the user's text cannot be part of the system prompt", hint="put it into the prompt")
    for name in template.variables:
        if name not in template.names:
            raise UsageError(f"{path}: {name} has a default, but the template does not use it")
