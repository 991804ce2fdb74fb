"""What a conversation is started with. The command line makes it; tests make their own."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from llamacli.engine.params import GenerationParams, SamplingParams
from llamacli.render.progress import NoProgress
from llamacli.render.text import escape, escape_line

if TYPE_CHECKING:
    from llamacli.engine.constraint.matcher import Constraint
    from llamacli.engine.engine import Engine
    from llamacli.engine.runtime.logit_bias import Bias
    from llamacli.store.sessions.store import SessionStore
    from llamacli.tools.servers import Servers
    from llamacli.tools.toolbox import Toolbox

HeldTo = Literal["grammar", "schema"]
EditingMode = Literal["emacs", "vi"]

_NARROWEST = 10
"""Columns below which lines are not wrapped by words."""


class Cancelling(Protocol):
    """Work that a signal cancels: `cancel` is called when one comes, and `received` is its number."""

    cancel: Callable[[], None] | None
    received: int | None


Load = Callable[[Callable[[float], None]], "Engine"]
"""Loads a model, and tells a callback how far that is, 0 to 1, which may raise to stop it. Called on a thread of its own."""


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model on this machine: what it is called, how it is loaded, and how it is talked to.

    `sampling` is what the options, the settings and the model say about sampling. `template` None is the model's own.
    """

    name: str
    load: Load
    sampling: Callable[[Engine], SamplingParams]
    generation: GenerationParams
    template: str | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """What answers are held to: a grammar or a JSON schema, as it was given.

    `check` raises ConstraintError for a complete answer that is not what was asked for.
    """

    kind: HeldTo
    text: str
    constraint: Constraint
    check: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Screen:
    """The terminal outside of the prompt line. `write` takes text that is harmless already; `size` is columns and rows.

    `live`: what was written can be drawn again, as on a terminal.
    """

    write: Callable[[str], None]
    size: Callable[[], tuple[int, int]]
    color: bool
    live: bool = True

    def show(self, text: str) -> None:
        """Text from outside, ended with a newline."""
        self.write(escape(text).rstrip("\n") + "\n")

    def say(self, line: str) -> None:
        """One dim line in our own name, wrapped by words where it is too long for the terminal."""
        self.write(self._styled(self._wrapped(line), "2") + "\n")

    def warn(self, line: str) -> None:
        """The same for what should not be overlooked."""
        self.write(self._styled(self._wrapped(line), "33") + "\n")

    def fail(self, line: str) -> None:
        """The same for something that did not work."""
        self.write(self._styled(self._wrapped(line), "31") + "\n")

    def marked(self, word: str) -> str:
        """A word of our own that begins a line."""
        return self._styled(word, "36")

    def paint(self, text: str, code: str) -> str:
        """Text that is harmless already in a style (an SGR code), where colours are wanted."""
        return self._styled(text, code)

    def _wrapped(self, line: str) -> str:
        line = escape_line(line)
        width = self.size()[0] - 1
        if not self.live or len(line) <= width or width < _NARROWEST:
            return line
        indent = line[: len(line) - len(line.lstrip())]
        return "\n".join(textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False))

    def _styled(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.color else text


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSetup:
    """Everything that a conversation needs.

    `find_model` finds or fetches another model than `model`, `model_names` are what it may be called.
    `read_held` makes a constraint of a text or of the name of a file, `read_bias` a logit bias of a text, or raises ValueError.
    `history` None keeps none.
    `servers`, if there are any, add their tools to `toolbox` when they have started; what then is missing of `expected_tools`
    is said. `max_tool_calls` is for one message.
    `sessions` None saves nothing; `session` names the one to go on with or to make, `resumes` goes on with the last.
    `keeps_state` keeps what was evaluated beside a session.
    """

    model: FoundModel
    find_model: Callable[[str], FoundModel]
    model_names: Callable[[], list[str]]
    screen: Screen
    guard: Callable[[], AbstractContextManager[Cancelling]]
    progress: Callable[[], AbstractContextManager[NoProgress]]
    read_file: Callable[[Path], str]
    read_held: Callable[[HeldTo, str], Held]
    read_bias: Callable[[str], Bias]
    history: Path | None = None
    system: str | None = None
    profile: str | None = None
    prompt: str | None = None
    plain: bool = False
    editing: EditingMode = "emacs"
    sessions: SessionStore | None = None
    session: str | None = None
    resumes: bool = False
    keeps_state: bool = True
    toolbox: Toolbox | None = None
    servers: Servers | None = None
    expected_tools: tuple[str, ...] = ()
    max_tool_calls: int = 10
