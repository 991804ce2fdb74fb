"""A real terminal for tests: a program in a pane of a tmux server of its own, driven by keys, its screen read back."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

_POLL_SECONDS = 0.05
_MOST_POLLS = 800
"""How often to look for something. Not how long: other work may keep the machine busy, or hold it."""

_OPTIONS = (
    ("set", "-g", "status", "off"),
    ("set", "-g", "escape-time", "0"),
    ("set", "-g", "history-limit", "5000"),
    ("set", "-g", "set-clipboard", "on"),
    ("set", "-g", "remain-on-exit", "on"),
    ("set", "-g", "allow-rename", "on"),
    ("set", "-g", "default-terminal", "screen-256color"),
)


def missing() -> str | None:
    """Why there can be no such tests on this machine; None if there can."""
    return None if shutil.which("tmux") else "tmux is not installed"


class Tmux:
    """A tmux server. Leaving its `with` block ends it with all its programs."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="llamacli-"))  # short, as the path of a socket must be
        self._environ = {name: value for name, value in os.environ.items() if name not in ("TMUX", "TMUX_PANE")}
        self._environ |= {"TMUX_TMPDIR": str(self._folder), "LC_ALL": "C.UTF-8"}
        self._count = 0

    def run(self, *arguments: str, data: bytes | None = None) -> str:
        """What a tmux command says."""
        command = ["tmux", "-u", "-f", os.devnull, *arguments]
        done = subprocess.run(command, env=self._environ, input=data, capture_output=True, check=False, timeout=30)
        assert done.returncode == 0, f"{arguments}: {done.stderr.decode()}"
        return done.stdout.decode("utf-8", "replace")

    def start(self, command: Sequence[str], *, environ: Mapping[str, str], width: int = 80, height: int = 24) -> Pane:
        """A program in a window of its own. Only these variables, PATH and the terminal's are in its environment."""
        variables = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **environ}
        words = ["env", "-i", *(f"{name}={value}" for name, value in variables.items()), "TERM=screen-256color", *command]
        self._count += 1
        name = f"s{self._count}"
        options = [word for option in _OPTIONS for word in (*option, ";")] if self._count == 1 else []
        self.run("start-server", ";", *options, "new-session", "-d", "-s", name, "-x", str(width), "-y", str(height), *words)
        return Pane(self, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["tmux", "kill-server"], env=self._environ, capture_output=True, check=False, timeout=30)
        shutil.rmtree(self._folder, ignore_errors=True)


class Pane:
    """A program's terminal."""

    def __init__(self, tmux: Tmux, name: str) -> None:
        self._tmux = tmux
        self._name = name

    def keys(self, *keys: str) -> None:
        """Presses keys by tmux's names: `Enter`, `C-c`, `Up`."""
        self._tmux.run("send-keys", "-t", self._name, *keys)

    def type(self, text: str) -> None:
        """Types a text on one line, without Enter."""
        self._tmux.run("send-keys", "-t", self._name, "-l", text)

    def say(self, text: str) -> None:
        """Types a text and Enter."""
        self.type(text)
        self.keys("Enter")

    def paste(self, text: str) -> None:
        """Pastes a text, between marks if the program asked for them."""
        self._tmux.run("load-buffer", "-b", "pasted", "-", data=text.encode())
        self._tmux.run("paste-buffer", "-d", "-p", "-b", "pasted", "-t", self._name)

    def resize(self, width: int, height: int) -> None:
        """Makes the terminal larger or smaller."""
        self._tmux.run("resize-window", "-t", self._name, "-x", str(width), "-y", str(height))

    def screen(self) -> str:
        """What is to be seen, without blanks at the ends of lines."""
        return self._tmux.run("capture-pane", "-p", "-t", self._name)

    def everything(self) -> str:
        """The screen and what has scrolled off it; lines that the terminal wrapped are whole."""
        return self._tmux.run("capture-pane", "-p", "-J", "-S", "-", "-t", self._name)

    def escapes(self) -> str:
        """Everything with the styles that the terminal would be sent for it."""
        return self._tmux.run("capture-pane", "-p", "-e", "-S", "-", "-t", self._name)

    def ask(self, form: str) -> str:
        """What tmux knows about the pane: `#{pane_title}`."""
        return self._tmux.run("display-message", "-p", "-t", self._name, form).strip()

    def buffers(self) -> str:
        """What programs have put into the clipboard."""
        return self._tmux.run("list-buffers")

    def wait(self, text: str, *, times: int = 1, gone: bool = False) -> str:
        """The whole text as soon as it holds `text` so many times, or, with `gone`, the screen as soon as it does not."""
        for _ in range(_MOST_POLLS):
            shown = self.screen() if gone else self.everything()
            if (shown.count(text) >= times) != gone:
                return shown
            time.sleep(_POLL_SECONDS)
        raise AssertionError(f"waited in vain for {text!r}{' to go' if gone else ''}:\n{shown}")

    def wait_for_end(self) -> int:
        """The exit status of the program, or the number of the signal that killed it, below zero."""
        for _ in range(_MOST_POLLS):
            status = self.ask("#{pane_dead_status}#{?pane_dead_signal,-#{pane_dead_signal},}")
            if status:
                return int(status)
            if self.ask("#{pane_dead}") == "1":  # tmux sometimes overlooks a child that ended
                os.kill(int(self.ask("#{pid}")), signal.SIGCHLD)
            time.sleep(_POLL_SECONDS)
        raise AssertionError(f"it does not end:\n{self.screen()}")

    @property
    def process(self) -> int:
        """The number of the program's process."""
        return int(self.ask("#{pane_pid}"))
