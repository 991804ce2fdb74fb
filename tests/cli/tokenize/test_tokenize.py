"""`llamacli tokenize`, with the tiny model's vocabulary and those of llama.cpp."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path, PurePath

import pytest
import tiny
import tokenize_cases as cases
from fakes import Result, invoke
from hypothesis import given, settings
from hypothesis import strategies as st
from in_process import InProcessChild

from llamacli.backend.child.services import tokenizer as service
from llamacli.cli.framework.console import Terminals
from llamacli.cli.tokenize import input as tokenize_input
from llamacli.cli.tokenize.ids import read_ids
from llamacli.engine.runtime.model import Model
from llamacli.engine.runtime.vocabulary import LONGEST
from llamacli.engine.tokenization import cutter as tokenizing_text
from llamacli.engine.tokenization import tokenizer as tokenizing
from llamacli.engine.tokenization.compare import Comparison, Counted, Difference
from llamacli.engine.tokenization.documents import Document
from llamacli.errors import UsageError
from llamacli.render.text import columns
from llamacli.render.tokenize.view import format_comparison, model_names

VOCABULARIES = {path.stem.removeprefix("ggml-vocab-"): path for path in cases.VOCABULARIES}
TERMINAL = Terminals(stdin=True, stdout=True, stderr=True)


@pytest.fixture(scope="module")
def loaded():
    """Vocabularies, each loaded once."""
    models: dict[Path, Model] = {}
    with contextlib.ExitStack() as stack:
        yield lambda path: models.get(path) or models.setdefault(path, stack.enter_context(Model(path, vocab_only=True)))


@pytest.fixture
def run(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded):
    """Runs `tokenize` with the tiny model, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(service, "Model", lambda path, vocab_only: loaded(path))
    handlers = service.TokenizerService().handlers()
    monkeypatch.setattr("llamacli.backend.child.tokenizer.start_child", lambda *_, **__: InProcessChild(handlers))

    def call(*arguments: str, model: Path = tiny_model, **how) -> Result:
        return invoke("tokenize", "-m", str(model), *arguments, **how)

    return call


def ids(result: Result) -> list[int]:
    assert (result.status, result.stderr) == (0, "")
    return [int(word) for word in result.stdout.split()]


@pytest.fixture
def whole(loaded):
    """The tokens of a text by one call."""
    return lambda path, text, **how: loaded(path).vocabulary.tokenize(text, add_special=True, **how)


# --- output ----------------------------------------------------------------------------------------------------------


def test_ids_off_a_terminal(run, tiny_model, whole):
    text = "Hello world, user"
    expected = whole(tiny_model, text)
    assert ids(run(text)) == expected
    assert json.loads(run("--ids", text).stdout) == expected
    assert run("--count", text).stdout == f"{len(expected)}\n"


def test_a_line_for_each_document(run):
    Path("one").write_text("Hello")
    Path("two").write_text("")
    Path("three").write_text(" world")
    lines = run("-f", "one", "two", "three").stdout.split("\n")
    assert lines[1] == ""
    assert lines[0]
    assert lines[2]
    assert [json.loads(line) for line in run("--ids", "-f", "one", "-f", "two").stdout.splitlines()][1] == []


def test_json_has_every_byte(run):
    text = "Hello wörld 🏠\n"
    document = json.loads(run("--json", text).stdout)
    data = text.encode()
    assert document["bytes"] == len(data)
    assert document["count"] == len(document["tokens"])
    assert b"".join(bytes.fromhex(token["bytes"]) for token in document["tokens"]) == data
    place = 0
    for token in document["tokens"]:
        assert (token["start"], data[token["start"] : token["end"]].hex()) == (place, token["bytes"])
        place = token["end"]
        assert token["special"] is False
        assert token["piece"] == bytes.fromhex(token["bytes"]).decode("utf-8", "replace")


def test_json_of_several_documents(run):
    Path("a").write_text("Hello")
    Path("b").write_text("a b")
    document = json.loads(run("--json", "-f", "a", "b").stdout)
    assert [one["name"] for one in document["documents"]] == ["a", "b"]
    assert document["count"] == sum(one["count"] for one in document["documents"])
    counted = json.loads(run("--json", "--count", "-f", "a", "b").stdout)
    assert [one["count"] for one in counted["documents"]] == [one["count"] for one in document["documents"]]
    assert "tokens" not in counted["documents"][0]


