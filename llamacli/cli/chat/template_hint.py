"""The built-in chat template for a model without one, judged by the name of its file."""

from __future__ import annotations

import re
from collections.abc import Iterable

_FAMILIES = (
    (r"tinyllama", "zephyr"),
    (r"mi[sx]tral.*nemo|nemo.*mi[sx]tral", "mistral-v3-tekken"),
    (r"mistral.*v0?\.?3", "mistral-v3"),
    (r"mi[sx]tral", "mistral-v1"),
    (r"deepseek.*(v3|r1)", "deepseek3"),
    (r"deepseek.*v2", "deepseek2"),
    (r"glm-?4", "chatglm4"),
    (r"llama-?3", "llama3"),
    (r"code-?llama", "llama2"),
    (r"qwen|smollm|internlm-?2|hermes|dolphin|(^|[-_.])yi-", "chatml"),
)
"""Names of models whose template has another name, or could be one of several; the first that matches counts."""


def suggest_template(model: str, known: Iterable[str]) -> str | None:
    """Return the known template that the name of a model gives away, or None."""
    name, templates = model.lower(), set(known)
    for pattern, template in _FAMILIES:
        if template in templates and re.search(pattern, name):
            return template
    plain = _letters(name)
    found = [template for template in templates if _letters(template) in plain]
    return max(found, key=lambda template: (len(template), template), default=None)


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
