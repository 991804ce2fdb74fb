"""`chat --index`: passages with each message, their places after the answer, and `/index`."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import FakeEngine, Result, invoke
from talk import Talker
from tiny_bert import tiny_bert


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    (folder / "docs").mkdir()
    (folder / "docs/a.md").write_text("# the red cat\n\nthe cat sat\n\n# the blue dog\n\nthe dog ran\n")
    arguments = ("embed", "index", "add", folder / "x.db", folder / "docs", "-m", tiny_bert(folder / "bert.gguf"))
    made = invoke(*map(str, arguments), find_model=lambda app, reference, *, offline: Path(reference))
    assert made.status == 0, made.stderr
    return folder


def play(place: Path, text: str, *arguments: str, engine: FakeEngine) -> Result:
    (place / "script.txt").write_text(text)
    words = ("chat", "--script", place / "script.txt", *arguments)
    return invoke(
        *map(str, words), stdin=b"", engine=engine, find_model=lambda app, reference, *, offline: Path(reference or "demo.gguf")
    )


def test_messages_come_with_passages_until_the_index_is_off(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    engine = Talker(answers=[("The dog [1].",), ("Fine.",)])
    script = "/index\nwhat did the dog do\n/index show\n/index off\nHi\n/index on\n/index maybe\n"
    result = play(place, script, "--index", "x.db", "--passages", "1", "--search-mode", "words", engine=engine)
    assert engine.asked[0][-1][1].endswith(
        "\n\n[1] docs/a.md:5-7\n> # the blue dog\n>\n> the dog ran\n\nQuestion: what did the dog do"
    )
    assert engine.asked[1][-1] == ("user", "Hi")
    lines = result.stdout.splitlines()
    assert lines[1] == "x.db: 2 texts, up to 1,500 tokens for each message"
    assert lines[2:5] == ["> what did the dog do", "The dog [1].", "[1] docs/a.md:5-7"]
    assert "> # the blue dog" in lines
    assert "x.db: 2 texts, off" in lines
    assert "/index needs on, off or show" in result.stderr


def test_a_session_shows_and_edits_the_question_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    options = ("--index", "x.db", "--session", "demo")
    play(place, "the dog\n", *options, engine=Talker())
    listed = invoke("chat", "--list").stdout
    assert "the dog" in listed
    assert "passages" not in listed
    again = play(place, "/undo\n/index show\n", "--session", "demo", engine=Talker())
    assert "\n> the dog\n" in again.stdout
    assert "removed: the dog" in again.stdout
    assert "no passages yet" in again.stdout


def test_without_an_index_there_is_nothing_to_switch(place: Path) -> None:
    result = play(place, "/index on\n", engine=Talker())
    assert (result.status, "this conversation has no index" in result.stderr) == (2, True)