def test_jsonl_takes_a_document_from_each_line(run):
    result = run("--jsonl", stdin=b"Hello world\n\nuser\r\nlast")
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["bytes"] for one in documents] == [11, 0, 4, 4]
    assert "".join(token["piece"] for token in documents[0]["tokens"]) == "Hello world"


def test_bos_has_an_empty_span(run):
    document = json.loads(run("--json", "Hi", model=VOCABULARIES["llama-spm"]).stdout)
    bos, *text = document["tokens"]
    assert (bos["id"], bos["start"], bos["end"], bos["special"], bos["piece"]) == (1, 0, 0, True, "<s>")
    assert [(token["start"], token["end"]) for token in text] == [(0, 2)]
    assert [
        token["id"] for token in json.loads(run("--no-bos", "--json", "Hi", model=VOCABULARIES["llama-spm"]).stdout)["tokens"]
    ] == [token["id"] for token in text]


def test_view_on_a_terminal(run):
    result = run("Hello world\n\tx\x1b", terminals=TERMINAL, environ={"NO_COLOR": "1"})
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["Hello", "·world", "⏎"]
    assert len(lines[0].split()) == len(lines[1].split())
    assert lines[2].split() == ["→", "x", "␛"]
    assert lines[4] == "6 tokens · 15 bytes · 2.50 bytes per token"
    assert "\x1b" not in result.stdout


def test_view_in_colours(run):
    result = run("Hello world", terminals=TERMINAL, environ={})
    assert result.stdout.startswith("\x1b[36mHello\x1b[0m")
    assert "\x1b[33m·world\x1b[0m" in result.stdout


def test_view_keeps_to_the_width(run):
    result = run("Hello world " * 40 + "日本語" * 20, terminals=TERMINAL, environ={"NO_COLOR": "1"}, width=60)
    rows = result.stdout.splitlines()
    assert max(map(len, rows)) <= 60
    assert len(rows) > 10


def test_view_of_several_documents(run):
    Path("a").write_text("Hello")
    Path("b").write_text("Hello")
    out = run("-f", "a", "b", terminals=TERMINAL, environ={"NO_COLOR": "1"}).stdout
    assert out.startswith("a\nHello")
    assert out.endswith("total: 2 tokens · 10 bytes · 5.00 bytes per token\n")


# --- input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " ", "\n", "\ufeffx", "-", "a\0b"])
def test_text_is_taken_as_it_is(run, tiny_model, text, whole):
    Path("file").write_bytes(text.encode())
    expected = whole(tiny_model, text)
    assert ids(run("-f", "file")) == expected
    assert ids(run(stdin=text.encode())) == expected
    assert ids(run("-f", "-", stdin=text.encode())) == expected


def test_counts_as_wc_has_them(run):
    Path("a.txt").write_text("Hello world" * 10)
    Path("long name.md").write_text("Hello")
    assert run("--count", "-f", "a.txt", "long name.md").stdout == "20 a.txt\n 1 long name.md\n21 total\n"


def test_directories_and_patterns(run):
    Path("src/.git").mkdir(parents=True)
    Path("src/.git/config").write_text("hidden")
    Path("src/a.py").write_text("Hello world")
    Path("src/b.PY").write_text("Hello")
    Path("src/c").write_text("Hello")
    Path("src/image.png").write_bytes(b"\x89PNG\0\0")
    Path("src/latin.txt").write_bytes(b"caf\xe9")
    result = run("-r", "src", "--count")
    assert result.stdout == "2 src/a.py\n1 src/b.PY\n1 src/c\n4 total\n"
    assert result.stderr == "llamacli: skipped 2 files that are not text\n"
    rows = run("--by-extension", "-r", "src").stdout.splitlines()
    assert [row.split()[:3] for row in rows[1:]] == [[".py", "2", "3"], ["(none)", "1", "1"], ["total", "3", "4"]]
    assert json.loads(run("--by-extension", "--json", "-r", "src").stdout)["extensions"][0]["files"] == 2
    assert run("--count", "-f", "src/*.py").stdout == "2\n"


