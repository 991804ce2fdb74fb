"""The methods of an engine in a child: what both sides know of each other."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from llamacli.backend.child.wire.codec import Variants, decode
from llamacli.backend.child.wire.method import Method
from llamacli.engine.chat.message import Message
from llamacli.engine.chat.question import Question
from llamacli.engine.chat.rendering import Rendering
from llamacli.engine.chat.turn import Turn
from llamacli.engine.constraint.guidance import Constraint
from llamacli.engine.events import Answer, Failed, NextToken, Piece, Prefill
from llamacli.engine.generation.room import Room
from llamacli.engine.media.media import Media
from llamacli.engine.params import ContextParams, Description, GenerationParams, ModelParams
from llamacli.engine.runtime.prompt_identity import CapturedPrompt, PromptIdentity

_MOST_KNOWN_BYTES: Final = 4096
"""Bytes of parameters that are remembered: thousands of biases are not."""


class OpenModel(msgspec.Struct, frozen=True):
    """Arguments of `OPEN`: the file, and the parameters of model and context."""

    path: str
    model: ModelParams
    context: ContextParams


class OpenedModel(msgspec.Struct, frozen=True):
    """A loaded model: what does not change as long as it is loaded."""

    load_ms: float
    notes: tuple[str, ...]
    description: Description
    recommended_sampling: Mapping[str, str]
    prompts: PromptIdentity | None


class ChatTurn(msgspec.Struct, frozen=True):
    """Arguments of `CHAT_TURN`."""

    messages: tuple[Message, ...]
    rendering: Rendering | None
    template: str | None
    constraint: Constraint | None
    budget: int | None


class TextTurn(msgspec.Struct, frozen=True):
    """Arguments of `TEXT_TURN`."""

    text: str
    constraint: Constraint | None


class StartedAnswer(msgspec.Struct, frozen=True):
    """Arguments of `ANSWER_TOKENS`."""

    turn: Turn
    messages: tuple[Message, ...]
    rendering: Rendering
    template: str | None


class AnswerRequest(msgspec.Struct, frozen=True):
    """Arguments of `ANSWER`. `asks_for_room`: the caller answers `RoomWanted`."""

    turn: Turn
    params: GenerationParams | None
    samples: int
    started: tuple[int, ...]
    closes_gap: bool
    asks_for_room: bool


class AskRequest(msgspec.Struct, frozen=True):
    """Arguments of `ASK` and `ASK_WHOLE`. A prompt of more than `most` tokens is not answered: its turn is the only item.

    `params` are packed `GenerationParams`, see `params_of`.
    """

    question: Question
    params: msgspec.Raw
    samples: int
    most: int


class WholeRequest(msgspec.Struct, frozen=True):
    """Arguments of `ANSWER_WHOLE`; `params` as those of `AskRequest`."""

    turn: Turn
    params: msgspec.Raw
    samples: int


class WholeAnswers(msgspec.Struct, frozen=True):
    """Result of `ANSWER_WHOLE` and `ASK_WHOLE`: the answers, or the turn of a prompt that is too long for one call."""

    answers: tuple[Answer, ...] = ()
    turn: Turn | None = None


class RoomWanted(msgspec.Struct, frozen=True):
    """An item of `ANSWER`: the context is full after so many tokens of the answer. The caller feeds a `Room` or None."""

    tokens: int


class JobRequest(msgspec.Struct, frozen=True):
    """An item that is fed to `ANSWER_MANY`."""

    number: int
    turn: Turn
    params: GenerationParams


class EvaluatedSize(msgspec.Struct, frozen=True):
    """Result of `STATE_SIZE`: tokens in the cache, and bytes of the file that would hold them."""

    cached_tokens: int
    state_bytes: int


class EvaluatedPrompt(msgspec.Struct, frozen=True):
    """Arguments of `STAGE_PROMPT`: the tokens of a prompt, and the bytes of its state in the file that comes with the call."""

    tokens: tuple[int, ...]
    size: int


def params_of(packed: bytes) -> GenerationParams:
    """Return parameters from the wire. Most requests have the same ones: to find them takes less time than to check them."""
    return _known_params(packed) if len(packed) <= _MOST_KNOWN_BYTES else _read_params(packed)


def _read_params(packed: bytes) -> GenerationParams:
    params: GenerationParams = decode(packed, GenerationParams)
    return params


_known_params = functools.lru_cache(maxsize=64)(_read_params)


Parallel = int | Literal["auto"] | None

OPEN: Final = Method("open", OpenModel, OpenedModel, items=float)
DESCRIBE: Final = Method("describe", None, Description)
MISSING_MEDIA: Final = Method("missing_media", tuple[str, ...], tuple[str, ...])
PUT_MEDIA: Final = Method("put_media", Media)
RENDER: Final = Method("render", Question, Turn)
CHAT_TURN: Final = Method("chat_turn", ChatTurn, Turn)
TEXT_TURN: Final = Method("text_turn", TextTurn, Turn)
ANSWER_TOKENS: Final = Method("answer_tokens", StartedAnswer, tuple[int, ...])
ENDS_ANSWER: Final = Method("ends_answer", int, bool)
KNOWS_TOOLS: Final = Method("knows_tools", str | None, bool)
CONTEXT_FOR: Final = Method("context_for", tuple[int, int | None], int)
N_CTX: Final = Method("n_ctx", None, int)
RESOLVE_BIASES: Final = Method("resolve_biases", tuple[tuple[int | str, float], ...], tuple[tuple[int, float], ...])
TOKENIZE: Final = Method("tokenize", tuple[str, bool, bool], list[int])
DETOKENIZE: Final = Method("detokenize", list[int], bytes)
PIECES: Final = Method("pieces", list[int], list[bytes])
ANSWER: Final = Method(
    "answer", AnswerRequest, items=Variants(Piece, Prefill, Answer, RoomWanted), feeds=tuple[Room | None], is_retried=True
)
ASK: Final = Method("ask", AskRequest, items=Variants(Piece, Prefill, Answer, Turn), is_retried=True)
ANSWER_WHOLE: Final = Method("answer_whole", WholeRequest, WholeAnswers, is_retried=True)
ASK_WHOLE: Final = Method("ask_whole", AskRequest, WholeAnswers, is_retried=True)
ANSWER_MANY: Final = Method(
    "answer_many", Parallel, items=Variants(Piece, Prefill, Answer, Failed), feeds=JobRequest | None, is_retried=True
)
KEEP_PREFIXES: Final = Method("keep_prefixes", int)
SAVE_STATE: Final = Method("save_state", None, int)
LOAD_STATE: Final = Method("load_state", str, int)
HELD_TOKENS: Final = Method("held_tokens", tuple[int, ...], int)
STAGE_PROMPT: Final = Method("stage_prompt", EvaluatedPrompt)
CAPTURE_PROMPT: Final = Method("capture_prompt", tuple[int, ...], CapturedPrompt)
STATE_SIZE: Final = Method("state_size", None, EvaluatedSize)
NEXT_TOKENS: Final = Method("next_tokens", str, list[NextToken])
CANCEL: Final = Method("cancel", None)
