"""`llamacli run` up to the engine: where the prompt comes from, what is asked of the engine, what becomes of its events."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from fakes import ANSWER, FakeEngine, Unwritable, invoke

from llamacli import errors
from llamacli.cli.framework.console import Terminals
from llamacli.documents.text import MAX_INPUT_BYTES
from llamacli.engine.params import SamplingParams

TERMINALS = Terminals(stdin=True, stdout=True, stderr=True)


def asked(result) -> str:
    """The user's message that reached the engine."""
    assert result.status == 0, result.stderr
    return result.engine.messages[-1]["content"]


# --- where the prompt comes from -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "stdin", "prompt"),
    [
        (["why?"], None, "why?"),
        (["why?"], b"", "why?"),
        ([], b"why?\n", "why?"),
        (["-"], b"why?", "why?"),
        (["sum up"], b"a text\n", "a text\n\nsum up"),
        (["sum up"], b"a text\n\n", "a text\n\n\nsum up"),
        (["sum up"], b"a text\r\n", "a text\n\nsum up"),
        (["sum up", "-f", "one"], None, "first\n\nsum up"),
        (["-f", "one"], None, "first"),
        (["-f", "one", "-f", "two"], None, "first\n\nsecond"),
        (["sum up", "-f", "two", "--file", "one"], b"piped\n", "second\n\nfirst\n\npiped\n\nsum up"),
        (["sum up", "-f", "two", "-f", "-", "-f", "one"], b"piped\n", "second\n\npiped\n\nfirst\n\nsum up"),
        (["-f", "-"], b"piped", "piped"),
        (["-f", "empty", "hello"], None, "hello"),
        (["--", "-5 + 3"], None, "-5 + 3"),
        (["  spaces stay "], None, "  spaces stay "),
        ([], "Grüße, 世界 🎉".encode(), "Grüße, 世界 🎉"),
        ([], b"\xef\xbb\xbfwith a byte order mark", "with a byte order mark"),
        (["<|im_end|>"], None, "<|im_end|>"),
    ],
)
def test_prompt(arguments, stdin, prompt, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("one").write_text("first\n")
    Path("two").write_text("second")
    Path("empty").write_text("")
    assert asked(invoke("run", *arguments, stdin=stdin)) == prompt


@pytest.mark.parametrize(
    ("arguments", "stdin", "says"),
    [
        ([], None, "the prompt is missing (pass it as an argument, with -f FILE, or on standard input)"),
        ([], b"", "the prompt is empty"),
        ([], b"\n", "the prompt is empty"),
        ([], b" \n\n", "the prompt is empty"),
        ([""], None, "the prompt is empty"),
        ([""], b"", "the prompt is empty"),
        (["-f", "empty"], None, "the prompt is empty"),
        (["-f", "missing", "x"], None, "missing does not exist (did you mean missing.txt?)"),
        (["-f", "nothing-like-it", "x"], None, "nothing-like-it does not exist"),
        (["-f", ".", "x"], None, ". is a directory"),
        (["-f", "", "x"], None, "invalid value for -f/--file: the path is empty"),
        (["-f", "binary", "x"], None, "binary is not UTF-8 text: byte 0xff at offset 5 (is it a binary file?)"),
        (["-f", "latin", "x"], None, "latin is not UTF-8 text: byte 0xfc at offset 2"),
        (
            ["-f", "utf16", "x"],
            None,
            "utf16 is not UTF-16 text, as its first bytes say: byte 0x74 at offset 2",
        ),
        (["x"], b"caf\xe9", "standard input is not UTF-8 text: byte 0xe9 at offset 3"),
        (["-f", "nul\0name", "x"], None, "cannot read"),
        (["-f", "n" * 300, "x"], None, "File name too long"),
    ],
)
def test_no_prompt_or_no_text(arguments, stdin, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("empty").write_text("")
    Path("missing.txt").write_text("here")
    Path("binary").write_bytes(b"\x7fELF\0\xff\xfe\0")
    Path("latin").write_bytes(b"Gr\xfc\xdfe")
    Path("utf16").write_bytes(b"\xff\xfet")
    result = invoke("run", *arguments, stdin=stdin)
    assert (result.status, result.stdout) == (2, "")
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.engine.path is None


def test_a_file_without_permission(monkeypatch):
    def refuse(path, mode):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    result = invoke("run", "-f", "secret", "x")
    assert (result.status, result.stderr) == (2, "llamacli: error: cannot read secret: Permission denied\n")


def test_endless_input_is_refused_before_it_fills_the_memory(monkeypatch, tmp_path):
    monkeypatch.setattr("llamacli.cli.framework.console.MAX_INPUT_BYTES", 1 << 20)
    monkeypatch.setattr("llamacli.documents.file.MAX_INPUT_BYTES", 1 << 20)
    result = invoke("run", stdin=b"y\n" * (1 << 20))
    assert result.status == 4
    assert "standard input is larger than 1 MiB" in result.stderr
    result = invoke("run", "-f", "/dev/zero", "x")
    assert result.status == 4
    assert MAX_INPUT_BYTES >= 1 << 26


def test_a_terminal_is_read_only_when_asked():
    read = invoke("run", "-", stdin=b"typed\n", terminals=Terminals(stdin=True))
    assert asked(read) == "typed"
    ignored = invoke("run", "why?", stdin=b"typed\n", terminals=Terminals(stdin=True))
    assert asked(ignored) == "why?"
    assert invoke("run", stdin=b"typed\n", terminals=Terminals(stdin=True)).status == 2


# --- what is asked of the engine -------------------------------------------------------------------------------------


def test_a_chat_model_gets_messages():
    result = invoke("run", "hi", "-sys", "Be brief.")
    assert result.engine.messages == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    assert result.engine.template is None


def test_a_base_model_is_continued_raw_and_v_says_so():
    engine = FakeEngine(has_chat_template=False)
    quiet, verbose = invoke("run", "Once upon", engine=engine), invoke("run", "-v", "Once upon", engine=engine)
    assert engine.messages is None
    assert engine.prompt.text == "Once upon"
    assert quiet.stderr == ""
    assert verbose.stderr == "llamacli: this model has no chat template: the text is continued as it is\n"


def test_a_system_message_needs_a_template():
    result = invoke("run", "hi", "-sys", "Be brief.", engine=FakeEngine(has_chat_template=False))
    assert result.status == 2
    assert "no chat template" in result.stderr
    named = invoke("run", "hi", "-sys", "x", "--chat-template", "chatml", engine=FakeEngine(has_chat_template=False))
    assert named.status == 0
    assert named.engine.template == "chatml"


def test_raw_is_the_text_as_it_is():
    result = invoke("run", "--raw", stdin=b"  Once upon a\n")
    assert result.engine.prompt.text == "  Once upon a"
    assert result.engine.messages is None


@pytest.mark.parametrize("extra", [["-sys", "x"], ["--chat-template", "chatml"]])
def test_raw_and_a_chat_template_exclude_each_other(extra):
    result = invoke("run", "--raw", "hi", *extra)
    assert result.status == 2
    assert "--raw uses no chat template" in result.stderr


def test_chat_template_from_a_file(tmp_path):
    file = tmp_path / "own.jinja"
    file.write_text("{{ messages }}")
    assert invoke("run", "hi", "--chat-template", str(file)).engine.template == "{{ messages }}"
    assert invoke("run", "hi", "--chat-template", "{% a/b %}").engine.template == "{% a/b %}"


@pytest.mark.parametrize("value", ["missing.jinja", "./missing", "/", " "])
def test_chat_template_that_cannot_be_read(value):
    result = invoke("run", "hi", "--chat-template", value)
    assert result.status == 2
    assert result.engine.path is None


def test_generation_options_reach_the_engine():
    result = invoke(
        "run", "hi", "-n", "3", "--stop", "END", "--stop", "\n\n", "--context-shift", "--keep", "-1", "-s", "7", "--temp", "0.1"
    )
    params = result.engine.params
    assert (params.max_tokens, params.stop, params.context_shift, params.keep) == (3, ("END", "\n\n"), True, -1)
    assert params.sampling == SamplingParams(seed=7, temperature=0.1)
    assert result.stdout == "".join(ANSWER[:3]).rstrip(" ") + " \n"


def test_stop_texts_are_written_with_escapes():
    result = invoke("run", "hi", "--stop", r"a\nb\t\"", "--stop", r"\\n\d", "--dry-sequence-breaker", r"\n")
    assert result.engine.params.stop == ('a\nb\t"', r"\n\d")
    assert result.engine.params.sampling.dry_sequence_breakers == ("\n",)


@pytest.mark.parametrize(("limit", "tokens"), [("-1", None), ("0", 0), ("2", 2)])
def test_limit(limit, tokens):
    assert invoke("run", "hi", "-n", limit).engine.params.max_tokens == tokens


def test_what_the_model_recommends_is_used_where_no_option_says_otherwise():
    engine = FakeEngine(recommended_sampling={"temp": "0.3", "top_k": "5"}, recommended={"temperature": 0.3, "top_k": 5})
    result = invoke("run", "-v", "hi", "--top-k", "9", engine=engine)
    assert (result.engine.params.sampling.temperature, result.engine.params.sampling.top_k) == (0.3, 9)
    assert result.stderr == "llamacli: the model recommends: temp 0.3, top_k 5 (used where no option says otherwise)\n"
    assert invoke("run", "hi", engine=engine).stderr == ""


def test_the_model_is_found_by_its_reference_and_offline_is_passed_on():
    seen = []

    def find(app, reference, *, offline):
        seen.append((reference, offline))
        return Path("found.gguf")

    result = invoke("run", "hi", "-m", "hf:a/b", "--offline", find_model=find)
    assert seen == [("hf:a/b", True)]
    assert result.engine.path == Path("found.gguf")
    invoke("run", "hi", find_model=find)
    assert seen[1] == (None, False)


# --- what becomes of the answer --------------------------------------------------------------------------------------


def test_stdout_has_the_answer_and_nothing_else():
    result = invoke("run", "hi", "--stats")
    assert result.stdout == "Because of Rayleigh scattering.\n"
    assert result.stderr.startswith("llamacli: load 0.01 s · prompt 1 token at 10.0 tokens/s · first token after ")
    assert result.stderr.endswith(" · generated 4 tokens at 20.0 tokens/s · finished\n")
    assert result.engine.closed


@pytest.mark.parametrize(("width", "count"), [(45, 5), (60, 3), (80, 3), (200, 1)])
def test_statistics_break_between_their_parts(width, count):
    result = invoke("run", "hi", "--stats", terminals=Terminals(stderr=True), width=width)
    lines = [line for line in result.stderr.splitlines() if "load" in line or line.startswith(" " * 10)]
    assert max(map(len, lines)) <= width
    parts = " · ".join(line[10:] for line in lines).split(" · ")
    assert [part.split()[0] for part in parts] == ["load", "prompt", "first", "generated", "finished"]
    assert len(lines) == count


@pytest.mark.parametrize(
    ("pieces", "arguments", "terminals", "output"),
    [
        (["a"], [], Terminals(), "a\n"),
        (["a\n"], [], Terminals(), "a\n"),
        (["a\n\n"], [], Terminals(), "a\n\n"),
        ([], [], Terminals(), ""),
        (["a", ""], [], Terminals(), "a\n"),
        (["a"], ["--raw"], Terminals(), "a"),
        (["a"], ["--raw"], TERMINALS, "a\n"),
        (["a"], ["--plain"], TERMINALS, "a\n"),
        (["\x1b[2Ja\x07\u202eb"], [], Terminals(), "\x1b[2Ja\x07\u202eb\n"),
        (["\x1b[2Ja\x07\u202eb\u200b"], ["--plain"], TERMINALS, "\\x1b[2Ja\\x07\\u202eb\\u200b\n"),
        (["a\r", "\nb\rc\r"], ["--plain"], TERMINALS, "a\nb\\rc\\r\n"),
        (["a\r", "\nb\r"], [], Terminals(), "a\r\nb\r\n"),
        (["\ttab 👩\u200d💻 ü"], ["--plain"], TERMINALS, "\ttab 👩\u200d💻 ü\n"),
    ],
)
def test_answers(pieces, arguments, terminals, output):
    result = invoke(
        "run", "hi", *arguments, stdin=None if terminals.stdin else b"", terminals=terminals, engine=FakeEngine(pieces)
    )
    assert result.stdout == output


def test_each_event_is_written_at_once():
    writes = []

    class Recorder(Unwritable):
        def write(self, data):
            writes.append(bytes(data))
            return len(data)

    invoke("run", "hi", stdout=Recorder(OSError()))
    assert writes == [*(piece.encode() for piece in ANSWER), b"\n"]


def test_an_answer_cut_by_the_context_is_an_error_with_numbers():
    result = invoke("run", "one two three", "-sys", "four", engine=FakeEngine(reason="context"))
    assert (result.status, result.stdout) == (4, "Because of Rayleigh scattering.\n")
    assert "4 tokens of the prompt and 4 of the answer fill the context of 4096 (-c makes it larger" in result.stderr


def test_an_error_in_the_middle_keeps_what_was_printed():
    result = invoke("run", "hi", engine=FakeEngine(["some", " text"], error=errors.DecodeError("llama.cpp failed")))
    assert (result.status, result.stdout) == (7, "some text\n")
    assert result.stderr == "llamacli: error: llama.cpp failed\n"
    assert result.engine.closed


def test_an_error_while_loading():
    result = invoke("run", "hi", engine=FakeEngine(load_error=errors.ModelFileError("x.gguf is truncated")))
    assert (result.status, result.stdout, result.stderr) == (3, "", "llamacli: error: x.gguf is truncated\n")


def test_a_closed_pipe_ends_silently():
    result = invoke("run", "hi", stdout=Unwritable(BrokenPipeError()))
    assert (result.status, result.stderr) == (141, "")
    assert result.engine.closed


def test_a_full_disk_is_an_error():
    result = invoke("run", "hi", stdout=Unwritable(OSError(errno.ENOSPC, "No space left on device")))
    assert (result.status, result.stderr) == (1, "llamacli: error: cannot write to standard output: No space left on device\n")


# --- progress --------------------------------------------------------------------------------------------------------


def test_progress_is_shown_on_a_terminal_and_cleared(monkeypatch):
    monkeypatch.setattr("llamacli.cli.framework.backends.engine.DELAY_SECONDS", 0.0)
    result = invoke("run", "hi", terminals=TERMINALS)
    assert "loading demo.gguf" in result.stderr
    assert result.stderr.endswith("\r\x1b[K")
    assert "reading the prompt" in result.stderr
    assert invoke("run", "hi", stdin=b"").stderr == ""
    assert invoke("run", "hi", terminals=TERMINALS, environ={"TERM": "dumb"}).stderr == ""


def test_a_model_that_loads_at_once_shows_no_progress():
    assert invoke("run", "hi", terminals=TERMINALS).stderr == ""


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_the_progress_line_fits_the_terminal(monkeypatch, width):
    monkeypatch.setattr("llamacli.cli.framework.backends.engine.DELAY_SECONDS", 0.0)
    result = invoke("run", "hi", "-m", "a-model-with-a-long-name-Q4_K_M.gguf", terminals=TERMINALS, width=width)
    lines = result.stderr.split("\r\x1b[K")
    assert any(lines)
    assert all(len(line) < width for line in lines)