def test_chat(run, tiny_model, whole):
    prompt = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    assert ids(run("--chat", "Hello")) == whole(tiny_model, prompt, special=True)
    Path("m.json").write_text(json.dumps([{"role": "user", "content": "Hello"}]))
    assert ids(run("--chat", "-f", "m.json")) == whole(tiny_model, prompt, special=True)
    assert ids(run("--chat", "--chat-template", "llama3", "Hello")) != whole(tiny_model, prompt, special=True)
    long = run("--chat", "--count", "-sys", "Be brief.", "Hello").stdout
    assert int(long) > len(whole(tiny_model, prompt, special=True))
    document = json.loads(run("--chat", "--json", "Hello").stdout)
    assert "".join(token["piece"] for token in document["tokens"]) == prompt
    assert [token["special"] for token in document["tokens"]].count(True) == 3


def test_control_tokens_are_text_unless_asked_for(run, tiny_model, whole):
    text = "Hello<|im_end|>"
    assert ids(run(text)) == whole(tiny_model, text)
    assert ids(run("--special", text)) == whole(tiny_model, text, special=True)
    assert run("--special", "--count", text).stdout == "2\n"


def test_gate(run):
    assert run("--max", "2", "--count", "Hello world").status == 0
    over = run("--max", "1", "--count", "Hello world")
    assert (over.status, over.stdout) == (8, "2\n")
    assert over.stderr == "llamacli: error: 2 tokens exceed --max 1\n"


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ([], 2, "no text given (give one as an argument, with -f FILE, or on standard input)"),
        (["two", "words"], 2, "unexpected argument: words (put text of several words in quotes)"),
        (["-f", "missing"], 2, "missing does not exist"),
        (["-f", "*.none"], 2, "no file matches *.none"),
        (["-f", "-", "-", "--count"], 2, "standard input can be read only once"),
        (["-f", "-", "-", "--compare", "x"], 2, "standard input can be read only once"),
        (["-f", "."], 2, ". is a directory (-r reads the files in it)"),
        (["-r", "."], 2, "no text files found"),
        (["--ids", "--count", "x"], 2, "--ids cannot be used with --count"),
        (["--max", "-1", "x"], 2, "--max must be at least 0"),
        (["-sys", "x", "y"], 2, "-sys and --chat-template need --chat"),
        (["--detokenize", "12", "x"], 2, "'x' is not a token id (at offset 3 of the text)"),
        (["--detokenize", "1_0"], 2, "'1_0' is not a token id (at offset 0 of the text)"),
        (["--detokenize", "[1, +2]"], 2, "'+2' is not a token id (at offset 4 of the text)"),
        (["--detokenize", "٣"], 2, "'٣' is not a token id"),
        (["--detokenize", "1" * 50], 2, f"'{'1' * 40}' is not a token id"),
        (["--detokenize", "--", "1 --1"], 2, "'--1' is not a token id (at offset 2 of the text)"),
        (["--detokenize", "1 [12,[5"], 2, "the list at offset 2 of the text is not closed"),
        (["--detokenize", "[1]]2"], 2, "the ] at offset 3 of the text closes no list"),
        (["--detokenize", "99999"], 2, "token 99999 is not in the vocabulary"),
        (["--detokenize", "-1"], 2, "no such option: -1"),
        (["--detokenize", "--", "-1"], 2, "token -1 is not in any vocabulary"),
        (["--detokenize", "4294967296"], 2, "token 4294967296 is not in any vocabulary"),
        (["--detokenize", "--count", "1"], 2, "--detokenize writes only bytes"),
        (["--compare", "x", "--ids", "y"], 2, "--compare writes a comparison"),
        (["--chat", "--special", "x"], 2, "--chat cannot be used with --compare, --special or --no-bos"),
    ],
)
def test_refusals(run, arguments, status, says):
    result = run(*arguments)
    assert (result.status, result.stdout) == (status, "")
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_document_is_refused_if_it_is_named_and_skipped_if_it_is_found(run):
    Path("a.pdf").write_bytes(b"%PDF-1.7\n")
    Path("b.txt").write_text("Hello")
    named = run("--count", "-f", "a.pdf")
    assert (named.status, named.stdout) == (2, "")
    assert "a.pdf is a PDF document or a ZIP archive, not text (llamacli run -f a.pdf --show-text |" in named.stderr
    found = run("--count", "-r", ".")
    assert (found.status, found.stderr) == (0, "llamacli: skipped 1 file that is not text\n")
    assert run("--count", "--errors", "replace", "-f", "a.pdf").status == 0


