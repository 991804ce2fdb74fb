"""Prompt templates, as tables and as JSON documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llamacli.render.columns import format_columns
from llamacli.render.text import escape_line
from llamacli.store.templates.library import Found
from llamacli.store.templates.template import PromptTemplate
from llamacli.store.templates.text import TemplateText, Variable

Listed = tuple[Found, PromptTemplate | None, str]
"""A template, its content, and without one the reason why it cannot be read."""


def format_templates(found: Sequence[Listed], *, width: int | None = None) -> str:
    """A table of templates."""
    rows = [("TEMPLATE", "FROM", "VARIABLES", "DESCRIPTION")]
    rows += [
        (
            escape_line(one.name),
            one.scope,
            escape_line(" ".join(template.names)) if template is not None else "",
            escape_line(template.description if template is not None else f"cannot be used: {problem}"),
        )
        for one, template, problem in found
    ]
    return format_columns(rows, width=width)


def templates_document(found: Sequence[Listed]) -> list[dict[str, Any]]:
    """The templates as JSON."""
    return [
        template_document(one.name, template)
        if template is not None
        else {"name": one.name, "from": one.scope, "path": str(one.path), "error": problem}
        for one, template, problem in found
    ]


def format_template(name: str, template: PromptTemplate, *, width: int | None = None) -> str:
    """One template: its facts, then its texts."""
    defaults = {one: template.variables.get(one) for one in template.names}
    facts = [
        ("template", name),
        ("from", f"{template.scope}: {template.path}"),
        ("description", template.description),
        ("variables", ", ".join(one if value is None else f"{one}={value}" for one, value in defaults.items())),
        *((f"option {one}", str(value)) for one, value in template.options.items()),
        ("example", template.example),
        *(("note", note) for note in template.notes),
    ]
    blocks = [format_columns([(title, escape_line(value)) for title, value in facts if value], width=width)]
    texts = [("system", template.system), *((role, TemplateText.literal(text)) for role, text in template.messages)]
    for title, text in [*texts, ("prompt", template.prompt)]:
        if text is not None:
            blocks.append(f"--- {title}\n{written(text)}\n")
    return "\n".join(blocks)


def template_document(name: str, template: PromptTemplate) -> dict[str, Any]:
    """One template as JSON."""
    return {
        "name": name,
        "from": template.scope,
        "path": str(template.path),
        "description": template.description,
        "system": None if template.system is None else written(template.system),
        "messages": [{"role": role, "content": text} for role, text in template.messages],
        "prompt": None if template.prompt is None else written(template.prompt),
        "variables": {one: template.variables.get(one) for one in template.names},
        "options": dict(template.options),
        "example": template.example or None,
        "notes": list(template.notes),
    }


def written(text: TemplateText) -> str:
    """The text with its variables in braces, in whichever notation it was."""
    return "".join("{" + part.name + "}" if isinstance(part, Variable) else part for part in text.parts)
