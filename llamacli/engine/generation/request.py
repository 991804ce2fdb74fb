"""Requests of the scheduler: prompt tokens with the parameters of their answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from llamacli.engine.chat.turn import Turn
from llamacli.engine.constraint.guidance import Guidance
from llamacli.engine.media.media import Media
from llamacli.engine.params import GenerationParams
from llamacli.errors import ContextFullError
from llamacli.values import dataclass

Processor = Callable[[list[int], "memoryview[float]"], None]
Criterion = Callable[[list[int], "memoryview[float]"], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Request of one answer: prompt token ids and parameters.

    The last `started` tokens of the prompt are the beginning of the answer: they are events and under the guidance as if they
    had been chosen, but do not count for `max_tokens`. `closes_gap`: what the cache holds of the prompt behind a gap is moved
    up instead of evaluated again, so that the tokens in the gap still have a faint influence.
    `preserved`: control tokens whose text belongs to the answer (marks of tool calls, for example); others are left out.
    `guidance` constrains the answer. `processor` gets the tokens so far and the logits, (n_vocab,) floats, before each choice,
    and may change the logits. `criterion` gets the same, and ends the answer before the choice by returning True. `media` are
    those of the prompt (see `Prompt`).
    """

    prompt: tuple[int, ...]
    params: GenerationParams
    started: int = 0
    closes_gap: bool = False
    preserved: frozenset[int] = frozenset()
    guidance: Guidance | None = None
    processor: Processor | None = None
    criterion: Criterion | None = None
    media: tuple[tuple[int, Media], ...] = ()


def request_of(
    turn: Turn,
    params: GenerationParams | None = None,
    *,
    processor: Processor | None = None,
    criterion: Criterion | None = None,
    started: Sequence[int] = (),
    closes_gap: bool = False,
) -> Request:
    """Return the scheduler's request for a turn. `started` comes in place of the turn's own."""
    started = started or turn.started
    params, prompt = params or GenerationParams(), turn.prompt
    return Request(
        prompt=(*prompt.tokens, *started),
        params=dataclasses.replace(params, stop=(*params.stop, *prompt.stops)) if prompt.stops else params,
        started=len(started),
        closes_gap=closes_gap,
        preserved=prompt.preserved,
        guidance=turn.guidance,
        processor=processor,
        criterion=criterion,
        media=prompt.media,
    )


def check_length(request: Request, n_ctx: int, n_ctx_train: int) -> None:
    """Check that a context of `n_ctx` tokens holds the prompt. Raises ContextFullError."""
    needed = len(request.prompt)
    if needed > n_ctx:
        enough = -(-(needed + 256) // 256) * 256
        raise ContextFullError(
            f"the prompt has {needed} tokens, the context holds {n_ctx}",
            needed=needed,
            available=n_ctx,
            parameter="n_ctx",
            hint=f"n_ctx={enough} is enough"
            if needed <= n_ctx_train
            else f"shorten the prompt; the model was trained with {n_ctx_train} tokens",
        )
