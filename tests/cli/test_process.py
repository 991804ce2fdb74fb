"""The program as the shell sees it: real descriptors, real signals, a real terminal; only the engine is a fake."""

from __future__ import annotations

import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, str(ROOT / "tests" / "support" / "fake_program.py")]
LATE = 0.2
"""Seconds after Ctrl-C when the program must be gone, by the specification."""

SLACK = 0.8
"""Seconds that a busy machine may add: to start a thread, to end a process."""


@pytest.fixture(autouse=True)
def import_from_the_sources(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def start(*arguments: str, **how) -> subprocess.Popen[bytes]:
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*PROGRAM, *arguments], **{**streams, **how})


def wait_for(process: subprocess.Popen[bytes], word: bytes) -> bytes:
    """Reads standard error up to a line."""
    said = b""
    while word not in said:
        piece = os.read(process.stderr.fileno(), 1024)
        assert piece, said
        said += piece
    return said


# --- where standard output goes --------------------------------------------------------------------------------------


def test_the_reader_of_a_pipe_goes_away():
    line = f"{sys.executable} {PROGRAM[1]} big run hi; echo status $? >&2"
    result = subprocess.run(["sh", "-c", f"({line}) | head -c 10"], capture_output=True, text=True, timeout=60, check=False)
    assert result.stdout == "word word "
    assert result.stderr == "ready\nengine freed\nstatus 141\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["run", "hi"], ["--help"], ["--version"], ["run", "--help"]])
