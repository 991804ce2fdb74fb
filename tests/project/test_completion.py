"""Completions in real shells: what the tab key makes of a line, what it must not run, and how long it takes."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPLETIONS = ROOT / "completions"

SETTINGS = """
[aliases]
qwen = "hf:Qwen/Qwen3-4B-GGUF:Q4_K_M"
"hf:odd/one:Q8_0" = "hf:Qwen/Qwen3-4B-GGUF:Q4_K_M"
"two words" = "x.gguf"
"$(touch broken-in)" = "x.gguf"
"zz`touch broken-in`;touch broken-in" = "x.gguf"
"bad\\u001b[2Jname" = "x.gguf"

[profiles.careful]
temp = 0
"""

LINES = {
    "llamacli mod": ["models"],
    "llamacli models qua": ["models", "quantize"],
    "llamacli run --prof": ["run", "--profile"],
    "llamacli run --profile car": ["run", "--profile", "careful"],
    "llamacli run -m qw": ["run", "-m", "qwen"],
    "llamacli run -m hf:o": ["run", "-m", "hf:odd/one:Q8_0"],
    "llamacli run --model=hf:o": ["run", "--model=hf:odd/one:Q8_0"],
    "llamacli run -m tw": ["run", "-m", "two words"],
    "llamacli run -m zz": ["run", "-m", "zz`touch broken-in`;touch broken-in"],
    "llamacli run -m unus": ["run", "-m", "unusual name.gguf"],
    "llamacli run -m not": ["run", "-m", "not"],
    "llamacli run -m CAP": ["run", "-m", "CAPITALS.GGUF"],
    "llamacli run -m sub/d": ["run", "-m", "sub/deep.gguf"],
    "llamacli run -f note": ["run", "-f", "notes.txt"],
    "llamacli run --file=note": ["run", "--file=notes.txt"],
    "llamacli run --color al": ["run", "--color", "always"],
    "llamacli run -sm la": ["run", "-sm", "layer"],
    "llamacli run -ctk q8": ["run", "-ctk", "q8_0"],
    "llamacli grammar check json_a": ["grammar", "check", "json_arr"],
    "llamacli models quantize notes.txt out.gguf IQ4_N": ["models", "quantize", "notes.txt", "out.gguf", "IQ4_NL"],
    "llamacli config get aliases.q": ["config", "get", "aliases.qwen"],
    "llamacli config set ctx-s": ["config", "set", "ctx-size"],
    "llamacli help pip": ["help", "pipelines"],
    "llamacli help tok": ["help", "tokenize"],
    "llamacli config set color al": ["config", "set", "color", "always"],
    "llamacli config set profiles.x.mmap f": ["config", "set", "profiles.x.mmap", "false"],
}
"""A line on which the tab key is pressed at the end, and the arguments that the program gets then."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolated_home: Path) -> Path:
    """A folder with a few files, settings, and a `llamacli` that notes its arguments and has the real one complete."""
    program = tmp_path / "bin" / "llamacli"
    program.parent.mkdir()
    program.write_text(
        f"""#!/bin/sh
if [ "$1" = --complete ]; then exec '{sys.executable}' -c 'import sys; sys.path.insert(0, "{ROOT}")
from llamacli.cli import main; sys.exit(main())' "$@"; fi
printf '%s\\n' "$@" > "$RECEIVED.part" && mv "$RECEIVED.part" "$RECEIVED"
"""
    )
    program.chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    (work / "sub").mkdir()
    for name in ("unusual name.gguf", "notes.txt", "CAPITALS.GGUF", "sub/deep.gguf", "sub/deep.txt"):
        (work / name).touch()
    settings = tmp_path / "config.toml"
    settings.write_text(SETTINGS)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("LLAMACLI_CONFIG", str(settings))
    monkeypatch.setenv("RECEIVED", str(tmp_path / "received"))
    monkeypatch.setenv("PS1", "$ ")
    monkeypatch.setenv("TERM", "dumb")
    (isolated_home / ".zshrc").write_text(f"fpath=('{COMPLETIONS}' $fpath); autoload -U compinit; compinit -u -D; PS1='$ '\n")
    return work


class Terminal:
    """A shell in which keys are pressed."""

    def __init__(self, *command: str, folder: Path) -> None:
        self.process, self.descriptor = pty.fork()
        if not self.process:
            os.chdir(folder)
            os.execvp(command[0], command)
        self.shown = b""

    def press(self, keys: str, until: Callable[[], bool]) -> None:
        """Writes, and reads what is shown until something is so."""
        os.write(self.descriptor, keys.encode())
        deadline = time.monotonic() + 30
        while not until():
            if time.monotonic() > deadline:
                raise AssertionError(f"{keys!r} led to {self.shown!r}")
            if select.select([self.descriptor], [], [], 0.02)[0]:
                self.shown += os.read(self.descriptor, 65536)

    def is_at_the_prompt(self) -> bool:
        """Whether the shell waits for a line: what is typed before may be thrown away."""
        return b"$ " in self.shown.rpartition(b"\n")[2]

    def close(self) -> None:
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        os.close(self.descriptor)


