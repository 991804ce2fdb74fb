"""Mutants of model files through commands, each as a user's process of its own, with its engine's process.

The process is forked instead of started, from one that has imported everything: a case then takes a tenth of the time. What
counts is how the user's process ends: by itself, with one line that says why, and with a status that means what happened.
"""

from __future__ import annotations

import functools
import importlib
import os
import random
import re
import resource
import signal
import sys
import tempfile
from pathlib import Path
from typing import IO, Final

from forked import Outcome

WALL_SECONDS: Final = 90

REFUSALS: Final = (3, 4, 7)
"""Statuses of a model that cannot be used: not sound, too large, or deadly for the engine."""

_OF_BATCHES: Final = {"embed": 6, "bench": 6}
"""Commands that go on after the failure of a text or a test, and the status with which they end then."""

_ENGINE = ("-t", "1", "-c", "64", "-b", "32", "-ub", "32")
_ONE_TOKEN = (*_ENGINE, "-n", "1", "--temp", "0", "--ignore-eos")

LINES: Final[tuple[tuple[str, ...], ...]] = (
    ("run", "-m", "MODEL", *_ONE_TOKEN, "Hello 日本"),
    ("run", "-m", "MODEL", *_ONE_TOKEN, "--raw", "Hello <|im_end|>"),
    ("run", "-m", "MODEL", *_ONE_TOKEN, "--choices", "a,b", "Hello"),
    ("run", "-m", "MODEL", "--dry-run", "Hello"),
    ("chat", "-m", "MODEL", *_ONE_TOKEN, "--script", "MESSAGES"),
    ("tokenize", "-m", "MODEL", "Hello  日本\n\n 1234567 aaaaaaaaaa <|im_start|>"),
    ("tokenize", "-m", "MODEL", "--json", "Hello"),
    ("embed", "-m", "MODEL", "-t", "1", "Hello world"),
    ("info", "MODEL"),
    ("info", "MODEL", "--check"),
    ("info", "MODEL", "--fit", "-c", "64"),
    ("info", "MODEL", "--json", "--full"),
    ("bench", "-m", "MODEL", "-t", "1", "-p", "8", "-n", "2", "-r", "1", "--no-warmup", "--no-save"),
    ("models", "quantize", "MODEL", "OUTPUT", "Q8_0"),
    ("grammar", "allowed", "json", "{", "-m", "MODEL"),
)  # fmt: skip
"""What is done to a mutant: one of these command lines, chosen by chance."""

_PRELOADED = (
    "llamacli.backend.child.process.start", "llamacli.backend.child.work.main", "llamacli.backend.child.engine",
    "llamacli.backend.child.services.engine", "llamacli.backend.child.services.embedder",
    "llamacli.backend.child.services.tokenizer", "llamacli.backend.child.services.inspection",
    "llamacli.backend.child.services.quantizer", "llamacli.bench.child.service", "llamacli.cli.boundary",
    "llamacli.cli.program", "llamacli.cli.run.command", "llamacli.cli.run.session", "llamacli.cli.run.answer",
)  # fmt: skip


def command_line(chance: random.Random, model: Path) -> list[str]:
    """Return a command line for a model."""
    places = {"MODEL": model, "MESSAGES": model.with_name("messages.txt"), "OUTPUT": model.with_name("quantized.gguf")}
    places["MESSAGES"].write_text("Hello\n", encoding="utf-8")
    places["OUTPUT"].unlink(missing_ok=True)
    return [str(places.get(word, word)) for word in chance.choice(LINES)]


def run_command(arguments: list[str], home: Path) -> Outcome:
    """Run a command line in a forked process, and return how that ended. `home` is the user's folder."""
    _preload()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            _become_program(arguments, home, output, errors)
        _, status = os.waitpid(child, 0)
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    return _judged(os.waitstatus_to_exitcode(status), said, arguments)


@functools.cache
def _preload() -> None:
    for name in _PRELOADED:
        importlib.import_module(name)


def _become_program(arguments: list[str], home: Path, output: IO[bytes], errors: IO[bytes]) -> None:
    """Turn this process into the program. Does not return."""
    for number, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output.fileno()), (2, errors.fileno())):
        os.dup2(source, number)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(WALL_SECONDS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name in ("HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        os.environ[name] = str(home)
    os.environ["COLUMNS"] = "80"
    sys.argv = ["llamacli", *arguments]
    try:
        from llamacli.cli import main

        main()
    except BaseException:  # noqa: BLE001 - it would be a traceback of the program
        sys.excepthook(*sys.exc_info())
    os._exit(1)


def _judged(status: int, said: str, arguments: list[str]) -> Outcome:
    """Return how a command ended, in the fuzzer's terms."""
    about = {"line": " ".join(arguments), "status": status}
    failures = re.findall(r"^llamacli: error: .*$", said, re.MULTILINE)
    if status == -signal.SIGALRM:
        return Outcome("hang", said, about)
    if status < 0:
        return Outcome("died", f"{signal.Signals(-status).name} {said}", about)
    if "Traceback" in said or "--debug shows the traceback" in said:
        return Outcome("traceback", said, about)
    if any(not line.startswith("llamacli: ") for line in said.splitlines()):
        return Outcome("noise", said, about)
    if status == 0:
        return Outcome("noise", said, about) if failures else Outcome("done", said, about)
    if len(failures) != 1 or not said.endswith(f"{failures[0]}\n"):
        return Outcome("noise", said, about)
    is_expected = status in (*REFUSALS, _OF_BATCHES.get(arguments[0]))
    return Outcome("refused" if is_expected else "status", failures[0], about)
