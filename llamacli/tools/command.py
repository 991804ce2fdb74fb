"""Execution of a tool's command: no shell, arguments as JSON on standard input, bounded time and bounded output.

The command leads its own process group, without a terminal: it cannot prompt for a password or read the keyboard. When it is
stopped or has exited, the remaining processes of its group are killed.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from llamacli.tools.outcome import Clip, Outcome

SECONDS = 30.0
"""The default time limit of a command in seconds."""

_ERROR_HEAD, _ERROR_TAIL = 1 << 10, 3 << 10
_SHOWN_BYTES = 64 << 10
_CHUNK = 64 << 10
_POLL_SECONDS = 0.05
_PAUSE_SECONDS = 0.005
_GRACE_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program and its fixed arguments. `environ` is its whole environment; `folder` None means the current directory."""

    words: tuple[str, ...]
    environ: Mapping[str, str]
    folder: Path | None = None
    seconds: float = SECONDS

    def run(self, arguments: str, cancelled: threading.Event, on_text: Callable[[str], None]) -> Outcome:
        """Run the command with `arguments`, JSON text, until it exits, its time is up or `cancelled` is set.

        `on_text` receives the output as it arrives, limited to the first 64 KiB.
        """
        try:
            process = subprocess.Popen(
                self.words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self.folder,
                env=dict(self.environ),
                start_new_session=True,
                bufsize=0,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            return Outcome("", f"[{self.words[0]} cannot be run: {reason}]", failed=True)
        with process, _Running(process, arguments.encode("utf-8", "replace"), on_text) as running:
            return running.wait(self.seconds, cancelled)


class _Running:
    """A running command. Leaving its `with` block kills its process group."""

    def __init__(self, process: subprocess.Popen[bytes], data: bytes, on_text: Callable[[str], None]) -> None:
        self._process = process
        self._data = memoryview(data)
        self._on_text = on_text
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._showable = _SHOWN_BYTES
        self._output = Clip()
        self._error = Clip(_ERROR_HEAD, _ERROR_TAIL)
        self._selector = selectors.DefaultSelector()
        for pipe, events in (
            (process.stdin, selectors.EVENT_WRITE),
            (process.stdout, selectors.EVENT_READ),
            (process.stderr, selectors.EVENT_READ),
        ):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, events)

    def wait(self, seconds: float, cancelled: threading.Event) -> Outcome:
        """Transfer data until the command ends, its time is up or `cancelled` is set."""
        deadline = time.monotonic() + seconds
        while not self._has_ended():
            if cancelled.is_set() or time.monotonic() > deadline:
                return self._stopped(seconds, by_user=cancelled.is_set())
            if self._is_open():
                self._transfer(_POLL_SECONDS)
            else:  # it closed its output and still runs
                cancelled.wait(_PAUSE_SECONDS)
        return self._finished()

    def _finished(self) -> Outcome:
        self._kill()
        status = self._process.wait()
        notes = [] if status == 0 else [f"[exit status {status}]" if status > 0 else f"[killed by signal {-status}]"]
        return self._outcome(notes, failed=status != 0)

    def _stopped(self, seconds: float, *, by_user: bool) -> Outcome:
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_SECONDS
        while not self._has_ended() and time.monotonic() < deadline:
            self._transfer(_POLL_SECONDS)
        self._kill()
        note = "[stopped by the user]" if by_user else f"[stopped: it took longer than {seconds:g} seconds]"
        return self._outcome([note], failed=True)

    def _outcome(self, notes: list[str], *, failed: bool) -> Outcome:
        error = self._error.text().strip()
        return Outcome(self._output.text(), "\n".join([*notes, *(["[standard error]", error] if error else [])]), failed)

    def _is_open(self) -> bool:
        return any(key.events == selectors.EVENT_READ for key in self._selector.get_map().values())

    def _has_ended(self) -> bool:
        """Return whether the process has exited, without reaping it: until then its group id cannot be reused."""
        if not hasattr(os, "waitid"):
            return self._process.poll() is not None
        if self._process.returncode is not None:
            return True
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def _transfer(self, seconds: float) -> None:
        """Write and read once, waiting up to `seconds`."""
        for key, _ in self._selector.select(seconds):
            pipe: IO[bytes] = key.fileobj  # type: ignore[assignment]  # the object that was registered
            if key.events == selectors.EVENT_WRITE:
                self._write(pipe)
            else:
                self._read(pipe)

    def _write(self, pipe: IO[bytes]) -> None:
        with contextlib.suppress(BlockingIOError):
            try:
                self._data = self._data[os.write(pipe.fileno(), self._data) :] if self._data else self._data
            except BrokenPipeError:  # it does not read its arguments
                self._data = self._data[:0]
            if not self._data:
                self._close(pipe)

    def _read(self, pipe: IO[bytes]) -> None:
        try:
            data = os.read(pipe.fileno(), _CHUNK)
        except BlockingIOError:
            return
        if not data:
            self._close(pipe)
        elif pipe is self._process.stdout:
            self._output.add(data)
            self._show(data)
        else:
            self._error.add(data)

    def _show(self, data: bytes) -> None:
        text = self._decoder.decode(data[: self._showable])
        self._showable = max(self._showable - len(data), 0)
        if text:
            self._on_text(text)

    def _close(self, pipe: IO[bytes]) -> None:
        self._selector.unregister(pipe)
        pipe.close()

    def _signal(self, number: signal.Signals) -> None:
        """Signal the group, unless its leader is reaped and the group id may have been reused."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _kill(self) -> None:
        """Kill the group and drain the pipes, for a limited time: processes that left the group may hold them open."""
        self._signal(signal.SIGKILL)
        deadline = time.monotonic() + _GRACE_SECONDS
        while self._is_open() and time.monotonic() < deadline:
            self._transfer(_POLL_SECONDS)
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()
        self._selector.close()
