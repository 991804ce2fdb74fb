"""The built-in chat templates: names, and those that are files beside the native library. The library itself is not loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from llamacli.binding.location import find_folder

_NAMES: Final = """
bailing bailing-think bailing2 chatglm3 chatglm4 chatml command-r deepseek deepseek-ocr deepseek2 deepseek3 exaone-moe exaone3
exaone4 falcon3 gemma gigachat glmedge gpt-oss granite granite-4.0 granite-4.1 grok-2 hunyuan-dense hunyuan-moe hunyuan-vl
kimi-k2 llama2 llama2-sys llama2-sys-bos llama2-sys-strip llama3 llama4 megrez minicpm mistral-v1 mistral-v3 mistral-v3-tekken
mistral-v7 mistral-v7-tekken monarch openchat orion pangu-embedded phi3 phi4 rwkv-world seed_oss smolvlm solar-open vicuna
vicuna-orca yandex zephyr
"""

LLAMA_CPP_TEMPLATES: Final = tuple(_NAMES.split())
"""The names of the templates in llama.cpp's code."""


def builtin_templates() -> tuple[str, ...]:
    """Return the names that `ChatTemplate` accepts in place of Jinja text. Raises LibraryError if the libraries are missing."""
    return (*LLAMA_CPP_TEMPLATES, *(path.stem for path in _template_files()))


def template_file(name: str) -> str | None:
    """Return the text of a template that llama.cpp has only as a file in its tree, None if `name` is none of those."""
    return next((path.read_text(encoding="utf-8") for path in _template_files() if path.stem == name), None)


def _template_files() -> list[Path]:
    return sorted((find_folder() / "templates").glob("*.jinja"))
