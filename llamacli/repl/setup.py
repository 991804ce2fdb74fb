"""The parameters of a conversation. The command line builds them; tests build their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from llamacli.engine.chat.message import Message
from llamacli.engine.media.media import Media
from llamacli.engine.params import GenerationParams, SamplingParams
from llamacli.media.kind import MediaKind
from llamacli.render.progress import NoProgress
from llamacli.repl.screen import Screen
from llamacli.tools.setup import ToolSetup

if TYPE_CHECKING:
    from llamacli.backend.protocol import Backend
    from llamacli.engine.constraint.answer_constraint import AnswerConstraint
    from llamacli.engine.runtime.logit_bias import Bias
    from llamacli.retrieval.search import Found
    from llamacli.store.sessions.store import SessionStore

ConstraintKind = Literal["grammar", "schema"]
EditingMode = Literal["emacs", "vi"]


class Cancelling(Protocol):
    """Work that a signal cancels: it calls `cancel` and stores its number in `received`."""

    cancel: Callable[[], None] | None
    received: int | None


Load = Callable[[Callable[[float], None]], "Backend"]
"""Load a model, and report progress (0 to 1) to a callback, which may raise to stop it. Called on a thread."""


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model on this machine: its name, how to load it, and its settings.

    `sampling` returns the sampling parameters from the options, the settings and the model. `template` None is the model's own.
    """

    name: str
    load: Load
    sampling: Callable[[Backend], SamplingParams]
    generation: GenerationParams
    template: str | None = None


@dataclass(frozen=True, slots=True)
class ChatConstraint:
    """The grammar or JSON schema that constrains answers, and its text or file name as the user gave it."""

    kind: ConstraintKind
    given: str
    answer: AnswerConstraint


@dataclass(frozen=True, slots=True)
class Models:
    """The first model, and access to the others: `find` finds or fetches one by name, `names` lists the known ones."""

    initial: FoundModel
    find: Callable[[str], FoundModel]
    names: Callable[[], list[str]]


@dataclass(frozen=True, slots=True)
class Attachment:
    """A document whose text is sent with the next message, or an image or sound, and its name."""

    name: str
    text: str = ""
    media: Media | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Services of the program around the conversation.

    `read_documents` reads what a word names: files, folders, patterns or web pages. `read_media` reads an image or sound, of a
    kind if one is given, and `is_media` says whether a word names one. `thumbnail` returns the text that shows a small version
    of one on this terminal, or "". `read_constraint` reads a constraint from text or from a named file. `read_bias` parses a
    logit bias, or raises ValueError. `flag_of` names the option of the command line that sets a parameter of the engine.
    """

    guard: Callable[[], AbstractContextManager[Cancelling]]
    progress: Callable[[], AbstractContextManager[NoProgress]]
    read_documents: Callable[[str], Sequence[Attachment]]
    read_media: Callable[[str, MediaKind | None], Attachment]
    is_media: Callable[[str], bool]
    thumbnail: Callable[[Media], str]
    read_constraint: Callable[[ConstraintKind, str], ChatConstraint]
    read_bias: Callable[[str], Bias]
    flag_of: Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptLine:
    """The prompt line: the file of its history (None keeps none) and its key bindings."""

    history: Path | None = None
    editing: EditingMode = "emacs"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSetup:
    """Saving: `store` None saves nothing, `name` is the session to continue or create, `resume` continues the last one.

    `keep_state` saves the evaluated KV cache beside the session.
    """

    store: SessionStore | None = None
    name: str | None = None
    resume: bool = False
    keep_state: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSetup:
    """An index of files. `count` returns the number of its texts, `find` the passages that fit a question.

    The passages of a message have at most `budget` tokens.
    """

    name: str
    count: Callable[[], int]
    find: Callable[[str], Sequence[Found]]
    budget: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSetup:
    """Everything that a conversation needs. `prompt` is its first message, `attachments` go with it, `plain` disables Markdown.

    `opening` are messages that come before it in a new conversation. `wrap` puts each message of the user into a template.
    """

    models: Models
    screen: Screen
    host: Host
    prompt_line: PromptLine = field(default_factory=PromptLine)
    sessions: SessionSetup = field(default_factory=SessionSetup)
    tools: ToolSetup = field(default_factory=ToolSetup)
    index: IndexSetup | None = None
    system: str | None = None
    profile: str | None = None
    prompt: str | None = None
    attachments: tuple[Attachment, ...] = ()
    opening: tuple[Message, ...] = ()
    wrap: Callable[[str], str] | None = None
    plain: bool = False
