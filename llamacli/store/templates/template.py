"""A prompt template as a value, whatever file it came from."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from llamacli.errors import UsageError
from llamacli.store.templates.text import INPUT, TemplateText

Scope = Literal["project", "user", "built-in", "file", "llm", "fabric"]
"""Where a template was found; only `user` and `built-in` templates are trusted to name programs."""

SIZE_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTemplate:
    """A prompt, and the options that go with it.

    `options` are options of the command line by their name in the settings, with values as TOML has them. `variables` are the
    defaults of variables. `messages` are roles and texts that come before the prompt. `example` is a command line that shows
    the template at work. `notes` say what of a foreign file is not used.
    """

    name: str
    path: Path
    scope: Scope
    description: str = ""
    system: TemplateText | None = None
    prompt: TemplateText | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    messages: tuple[tuple[str, str], ...] = ()
    example: str = ""
    notes: tuple[str, ...] = ()

    @property
    def is_trusted(self) -> bool:
        """True if its options may name programs: the user wrote it, or it came with llamacli."""
        return self.scope in ("user", "built-in")

    @property
    def uses_input(self) -> bool:
        """True if the prompt says where the user's text goes."""
        return self.prompt is not None and INPUT in self.prompt.variables

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the variables that `--var` sets, in the order in which they occur."""
        texts = [text for text in (self.system, self.prompt) if text is not None]
        return tuple(dict.fromkeys(name for text in texts for name in text.variables if name != INPUT))

    def values(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return the value of each variable.

        Raises:
            UsageError: if one is missing, or `given` has one that the template does not use.
        """
        for name in given:
            if name not in self.names:
                near = difflib.get_close_matches(name, self.names, n=1)
                known = f"its variables: {', '.join(self.names)}" if self.names else "it has no variables"
                hint = f"did you mean {near[0]}?" if near else known
                raise UsageError(f"the template {self.name} has no variable {name}", hint=hint)
        found = {**self.variables, **given}
        for name in self.names:
            if name not in found:
                raise UsageError(f"the template {self.name} needs a value for {name}", hint=f"--var {name}=VALUE sets it")
        return found
