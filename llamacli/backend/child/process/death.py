"""The death of a child: what ended it, in one line, from its exit status and the last words of native code."""

from __future__ import annotations

import logging
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from llamacli.backend.child.process.vitals import Vitals
from llamacli.backend.child.work.limits import (
    EXIT_FILE_MEMORY,
    EXIT_FILE_SECONDS,
    EXIT_MEMORY,
    EXIT_SECONDS,
    EXIT_TEXT_MEMORY,
    EXIT_TEXT_SECONDS,
)  # fmt: skip
from llamacli.engine.runtime.bounds import EXTRA_BYTES, SECONDS
from llamacli.errors import CapacityError, EngineDiedError, LlamacliError, MemoryFullError, TemplateError, UsageError

_LAST_WORDS: Final = 1 << 18
_PATTERNS: Final = (
    re.compile(r"GGML_ASSERT\(.*\)(?= failed)"),
    re.compile(r"GGML_ABORT\(.*\)"),
    re.compile(r"(?<=what\(\):  ).+"),
    re.compile(r"(?<=terminate called after throwing an instance of ')[^']+"),
    re.compile(r"(?<=: )(?:fatal error|error: ).+"),
)
"""What native code writes before it ends the process, the most telling first."""

_STACKS: Final = "Fatal Python error: "
"""The beginning of what Python writes when a signal ends the process: the stacks of its threads."""

_AT_WORK: Final = (
    (
        re.compile(r'/engine/chat/template\.py", line \d+ in (?:render|__init__)$', re.MULTILINE),
        "rendered the chat template",
        "use another template: this one asks for what ends the native library",
    ),
    (re.compile(r'/engine/runtime/vocabulary\.py", line \d+ in _tokenize$', re.MULTILINE), "tokenized the text", None),
    (
        re.compile(r'/engine/media/encoder\.py", line \d+ in \w+$', re.MULTILINE),
        "used the projector",
        "the projector is probably damaged: llamacli info --check says more about it",
    ),
)
"""Functions on the stack, what the child was doing in them, and a hint (None: the hint about the model)."""

_OF_NODES: Final = ("Remote RPC server crashed", "Failed to connect to", "RPC handshake failed")
"""What llama.cpp's RPC backend writes before it ends the process (`ggml-rpc.cpp`)."""

_LONGEST_REASON: Final = 200


_TIME, _MEMORY = f"more than {SECONDS:.0f} s of processor time", f"more than {EXTRA_BYTES >> 20} MiB of memory"
_EXCEEDED: Final[dict[int, tuple[type[LlamacliError], str]]] = {
    EXIT_SECONDS: (TemplateError, f"the chat template takes {_TIME}"),
    EXIT_MEMORY: (TemplateError, f"the chat template takes {_MEMORY}"),
    EXIT_TEXT_SECONDS: (UsageError, "tokenizing the text takes too much time"),
    EXIT_TEXT_MEMORY: (UsageError, "tokenizing the text takes too much memory"),
    EXIT_FILE_SECONDS: (CapacityError, "reading it takes too much time"),
    EXIT_FILE_MEMORY: (CapacityError, "reading it takes too much memory"),
}
"""What a child was doing that ended itself, by its exit status."""


def exceeded(status: int) -> LlamacliError | None:
    """Return the error for whoever asked for what made a child end itself; None if it did not."""
    if status not in _EXCEEDED:
        return None
    kind, message = _EXCEEDED[status]
    return kind(message)


def died(status: int, stderr: IO[bytes], vitals: Vitals, model: Path | None, nodes: Sequence[str] = ()) -> LlamacliError:
    """Return the error that tells of a child's end. `status` is a signal's number, negative, or an exit status.

    `nodes` are the RPC nodes that it used: their end is its end.
    """
    words = last_words(stderr)
    if status == -signal.SIGKILL:
        return _killed(vitals)
    if nodes and any(phrase in words for phrase in _OF_NODES):
        return _lost_node(nodes, words)
    reason = f": {found}" if (found := reason_in(words)) else ""
    hint = f"this model file is probably damaged: llamacli info --check {model}" if model is not None else None
    if limit := exceeded(status):
        return EngineDiedError(f"the engine ended itself: {limit.message}", words=words)
    if status < 0:
        work, hint = _work_in(words, hint)
        where = f" in ggml{reason}" if reason else ""
        return EngineDiedError(f"the engine died ({_signal_name(-status)}{where}){work}", words=words, hint=hint)
    return EngineDiedError(f"the engine ended unexpectedly (status {status}{reason})", words=words, hint=hint)


def _work_in(words: str, hint: str | None) -> tuple[str, str | None]:
    """Return what the child was doing when a signal ended it, as the end of a sentence, and the hint: by default `hint`."""
    stacks = words.rpartition(_STACKS)[2] if _STACKS in words else ""
    for pattern, work, own in _AT_WORK:
        if pattern.search(stacks):
            return f" while it {work}", own or hint
    return "", hint


def _lost_node(nodes: Sequence[str], words: str) -> EngineDiedError:
    from llamacli.backend.rpc import lost_nodes

    lost = lost_nodes(nodes)
    if lost:
        which = f"the RPC node {lost[0]} is gone" if len(lost) == 1 else f"the RPC nodes {', '.join(lost)} are gone"
    else:  # it has started again, or refuses what it was asked
        which = f"the RPC node {nodes[0]}" if len(nodes) == 1 else f"one of the RPC nodes {', '.join(nodes)}"
        which += " broke the connection"
    return EngineDiedError(f"{which}, and the engine with it", words=words)


def hung(seconds: float) -> EngineDiedError:
    """Return the error of a child that was ended because it made no progress."""
    return EngineDiedError(f"the engine hung: no progress for {seconds:.0f} s")


def last_words(stderr: IO[bytes]) -> str:
    """Return the end of what a child wrote to its standard error."""
    end = stderr.seek(0, 2)
    stderr.seek(max(0, end - _LAST_WORDS))
    return stderr.read().decode("utf-8", "replace")


def log_last_words(error: Exception) -> None:
    """Log what native code wrote before the child died of this error, for `-v`."""
    if isinstance(error, EngineDiedError):
        for line in error.words.splitlines():
            logging.getLogger("llamacli.native").info("%s", line)


def reason_in(words: str) -> str:
    """Return the reason in the last words of native code, or an empty string."""
    for pattern in _PATTERNS:
        found = pattern.findall(words)
        if found:
            return " ".join(found[-1].split())[:_LONGEST_REASON]
    return ""


def _killed(vitals: Vitals) -> MemoryFullError:
    """The error of a child that somebody killed: on a machine in want of memory that is the system."""
    used = f"it used {_megabytes(vitals.memory)}" if vitals.memory else "it had just started"
    free = _available_memory()
    rest = f", {_megabytes(free)} are free now" if free is not None else ""
    return MemoryFullError(
        f"the engine was killed (SIGKILL), probably because memory ran out: {used}{rest}",
        hint="use a smaller model, quantization or context",
    )


def _megabytes(count: int) -> str:
    return f"{count / (1 << 20):.0f} MiB"


def _available_memory() -> int | None:
    """Bytes that Linux would give to a process, None elsewhere."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
