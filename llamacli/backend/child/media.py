"""Pictures and sounds on their way to the child: each goes there once, and messages only refer to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from llamacli.backend.child import contract
from llamacli.backend.child.process.child import Child
from llamacli.backend.nameless_file import nameless_file
from llamacli.engine.chat.message import Message
from llamacli.engine.chat.question import Question
from llamacli.engine.chat.turn import Turn
from llamacli.engine.generation.job import Job
from llamacli.engine.media.media import Media

MOST_IN_FLIGHT = 1 << 29
"""Bytes of pictures and sounds of the jobs that the child works on, at most: half of what it keeps."""


def media_of(source: Question | Turn | Sequence[Message]) -> list[Media]:
    """Return the pictures and sounds of a question, a turn or messages."""
    if isinstance(source, Turn):
        return [media for _, media in source.prompt.media]
    if isinstance(source, Question):
        return [*source.media, *media_of(source.conversation)]
    return [media for message in source for media in message.media]


def send_media(child: Child, media: Sequence[Media]) -> None:
    """Hand over what the child does not have. Raises as `Child.call`."""
    known = {one.id: one for one in media if one.data}
    missing: tuple[str, ...] = child.call(contract.MISSING_MEDIA, tuple(known)) if known else ()
    for identity in missing:
        with nameless_file() as file:
            file.write(known[identity].data)
            child.call(contract.PUT_MEDIA, known[identity], descriptors=[file.fileno()])


def with_data(turn: Turn, media: Sequence[Media]) -> Turn:
    """Return a turn that came from the child with the data of its pictures and sounds, in case that the child loses them."""
    if not turn.prompt.media:
        return turn
    known = {one.id: one for one in media}
    places = tuple((place, known.get(one.id, one)) for place, one in turn.prompt.media)
    return dataclasses.replace(turn, prompt=dataclasses.replace(turn.prompt, media=places))


def bounded(jobs: Iterator[Job | None], in_flight: dict[int, Job]) -> Iterator[Job | None]:
    """Yield jobs as long as the pictures and sounds of those in flight are not too large together, and None until they are."""
    for job in jobs:
        while job is not None and in_flight and _size(job) and _size(job, *in_flight.values()) > MOST_IN_FLIGHT:
            yield None
        yield job


def _size(*jobs: Job) -> int:
    sizes = {one.id: one.size for job in jobs for one in media_of(job.turn)}
    return sum(sizes.values())