def test_a_full_disk(arguments):
    with Path("/dev/full").open("wb") as full:
        process = start("plain", *arguments, stdout=full)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    lines = [line for line in said.decode().splitlines() if line != "engine freed"]
    assert lines == ["llamacli: error: cannot write to standard output: No space left on device"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_the_fast_version_notices_a_full_disk_and_a_closed_pipe():
    program = [sys.executable, "-m", "llamacli", "--version"]
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(program, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (result.returncode, result.stderr) == (
        1,
        "llamacli: error: cannot write to standard output: No space left on device\n",
    )
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(program, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (result.returncode, result.stderr) == (141, "")


@pytest.mark.parametrize("arguments", [["run", "hi"], ["run", "--help"]])
def test_standard_output_is_closed(arguments):
    line = " ".join([*PROGRAM, "plain", *arguments, ">&-"])
    result = subprocess.run(
        ["sh", "-c", line], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 1
    assert result.stderr.replace("engine freed\n", "") == "llamacli: error: standard output is closed\n"


def test_standard_error_is_closed():
    line = " ".join([*PROGRAM, "plain", "run", "--stats", "hi", "2>&-"])
    result = subprocess.run(
        ["sh", "-c", line], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stdout == "Because of Rayleigh scattering.\n"


def test_standard_input_is_closed():
    line = " ".join([*PROGRAM, "plain", "run", "hi", "<&-"])
    result = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (0, "Because of Rayleigh scattering.\n")
    line = " ".join([*PROGRAM, "plain", "run", "-", "<&-"])
    result = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (2, "llamacli: error: standard input is closed\n")


def test_a_slow_reader_of_a_non_blocking_pipe_gets_everything():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    process = start("big", "run", "hi", stdout=writer)
    os.close(writer)
    wait_for(process, b"ready")
    time.sleep(0.2)
    with os.fdopen(reader, "rb") as stream:
        assert len(stream.read()) == 5000 * 500 + 1
    assert process.wait(timeout=60) == 0
    process.stderr.close()
    process.stdout = None


def test_the_answer_is_visible_while_it_is_made():
    process = start("endless", "run", "hi")
    assert os.read(process.stdout.fileno(), 5) == b"word "
    process.terminate()
    process.communicate(timeout=60)


# --- whose standard input it is --------------------------------------------------------------------------------------

LOOPS = [
    'while read -r name; do {run} "$name"; done < names',
    'cat names | while read -r name; do {run} "$name"; done',
    'while read -r name; do echo "$name" > text; {run} -f text; done < names',
    'cat names | (while read -r name; do {run} "$name"; done)',
    'cat names | while read -r name; do timeout 60 {run} "$name"; done',
]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whose standard input it is")
@pytest.mark.parametrize("shell", ["bash", "sh"])
@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_keeps_its_input(shell, loop, tmp_path):
    (tmp_path / "names").write_text("one\ntwo\nthree\n")
    run = f"{sys.executable} {PROGRAM[1]} plain run --echo"
    done = subprocess.run([shell, "-c", loop.format(run=run)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert [line.split("Because")[0] for line in done.stdout.splitlines()] == [
        f"<user>{name}" for name in ("one", "two", "three")
    ]
    assert "standard input belongs to a loop of the shell and is not read" in done.stderr
    silent = loop.format(run=run).replace("--echo", "--echo --no-stdin")
    done = subprocess.run([shell, "-c", silent], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (len(done.stdout.splitlines()), "loop" in done.stderr) == (3, False)


@pytest.mark.parametrize(
    "line",
    [
        'cat names | {run} "why?"',
        'cat names | timeout 60 {run} "why?"',
        '{run} "why?" < names',
        "cat names | sh script",
        "cat names | sh -c '{run} \"why?\"; true'",
        'cat names | while read -r name; do {run} "why?" - ; done',
        'x=$(cat names | {run} "why?"); echo "$x"',
        'f() {{ {run} "why?"; }}; cat names | f',
        'cat names | {{ {run} "why?"; }}',
        'cat names | ({run} "why?"; true)',
    ],
)
def test_piped_text_is_still_read(line, tmp_path):
    run = f"{sys.executable} {PROGRAM[1]} plain run --echo"
    (tmp_path / "names").write_text("one\ntwo\nthree\n")
    (tmp_path / "script").write_text(f'{run} "why?"\n')
    if line.endswith("- ; done"):
        line = line.replace(' "why?" - ', " - ")
    done = subprocess.run(["bash", "-c", line.format(run=run)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "two\nthree" in done.stdout, done.stderr
    assert done.stderr.replace("engine freed\n", "") == ""


def test_an_idle_pipe_is_not_waited_for_in_silence():
    process = start("plain", "run", stdin=subprocess.PIPE)
    said = wait_for(process, b"waiting for standard input (--no-stdin ignores it)")
    assert said == b"llamacli: waiting for standard input (--no-stdin ignores it)\n"
    out, _ = process.communicate(b"late text", timeout=60)
    assert (process.returncode, out) == (0, b"Because of Rayleigh scattering.\n")


IDLE = "llamacli: standard input is open but empty and is not read (- waits for it, --no-stdin hides this note)\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds the other end")
@pytest.mark.parametrize("how", ["cron: sh -c, a session of its own", "CI: a script in a shell", "ssh: a socket"])
def test_a_standard_input_that_was_left_open_is_no_trap(how: str, tmp_path: Path) -> None:
    run = f"{sys.executable} {PROGRAM[1]} plain run --echo hi"
    (tmp_path / "script").write_text(f"set -e\n{run}\necho done\n")
    line = ["bash", str(tmp_path / "script")] if how.startswith("CI") else ["sh", "-c", f"{run}; echo done"]
    ours, theirs = socket.socketpair()
    reader, writer = os.pipe()
    try:
        done = subprocess.run(
            line, stdin=theirs if how.startswith("ssh") else reader, start_new_session=not how.startswith("CI"),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    finally:
        for end in (ours, theirs):
            end.close()
        os.close(reader)
        os.close(writer)
    assert (done.returncode, done.stdout) == (0, "<user>hiBecause of Rayleigh scattering.\ndone\n")
    assert done.stderr.replace("engine freed\n", "") == IDLE


def test_data_of_those_who_started_the_program_is_read() -> None:
    process = start("plain", "run", "--echo", "why?", stdin=subprocess.PIPE, start_new_session=True)
    out, _ = process.communicate(b"a text", timeout=60)
    assert out.startswith(b"<user>a text\n\nwhy?")


@pytest.mark.parametrize("line", ['{slow} | {run} "why?" 2> said', '{run} "why?" 2> said < <({slow})'])
def test_a_slow_program_in_the_pipeline_is_waited_for(line: str, tmp_path: Path) -> None:
    run = f"{sys.executable} {PROGRAM[1]} plain run --echo"
    slow = "(until grep -q waiting said 2>/dev/null; do sleep 0.05; done; echo late)"
    command = ["bash", "-c", line.format(run=run, slow=slow)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("<user>late\n\nwhy?")
    assert "llamacli: waiting for standard input (--no-stdin ignores it)\n" in (tmp_path / "said").read_text()


@pytest.mark.parametrize("words", [["--no-stdin"], []], ids=["option", "environment"])
def test_standard_input_can_be_ignored(words, monkeypatch):
    if not words:
        monkeypatch.setenv("LLAMACLI_NO_STDIN", "1")
    process = start("plain", "run", "hi", *words, stdin=subprocess.PIPE)
    assert process.wait(timeout=60) == 0
    assert process.communicate()[0] == b"Because of Rayleigh scattering.\n"


@pytest.mark.parametrize("stdin", ["<&-", "</dev/null"])
def test_no_standard_input_is_no_trap(stdin):
    line = f"{sys.executable} {PROGRAM[1]} plain run hi {stdin}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "Because of Rayleigh scattering.\n")


# --- signals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("mode", ["endless", "prefill"])
def test_a_signal_cancels_the_engine_in_order(mode, number, status):
    process = start(mode, "run", "--stats", "hi")
    said = wait_for(process, b"ready")
    time.sleep(0.1)
    sent = time.monotonic()
    process.send_signal(number)
    out, rest = process.communicate(timeout=60)
    assert time.monotonic() - sent < LATE + SLACK
    assert process.returncode == status
    lines = (said + rest).decode().splitlines()
    assert lines[1] == "cancel"
    assert lines[2].endswith("cancelled")
    assert lines[3:] == ["engine freed"]
    assert out.endswith(b"word \n") if mode == "endless" else out == b""


@pytest.mark.parametrize(("mode", "ready"), [("stuck", b"ready"), ("loading", b"loading")])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_work_that_does_not_stop_is_ended(mode, ready, number, status):
    process = start(mode, "run", "hi")
    wait_for(process, ready)
    time.sleep(0.3)
    sent = time.monotonic()
    process.send_signal(number)
    out, _ = process.communicate(timeout=15)
    assert time.monotonic() - sent < LATE + SLACK
    assert process.returncode == status
    assert out == (b"some text" if mode == "stuck" else b"")


def test_a_second_signal_ends_the_process_at_once():
    process = start("stuck", "run", "hi")
    wait_for(process, b"ready")
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=15)
    assert process.returncode == 130


@pytest.mark.parametrize("milliseconds", [0, 1, 2, 4, 8, 12, 16, 20, 30, 40, 60, 80, 100, 130, 160, 200, 250, 300])
def test_ctrl_c_while_the_program_starts(milliseconds):
    """The script of the entry point, with another process that sends SIGINT so long after its first instruction."""
    script = (
        "import os, signal, sys, time\n"
        "from llamacli.cli import main\n"
        "if os.fork() == 0:\n"
        f"    time.sleep({milliseconds / 1000})\n"
        "    os.kill(os.getppid(), signal.SIGINT)\n"
        "    os._exit(0)\n"
        "sys.exit(main())\n"
    )
    for arguments in (["run", "--offline", "-m", "nothing.gguf", "x"], ["embed", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode == 130:
            assert done.stderr == ""
        else:
            assert done.returncode in (0, 3), done.stderr  # it was faster than the other process, which may wait for a core


def test_ctrl_c_while_reading_standard_input():
    process = start("plain", "run", stdin=subprocess.PIPE)
    time.sleep(0.7)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=15) == 130
    assert process.communicate()[1] == b""


def test_a_signal_that_the_parent_ignores_stays_ignored():
    process = start("big", "run", "hi", preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    wait_for(process, b"ready")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert len(out) == 5000 * 500 + 1


# --- a terminal ------------------------------------------------------------------------------------------------------


def in_terminal(*arguments: str, keys: bytes = b"", after: bytes = b"", environ=None) -> tuple[int, str]:
    """Runs the program on a terminal, types `keys` once it has shown `after`. Returns the status and what was shown."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", **(environ or {})}
    process = subprocess.Popen(
        [*PROGRAM, *arguments], stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(slave)
    shown, typed, deadline = b"", not after, time.monotonic() + 30
    if not after:
        os.write(master, keys)
    while time.monotonic() < deadline and select.select([master], [], [], 30)[0]:
        try:
            piece = os.read(master, 4096)
        except OSError:  # how Linux tells that nobody has the other end open any more
            break
        shown += piece
        if not piece:
            break
        if not typed and after in shown:
            os.write(master, keys)
            typed = True
    os.close(master)
    return process.wait(timeout=30), shown.decode().replace("\r\n", "\n")


def test_on_a_terminal_errors_are_coloured_and_no_color_is_respected():
    status, screen = in_terminal("plain", "run", "--tmep", "x")
    assert (status, screen) == (2, "llamacli: \x1b[31merror:\x1b[0m no such option: --tmep (did you mean --temp?)\n")
    status, screen = in_terminal("plain", "run", "--tmep", "x", environ={"NO_COLOR": "1"})
    assert screen == "llamacli: error: no such option: --tmep (did you mean --temp?)\n"


def test_on_a_terminal_without_a_prompt_nothing_is_read():
    status, screen = in_terminal("plain", "run")
    assert status == 2
    assert "the prompt is missing" in screen


def test_on_a_terminal_a_dash_reads_what_is_typed():
    status, screen = in_terminal("plain", "run", "-", keys=b"why?\n\x04")
    assert status == 0
    assert "Because of Rayleigh scattering.\n" in screen


def test_ctrl_c_on_a_terminal():
    status, screen = in_terminal("endless", "run", "--plain", "hi", keys=b"\x03", after=b"word word ")
    assert status == 130
    assert "word ^C" in screen
    assert "Traceback" not in screen
    assert screen.endswith("\nengine freed\n")
