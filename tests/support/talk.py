"""A conversation in this process: keys through a pipe of prompt_toolkit, the screen in memory, an engine with known answers."""

from __future__ import annotations

import os
import re
import signal
import time
from dataclasses import dataclass, field

from fakes import FakeEngine, Result, invoke
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from llamacli.cli.framework.console import Terminals

TERMINAL = Terminals(stdin=True, stdout=True)
CTRL_C, CTRL_D, ENTER = "\x03", "\x04", "\r"


@dataclass
class Talker(FakeEngine):
    """Answers with the next of `answers`, each a sequence of pieces, and notes all conversations that it was asked to answer.

    `interrupt_at` sends a SIGINT before that piece of the first answer.
    """

    answers: list[tuple[str, ...]] = field(default_factory=list)
    interrupt_at: int | None = None
    refuses: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.asked: list[list[tuple[str, str]]] = []
        self.seen_params = []

    def generate(self, prompt, params, *, guidance=None, samples=1, started=(), closes_gap=False):
        self.asked.append([(message["role"], message["content"]) for message in self.messages])
        self.seen_params.append(params)
        if self.refuses:
            raise self.refuses.pop(0)
        self.cancelled = False
        pieces = self.pieces
        self.pieces = self.answers.pop(0) if self.answers else pieces
        at, self.interrupt_at = self.interrupt_at, None
        for number, event in enumerate(super().generate(prompt, params, started=started)):
            if at is not None and number == at:
                os.kill(os.getpid(), signal.SIGINT)
                deadline = time.monotonic() + 5
                while not self.cancelled and time.monotonic() < deadline:
                    time.sleep(0.01)
            yield event
        self.pieces = pieces


def talk(keys: str, *arguments: str, engine: FakeEngine | None = None, **more) -> Result:
    """What `llamacli chat ARGUMENTS` does when these keys are typed. Ctrl-C and Ctrl-D come at the end by themselves."""
    with create_pipe_input() as source, create_app_session(input=source, output=DummyOutput()):
        source.send_text(keys + CTRL_C + CTRL_D)
        return invoke("chat", *arguments, terminals=TERMINAL, engine=engine or Talker(), **more)


def without_greeting(text: str) -> str:
    """The text after the line with which a conversation begins."""
    return re.sub(r"^.*?Ctrl-D\s+leaves(\x1b\[0m)?\n", "", text, count=1, flags=re.DOTALL)


def plain(text: str) -> str:
    """The text without the styles."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
