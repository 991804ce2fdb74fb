"""Chat formats by llama-cpp-python's names, as Jinja templates.

Where that package's own text of a format departs from what the models were trained with, these have the models' form.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

_TEMPLATE = """
{%- set ns = namespace(system=DEFAULT, first=true) -%}
{%- for message in messages -%}
{%- if message.role == 'system' -%}{%- set ns.system = message.content -%}{%- endif -%}
{%- endfor -%}
{%- if ns.system and not INSIDE -%}{{- BEFORE + ns.system + AFTER -}}{%- endif -%}
{%- for message in messages -%}
{%- if message.role == 'assistant' -%}
{{- ASSISTANT + (message.content or '') + ASSISTANT_END -}}
{%- elif message.role != 'system' -%}
{{- USER -}}
{%- if ns.first and ns.system and INSIDE -%}{{- BEFORE + ns.system + AFTER -}}{%- endif -%}
{{- (message.content or '') + USER_END -}}
{%- set ns.first = false -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- CUE -}}{%- endif -%}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFormat:
    """A chat format: the text around messages of each role, and the text that starts an answer.

    `cue` None starts it as an earlier answer. `inside`: the system message is in the user's first message. `default` is the
    system message if none is given. `stop` ends an answer.
    """

    system: tuple[str, str] = ("", "")
    user: tuple[str, str]
    assistant: tuple[str, str]
    cue: str | None = None
    default: str = ""
    inside: bool = False
    stop: str | None = None

    def template(self) -> str:
        """Return it as Jinja text."""
        values = {
            "DEFAULT": self.default,
            "INSIDE": self.inside,
            "BEFORE": self.system[0],
            "AFTER": self.system[1],
            "ASSISTANT_END": self.assistant[1],
            "ASSISTANT": self.assistant[0],
            "USER_END": self.user[1],
            "USER": self.user[0],
            "CUE": self.assistant[0] if self.cue is None else self.cue,
        }
        return re.sub(r"\b[A-Z_]{3,}\b", lambda name: json.dumps(values[name[0]], ensure_ascii=False), _TEMPLATE.strip())


def _colon(user: str, assistant: str, separator: str, *, end: str | None = None, **more: Any) -> ChatFormat:
    """A format of names with colons, the separator after each message."""
    return ChatFormat(
        system=(more.pop("before", ""), separator),
        user=(f"{user}: ", separator),
        assistant=(f"{assistant}: ", separator if end is None else end),
        cue=f"{assistant}:",
        **more,
    )


def _tagged(user: str, assistant: str, end: str, *, system: tuple[str, str] = ("", ""), **more: Any) -> ChatFormat:
    """A format of tags before and one text after each message."""
    return ChatFormat(system=system, user=(user, end), assistant=(assistant, end), **more)


_CHATML = _tagged(
    "<|im_start|>user\n",
    "<|im_start|>assistant\n",
    "<|im_end|>\n",
    system=("<|im_start|>system\n", "<|im_end|>\n"),
    stop="<|im_end|>",
)

FORMATS: dict[str, ChatFormat] = {
    "llama-2": ChatFormat(
        system=("<<SYS>>\n", "\n<</SYS>>\n\n"),
        user=("[INST] ", " [/INST]"),
        assistant=(" ", " </s><s>"),
        cue="",
        inside=True,
        stop="</s>",
    ),
    "llama-3": _tagged(
        "<|start_header_id|>user<|end_header_id|>\n\n",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|eot_id|>",
        system=("<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"),
        stop="<|eot_id|>",
    ),
    "alpaca": _colon("### Instruction", "### Response", "\n\n", end="</s>"),
    "qwen": ChatFormat(
        system=_CHATML.system,
        user=_CHATML.user,
        assistant=_CHATML.assistant,
        default="You are a helpful assistant.",
        stop="<|endoftext|>",
    ),
    "vicuna": _colon(
        "USER",
        "ASSISTANT",
        " ",
        end="</s>",
        default="A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions.",
    ),
    "oasst_llama": _tagged("<|prompter|>", "<|assistant|>", "</s>", system=("[INST] <<SYS>>\n", "\n<</SYS>>\n\n")),
    "baichuan-2": _tagged("<reserved_106>", "<reserved_107>", ""),
    "baichuan": _tagged("<reserved_102>", "<reserved_103>", ""),
    "openbuddy": _colon(
        "User", "Assistant", "\n", default="You are a helpful, respectful and honest AI assistant named Buddy."
    ),
    "redpajama-incite": _colon("<human>", "<bot>", "\n", stop="<human>"),
    "snoozy": _colon(
        "### Prompt",
        "### Response",
        "\n",
        before="### Instruction:\n",
        default="The prompt below is a question, a task or a conversation: write an appropriate response.",
        stop="###",
    ),
    "phind": _colon(
        "### User Message",
        "### Assistant",
        "\n\n",
        before="### System Prompt\n",
        default="You are an intelligent programming assistant.",
    ),
    "intel": _tagged("### User:\n", "### Assistant:\n", "\n", system=("### System:\n", "\n")),
    "open-orca": ChatFormat(
        system=("", "<|end_of_turn|>\n"),
        user=("User: ", "<|end_of_turn|>\n"),
        assistant=("Assistant: ", "<|end_of_turn|>\n"),
        default="You are a helpful assistant. Answer truthfully, and write out your thinking step by step.",
        stop="User",
    ),
    "mistrallite": ChatFormat(
        system=("<|system|>", "</s>"), user=("<|prompter|>", " "), assistant=("</s>\n<|assistant|>", " ")
    ),
    "zephyr": _tagged("<|user|>\n", "<|assistant|>\n", "</s>\n", system=("<|system|>\n", "</s>\n"), stop="</s>"),
    "pygmalion": _tagged("<|user|>", "<|model|>", "", system=("<|system|>", ""), stop="<|user|>"),
    "chatml": _CHATML,
    "mistral-instruct": ChatFormat(
        system=("", "\n\n"), user=("[INST] ", " [/INST]"), assistant=("", "</s>"), inside=True, stop="</s>"
    ),
    "chatglm3": _tagged("<|user|>\n ", "<|assistant|>\n ", "", system=("<|system|>\n ", ""), cue="<|assistant|>", stop="</s>"),
    "openchat": ChatFormat(
        system=("", "<|end_of_turn|>"),
        user=("GPT4 Correct User: ", "<|end_of_turn|>"),
        assistant=("GPT4 Correct Assistant: ", "<|end_of_turn|>"),
        cue="GPT4 Correct Assistant:",
        stop="<|end_of_turn|>",
    ),
    "saiga": _tagged("<s>user\n", "<s>bot\n", "</s>", system=("<s>system\n", "</s>")),
    "gemma": ChatFormat(
        system=("", "\n\n"),
        user=("<start_of_turn>user\n", "<end_of_turn>\n"),
        assistant=("<start_of_turn>model\n", "<end_of_turn>\n"),
        inside=True,
        stop="<end_of_turn>",
    ),
}
"""Formats by name."""

ALIASES = {
    "functionary-v1": "functionary",
    "functionary-v2": "functionary",
    "chatml-function-calling": "chatml",
}
"""Names of formats for tools: the template of llama.cpp, or the format, that stands for them."""


def find_format(name: str) -> tuple[str, tuple[str, ...]]:
    """Return the template of a format, as Jinja text or by llama.cpp's name, and the texts that end an answer."""
    name = ALIASES.get(name, name)
    known = FORMATS.get(name)
    return (known.template(), (known.stop,) if known.stop else ()) if known else (name, ())
