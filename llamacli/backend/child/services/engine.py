"""The engine of a child."""

from __future__ import annotations

import importlib
import itertools
import os
import threading
import time
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from llamacli.backend.child import contract, tokens, vectors
from llamacli.backend.child.contract import (
    AnswerRequest,
    AskRequest,
    ChatTurn,
    EvaluatedPrompt,
    EvaluatedSize,
    OpenedModel,
    OpenModel,
    RoomWanted,
    StartedAnswer,
    TextTurn,
    WholeAnswers,
    WholeRequest,
    params_of,
)  # fmt: skip
from llamacli.backend.child.vectors import VectorRequest
from llamacli.backend.child.wire.method import Method
from llamacli.backend.child.work.connection import Handler
from llamacli.backend.child.work.task import Task
from llamacli.binding.library import library
from llamacli.engine.chat.question import Question
from llamacli.engine.chat.turn import Turn
from llamacli.engine.events import Answer, AnswerEvent
from llamacli.engine.generation.job import Job
from llamacli.engine.generation.room import Room
from llamacli.engine.media.media import Media
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.model import Model
from llamacli.engine.runtime.prompt_identity import CapturedPrompt
from llamacli.errors import EngineError

if TYPE_CHECKING:
    from llamacli.engine.engine import Engine

_ENGINE: Final = "llamacli.engine.engine"
"""Half of what an answer imports: this is done while C reads the weights."""

_JOBS_AT_ONCE: Final = 4
"""Jobs that are wished for when a place comes free: a round trip for each would leave the engine waiting."""

_ANSWERS: Final = {
    method.name for method in (contract.ANSWER, contract.ANSWER_WHOLE, contract.ANSWER_MANY, contract.ASK, contract.ASK_WHOLE)
}
_OF_VOCABULARIES: Final = (tokens.TOKENIZE_TEXTS, tokens.TOKENIZE_CHATS, tokens.DETOKENIZE_TEXTS)
_CANCEL_SECONDS: Final = 0.005
_MOST_CANCELS: Final = 400


def service() -> dict[Method, Handler]:
    """Return the handlers, with the native library loaded."""
    library()
    return EngineService().handlers()


