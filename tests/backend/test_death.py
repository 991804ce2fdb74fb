"""A child that ends itself because of what it was given: an error for whoever gave it, a death for the others."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator

import pytest

from llamacli.backend.child import contract
from llamacli.backend.child.process.child import Child
from llamacli.backend.child.process.launch import Launched
from llamacli.backend.child.wire.frames import Call, Channel, Start, ToChild
from llamacli.backend.child.work.limits import EXIT_MEMORY, EXIT_SECONDS, EXIT_TEXT_MEMORY, EXIT_TEXT_SECONDS
from llamacli.errors import EngineDiedError, LlamacliError, TemplateError, UsageError

NO_PROCESS = 1 << 30


class Ending:
    """The other end of a connection: receives so many calls, and ends with a status."""

    def __init__(self, calls: int, status: int) -> None:
        ours, theirs = socket.socketpair()
        self._channel = Channel(theirs)
        self._calls = calls
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        self.child = Child(Launched(NO_PROCESS, ours, io.BytesIO(), lambda: status), Start((), "off", 30), patience=60)

    def _serve(self) -> None:
        while self._calls:
            self._calls -= isinstance(self._channel.receive(ToChild), Call)
        self._channel.close()

    def close(self) -> None:
        self.child.close()
        self._thread.join()


@pytest.fixture
def endings() -> Iterator[list[Ending]]:
    opened: list[Ending] = []
    yield opened
    for ending in opened:
        ending.close()


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (EXIT_SECONDS, TemplateError, "the chat template takes more than 2 s of processor time"),
        (EXIT_MEMORY, TemplateError, "the chat template takes more than 200 MiB of memory"),
        (EXIT_TEXT_SECONDS, UsageError, "tokenizing the text takes too much time"),
        (EXIT_TEXT_MEMORY, UsageError, "tokenizing the text takes too much memory"),
    ],
)
def test_who_asked_is_told_what_took_too_long(
    endings: list[Ending], status: int, kind: type[LlamacliError], message: str
) -> None:
    endings.append(Ending(1, status))
    child = endings[0].child
    with pytest.raises(kind) as caught:
        child.call(contract.KNOWS_TOOLS, "{{ messages }}")
    assert str(caught.value) == message
    with pytest.raises(EngineDiedError, match=f"the engine ended itself: {message}"):
        child.call(contract.N_CTX)


def test_answers_in_progress_end_with_a_death_because_they_are_tried_again(endings: list[Ending]) -> None:
    endings.append(Ending(2, EXIT_SECONDS))
    child = endings[0].child
    answers = child.stream(contract.ANSWER_MANY, 1, source=lambda _: ([], True))
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            list(answers)
        except LlamacliError as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    with pytest.raises(TemplateError):
        child.call(contract.KNOWS_TOOLS, "{{ messages }}")
    thread.join(10)
    assert [type(error) for error in caught] == [EngineDiedError]