@pytest.mark.parametrize("place", [0, 5, 300_000, (1 << 20) - 1, (1 << 20) + 1])
def test_what_is_not_utf8(run, place):
    data = b"a " * (place // 2) + b"x" * (place % 2)
    Path("file").write_bytes(data + b"\xe4b")
    result = run("--count", "-f", "file")
    assert result.status == 2
    assert f"file is not UTF-8 text: byte 0xe4 at offset {place:,}" in result.stderr
    pieces = json.loads(run("--json", "--errors", "replace", "-f", "file").stdout)["tokens"]
    assert b"".join(bytes.fromhex(token["bytes"]) for token in pieces) == data + "\ufffdb".encode()


def test_a_line_that_is_not_utf8_is_an_error_in_its_row(run):
    result = run("--jsonl", stdin=b"Hello\n\xff\n world\r\na\xe4\n")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row.get("bytes") for row in rows] == [5, None, 6, None]
    assert [row["error"]["type"] for row in rows if "error" in row] == ["UsageError"] * 2
    assert rows[3]["error"]["message"].startswith("standard input, line 4 is not UTF-8 text: byte 0xe4 at offset 1")
    assert result.status == 6
    assert result.stderr.startswith(
        "llamacli: error: 2 of 4 texts could not be tokenized: the first: standard input, line 2 is"
    )
    replaced = run("--jsonl", "--errors", "replace", stdin=b"Hello\n\xff\nb")
    assert (replaced.status, len(replaced.stdout.splitlines())) == (0, 3)


def test_a_line_that_fails_late_is_still_one_row(run, monkeypatch):
    monkeypatch.setattr(tokenizing_text, "PART", 64)
    monkeypatch.setattr(tokenizing_text, "LONGEST", 256)
    row = b"Hello world, " * 40 + b"a" * 1000
    result = run("--jsonl", stdin=b"Hello\n" + row + b"\nHello", model=VOCABULARIES["gpt-2"])
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [sorted(row) for row in (rows[0], rows[2])] == [["bytes", "bytes_per_token", "count", "tokens"]] * 2
    assert rows[1]["error"]["type"] == "CapacityError"
    assert len(rows[1]["tokens"]) > 100  # those of what came before
    assert result.status == 6


@pytest.fixture
def one_bad_file(run, monkeypatch):
    """Runs `tokenize` over three files; the one in the middle is not UTF-8, which shows late."""
    monkeypatch.setattr(tokenize_input, "BLOCK", 1000)
    monkeypatch.setattr(tokenizing_text, "PART", 1000)
    Path("a").write_text("Hello")
    Path("bad").write_bytes(b"Hello " * 1000 + b"\xff")
    Path("c").write_text("Hello world")

    def call(*arguments: str, status: int = 6, **how) -> str:
        result = run(*arguments, "-f", "a", "bad", "c", **how)
        assert result.status == status
        warning, error = result.stderr.splitlines()
        assert warning.startswith("llamacli: warning: bad is not UTF-8 text: byte 0xff at offset 6,000")
        assert status != 6 or error == "llamacli: error: 1 of 3 texts could not be tokenized"
        return result.stdout

    return call


def test_one_bad_file_does_not_take_the_others_with_it(one_bad_file):
    assert one_bad_file("--count") == "1 a\n2 c\n3 total\n"
    assert one_bad_file("--count", "--max", "2", status=8) == "1 a\n2 c\n3 total\n"
    assert one_bad_file("--by-extension").splitlines()[1].split()[:3] == ["(none)", "2", "3"]
    for form in ([], ["--count"]):
        document = json.loads(one_bad_file("--json", *form))
        assert [(one["name"], one.get("count"), "error" in one) for one in document["documents"]] == [
            ("a", 1, False), ("bad", None, True), ("c", 2, False),
        ]  # fmt: skip
        assert document["count"] == 3
    lines = [json.loads(line) for line in one_bad_file("--ids").splitlines()]
    assert [len(lines[0]), len(lines[2])] == [1, 2]
    view = one_bad_file(terminals=Terminals(stdout=True), environ={"NO_COLOR": "1"})
    assert view.endswith("total: 3 tokens · 16 bytes · 5.33 bytes per token\n")