class EngineService:
    """The handlers of one engine, which `OPEN` makes."""

    def __init__(self) -> None:
        self._flag = CancelFlag()
        self._engine: Engine | None = None
        self._rendering = threading.Lock()  # a chat template is used by one thread at a time

    def handlers(self) -> dict[Method, Handler]:
        """Return the handlers by method."""
        return {
            contract.OPEN: self._open,
            contract.DESCRIBE: lambda _, task: self.engine.describe(),
            contract.RENDER: self._render,
            contract.CHAT_TURN: self._chat_turn,
            contract.TEXT_TURN: self._text_turn,
            contract.ANSWER_TOKENS: self._answer_tokens,
            contract.ENDS_ANSWER: lambda token, task: self.engine.ends_answer(token),
            contract.KNOWS_TOOLS: lambda template, task: self.engine.knows_tools(template),
            contract.CONTEXT_FOR: lambda sizes, task: self.engine.context_for(*sizes),
            contract.N_CTX: lambda _, task: self.engine.n_ctx,
            contract.RESOLVE_BIASES: lambda biases, task: self.engine.resolve_biases(biases),
            contract.TOKENIZE: self._tokenize,
            contract.DETOKENIZE: lambda tokens, task: self.engine.detokenize(tokens),
            contract.PIECES: lambda tokens, task: self.engine.pieces(tokens),
            contract.ANSWER: self._answer,
            contract.ASK: self._ask,
            contract.ANSWER_WHOLE: self._answer_whole,
            contract.ASK_WHOLE: self._ask_whole,
            contract.ANSWER_MANY: self._answer_many,
            contract.KEEP_PREFIXES: lambda capacity, task: self.engine.keep_prefixes(capacity),
            contract.SAVE_STATE: self._save_state,
            contract.LOAD_STATE: self._load_state,
            contract.HELD_TOKENS: lambda prompt, task: self.engine.held_tokens(prompt),
            contract.STAGE_PROMPT: self._stage_prompt,
            contract.CAPTURE_PROMPT: self._capture_prompt,
            contract.MISSING_MEDIA: self._missing_media,
            contract.PUT_MEDIA: self._put_media,
            contract.STATE_SIZE: lambda _, task: EvaluatedSize(self.engine.cached_tokens, self.engine.state_bytes),
            vectors.EMBED: self._embed,
            contract.NEXT_TOKENS: lambda text, task: self.engine.next_tokens(text),
            contract.CANCEL: self._cancel,
            tokens.OPEN_VOCABULARY: lambda _, task: 0,  # that of the engine's model
            **{method: partial(self._use_vocabulary, method) for method in _OF_VOCABULARIES},
        }

    @property
    def engine(self) -> Engine:
        """The engine. Raises EngineError before it is opened."""
        if self._engine is None:
            raise EngineError("no model is open in the engine's process")
        return self._engine

    def _open(self, arguments: OpenModel, task: Task) -> OpenedModel:
        if self._engine is None:  # a resident has it open already, with the same arguments
            self._engine = self._loaded(arguments, task)
        engine = self._engine
        about = engine.describe()
        prompts = engine.prompt_identity if about.can_generate and not engine.model.vocab_only else None
        return OpenedModel(engine.load_ms, tuple(engine.notes), about, dict(engine.recommended_sampling), prompts)

    def _loaded(self, arguments: OpenModel, task: Task) -> Engine:
        task.cancel.then(self._flag.set)
        shown = -1.0

        def on_load(share: float) -> None:
            nonlocal shown
            if share != shown:
                shown = share
                task.emit(share)

        path, params = Path(arguments.path), arguments.model
        loaded: Model | None = None
        if params.draft_model is None and not params.mtp:  # with those the engine compares files first
            vocab_only, importing = params.vocabulary_only, partial(importlib.import_module, _ENGINE)
            loaded = Model(
                path, params, cancel=self._flag, on_load=on_load, vocab_only=vocab_only, may_die=True, beside=importing
            )
        from llamacli.engine.engine import Engine

        return Engine(path, params, arguments.context, cancel=self._flag, on_load=on_load, may_die=True, loaded=loaded)

    # --- prompts --------------------------------------------------------------------------------------------------------

    def _render(self, question: Question, _task: Task) -> Turn:
        with self._rendering:
            return self.engine.render(question)

    def _chat_turn(self, asked: ChatTurn, _task: Task) -> Turn:
        return self.engine.chat_turn(
            asked.messages, asked.rendering, template=asked.template, constraint=asked.constraint, budget=asked.budget
        )

    def _text_turn(self, asked: TextTurn, _task: Task) -> Turn:
        return self.engine.text_turn(asked.text, asked.constraint)

    def _answer_tokens(self, asked: StartedAnswer, _task: Task) -> tuple[int, ...]:
        return self.engine.answer_tokens(asked.turn, asked.messages, asked.rendering, template=asked.template)

    def _tokenize(self, asked: tuple[str, bool, bool], _task: Task) -> list[int]:
        text, add_special, special = asked
        return self.engine.tokenize(text, add_special=add_special, special=special)

    # --- answers --------------------------------------------------------------------------------------------------------

    def _answer(self, asked: AnswerRequest, task: Task) -> Generator[AnswerEvent, None, None]:
        def make_room(tokens: int) -> Room | None:
            (room,) = task.ask(RoomWanted(tokens))
            return room if isinstance(room, Room) else None

        yield from self.engine.answer(
            asked.turn,
            asked.params,
            samples=asked.samples,
            started=asked.started,
            closes_gap=asked.closes_gap,
            make_room=make_room if asked.asks_for_room else None,
            cancel=task.cancel,
            on_wait=task.defer(),
        )

    def _ask(self, asked: AskRequest, task: Task) -> Generator[AnswerEvent | Turn, None, None]:
        turn = self._render(asked.question, task)
        if len(turn.prompt.tokens) > asked.most:
            yield turn
        else:
            params = params_of(bytes(asked.params))
            yield from self.engine.answer(turn, params, samples=asked.samples, cancel=task.cancel, on_wait=task.defer())

    def _answer_whole(self, asked: WholeRequest, task: Task) -> WholeAnswers:
        return self._whole(asked.turn, asked, task)

    def _ask_whole(self, asked: AskRequest, task: Task) -> WholeAnswers:
        turn = self._render(asked.question, task)
        return WholeAnswers(turn=turn) if len(turn.prompt.tokens) > asked.most else self._whole(turn, asked, task)

    def _whole(self, turn: Turn, asked: AskRequest | WholeRequest, task: Task) -> WholeAnswers:
        events = self.engine.answer(turn, params_of(bytes(asked.params)), samples=asked.samples, cancel=task.cancel)
        return WholeAnswers(tuple(event for event in events if isinstance(event, Answer)))

    def _answer_many(self, parallel: contract.Parallel, task: Task) -> Generator[AnswerEvent, None, None]:
        jobs, flush = _jobs(task), task.defer()
        yield from self.engine.answer_many(jobs, parallel=parallel, cancel=task.cancel, on_wait=flush)

    def _cancel(self, _: None, task: Task) -> None:
        """Cancel the answers that were asked for before. One may not have started: so this is repeated until all have ended.

        Later ones go on: a cancel that comes late must not end the answer to the next question.
        """
        if self._engine is None:
            self._flag.set()  # it is loading
            return
        meant = {number for number, name in task.running().items() if name in _ANSWERS and number < task.id}
        for _attempt in range(_MOST_CANCELS):
            if meant.isdisjoint(task.running()):
                return
            self._engine.cancel()
            time.sleep(_CANCEL_SECONDS)

    def _embed(self, asked: VectorRequest, task: Task) -> Generator[object, None, None]:
        from llamacli.backend.child.services.vectors import embed_fed

        return embed_fed(self.engine.embedder(), asked, task)

    def _use_vocabulary(self, method: Method, asked: object, task: Task) -> object:
        """Do what a tokenizer's child does with the vocabulary of this engine's model, for programs that join a resident."""
        from llamacli.backend.child.services.tokenizer import TokenizerService

        return TokenizerService([self.engine.model]).handlers()[method](asked, task)

    # --- pictures and sounds --------------------------------------------------------------------------------------------

    def _missing_media(self, asked: tuple[str, ...], _task: Task) -> tuple[str, ...]:
        encoder = self.engine.encoder
        return tuple(identity for identity in asked if encoder is not None and encoder.needs_data(identity))

    def _put_media(self, media: Media, task: Task) -> None:
        with os.fdopen(task.descriptors.pop(), "rb") as file:
            file.seek(0)
            data = file.read(media.size)
        if self.engine.encoder is not None and len(data) == media.size:
            self.engine.encoder.keep_data(media, data)

    # --- state ----------------------------------------------------------------------------------------------------------

    def _save_state(self, _: None, task: Task) -> int:
        from llamacli.engine.runtime import state_file

        state = self.engine.contexts.capture_state()
        if state is None:
            return 0
        with os.fdopen(task.descriptors.pop(), "wb") as file:
            file.write(state_file.pack(state))
        return len(state.tokens)

    def _load_state(self, name: str, task: Task) -> int:
        from llamacli.engine.runtime import state_file

        with os.fdopen(task.descriptors.pop(), "rb") as file:
            return self.engine.contexts.restore_state(state_file.read_open(file, name))

    def _stage_prompt(self, asked: EvaluatedPrompt, task: Task) -> None:
        with os.fdopen(task.descriptors.pop(), "r+b") as file:
            self.engine.stage_prompt(asked.tokens, file, asked.size)

    def _capture_prompt(self, prompt: tuple[int, ...], task: Task) -> CapturedPrompt:
        with os.fdopen(task.descriptors.pop(), "r+b") as file:
            return self.engine.capture_prompt(prompt, file)


def _jobs(task: Task) -> Iterator[Job | None]:
    """The jobs that the parent feeds: many before the first answer, to choose the context, then a few at a time."""
    from llamacli.engine.generation.job_window import LOOK_AHEAD

    for asked in task.fed(itertools.chain([LOOK_AHEAD], itertools.repeat(_JOBS_AT_ONCE))):
        yield None if asked is None else Job(number=asked.number, turn=asked.turn, params=asked.params)
