"""Templates of other programs: llm's YAML files, fabric's pattern folders, and ollama's Modelfiles.

What they say is put into our terms; what we do not use is named in the notes. Nothing in them is executed: llm's `functions`,
which are Python code, are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llamacli.errors import UsageError
from llamacli.store.models.references import SCHEMES, is_path
from llamacli.store.templates.document import check_template, defaults_of, parse_yaml, table_of, text_of
from llamacli.store.templates.template import PromptTemplate, Scope
from llamacli.store.templates.text import INPUT, TemplateText

_LLM_OPTIONS = {
    "temperature": "temp", "max_tokens": "predict", "top_p": "top-p", "top_k": "top-k", "min_p": "min-p", "seed": "seed",
    "stop": "stop", "frequency_penalty": "frequency-penalty", "presence_penalty": "presence-penalty",
    "repeat_penalty": "repeat-penalty", "n_ctx": "ctx-size", "n_gpu_layers": "gpu-layers", "logit_bias": "logit-bias",
}  # fmt: skip
_PARAMETERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "temperature": ("temp", float), "top_k": ("top-k", int), "top_p": ("top-p", float), "min_p": ("min-p", float),
    "typical_p": ("typical-p", float), "repeat_penalty": ("repeat-penalty", float), "repeat_last_n": ("repeat-last-n", int),
    "presence_penalty": ("presence-penalty", float), "frequency_penalty": ("frequency-penalty", float), "seed": ("seed", int),
    "num_predict": ("predict", int), "num_ctx": ("ctx-size", int), "num_gpu": ("gpu-layers", int), "num_keep": ("keep", int),
    "num_thread": ("threads", int), "num_batch": ("batch-size", int), "mirostat": ("mirostat", int),
    "mirostat_eta": ("mirostat-lr", float), "mirostat_tau": ("mirostat-ent", float), "stop": ("stop", str),
}  # fmt: skip
"""Parameters of a Modelfile: our option, and the type of the value."""

_CHAT_TEMPLATES = (
    ("<|start_header_id|>", "llama3"), ("<|im_start|>", "chatml"), ("<start_of_turn>", "gemma"), ("<|im_sep|>", "phi4"),
    ("<|end|>", "phi3"), ("<|START_OF_TURN_TOKEN|>", "command-r"), ("<<SYS>>", "llama2-sys"), ("[INST]", "mistral-v1"),
    ("### Response:", "deepseek"), ("USER:", "vicuna"), ("<|assistant|>", "zephyr"),
)  # fmt: skip
"""Marks in a Modelfile's TEMPLATE, and the built-in chat template that has them; the first that occurs counts."""

_INSTRUCTION = re.compile(
    r'^[ \t]*(?P<name>[A-Za-z]+)[ \t]+(?P<value>"""(?:.|\n)*?(?:"""|\Z)|"(?:[^"\\\n]|\\.)*"[ \t]*$|[^\n]*)', re.MULTILINE
)
_ROLES = ("system", "user", "assistant")


def read_llm(text: str, name: str, path: Path, scope: Scope) -> PromptTemplate:
    """Parse a YAML template of llm. Raises UsageError."""
    document = parse_yaml(text, path)
    used = {"prompt", "system", "model", "defaults", "options", "schema_object", "extract", "extract_last"}
    notes = [f"{key} is not used" for key in document if key not in used and document[key]]
    options: dict[str, Any] = {}
    for key, value in table_of(document, "options", path).items():
        if key in _LLM_OPTIONS:
            options[_LLM_OPTIONS[key]] = value
        else:
            notes.append(f"the option {key} is not used")
    model = text_of(document, "model", path)
    if model is not None and (is_path(model) or model.startswith(SCHEMES)):
        options["model"] = model
    elif model is not None:
        notes.append(f"its model {model} is not used; -m selects one")
    if "schema_object" in document:
        options["json-schema"] = json.dumps(table_of(document, "schema_object", path))
    if document.get("extract") or document.get("extract_last"):
        options["extract"] = True
    system, prompt = text_of(document, "system", path), text_of(document, "prompt", path)
    template = PromptTemplate(
        name=name,
        path=path,
        scope=scope,
        system=TemplateText.with_dollars(system) if system else None,
        prompt=TemplateText.with_dollars(prompt) if prompt else None,
        variables=defaults_of(document, "defaults", path),
        options=options,
        notes=tuple(notes),
    )
    check_template(template)
    return template


