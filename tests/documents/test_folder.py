"""The files of a folder, and the rules of .gitignore."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from llamacli.documents.folder import Skipped, walk
from llamacli.documents.ignore import read_rules


def _make(top: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_pattern_that_cannot_be_read_matches_nothing(tmp_path):
    (tmp_path / ".gitignore").write_bytes(b"\xef\xbb\xbf*.o\n!\n/\n[z-a]\ncaf\xe9\n")
    (rules,) = read_rules(str(tmp_path))
    verdicts = {name: rules.judge(f"{tmp_path}/{name}") for name in ("a.o", "x", "caf\udce9")}
    assert verdicts == {"a.o": True, "x": None, "caf\udce9": True}
    assert list(read_rules(str(tmp_path / "none"))) == []


TREE = {
    ".gitignore": "*.log\n!keep.log\nbuild/\n/only-here\n",
    "a.txt": "", "b.log": "", "keep.log": "", "only-here": "", ".hidden": "",
    "build/x.txt": "", "sub/build": "", "sub/only-here": "",
    "sub/.gitignore": "*.txt\n!b.txt\n", "sub/a.txt": "", "sub/b.txt": "", "sub/c.log": "", "sub/deep/d.txt": "",
}  # fmt: skip


def test_a_folder_without_what_is_hidden_or_ignored(tmp_path):
    _make(tmp_path, TREE)
    (tmp_path / "loop").symlink_to(tmp_path)
    skipped = Skipped()
    found = [str(path.relative_to(tmp_path)) for path in walk(tmp_path, skipped)]
    assert found == ["a.txt", "keep.log", "sub/b.txt", "sub/build", "sub/only-here"]
    assert skipped.describe() == "skipped 6 ignored by .gitignore, 3 hidden"


def test_the_rules_of_the_repository_above_hold(tmp_path, monkeypatch):
    _make(tmp_path, {**TREE, "sub/x.log": ""})
    monkeypatch.chdir(tmp_path / "sub")
    assert "x.log" in map(str, walk(Path(), Skipped()))  # it is no repository
    (tmp_path / ".git").mkdir()
    assert list(map(str, walk(Path(), Skipped()))) == ["b.txt", "build", "only-here"]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_ignores_the_same(tmp_path):
    rules = "a*\n!ab\n**/x/*\n!x/keep\nq/**/z\n[b-d]?.t*\n/p\\ q\n*.d/\n"
    names = [
        "a",
        "ab",
        "ac/f",
        "x/1",
        "x/keep",
        "y/x/2",
        "q/z",
        "q/r/z",
        "q/r/s/z",
        "cc.txt",
        "ee.txt",
        "p q",
        "o/p q",
        "m.d/f",
        "n.d",
    ]
    _make(tmp_path, {**dict.fromkeys(names, ""), ".gitignore": rules})
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    listed = subprocess.run(
        ["git", "-C", tmp_path, "ls-files", "-z", "--others", "--exclude-standard"], check=True, capture_output=True, text=True
    ).stdout.split("\0")
    expected = {name for name in listed if name and not name.startswith(".")}
    assert {path.relative_to(tmp_path).as_posix() for path in walk(tmp_path, Skipped())} == expected
