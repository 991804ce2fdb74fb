"""Documents in the prompt of `run`: formats, folders, patterns, and what is said of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import invoke

from llamacli.cli.framework.context import find_model
from tests.support.documents import docx, pdf, word_paragraph
from tests.support.page_server import response, server


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder of files, where the command runs."""
    monkeypatch.chdir(tmp_path)
    Path("a.pdf").write_bytes(pdf("The pump leaks.", "It is old."))
    Path("src/deep").mkdir(parents=True)
    Path("src/one.md").write_text("# One\n")
    Path("src/deep/two.txt").write_bytes("zwei".encode("utf-16"))
    Path("src/picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    Path("src/data").write_bytes(b"\x7fELF\0\xff")
    Path("src/.hidden").write_text("no")
    Path("src/x.log").write_text("no")
    Path("src/.gitignore").write_text("*.log\n")


def asked(*arguments: str, stdin: bytes | None = None) -> str:
    result = invoke("run", *arguments, stdin=stdin)
    assert result.status == 0, result.stderr
    (message,) = result.engine.messages
    return message["content"]


def test_files_of_all_formats_come_before_the_question():
    Path("b.docx").write_bytes(docx(word_paragraph("Order a seal.")))
    assert asked("-f", "a.pdf", "-f", "b.docx", "Why?") == "The pump leaks.\n\nIt is old.\n\nOrder a seal.\n\nWhy?"


def test_a_document_on_standard_input_is_read_too():
    assert asked("Why?", stdin=Path("a.pdf").read_bytes()) == "The pump leaks.\n\nIt is old.\n\nWhy?"


def test_a_folder_is_read_with_the_names_of_its_files():
    result = invoke("run", "-r", "-f", "src", "Why?")
    (message,) = result.engine.messages
    assert message["content"] == "==> src/deep/two.txt <==\nzwei\n\n==> src/one.md <==\n# One\n\nWhy?"
    assert result.stderr == "llamacli: skipped 2 files that are not text, 1 ignored by .gitignore, 2 hidden\n"


def test_a_pattern_is_read_with_the_names_of_its_files():
    assert asked("-f", "src/*.md", "Why?") == "==> src/one.md <==\n# One\n\nWhy?"
    assert asked("-f", "**/*.txt", "Why?") == "==> src/deep/two.txt <==\nzwei\n\nWhy?"
    Path("src/[x].md").write_text("a file with such a name")
    assert asked("-f", "src/[x].md", "Why?") == "a file with such a name\n\nWhy?"


def test_a_name_with_odd_bytes_is_escaped():
    Path("src/one.md").rename(os.fsdecode(b"src/gr\xfc\xdfe.md"))
    assert asked("-f", "src/*.md", "Why?") == "==> src/gr\\xfc\\xdfe.md <==\n# One\n\nWhy?"


def test_a_document_that_was_only_found_is_a_warning():
    Path("src/b.pdf").write_bytes(pdf(""))
    result = invoke("run", "-f", "src/*.*", "Why?")
    assert result.status == 0
    assert "warning: src/b.pdf has 1 page without text: it is probably scanned (ocrmypdf" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-f", "src", "x"], "src is a directory (-r reads the files in it)"),
        (["-r", "x"], "-r needs -f, which names a folder"),
        (["-f", "no*", "x"], "no file with text matches no*"),
        (
            ["-r", "-f", "src/deep/../*.png", "x"],
            "no file with text matches src/deep/../*.png (skipped 1 file that is not text)",
        ),
        (["-f", "src/data", "x"], "src/data is not UTF-8 text"),
        (["-f", "https://host/x", "--offline", "x"], "https://host/x cannot be read with --offline"),
        (["-f", "https:///x", "x"], "https:///x is not a web address (write https://host/page)"),
        (["-f", "-", "-f", "-", "x"], "standard input can be read only once"),
        (["--show-text"], "--show-text needs a file (name it with -f)"),
        (["--show-text", "--input", "rows.csv"], "--show-text cannot be used with --input"),
    ],
)
def test_what_cannot_be_read(arguments, says):
    result = invoke("run", *arguments, stdin=b"" if "-" in arguments else None)
    assert (result.status, result.stdout) == (2, "")
    assert says in result.stderr


def test_folders_of_the_settings_need_no_file():
    assert invoke("run", "x", defaults={"recursive": True}).status == 0
    assert invoke("run", "-f", "src/deep", "x", defaults={"recursive": True}).engine.messages[0]["content"].startswith("==>")


def test_the_text_is_shown_without_a_model():
    result = invoke("run", "-f", "a.pdf", "-f", "src/one.md", "--show-text", "Why?")
    assert result.stdout == "The pump leaks.\n\nIt is old.\n\n# One\n"
    assert result.stderr == "llamacli: a.pdf: PDF, 2 pages, 27 characters\nllamacli: src/one.md: text, 6 characters\n"
    assert result.engine.messages is None
    missing = invoke("run", "-f", "src/one.md", "--show-text", "-md", "missing", find_model=find_model)
    assert (missing.status, missing.stdout) == (0, "# One\n")


def test_a_web_page_is_read_and_a_private_one_only_if_that_is_allowed():
    page = response(b"<title>Pump</title><p>It leaks.", "text/html")
    with server(page) as (address, _):
        result = invoke("run", "-f", address, "Why?")
        assert (result.status, result.stdout) == (2, "")
        assert f"{address}/ is not an https:// address" in result.stderr
        assert asked("--private-addresses", "-f", address, "Why?") == "# Pump\n\nIt leaks.\n\nWhy?"
    with server(response(b"", status="500 Oops")) as (address, _):
        result = invoke("run", "--private-addresses", "-f", address, "Why?")
    assert (result.status, result.stderr) == (1, f"llamacli: error: {address}: the server responded 500 Oops\n")


def test_the_file_that_is_being_written_is_not_read():
    with Path("src/all.txt").open("wb") as output:
        command = [sys.executable, "-m", "llamacli", "run", "-r", "-f", "src", "--show-text"]
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, check=True)
    assert Path("src/all.txt").read_text() == "==> src/deep/two.txt <==\nzwei\n\n==> src/one.md <==\n# One\n"


def test_more_text_than_any_context_holds_is_refused(monkeypatch):
    monkeypatch.setattr("llamacli.cli.framework.inputs.prompt.MAX_INPUT_BYTES", 20)
    result = invoke("run", "-r", "-f", "src", "Why?")
    assert result.status == 4
    assert "the files have more than 0 million characters (no context holds as much)" in result.stderr
