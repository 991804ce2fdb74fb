"""Work in a forked child of the fuzzer, bounded in time and memory; whatever becomes of the child, the fuzzer goes on."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from llamacli.backend.child.work.limits import (
    EXIT_MEMORY,
    EXIT_SECONDS,
    EXIT_TEXT_MEMORY,
    EXIT_TEXT_SECONDS,
    bound_native_work,
)
from llamacli.engine.runtime import bounds
from llamacli.errors import LlamacliError

SECONDS = 10
"""Processor time of one case."""

WALL_SECONDS = 60
MEMORY = 8 << 30
"""Private memory that a case may have, the unused stacks of the tokenizer's threads included."""

_LIMITS = {EXIT_SECONDS: "time", EXIT_TEXT_SECONDS: "time", EXIT_MEMORY: "memory", EXIT_TEXT_MEMORY: "memory"}
"""Statuses with which a child ends itself, and what it had too little of: templates and texts have bounds as in the program."""

Kind = Literal["done", "refused", "died", "traceback", "hang", "memory", "noise", "status"]
Say = Callable[..., None]
"""Adds to what is known about the case: `say(stage="load")`. What was said survives the death of the child."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a case ended. `reason` is the error's message, the traceback, or the last line of the native library.

    "noise" and "status" are of commands: more or less on standard error than one line for a failure, and another exit status
    than those of models that cannot be used.
    """

    kind: Kind
    reason: str = ""
    said: dict[str, Any] = field(default_factory=dict)


def run_forked(work: Callable[[Say], None]) -> Outcome:
    """Run `work` in a child, and return how that ended. Its standard streams go nowhere."""
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            os.close(reading)
            _compute(work, writing, errors.fileno())
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            lines = pipe.read().decode(errors="replace").splitlines()
        _, status = os.waitpid(child, 0)
        errors.seek(0)
        native = errors.read().decode(errors="replace")
    said: dict[str, Any] = {}
    for line in lines:
        with contextlib.suppress(ValueError):
            said |= json.loads(line)
    end = said.pop("end", None)
    if end is not None:
        return Outcome(end["kind"], end["reason"], said)
    number = -os.waitstatus_to_exitcode(status)
    if -number in _LIMITS:
        return Outcome("refused", f"the limit of {_LIMITS[-number]}", said)
    if number in (signal.SIGALRM, signal.SIGXCPU):
        return Outcome("hang", said=said)
    if "bad_alloc" in native or "MemoryError" in native:
        return Outcome("memory", _last(native), said)
    name = signal.Signals(number).name if number > 0 else f"status {-number}"
    return Outcome("died", f"{name} {_last(native)}".strip(), said)


def _compute(work: Callable[[Say], None], pipe: int, errors: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.dup2(errors, 2)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))

    bounds.install(bound_native_work)

    def say(**what: Any) -> None:
        os.write(pipe, json.dumps(what).encode() + b"\n")

    kind: Kind = "done"
    reason = ""
    try:
        work(say)
    except LlamacliError as error:
        kind, reason = "refused", f"{type(error).__name__}: {error}"
    except MemoryError:
        kind, reason = "memory", traceback.format_exc()
    except BaseException:  # noqa: BLE001 - whatever it is, it is the outcome
        kind, reason = "traceback", traceback.format_exc()
    say(end={"kind": kind, "reason": reason})
    os._exit(0)


def _last(text: str) -> str:
    """The line that says why: an assertion, an exception, or the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in reversed(lines):
        if "GGML_ASSERT" in line or "what():" in line or "Assertion" in line or "fatal error" in line:
            return line[-300:]
    return lines[-1][-300:] if lines else ""