def test_an_error_in_the_middle_leaves_json_whole(run, monkeypatch):
    monkeypatch.setattr(tokenize_input, "BLOCK", 1000)
    monkeypatch.setattr(tokenizing_text, "PART", 1000)
    Path("bad").write_bytes(b"Hello " * 1000 + b"\xff")
    result = run("--json", "-f", "bad")
    assert (result.status, result.stderr.count("\n")) == (2, 1)
    document = json.loads(result.stdout)
    assert "bad is not UTF-8 text" in document["error"]["message"]
    assert document["tokens"]


def test_conversations_in_files_however_they_are_named(run):
    Path("c").mkdir()
    Path("c/m.json").write_text(json.dumps([{"role": "user", "content": "Hello"}]))
    expected = run("--chat", "--count", "Hello").stdout
    for words in (["-f", "c/m.json"], ["-r", "c"], ["-f", "c/*"], ["-r", "c/m.json"], ["-r", "-f", "c"]):
        assert run("--chat", "--count", *words).stdout == expected
    assert run("--chat", "--count", "-f", "-", stdin=Path("c/m.json").read_bytes()).stdout == expected
    Path("c/none.json").write_text("[]")
    result = run("--chat", "--count", "-r", "c")
    assert (result.status, result.stdout.splitlines()[0].split()) == (6, [expected.strip(), "c/m.json"])
    assert "warning: c/none.json: the messages must be a list of at least one object" in result.stderr


def test_an_argument_that_is_not_utf8(run, tiny_model, whole):
    result = run("a\udcffb")
    assert (result.status, result.stdout) == (2, "")
    assert "the text is not UTF-8 text: byte 0xff at offset 1 (--errors replace reads it as U+FFFD" in result.stderr
    assert ids(run("--errors", "replace", "a\udcffb")) == whole(tiny_model, "a\ufffdb")
    assert "'\\xff' is not a token id (at offset 2 of the text)" in run("--detokenize", "1 \udcff").stderr


def test_files_whose_names_are_not_utf8(run):
    name = os.fsdecode(b"caf\xe9.\xfe")
    Path(name).write_text("Hello world")
    assert run("--count", "-f", name).stdout == "2\n"
    assert run("--count", "-f", name, name).stdout.splitlines()[0] == r"2 caf\xe9.\xfe"
    assert run("--count", "-f", f"{name[:3]}*", "-f", name).stdout.splitlines()[1] == r"2 caf\xe9.\xfe"
    names = [one["name"] for one in json.loads(run("--json", "-f", name, name).stdout)["documents"]]
    assert names == ["caf\ufffd.\ufffd"] * 2
    assert json.loads(run("--by-extension", "--json", "-r", ".").stdout)["extensions"][0]["extension"] == ".\ufffd"
    assert r".\xfe" in run("--by-extension", "-r", ".").stdout
    assert run("-f", "\udcff").stderr == "llamacli: error: \\xff does not exist\n"
    Path(name).write_bytes(b"\xff")
    document = json.loads(run("--count", "--json", "-f", name, name).stdout)
    assert document["documents"][0]["error"]["message"].startswith("caf\ufffd.\ufffd is not UTF-8 text")


def test_messages_that_are_none(run):
    Path("m").write_text("Hello")
    assert "m: invalid JSON at line 1, column 1" in run("--chat", "-f", "m").stderr
    Path("m").write_text("{}")
    assert "m is not a JSON list of messages" in run("--chat", "-f", "m").stderr


def test_a_model_without_a_template(run, tiny_base_model):
    result = run("--chat", "x", model=tiny_base_model)
    said = "this model has no chat template (--chat-template selects one)"
    assert (result.status, result.stderr) == (3, f"llamacli: error: {said}\n")


# --- and back --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tiny", "llama-spm", "gpt-2", "llama-bpe", "gemma-4", "phi-3", "gpt-neox", "qwen2"])
def test_round_trip(run, tiny_model, name):
    model = tiny_model if name == "tiny" else VOCABULARIES[name]
    text = " Hello  world,\n\n  naïve <|im_end|> </s>日本語 🏠👨‍👩‍👧 \t\x00\x7f . 's ? !\n"
    for form in ([], ["--ids"]):
        tokens = run(*form, stdin=text.encode(), model=model)
        assert run("--detokenize", stdin=tokens.stdout_bytes, model=model).stdout_bytes == text.encode()
    special = run("--special", stdin=text.encode(), model=model).stdout_bytes
    if name != "phi-3":  # of which the control tokens eat the white space after them
        assert run("--detokenize", "--special", stdin=special, model=model).stdout_bytes == text.encode()


