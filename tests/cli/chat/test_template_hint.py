"""The template that is suggested for a base model."""

from __future__ import annotations

from pathlib import Path

import pytest
from talk import Talker, talk

from llamacli.cli.chat.template_hint import _FAMILIES, suggest_template
from llamacli.engine.chat.builtin_templates import builtin_templates


@pytest.mark.parametrize(
    ("model", "template"),
    [
        ("Meta-Llama-3-8B.Q4_K_M", "llama3"),
        ("Llama-3.2-1B", "llama3"),
        ("llama-2-7b.Q8_0", "llama2"),
        ("Llama-4-Scout-17B", "llama4"),
        ("codellama-7b", "llama2"),
        ("Qwen2.5-0.5B", "chatml"),
        ("SmolLM2-135M", "chatml"),
        ("gemma-2-2b", "gemma"),
        ("Phi-4-mini", "phi4"),
        ("Mistral-7B-v0.1", "mistral-v1"),
        ("Mistral-7B-v0.3", "mistral-v3"),
        ("Mistral-Nemo-Base-2407", "mistral-v3-tekken"),
        ("DeepSeek-V3-Base", "deepseek3"),
        ("granite-4.0-micro-base", "granite-4.0"),
        ("tinyllama-1.1b", "zephyr"),
        ("stories15M", None),
        ("model", None),
    ],
)
def test_the_name_gives_the_template_away(model: str, template: str | None) -> None:
    assert suggest_template(model, builtin_templates()) == template


def test_only_known_templates_are_suggested() -> None:
    assert {template for _, template in _FAMILIES} <= set(builtin_templates())
    assert suggest_template("Qwen2.5-0.5B", ("llama3",)) is None


def test_chat_suggests_it() -> None:
    def find(app, reference, *, offline):
        return Path(reference)

    engine = Talker(has_chat_template=False)
    result = talk("Hi\r", "-m", "Qwen2.5-0.5B.gguf", engine=engine, find_model=find)
    assert result.status == 3
    assert "Qwen2.5-0.5B.gguf has no chat template (by its name, --chat-template chatml may fit)" in result.stderr
    result = talk("Hi\r", "-m", "stories15M.gguf", engine=engine, find_model=find)
    assert "stories15M.gguf has no chat template (select one with --chat-template" in result.stderr
