"""Continuation of an answer when its context is full: in a larger context, or without its oldest tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator
from contextlib import closing

from llamacli.engine.chat.turn import Turn
from llamacli.engine.events import Event, Finished, Token
from llamacli.engine.params import GenerationParams
from llamacli.values import dataclass


@dataclass(frozen=True, slots=True)
class Room:
    """Continuation of an answer: after this prompt, without its first `left_out` tokens.

    `closes_gap`: what the cache holds behind the tokens that were left out is moved up (see `Request`).
    """

    turn: Turn
    left_out: int = 0
    closes_gap: bool = False


Start = Callable[[Turn, GenerationParams, tuple[int, ...], bool], Generator[tuple[int, Event], None, None]]
"""Start an answer to a turn from tokens, with or without closing a gap."""


def stream_with_room(
    start: Start,
    turn: Turn,
    params: GenerationParams,
    started: tuple[int, ...],
    *,
    closes_gap: bool,
    make_room: Callable[[int], Room | None],
) -> Generator[tuple[int, Event], None, None]:
    """Yield the events of one answer, which starts with the tokens `started`.

    `make_room` is called with the number of its tokens when the context is full; None ends the answer there.
    """
    tokens: list[int] = []
    beginning, known, limit = started, 0, params.max_tokens
    while True:
        room = None
        with closing(start(turn, params, beginning, closes_gap)) as events:
            for seen, (number, event) in _counted(events):
                if isinstance(event, Finished) and event.reason == "context" and (room := make_room(len(tokens))):
                    break
                if isinstance(event, Token):
                    if seen <= known:
                        continue
                    tokens.append(event.id)
                yield number, event
        if room is None:
            return
        turn, closes_gap = room.turn, room.closes_gap
        beginning = tuple(tokens[room.left_out :])
        known = len(beginning)
        if limit is not None:
            params = dataclasses.replace(params, max_tokens=limit - (len(tokens) - len(started)))


def _counted(events: Generator[tuple[int, Event], None, None]) -> Generator[tuple[int, tuple[int, Event]], None, None]:
    """The events, each with the number of tokens up to it."""
    count = 0
    for number, event in events:
        count += isinstance(event, Token)
        yield count, (number, event)