def received(terminal: Terminal, line: str) -> list[str]:
    """The arguments of the program when the tab key is pressed after `line`, and then the return key."""
    path = Path(os.environ["RECEIVED"])
    path.unlink(missing_ok=True)
    terminal.press(f"{line}\t\n", until=lambda: path.exists() and terminal.is_at_the_prompt())
    return path.read_text().splitlines()


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_tab_key_completes(shell: str, place: Path) -> None:
    if not shutil.which(shell):
        pytest.skip(f"no {shell}")
    options = {"bash": ("--norc", "--noprofile", "-i"), "zsh": ("-i",)}[shell]
    terminal = Terminal(shell, *options, folder=place)
    try:
        load = f"source '{COMPLETIONS}/llamacli'; " if shell == "bash" else ""
        terminal.press(f"{load}echo rea''dy\n", until=lambda: b"ready" in terminal.shown and terminal.is_at_the_prompt())
        found = {line: received(terminal, line) for line in LINES}
    finally:
        terminal.close()
    assert found == LINES
    assert not (place / "broken-in").exists()


@pytest.mark.skipif(not shutil.which("fish"), reason="no fish")
def test_fish_completes(place: Path) -> None:
    for line, arguments in LINES.items():
        offered = offered_by_fish(line, place)
        assert arguments[-1] in offered or (arguments[-1] == line.split()[-1] and not offered), line
    assert not (place / "broken-in").exists()


@pytest.mark.skipif(not shutil.which("fish"), reason="no fish")
def test_fish_offers_models_for_a_model_and_nothing_after_a_switch(place: Path) -> None:
    assert {"CAPITALS.GGUF", "sub/", "unusual name.gguf"} <= set(offered_by_fish("llamacli run -m ", place))
    assert "notes.txt" not in offered_by_fish("llamacli run -m ", place)
    assert offered_by_fish("llamacli run --model=sub/", place) == ["--model=sub/deep.gguf"]
    assert offered_by_fish("llamacli run -h", place) == ["-h"]


def offered_by_fish(line: str, place: Path) -> list[str]:
    """The words that fish offers when the tab key is pressed after `line`."""
    code = f"source {COMPLETIONS}/llamacli.fish; complete -C $argv[1]"
    done = subprocess.run(["fish", "--no-config", "-c", code, line], cwd=place, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [one.split("\t")[0].replace("\\", "") for one in done.stdout.splitlines()]


def test_no_name_with_control_characters_is_offered(place: Path) -> None:
    done = subprocess.run(["llamacli", "--complete", "models", "ba"], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    both = subprocess.run(["llamacli", "--complete", "models", "demo"], capture_output=True, text=True, check=True)
    assert both.stdout.startswith("demo\t")


@pytest.mark.parametrize(("settings", "status"), [("[aliases", 0), ("", 0), (None, 0)])
def test_broken_settings_are_no_obstacle(place: Path, settings: str | None, status: int) -> None:
    path = Path(os.environ["LLAMACLI_CONFIG"])
    path.unlink() if settings is None else path.write_text(settings)
    for kind in ("models", "profiles", "sessions", "keys"):
        done = subprocess.run(["llamacli", "--complete", kind], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (status, "")
        assert ("demo\t" in done.stdout) == (kind == "models")


def test_what_is_not_known_is_refused_silently(place: Path) -> None:
    done = subprocess.run(["llamacli", "--complete", "planets"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_completion_is_fast() -> None:
    """Processor time, which other programs do not disturb much: below 0.15 s, and no Typer, rich or native library."""
    code = (
        f"import os, sys; sys.path.insert(0, {str(ROOT)!r}); from llamacli.cli import main; main(['--complete', 'models'])\n"
        "heavy = {'typer', 'click', 'rich', 'ctypes', 'numpy', 'prompt_toolkit', 'huggingface_hub', 'llamacli.engine'}\n"
        "print(sorted(heavy & sys.modules.keys()), sum(os.times()[:2]), file=sys.stderr)"
    )
    done = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    assert all(one.stderr.startswith("[] ") for one in done), done[0].stderr
    assert min(float(one.stderr.split()[1]) for one in done) < 0.15


def test_sessions_are_completed_by_name_or_number(isolated_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from llamacli.cli.complete import print_candidates
    from llamacli.store.sessions.store import SessionStore

    assert print_candidates(["sessions"]) == 0
    assert capfd.readouterr().out == ""
    store = SessionStore()
    store.create(model="demo.gguf", name="holiday plans")
    store.close()
    assert print_candidates(["sessions", "hol"]) == 0
    assert capfd.readouterr().out.startswith("holiday plans\t")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("color", ["auto", "always", "never"]),
        ("mmap", ["true", "false"]),
        ("defaults.gpu-layers", ["auto", "all"]),
        ("profiles.p.flash_attn", ["auto", "on", "off"]),
        ("temp", []),
        ("nonsense", []),
        ("", []),
    ],
)
def test_values_are_those_of_the_key(key: str, words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    from llamacli.cli.complete import print_candidates

    assert print_candidates(["values", "", key]) == 0
    assert [line.partition("\t")[0] for line in capfd.readouterr().out.splitlines()] == words


def test_only_what_can_be_removed_is_offered_for_it(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    from llamacli.cli.complete import print_candidates
    from llamacli.store.models import inventory

    homes = {"demo": "llamacli", "hf:u/r:Q4_0": "hub", "ollama:x": "ollama", "lm:y": "LM Studio"}
    stored = [
        inventory.StoredModel(reference=name, path=Path(name), home=home, size=1, quantization=None)
        for name, home in homes.items()
    ]  # type: ignore[arg-type]
    monkeypatch.setattr(inventory, "stored", lambda aliases: stored)
    assert print_candidates(["fetched"]) == 0
    assert [line.partition("\t")[0] for line in capfd.readouterr().out.splitlines()] == ["demo", "hf:u/r:Q4_0"]
