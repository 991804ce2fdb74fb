"""The real program in a process of its own, with a fake engine: `fake_program.py MODE ARGUMENTS...`.

MODE is how the engine behaves: `plain`; `endless` (a word every 10 ms); `prefill` (long in C, but cancel is noticed);
`stuck` and `loading` (long in C, and nothing is noticed); `big` (much text).
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import time
from pathlib import Path

from fakes import FakeEngine

from llamacli.cli.boundary import run_program
from llamacli.cli.framework.console import Console
from llamacli.cli.framework.context import AppContext
from llamacli.engine.events import Finished, Timings, Token, Usage


def say(word: bytes) -> None:
    """Tells the test how far the program is."""
    os.write(2, word + b"\n")


def compute_in_c(seconds: float) -> None:
    """Stays in C without the interpreter's lock, as a prefill does: no Python signal handler runs meanwhile."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", max(round(rounds_per_second() * seconds), 1))


@functools.cache
def rounds_per_second() -> float:
    """How fast this machine hashes, measured once: longer than a signal may take would hide one."""
    rounds, started = 20_000, time.perf_counter()
    hashlib.pbkdf2_hmac("sha256", b"", b"", rounds)
    return rounds / (time.perf_counter() - started)


class SlowEngine(FakeEngine):
    """An engine that takes its time, in one of the ways of the module's docstring."""

    mode = "plain"

    def open(self, path, model, context, *, child=None, on_load=None):
        if self.mode == "loading":
            say(b"loading")
            compute_in_c(20)
        return super().open(path, model, context, on_load=on_load)

    def cancel(self):
        say(b"cancel")
        super().cancel()

    def generate(self, prompt, params, *, guidance=None, samples=1):
        made = 0
        if self.mode == "plain":
            yield from super().generate(prompt, params, guidance=guidance, samples=samples)
            return
        say(b"ready")
        if self.mode == "stuck":
            yield Token(0, 1, b"some text", "some text")
            compute_in_c(20)
        while not self.cancelled and (self.mode != "big" or made < 5000):
            made += 1
            if self.mode == "prefill":
                compute_in_c(0.02)
            else:
                time.sleep(0.01 if self.mode == "endless" else 0)
                yield Token(0, made, b"word ", "word " * (1 if self.mode == "endless" else 100))
        yield Finished(0, "cancelled" if self.cancelled else "stop", Usage(1, made), Timings(1, 1.0, made, 1.0))

    def close(self):
        say(b"engine freed")
        super().close()


def main() -> int:
    """Runs the command line behind MODE."""
    engine = SlowEngine()
    engine.mode = sys.argv[1]
    app = AppContext(
        console=Console.system(),
        open_engine=engine.open,
        find_model=lambda app, reference, *, offline: Path(reference or "demo.gguf"),
        find_projector=lambda *_, **__: None,
    )
    return run_program(sys.argv[2:], app)


if __name__ == "__main__":
    sys.exit(main())