def test_ids_in_many_forms(run, tiny_model, whole):
    tokens = whole(tiny_model, "Hello world")
    for words in ([str(token) for token in tokens], [json.dumps(tokens)], [", ".join(map(str, tokens))]):
        assert run("--detokenize", *words).stdout == "Hello world"
    pretty = json.dumps([tokens, tokens], indent=2).encode()
    assert run("--detokenize", stdin=pretty).stdout == "Hello worldHello world"
    assert run("--detokenize", *map(str, tokens), terminals=TERMINAL).stdout == "Hello world\n"


@pytest.mark.parametrize("arguments", [("--jsonl",), ("--detokenize",)])
def test_a_live_pipe_is_answered_line_by_line(tiny_model, arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LLAMACLI_")}
    command = [sys.executable, "-m", "llamacli", "tokenize", "-m", str(tiny_model), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in (b"65\n", b"[66,\n67]\n"):
            process.stdin.write(line)
            assert select.select([process.stdout], [], [], 30)[0], "nothing comes before the end of the input"
            assert process.stdout.read(1 << 16)
        process.stdin.close()
        assert process.wait(30) == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("arguments", [("--ids",), ("--compare",), ("--jsonl",)])
def test_a_signal_ends_the_work_with_its_own_status(tiny_model, tmp_path, arguments, number, status):
    text = tmp_path / "long.txt"
    text.write_bytes(b"Hello world and more words\n" * 2_000_000)
    if arguments == ("--compare",):
        arguments = (*arguments, str(tiny_model))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LLAMACLI_")}
    command = [sys.executable, "-m", "llamacli", "tokenize", "-v", "-m", str(tiny_model), *arguments, "-f", str(text)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stderr is not None
        time.sleep(2)  # it is loaded, and works for many seconds
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(10) == status
        assert b"Traceback" not in process.stderr.read()


def test_ids_are_not_collected_before_they_are_used():
    def blocks():
        yield b"1 2\n3"
        asked.append("second")
        yield b"4\n"

    asked: list[str] = []
    texts = read_ids(blocks(), "it")
    assert (list(next(texts)), asked) == ([1, 2], [])
    assert [list(text) for text in texts] == [[34]]
    assert list(read_ids([b"5", b"", b""], "it"))[:2] == [None, None]


def test_long_texts_are_put_together_in_parts(run, monkeypatch):
    monkeypatch.setattr(tokenizing, "_JOINED", 1)
    text = "ä日🏠 Hello" * 3
    tokens = run("--special", text).stdout.split()
    assert len(tokens) > len(text)  # characters are cut in the middle
    assert run("--detokenize", *tokens).stdout == text
    assert run("--detokenize", *tokens, terminals=TERMINAL).stdout == text + "\n"
    assert run("--detokenize", *tokens[:1], terminals=TERMINAL).stdout == "\\xc3\n"


@given(st.lists(st.sampled_from([b"1", b"23", b"[", b"]", b" ", b",", b"\n", b"-", b"_", b"456"]), max_size=12))
@settings(max_examples=200)
def test_ids_in_blocks_of_any_size(parts):
    def read(blocks):
        try:
            return [list(text) for text in read_ids(blocks, "it") if text is not None]
        except UsageError as error:
            return str(error)

    data = b"".join(parts)
    assert read([data]) == read(parts) == read([data[place : place + 1] for place in range(len(data))])


@given(st.lists(st.sampled_from([b"a", b"b\r", b"\n", b"\r\n", b"", b"\xff", b"cd"]), max_size=12))
@settings(max_examples=200)
def test_lines_of_blocks_of_any_size(parts):
    def lines(blocks):
        found = list(tokenize_input.lines_of(Document("it", lambda: blocks)))
        assert found.count(None) == sum(not block for block in blocks)
        return [(line.name, *line.blocks()) for line in found if line is not None]

    data = b"".join(parts)
    whole = [line.removesuffix(b"\r") for line in data.removesuffix(b"\n").split(b"\n")] if data else []
    assert lines(parts) == lines([data]) == [(f"it, line {number}", line) for number, line in enumerate(whole, 1)]


# --- side by side ----------------------------------------------------------------------------------------------------


def test_compare(run, whole):
    first, second = VOCABULARIES["gpt-2"], VOCABULARIES["llama-bpe"]
    result = run("--compare", str(second), "indentation    tokenization", model=first)
    assert result.status == 0, result.stderr
    table, *differences = result.stdout.split("\n\n")
    assert [row.split()[0] for row in table.splitlines()] == ["MODEL", "ggml-vocab-gpt-2", "ggml-vocab-llama-bpe"]
    assert differences
    document = json.loads(run("--json", "--compare", str(second), "indentation    tokenization", model=first).stdout)
    text = b"indentation    tokenization"
    for difference in document["differences"]:
        stretch = text[difference["start"] : difference["end"]].decode()
        assert ["".join(pieces) for pieces in difference["pieces"]] == [stretch, stretch]
        assert difference["pieces"][0] != difference["pieces"][1]
    assert [one["count"] for one in document["models"]] == [len(whole(path, text.decode())) for path in (first, second)]


def test_compare_with_itself(run, tiny_model):
    result = run("--compare", str(tiny_model), stdin=b"Hello world " * 30_000)
    assert result.stdout.endswith("\nAll vocabularies split the text in the same way.\n")


def test_compare_finds_a_late_difference(run, whole):
    text = b"Hello world, user\n" * 20_000 + b"x    y"
    names = ("gpt-2", "llama-bpe")
    arguments = ["--json", "--compare", str(VOCABULARIES[names[1]])]
    document = json.loads(run(*arguments, stdin=text, model=VOCABULARIES[names[0]]).stdout)
    assert document["differences"]
    for difference in document["differences"]:
        for pieces in difference["pieces"]:
            assert "".join(pieces).encode() == text[difference["start"] : difference["end"]]
    assert [one["count"] for one in document["models"]] == [len(whole(VOCABULARIES[name], text.decode())) for name in names]


@pytest.mark.parametrize("name", ["bert-bge", "nomic-bert-moe"])
def test_spans_of_vocabularies_that_normalize(run, name):
    text = "Héllo, WORLD!  ﬁne 日本 🏠zzz\n  end"
    tokens = json.loads(run("--json", text, model=VOCABULARIES[name]).stdout)["tokens"]
    data = text.encode()
    spans = [(token["start"], token["end"]) for token in tokens]
    assert spans == sorted(spans)
    cut = [data[start:end].decode() for start, end in spans]
    assert cut[0] == cut[-1] == ""
    assert cut[1].startswith("H")
    assert "," in cut
    assert "".join(cut).replace(" ", "") == "".join(text.split())


@pytest.mark.parametrize("width", [32, 40, 60, 80, 200])
def test_tables_keep_to_the_width(run, width):
    first, second = VOCABULARIES["gpt-2"], VOCABULARIES["llama-bpe"]
    long = Path("a folder with a long name " * 3)
    long.mkdir()
    for name in ("one.a-long-extension", "two.py"):
        (long / name).write_text("indentation    tokenization   日本語 \x1b" * 20)
    how = {"terminals": TERMINAL, "environ": {"NO_COLOR": "1"}, "width": width}
    for words in (["--compare", str(second)], ["--by-extension"]):
        rows = run(*words, "-r", str(long), model=first, **how).stdout.splitlines()
        assert len(rows) > 3
        assert max(map(columns, rows)) <= width
        assert "TOKENS" in rows[0]
        assert len({row.split("  ")[0] for row in rows[:3]}) == 3


def test_models_are_told_apart():
    counts = tuple(
        Counted(name, 1_000_000, 4_000_000) for name in ("Llama-3.2-1B-Instruct-Q4_K_M", "Llama-3.2-3B-Instruct-Q4_K_M")
    )
    differences = (Difference("d", 0, 2, ((b"a", b"b"), (b"ab",))),)
    text = format_comparison(Comparison(counts, differences), lambda text, _: text, several_documents=False, width=40)
    table, difference = text.split("\n\n")
    for rows in (table, difference):
        first, second = (row.split()[0] for row in rows.splitlines()[1:])
        assert first != second


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/m/a.gguf", "/m/b.gguf"], ["a", "b"]),
        (["/m/a.gguf", "/m/a.gguf"], ["a", "a"]),
        (["/m/a.gguf", "/m/a.bin"], ["a.gguf", "a.bin"]),
        (["/m/x/a.gguf", "/m/y/a.gguf", "/m/y/b.gguf"], ["x/a.gguf", "y/a.gguf", "b"]),
        (["/m/x/q/a.gguf", "/m/y/q/a.gguf"], ["x/q/a.gguf", "y/q/a.gguf"]),
        (["a.gguf", "/a.gguf"], ["a.gguf", "/a.gguf"]),
    ],
)
def test_names_of_models(paths, names):
    assert model_names([PurePath(path) for path in paths]) == names


def test_compare_models_with_the_same_stem(run, tiny_model, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m.gguf").symlink_to(tiny_model)
    arguments = ["--compare", str(tmp_path / "two/m.gguf"), "x"]
    document = json.loads(run("--json", *arguments, model=tmp_path / "one/m.gguf").stdout)
    assert [one["model"] for one in document["models"]] == ["one/m.gguf", "two/m.gguf"]
    table = run(*arguments, model=tmp_path / "one/m.gguf").stdout
    assert [row.split()[0] for row in table.splitlines()[1:3]] == ["one/m.gguf", "two/m.gguf"]


# --- size ------------------------------------------------------------------------------------------------------------


def test_many_documents_in_parts(run, tiny_model, monkeypatch, whole):
    monkeypatch.setattr(tokenizing_text, "PART", 64)
    texts = ["Hello world, user.\n" * number for number in (0, 1, 3, 100, 2, 0, 57)]
    for number, text in enumerate(texts):
        Path(f"{number}").write_text(text)
    lines = run("-f", *(str(number) for number in range(len(texts)))).stdout.split("\n")[:-1]
    assert [[int(word) for word in line.split()] for line in lines] == [whole(tiny_model, text) for text in texts]


def test_too_long_without_a_place(run):
    result = run("--count", stdin=b"a" * (LONGEST + 1), model=VOCABULARIES["llama-spm"])
    assert result.status == 4
    assert "without a position where this vocabulary allows a cut" in result.stderr


def test_progress_on_a_terminal(run, monkeypatch):
    monkeypatch.setattr("llamacli.cli.tokenize.vocabulary.PROGRESS_DELAY_SECONDS", 0.0)
    Path("big").write_text("Hello world, user.\n" * 120_000)
    result = run("--count", "-f", "big", terminals=Terminals(stdin=True, stderr=True), environ={})
    assert result.status == 0
    assert "\x1b[K" in result.stderr
    assert "tokenizing" in result.stderr


def test_only_the_vocabulary_is_loaded(tiny_model):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LLAMACLI_")}
    code = (
        "import sys; from llamacli.cli import main; main(['tokenize', '-m', sys.argv[1], 'Hello'])\n"
        "print(*[name for name in ('numpy', 'rich', 'prompt_toolkit', 'huggingface_hub', 'llamacli.engine.runtime.context',"
        " 'llamacli.engine.chat.template', 'concurrent.futures') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_model)], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.splitlines()[1:] == [""]


def test_pre_tokenizers_that_are_not_known_are_not_cut(tmp_path):
    from llamacli.engine.tokenization import split_rules as rules

    assert rules.for_words("gpt2", "from the future", ()).pattern is None
    assert rules.for_words("hybriddna", "default", ()).pattern is None
    assert rules.for_words("gpt2", None, ()).pattern is not None


def rwkv(tmp_path: Path) -> Path:
    tokens = ["<s>", *[f"\\x{byte:02x}" for byte in range(256)], "the", " the", "e ", "e t", "a b", "\\n", "s\\n", ", "]
    tokens[1 + ord("\n")] = "\\x0a"
    types = [tiny.CONTROL, *[tiny.NORMAL] * (len(tokens) - 1)]
    unique = tuple(dict.fromkeys(tokens))
    vocabulary = tiny.Vocabulary(unique, tuple(types[: len(unique)]), model="rwkv", pre=None, bos=None, eos=0, pad=None)
    return tiny.tiny_model(tmp_path / "rwkv.gguf", vocabulary=vocabulary)


def test_rwkv(tmp_path, run, monkeypatch, whole):
    monkeypatch.setattr(tokenizing_text, "PART", 8)
    model = rwkv(tmp_path)
    text = "the cat, the e tail\nthe a b bees\n" * 9
    assert ids(run(text, model=model)) == whole(model, text)