def read_fabric(system: str, user: str | None, name: str, path: Path, scope: Scope) -> PromptTemplate:
    """Parse a pattern of fabric: `system.md` and `user.md` of its folder. Raises UsageError."""
    prompt = TemplateText.with_double_braces(user.strip()) if user and user.strip() else None
    # The user's text is a message of its own here, so that the mark for it says nothing more.
    instructions = TemplateText.with_double_braces(system.strip()).without(INPUT)
    heading = next((line.lstrip("# ") for line in system.splitlines() if line.strip() and not line.startswith("#")), "")
    template = PromptTemplate(
        name=name,
        path=path,
        scope=scope,
        description=heading.partition(". ")[0].removesuffix(".")[:80],
        system=instructions if instructions.parts else None,
        prompt=prompt,
    )
    check_template(template)
    return template


def read_modelfile(text: str, name: str, path: Path, scope: Scope) -> PromptTemplate:
    """Parse a Modelfile of ollama. Raises UsageError."""
    options: dict[str, Any] = {}
    notes: list[str] = []
    messages: list[tuple[str, str]] = []
    system: str | None = None
    for instruction, value in _instructions(text):
        match instruction:
            case "FROM":
                options["model"] = _model_of(value, path)
            case "SYSTEM":
                system = value
            case "ADAPTER":
                options.setdefault("lora", []).append(value)
            case "TEMPLATE":
                notes += _read_chat_template(value, options)
            case "PARAMETER":
                notes += _read_parameter(value, options, path)
            case "MESSAGE":
                messages.append(_read_message(value, path))
            case "LICENSE" | "REQUIRES":
                pass
            case _:
                notes.append(f"{instruction} is not used")
    template = PromptTemplate(
        name=name,
        path=path,
        scope=scope,
        system=TemplateText.literal(system) if system else None,
        options=options,
        messages=tuple(messages),
        notes=tuple(notes),
    )
    check_template(template)
    return template


def _instructions(text: str) -> list[tuple[str, str]]:
    return [(match["name"].upper(), _unquoted(match["value"])) for match in _INSTRUCTION.finditer(text)]


def _unquoted(value: str) -> str:
    if value.startswith('"""'):
        return value[3:].removesuffix('"""').removeprefix("\n")
    value = value.strip()
    return value[1:-1].replace('\\"', '"') if len(value) > 1 and value[0] == value[-1] == '"' else value


def _model_of(value: str, path: Path) -> str:
    """The reference of a Modelfile's model: a file beside it, a repository of the hub, or a model of ollama."""
    if not value:
        raise UsageError(f"{path}: FROM names no model")
    for host in ("hf.co/", "huggingface.co/"):
        if value.startswith(host):
            return f"hf:{value.removeprefix(host)}"
    return value if is_path(value) and (value[:1] in "./~" or value.lower().endswith(".gguf")) else f"ollama:{value}"


def _read_chat_template(value: str, options: dict[str, Any]) -> list[str]:
    """Set the built-in chat template that has the marks of a Go template, which llama.cpp cannot render."""
    known = next((template for mark, template in _CHAT_TEMPLATES if mark in value), None)
    if known is None:
        return ["its TEMPLATE is a Go template, which is not used; the model's own chat template is"]
    options["chat-template"] = known
    return [f"for its TEMPLATE, a Go template, the chat template {known} is used"]


def _read_parameter(value: str, options: dict[str, Any], path: Path) -> list[str]:
    name, _, text = value.partition(" ")
    known = _PARAMETERS.get(name.lower())
    if known is None:
        return [f"the parameter {name} is not used"]
    option, convert = known
    try:
        found = convert(_unquoted(text.strip()))
    except ValueError:
        raise UsageError(f"{path}: the parameter {name} is not a number: {text.strip()}") from None
    if option == "stop":
        options.setdefault("stop", []).append(found)
    else:
        options[option] = found
    return []


def _read_message(value: str, path: Path) -> tuple[str, str]:
    role, _, text = value.partition(" ")
    if role.lower() not in _ROLES:
        raise UsageError(f"{path}: MESSAGE needs a role, one of {', '.join(_ROLES)}: {role}")
    return role.lower(), _unquoted(text.strip())


Reader = Callable[[str, str, Path, Scope], PromptTemplate]
"""Parses a file's text; the name, the path and the scope of the template follow."""

READERS: Mapping[str, Reader] = {".yaml": read_llm, ".yml": read_llm, ".modelfile": read_modelfile}
"""Readers of foreign files, by their suffix."""
