"""Time from the start of `llamacli chat --continue "…"` to the first token, with the saved state of the session and without.

    python tests/performance/bench_chat_resume.py MODEL [--pairs 5] [--tokens 2000]

Runs are interleaved, on a pseudo-terminal, each with a copy of the same session. Both times include the start of the program
and the loading of the model. Ratios below 1 mean that the state saves time.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pty
import shutil
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path

import peers

from llamacli.store.sessions.store import SavedMessage, SessionStore

WORDS = "the model reads a long text about rivers and mountains before it answers a short question "
END = "This is the end of it."
MESSAGE = "And what else?"


def first_token(model: Path, data: Path, *flags: str) -> float:
    """Return the seconds from the start of the program until its answer begins; then leave the conversation properly."""
    command = [
        *peers.LLAMACLI, "chat", "-m", str(model), "--continue", MESSAGE, "-n", "2", "-c", "4096",
        "--ignore-eos", "--temp", "0", "--plain", "--color", "never", *flags,
    ]  # fmt: skip
    started = time.perf_counter()
    terminal, inner = pty.openpty()
    process = subprocess.Popen(
        command, stdin=inner, stdout=inner, stderr=subprocess.DEVNULL,
        env={**os.environ, "LLAMACLI_DATA_DIR": str(data), "TERM": "dumb"},
    )  # fmt: skip
    os.close(inner)
    shown = b""
    before = f"{END}\r\n\r\n".encode()
    while not shown.partition(before)[2]:
        shown += os.read(terminal, 4096)
    seconds = time.perf_counter() - started
    os.write(terminal, b"/quit\r")
    with contextlib.suppress(OSError):  # Linux reports the end of the program so
        while os.read(terminal, 4096):
            pass
    os.close(terminal)
    if process.wait():
        raise subprocess.CalledProcessError(process.returncode, command)
    return seconds


def prepare(model: Path, data: Path, tokens: int) -> None:
    """Create a session of about that number of tokens, which was evaluated and left once."""
    os.environ["LLAMACLI_DATA_DIR"] = str(data)
    text = " ".join((WORDS * (tokens // len(WORDS.split()) + 1)).split()[:tokens])
    with closing(SessionStore()) as store:
        session = store.create(model=model.name)
        for number, (role, content) in enumerate((("user", text), ("assistant", END)), start=1):
            message = SavedMessage(number, number - 1 or None, {"role": role, "content": content})
            store.put(session.id, message, text=content)
        store.update(session.id, head=2, system=None, model=model.name)
    shutil.copytree(data, data.with_name("before"))
    first_token(model, data)
    (state,) = (data / "sessions").glob("*.state")
    size = state.stat().st_size
    shutil.copytree(data.with_name("before"), data, dirs_exist_ok=True)
    for name in ("sessions.db-wal", "sessions.db-shm"):
        (data / "sessions" / name).unlink(missing_ok=True)
    print(f"state {size / 2**20:.1f} MiB")


def main() -> None:
    """Print the size of the state and the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=lambda text: Path(text).resolve())
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=2000, help="approximate length of the conversation")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        prepare(options.model, data, options.tokens)

        def measured(*flags: str) -> float:
            copy = Path(folder) / "copy"
            shutil.copytree(data, copy)
            try:
                return first_token(options.model, copy, *flags)
            finally:
                shutil.rmtree(copy)

        result = peers.interleaved(measured, lambda: measured("--no-state"), options.pairs)
        print(f"seconds to the first token, with the state and without: {result}")


if __name__ == "__main__":
    main()
