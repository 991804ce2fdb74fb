"""The state of a conversation, which commands read and change."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from llamacli.engine.events import Answer
from llamacli.repl.conversation.autosave import SessionHeader, SessionJournal
from llamacli.repl.conversation.model_loader import Loader
from llamacli.repl.conversation.trace import Beginning, Traces
from llamacli.repl.conversation.tree import Tree
from llamacli.repl.setup import Attachment, ChatSetup, FoundModel

if TYPE_CHECKING:
    from llamacli.backend.protocol import Backend
    from llamacli.engine.events import Answer
    from llamacli.engine.params import GenerationParams, SamplingParams
    from llamacli.repl.setup import ChatConstraint
    from llamacli.store.sessions.store import Session


@dataclass(slots=True)
class ActiveModel:
    """The model of the conversation, and the thread that loads it."""

    found: FoundModel
    loader: Loader


@dataclass(slots=True)
class AnswerSettings:
    """Settings of the next answers. `overrides` are fields of SamplingParams that `/set` changed, biases with their texts.

    `thinking` enables reasoning, `shows_reasoning` shows it. `uses_index`: messages come with passages of the index.
    """

    generation: GenerationParams
    system: str | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    constraint: ChatConstraint | None = None
    thinking: bool = True
    shows_reasoning: bool = True
    uses_index: bool = True


@dataclass(slots=True)
class PendingTurn:
    """The next turn. `draft` is the initial text of the prompt line, `unanswered` the last message if it has no answer.

    `wants_answer` requests an answer to the conversation as it is now, or as `beginning` says.
    """

    draft: str = ""
    unanswered: str = ""
    attachments: list[Attachment] = field(default_factory=list)
    wants_answer: bool = False
    beginning: Beginning | None = None


@dataclass(slots=True)
class SavedSession:
    """The session on disk. `state_file` is a KV cache to restore before the next answer.

    `evaluated` is True once the engine has evaluated this conversation.
    """

    journal: SessionJournal | None = None
    state_file: Path | None = None
    evaluated: bool = False

    @property
    def current(self) -> Session | None:
        """The session, None before its first message and without saving."""
        return self.journal.session if self.journal is not None else None


@dataclass(slots=True)
class ContextWindow:
    """The part of the conversation that the model sees.

    `size` is the largest possible context in tokens, 0 before the first answer. `first_seen` is the oldest message, where older
    ones were left out. `compacted` is the head after and before the last /compact.
    """

    size: int = 0
    first_seen: int | None = None
    compacted: tuple[int, int] | None = None


@dataclass(slots=True)
class ToolState:
    """Progress with tools. `required` is the tool that the next answer must call ("" is any)."""

    servers_joined: bool = False
    warned_general_form: bool = False
    required: str | None = None
    last_result: str = ""


def refuse(question: str) -> str:
    """Answer no where no user can be asked."""
    return "no"


@dataclass(slots=True)
class Chat:
    """A running conversation. `ask` puts a question to the user and returns the typed line."""

    setup: ChatSetup
    model: ActiveModel
    settings: AnswerSettings
    ask: Callable[[str], str] = refuse
    tree: Tree = field(default_factory=Tree)
    turn: PendingTurn = field(default_factory=PendingTurn)
    session: SavedSession = field(default_factory=SavedSession)
    window: ContextWindow = field(default_factory=ContextWindow)
    tools: ToolState = field(default_factory=ToolState)
    traces: Traces = field(default_factory=Traces)
    measured: Answer | None = None
    leaving: bool = False

    @classmethod
    def begin(cls, setup: ChatSetup, loader: Loader, *, ask: Callable[[str], str] = refuse) -> Self:
        """Return an empty conversation with the first model."""
        found = setup.models.initial
        turn = PendingTurn(attachments=list(setup.attachments))
        return cls(setup, ActiveModel(found, loader), AnswerSettings(found.generation, setup.system), ask, turn=turn)

    @property
    def header(self) -> SessionHeader:
        """The description of the conversation in its session."""
        return SessionHeader(self.model.found.name, self.settings.system)

    def engine(self) -> Backend:
        """Return the engine, waiting while it is loading.

        Raises:
            LlamacliError: if it cannot be loaded.
        """
        with self.setup.host.progress() as bar:
            return self.model.loader.wait(bar)

    def sampling(self) -> SamplingParams:
        """Return the sampling parameters of the next answer.

        Raises:
            UsageError: if a bias names a token that is not in the vocabulary.
        """
        engine, changed = self.engine(), self.settings.overrides
        if "logit_bias" in changed:
            changed = {**changed, "logit_bias": engine.resolve_biases(changed["logit_bias"])}
        return dataclasses.replace(self.model.found.sampling(engine), **changed)

    def forget_answers(self) -> None:
        """Forget everything that depends on the evaluated conversation: the model or the session changes."""
        self.measured = self.window.first_seen = self.window.compacted = None
        self.traces.clear()
