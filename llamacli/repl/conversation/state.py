"""The state of a conversation: what commands look at and change."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llamacli.repl.conversation.trace import Beginning, Traces
from llamacli.repl.conversation.tree import Tree
from llamacli.repl.setup import ChatSetup

if TYPE_CHECKING:
    from llamacli.engine.engine import Engine
    from llamacli.engine.events import Answer
    from llamacli.engine.params import GenerationParams, SamplingParams
    from llamacli.repl.conversation.autosave import Saver
    from llamacli.repl.conversation.model_loader import Loader
    from llamacli.repl.setup import FoundModel, Held


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file whose text goes with the next message."""

    path: Path
    text: str
    tokens: int


def no_answer(question: str) -> str:
    """Where nobody can be asked: the answer is no."""
    return "no"


@dataclass(slots=True)
class Chat:
    """A running conversation.

    `overrides` are fields of SamplingParams that `/set` changed, biases with their texts. `draft` is what the next prompt line
    begins with, `unanswered` the last message if it got no answer. `state` is a file to be brought back before the next answer,
    `evaluated` says that the engine has evaluated this conversation since.
    `ask` puts a question to the user and returns the typed line. `required_tool` is what the next answer must call ("" is any).
    `wants_answer`: the engine is to answer the conversation as it is now, or to begin as `beginning` says. `held` is what
    answers are held to. `first_seen` is the oldest message that the model sees, where older ones were left out. `compacted` are
    the heads after and before the last /compact. `hint` stands in the status bar until the next key.
    """

    setup: ChatSetup
    loader: Loader
    tree: Tree = field(default_factory=Tree)
    system: str | None = None
    generation: GenerationParams = field(init=False)
    overrides: dict[str, Any] = field(default_factory=dict)
    attachments: list[Attachment] = field(default_factory=list)
    measured: Answer | None = None
    saver: Saver | None = None
    largest_context: int = 0
    draft: str = ""
    unanswered: str = ""
    model: FoundModel = field(init=False)
    state: Path | None = None
    evaluated: bool = False
    hint: str = ""
    wants_answer: bool = False
    beginning: Beginning | None = None
    held: Held | None = None
    traces: Traces = field(default_factory=Traces)
    first_seen: int | None = None
    compacted: tuple[int, int] | None = None
    leaving: bool = False
    thinks: bool = True
    shows_reasoning: bool = True
    ask: Callable[[str], str] = no_answer
    servers_joined: bool = False
    told_no_tools: bool = False
    required_tool: str | None = None
    last_result: str = ""

    def __post_init__(self) -> None:
        self.system = self.setup.system
        self.model = self.setup.model
        self.generation = self.model.generation

    def engine(self) -> Engine:
        """The engine, waiting for it if it is still loading. Raises LlamacliError if it cannot be loaded."""
        with self.setup.progress() as bar:
            return self.loader.wait(bar)

    def sampling(self) -> SamplingParams:
        """How tokens are chosen now. Raises UsageError for a bias of a token that the model has not."""
        engine, changed = self.engine(), self.overrides
        if "logit_bias" in changed:
            changed = {**changed, "logit_bias": engine.resolve_biases(changed["logit_bias"])}
        return dataclasses.replace(self.model.sampling(engine), **changed)
