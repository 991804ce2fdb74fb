"""A proposed command: the request to the model, and its answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from llamacli.engine.chat.message import Message
from llamacli.engine.constraint.answer_constraint import AnswerConstraint, schema_constraint
from llamacli.errors import ConstraintError
from llamacli.json_text import parse_json
from llamacli.render.text import escape
from llamacli.tools.risks import Risk, find_missing, find_risks
from llamacli.tools.shell import Shell, system_name

_LONGEST = 600
"""Characters of a command, in which a small model does not repeat itself without end."""

_SCHEMA = {
    "type": "object",
    "properties": {
        "command": {"type": "string", "minLength": 1, "maxLength": _LONGEST},
        "explanation": {"type": "string", "minLength": 1, "maxLength": 300},
    },
    "required": ["command", "explanation"],
    "additionalProperties": False,
}
"""An answer: one command, and what it does."""

_EXAMPLES = (
    ("how large are the folders here?", "du -sh -- */", "Shows the size of each folder in the current directory."),
    (
        "find all log files that are larger than 10 MiB",
        "find . -type f -name '*.log' -size +10M",
        "Lists the files below the current directory whose name ends in .log and that are larger than 10 MiB.",
    ),
)
"""Tasks with their answers, which show small models the form of an answer."""

_OTHER_LANGUAGES = ("nu", "elvish", "xonsh", "pwsh")
"""Shells with another syntax than that of the examples."""

_FENCED = re.compile(r"`{3,}[^\n]*\n(.*?)\n?`{3,}", re.DOTALL)


def constraint() -> AnswerConstraint:
    """Return the constraint of an answer that is a proposal."""
    return schema_constraint(json.dumps(_SCHEMA))


def system_prompt(shell: Shell, more: str | None) -> str:
    """Return the system prompt of a proposal, with the instructions of the user after it."""
    ours = (
        f"You write command lines for {shell.name} on {system_name()}. Answer with a JSON object. Its key command is one "
        "command line that does the task, ready to run: no comment, no prompt sign, no placeholder, no code fence. Its key "
        "explanation says in one or two sentences what the command does. Use programs that are usually installed. Delete, "
        "overwrite or send nothing unless the task asks for it."
    )
    return f"{ours}\n\n{more}" if more else ours


def examples(shell: Shell) -> tuple[Message, ...]:
    """Return messages with examples; none for shells with another syntax."""
    if shell.name in _OTHER_LANGUAGES:
        return ()
    return tuple(
        message
        for task, command, explanation in _EXAMPLES
        for message in (
            Message("user", task),
            Message("assistant", json.dumps({"command": command, "explanation": explanation})),
        )
    )


def explanation_prompt(shell: Shell) -> str:
    """Return the system prompt of a longer explanation."""
    return (
        f"You explain command lines for {shell.name} on {system_name()}: first what it does as a whole, then each part in a "
        "short list. You say what it deletes, overwrites or sends."
    )


@dataclass(frozen=True)
class Proposal:
    """A command and its explanation, which is empty if the user has changed the command."""

    command: str
    explanation: str = ""

    @cached_property
    def risks(self) -> tuple[Risk, ...]:
        """What the command may do that cannot be undone, and whether characters of it are invisible."""
        hidden = tuple(dict.fromkeys(escape(char) for char in self.command if escape(char) != char))
        return (*find_risks(self.command), *((Risk("hidden", hidden),) if hidden else ()))

    def missing(self, environ: Mapping[str, str]) -> tuple[str, ...]:
        """Return the programs of the command that are not on the PATH."""
        return find_missing(self.command, environ.get("PATH"))

    def document(self, environ: Mapping[str, str]) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {
            "command": self.command,
            "explanation": self.explanation,
            "risks": [{"kind": risk.kind, "words": list(risk.words)} for risk in self.risks],
            "missing": list(self.missing(environ)),
        }


def read_proposal(text: str) -> Proposal:
    """Read the answer of a model, which fits the schema.

    Raises:
        ConstraintError: if it has no command, or the command was cut: a part of it may do harm that the whole would not.
    """
    document = parse_json(text, source="the answer")
    command = document["command"].strip()
    if fenced := _FENCED.fullmatch(command):
        command = fenced[1].strip()
    command = command.removeprefix("$ ")
    helps = "say more about the task, or use a larger model with -m"
    if not command or "\0" in command:
        raise ConstraintError("the model proposes no command", hint=helps)
    if len(document["command"]) >= _LONGEST:
        raise ConstraintError(f"the proposed command is longer than {_LONGEST} characters", hint=helps)
    return Proposal(command, document["explanation"].strip())
