"""The console, and what is shown on it: escaping, streaming, progress, statistics."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import pytest
from fakes import Unwritable, invoke
from hypothesis import given, settings
from hypothesis import strategies as st

from llamacli.cli.framework.command import command
from llamacli.cli.framework.console import Console, PipeClosedError, Terminals
from llamacli.cli.framework.parameters import argument
from llamacli.cli.framework.terminal.signals import Interrupts, Terminated
from llamacli.documents.text import decode
from llamacli.engine.events import Answer, Finished, Timings, Usage
from llamacli.errors import LlamacliError, UsageError
from llamacli.render.progress import ProgressLine, format_progress
from llamacli.render.stats import format_stats
from llamacli.render.stream import AnswerStream
from llamacli.render.text import escape, escape_line

HOSTILE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b\ufeff\ud800-\udfff]")


def console(stdout=None, stderr=None, *, terminal=False, environ=None, width=None) -> Console:
    return Console(
        stdin=io.BytesIO(),
        stdout=stdout if stdout is not None else io.BytesIO(),
        stderr=stderr if stderr is not None else io.BytesIO(),
        terminals=Terminals(stdin=terminal, stdout=terminal, stderr=terminal),
        environ=environ or {},
        width=width,
    )


# --- escaping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, tab\tand\nnewline", "plain, tab\tand\nnewline"),
        ("\x1b]52;c;aGk=\x07", r"\x1b]52;c;aGk=\x07"),
        ("a\rb\x7f\x9b2J\x08", r"a\rb\x7f\x9b2J\x08"),
        ("\u202edcba\u2069", r"\u202edcba\u2069"),
        ("\U000e0041hidden", r"\U000e0041hidden"),
        ("file\udcff.gguf", r"file\xff.gguf"),
        ("\ud800", r"\ud800"),
        ("مرحبا שלום नमस्ते 👩\u200d💻 e\u0301", "مرحبا שלום नमस्ते 👩\u200d💻 e\u0301"),
    ],
)
def test_escape(text, shown):
    assert escape(text) == shown


@given(st.text(st.characters(), max_size=50))
@settings(max_examples=200)
def test_escaped_text_cannot_steer_a_terminal(text):
    assert not HOSTILE.search(escape(text))
    assert not re.search("[\n\t]", escape_line(text))


@given(st.lists(st.text(st.sampled_from("ab\r\n\x1bü"), max_size=4), max_size=8))
@settings(max_examples=200)
def test_pieces_make_the_same_output_as_the_whole(pieces):
    for terminal in (True, False):
        outputs = []
        for parts in (pieces, ["".join(pieces)]):
            written: list[str] = []
            stream = AnswerStream(written.append, terminal=terminal)
            for part in parts:
                stream.add(part)
            stream.finish()
            outputs.append("".join(written))
        assert outputs[0] == outputs[1]
        assert outputs[0] == "" or outputs[0].endswith("\n")
        assert not terminal or not HOSTILE.search(outputs[0])


# --- streams ---------------------------------------------------------------------------------------------------------


def test_output_is_utf8_and_file_names_come_out_as_they_went_in():
    out = io.BytesIO()
    console(out).write("ü\udcff\n")
    assert out.getvalue() == b"\xc3\xbc\xff\n"
    console(out).write("\ud800")
    assert out.getvalue().endswith(b"\\ud800")


def test_text_from_outside_is_escaped_on_a_terminal_only():
    piped, shown = io.BytesIO(), io.BytesIO()
    console(piped).show("\x1b[2J")
    console(shown, terminal=True).show("\x1b[2J")
    assert (piped.getvalue(), shown.getvalue()) == (b"\x1b[2J", b"\\x1b[2J")


def test_errors_of_standard_output():
    with pytest.raises(PipeClosedError):
        console(Unwritable(BrokenPipeError())).write("x")
    with pytest.raises(LlamacliError, match="cannot write to standard output: boom"):
        console(Unwritable(OSError(5, "boom"))).write("x")


def test_errors_of_standard_input():
    class Unreadable(io.BytesIO):
        def read(self, size=-1):
            raise OSError(5, "Input/output error")

    for stream, says in ((Unreadable(), "cannot read standard input: Input/output error"), (None, "standard input is closed")):
        broken = Console(stdin=stream, stdout=None, stderr=None, terminals=Terminals(), environ={})
        with pytest.raises(UsageError, match=says):
            broken.read_input()


def test_standard_input_has_one_reader_that_nobody_closes_by_forgetting_it():
    reading, writing = os.pipe()
    os.write(writing, b"one\ntwo\n")
    os.close(writing)
    with io.FileIO(reading) as stdin:
        piped = Console(stdin=stdin, stdout=None, stderr=None, terminals=Terminals(), environ={})
        assert [piped.input_stream().readline() for _ in range(3)] == [b"one\n", b"two\n", b""]


def test_errors_of_standard_error_are_nobody_s_business():
    broken = console(stderr=Unwritable(BrokenPipeError()))
    broken.note("x")
    broken.fail("x")


def test_a_partial_write_goes_on():
    class Slow(Unwritable):
        data = b""

        def write(self, data):
            Slow.data += bytes(data[:3])
            return min(3, len(data))

    console(Slow(OSError())).write("0123456789")
    assert Slow.data == b"0123456789"


@pytest.mark.parametrize(
    ("environ", "width", "expected"),
    [({}, 33, 33), ({"COLUMNS": "55"}, None, 55), ({"COLUMNS": "x"}, None, 80), ({}, None, 80)],
)
def test_width(environ, width, expected):
    assert console(environ=environ, width=width).width == expected


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"\xff", "byte 0xff at offset 0"), (b"a" * 1000 + b"\xe4\xb8", "offset 1,000"), (b"\xff\xfea", "UTF-16")],
)
def test_decode_says_where(data, says):
    with pytest.raises(UsageError, match=says):
        decode(data, "it")


def test_a_status_line_gives_way_to_what_is_written():
    err = io.BytesIO()
    shown = console(err, err, terminal=True)
    shown.show_status("one")
    shown.show_status("two")
    shown.write("answer\n")
    shown.show_status("three")
    shown.note("note")
    shown.show_status("")
    assert err.getvalue().decode() == "\r\x1b[Kone\r\x1b[Ktwo\r\x1b[Kanswer\n\r\x1b[Kthree\r\x1b[Kllamacli: note\n"


# --- progress and statistics -----------------------------------------------------------------------------------------


def test_progress_waits_and_does_not_redraw_too_often():
    now, shown = [0.0], []
    line = ProgressLine(shown.append, width=80, delay=1.0, clock=lambda: now[0])
    for tick in range(200):
        now[0] = tick / 64
        line.update("x", tick, 200)
    assert len(shown) == (200 - 64) // 7 + 1  # from 1 s on, each 7/64 s
    line.finish()
    line.finish()
    assert shown[-1] == ""
    assert shown.count("") == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("model", 0.5, 1.0), "model ━━━━━━━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌  50%"),
        (("model", 2, 1.0), "model ━━━━━━━━━━━━━━━━━━━━━━━━ 100%"),
        (("model", 0, None), "model"),
        (("a\x1b[2Jb", 0, None), r"a\x1b[2Jb"),
    ],
)
def test_progress_text(arguments, text):
    assert format_progress(*arguments) == text


def test_the_bar_shrinks_and_then_goes():
    lines = [format_progress("model", 0.5, 1.0, width=width) for width in (80, 24, 18, 17, 8)]
    assert lines == [
        "model ━━━━━━━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌  50%", "model ━━━━━━╌╌╌╌╌╌  50%", "model ━━━╌╌╌  50%", "model  50%", "m…  50%",
    ]  # fmt: skip


def test_progress_in_bytes():
    assert format_progress("demo", 49 << 20, 98 << 20, unit="B").endswith("  50% 49.0 MiB of 98.0 MiB")
    assert format_progress("demo", 1536, None, unit="B") == "demo 1.5 KiB"


@given(st.text(max_size=60), st.floats(0, 1), st.integers(1, 120))
@settings(max_examples=200)
def test_progress_never_fills_the_line(what, share, width):
    assert len(format_progress(what, share, 1.0, width=width)) <= max(width - 1, 1)


@pytest.mark.parametrize(
    ("finished", "first", "line"),
    [
        (
            Finished(0, "stop", Usage(12, 30), Timings(12, 60.0, 30, 1000.0)),
            61.0,
            (
                "load 0.35 s · prompt 12 tokens at 200.0 tokens/s · first token after 0.06 s · "
                "generated 30 tokens at 30.0 tokens/s · finished"
            ),
        ),
        (
            Finished(0, "length", Usage(12, 1, cached_tokens=11), Timings(1, 10.0, 1, 100.0)),
            1500.0,
            (
                "load 0.35 s · prompt 12 tokens (11 cached) at 100.0 tokens/s · first token after 1.50 s · "
                "generated 1 token at 10.0 tokens/s · cut by -n"
            ),
        ),
        (
            Finished(0, "stop", Usage(900, 40, 890, restored_tokens=880), Timings(10, 20.0, 40, 400.0, 30, 24)),
            30.0,
            (
                "load 0.35 s · prompt 900 tokens (890 cached, 880 from disk) at 500.0 tokens/s · first token after 0.03 s · "
                "generated 40 tokens at 100.0 tokens/s (24 of 30 drafted) · finished"
            ),
        ),
        (
            Finished(0, "cancelled", Usage(12, 0), Timings(0, 0.0, 0, 0.0)),
            None,
            "load 0.35 s · prompt 12 tokens · generated 0 tokens · cancelled",
        ),
    ],
)
def test_statistics(finished, first, line):
    answer = Answer(finish_reason=finished.reason, usage=finished.usage, timings=finished.timings, first_token_ms=first)
    assert format_stats(answer, load_ms=350.0) == line


# --- the rest of the frame -------------------------------------------------------------------------------------------


def test_a_guard_without_signals_is_transparent():
    interrupts = Interrupts()
    with interrupts.guard() as guard:
        assert guard.received is None
    with pytest.raises(ValueError, match="inside"), interrupts.guard():
        raise ValueError("inside")


def test_arguments_that_are_missing_or_many():
    seen = []

    @command()
    def take(files: Annotated[tuple[Path, ...], argument(metavar="FILE", help="Files.")]) -> None:
        seen.append(files)

    app = SimpleNamespace(console=console(), interrupts=Interrupts(), read_defaults=lambda environ, options, given: {})
    with pytest.raises(UsageError, match="FILE is missing"):
        take.make_context("take", [], obj=app)
    context = take.make_context("take", ["a", "b"], obj=app)
    take.invoke(context)
    assert seen == [(Path("a"), Path("b"))]


def test_a_conversation_survives_any_number_of_signals():
    interrupts, cancelled = Interrupts(), threading.Event()

    def answer() -> None:
        with interrupts.guard(grace=None) as guard:
            guard.cancel = cancelled.set
            for _ in range(3):
                cancelled.clear()
                os.kill(os.getpid(), signal.SIGINT)
                assert cancelled.wait(5)
            assert guard.received == signal.SIGINT

    with interrupts.installed(), pytest.raises(KeyboardInterrupt):
        answer()


def test_signals_outside_of_a_guard_and_the_handlers_afterwards():
    def send(number: int) -> None:
        os.kill(os.getpid(), number)
        time.sleep(5)

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    for number, kind in ((signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)):
        interrupts = Interrupts()
        interrupts.start()
        with interrupts.installed(), pytest.raises(kind):
            send(number)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert not [thread for thread in threading.enumerate() if thread.name == "signals"]


def test_a_dash_and_no_stdin_contradict_each_other():
    result = invoke("run", "-", "--no-stdin", stdin=b"x")
    assert (result.status, result.stderr) == (2, "llamacli: error: standard input cannot be read with --no-stdin\n")
    assert invoke("run", "x", "--no-stdin", stdin=b"y").engine.messages == [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"%PDF-1.7\nrest", "x is a PDF document, not text (convert it to text first, for example with pdftotext)"),
        (b"PK\x03\x04rest", "x is a ZIP archive, as .docx, .odt and .epub files are, not text (convert it to text first"),
        (b"{\\rtf1 rest}", "x is an RTF document, not text"),
        (b"\xd0\xcf\x11\xe0\xa1", "x is an old Microsoft Office document, not text"),
    ],
)
def test_a_document_that_is_not_text_names_the_tool_that_converts_it(data, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        decode(data, "x")


def test_sigterm_in_a_callback_of_asyncio_is_not_forgotten() -> None:
    """The loop logs what callbacks raise, but for KeyboardInterrupt and SystemExit, and the prompt of chat runs in one."""

    async def wait() -> None:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)
        await asyncio.sleep(10)

    interrupts = Interrupts()
    interrupts.start()
    with interrupts.installed(), pytest.raises(Terminated):
        asyncio.run(wait())
