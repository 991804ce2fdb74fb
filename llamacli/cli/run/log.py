"""The log of `llamacli run`: going on after an entry, and adding one."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llamacli.cli.framework.backends.engine import ModelSetup
from llamacli.cli.framework.context import AppContext
from llamacli.cli.run.log_options import LogOptions
from llamacli.engine.chat.message import Message, read_messages
from llamacli.engine.chat.question import Question
from llamacli.errors import LlamacliError, UsageError
from llamacli.values import dataclass

if TYPE_CHECKING:
    from llamacli.backend.protocol import Backend
    from llamacli.engine.events import Answer
    from llamacli.engine.params import GenerationParams
    from llamacli.store.sessions.log import Log, LogEntry

logger = logging.getLogger(__name__)

_MIN_TOKENS = 128
"""Tokens below which evaluating again is faster than a file."""


@dataclass(frozen=True, slots=True)
class Journal:
    """The log of one run, and the entry after which it goes on."""

    log: Log
    before: LogEntry | None = None

    def question(self, question: Question) -> Question:
        """The question, after the conversation so far."""
        if self.before is None:
            return question
        return dataclasses.replace(question, conversation=(*_conversation(self.before), *question.conversation))

    def setup(self, setup: ModelSetup) -> ModelSetup:
        """The setup with the model of the conversation so far, unless another one is given."""
        reference = self.before.document.get("reference") if self.before is not None else None
        if setup.model.model is not None or setup.remote.url or not isinstance(reference, str):
            return setup
        return dataclasses.replace(setup, model=dataclasses.replace(setup.model, model=reference))

    def restore_state(self, engine: Backend) -> None:
        """Restore the evaluated context of the conversation so far, which only saves time."""
        path = self.log.state(self.before.id) if self.before is not None else None
        if path is None or not path.exists():
            return
        try:
            logger.debug("%s: restored %d evaluated tokens", path.name, engine.load_state(path))
        except (LlamacliError, OSError) as error:
            logger.debug("%s: not restored: %s", path.name, error)

    def add(self, app: AppContext, engine: Backend, run: FinishedRun) -> None:
        """Add the run and keep its evaluated context. A log that cannot be written is no error.

        A run that was interrupted before its first word is not added: `-C` would go on after nothing.
        """
        if all(one.finish_reason == "cancelled" and not (one.content or one.reasoning_content) for one in run.answers):
            return
        try:
            is_first = not self.log.numbers()
            number = self.log.add(
                model=run.model,
                prompt=run.prompt,
                answer=run.answers[0].content,
                document=_document(run, self.before.id if self.before is not None else None),
            )
            if is_first:
                app.console.note(f"the log is in {self.log.path}; `llamacli log list` lists it, `llamacli log rm` empties it")
            self._keep_state(engine, number)
        except LlamacliError as error:
            app.console.warn(f"the answer is not in the log: {error.message}")

    def _keep_state(self, engine: Backend, number: int) -> None:
        try:
            path = self.log.prepare_state(number, engine.state_bytes) if engine.cached_tokens >= _MIN_TOKENS else None
            if path is not None:
                engine.save_state(path)
        except (LlamacliError, OSError) as error:
            logger.debug("entry %d: state not saved: %s", number, error)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """What a run was asked and answered. `reference` is the model as it was given, None for the default."""

    model: str
    reference: str | None
    question: Question
    params: GenerationParams
    answers: Sequence[Answer]
    load_ms: float

    @property
    def prompt(self) -> str:
        """The text of the prompt."""
        if self.question.gap is not None:
            return "".join(self.question.gap)
        from llamacli.retrieval.quotation import question_of

        asked = [message.text for message in self.question.messages if message.role not in ("assistant", "tool")]
        return question_of(self.question.text or (asked[-1] if asked else ""))


@contextmanager
def open_journal(app: AppContext, options: LogOptions) -> Iterator[Journal | None]:
    """Open the log if it is wanted.

    Raises:
        UsageError: if the entry to go on after does not exist, or is no answer of a conversation.
        LlamacliError: if the log cannot be opened, though an entry of it is wanted.
    """
    if not options.is_kept:
        yield None
        return
    from llamacli.store.sessions.log import Log

    try:
        log = Log()
    except LlamacliError as error:
        if options.continues:
            raise
        app.console.warn(f"no log is kept: {error.message}")
        yield None
        return
    with closing(log):
        before = log.entry(options.log_id) if options.continues else None
        if before is not None and not before.document.get("messages"):
            raise UsageError(f"entry {before.id} of the log is a text, not a conversation", hint="--log-id selects another one")
        yield Journal(log, before)


def _conversation(entry: LogEntry) -> tuple[Message, ...]:
    try:
        return read_messages([*entry.document["messages"], *entry.document["answers"][:1]])
    except (LlamacliError, TypeError, KeyError) as error:
        raise UsageError(f"entry {entry.id} of the log cannot be read", hint="--log-id selects another one") from error


def _found_anywhere(reference: str | None) -> str | None:
    """The reference to a model; of a file its full path, which is right in other directories, too."""
    from llamacli.cli.framework.settings import settings
    from llamacli.store.models.references import is_path

    if reference is None or not is_path(reference) or reference in settings.current().aliases():
        return reference
    path = Path(reference).expanduser()
    return str(path.absolute()) if path.is_file() else reference  # a server's model may be named like a path


def _document(run: FinishedRun, before: int | None) -> dict[str, Any]:
    from llamacli.openai.documents import totals

    return {
        "continues": before,
        "reference": _found_anywhere(run.reference),
        "messages": [] if run.question.is_text else [message.to_json() for message in run.question.messages],
        "answers": [answer.message().to_json() for answer in run.answers],
        "finish_reason": run.answers[0].finish_reason,
        "settings": _settings(run.params),
        "load_ms": run.load_ms,
        **totals(run.answers),
    }


def _settings(params: GenerationParams) -> dict[str, Any]:
    """The parameters as JSON, which has no infinite numbers: a bias that forbids a token is false."""
    settings = dataclasses.asdict(params)
    sampling = settings.pop("sampling")
    sampling["logit_bias"] = {token: bias if math.isfinite(bias) else False for token, bias in sampling["logit_bias"]}
    return {**settings, **sampling}
