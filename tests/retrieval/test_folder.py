"""The files of a folder: what `.gitignore` names is left out, as git does it, and nothing loops."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from llamacli.retrieval.folder import FolderScan

TREE = {
    ".gitignore": "*.log\n!keep.log\n/build/\ncache\n\\#odd\n# comment\ntrailing \ndeep/**/x.txt\n[bad\n",
    "#odd": "", "a.md": "", "b.log": "", "keep.log": "", "build/out.txt": "", "sub/build/in.txt": "", "cache/c.txt": "",
    "sub/cache": "", "sub/.gitignore": "!b.log\n*.md\n/local\n", "sub/b.log": "", "sub/c.md": "", "sub/local/x": "",
    "sub/deeper/local/x": "", "sub/deeper/.gitignore": "!d.md\n", "sub/deeper/d.md": "", "deep/x.txt": "", "deep/a/x.txt": "",
    "only/.gitignore": "*\n", "only/x.txt": "", "trailing": "", "name with space.txt": "",
}  # fmt: skip


def write(folder: Path, tree: dict[str, str]) -> Path:
    for name, text in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def found(folder: Path) -> set[str]:
    return {os.path.relpath(file.path, folder) for file in FolderScan(str(folder)).files()}


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_the_files_are_those_that_git_would_add(tmp_path: Path) -> None:
    top = write(tmp_path, TREE)
    git = ["git", "-C", str(top)]
    subprocess.run([*git, "init", "-q"], check=True)
    (top / ".git/info/exclude").write_text("name with*\n")
    listed = subprocess.run([*git, "ls-files", "-co", "--exclude-standard", "-z"], check=True, capture_output=True, text=True)
    expected = {name for name in listed.stdout.split("\0") if name and not name.rpartition("/")[2].startswith(".")}
    assert found(top) == expected
    assert {"keep.log", "sub/b.log", "sub/deeper/d.md", "deep/x.txt"} - expected == {"deep/x.txt"}
    below = {name.removeprefix("sub/") for name in expected if name.startswith("sub/")}
    assert found(top / "sub") == below  # the rules of the folders above count


def test_hidden_names_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, {".env": "secret", ".github/a.md": "", "a/.hidden/b.md": "", "a/b.md": ""})
    assert found(tmp_path) == {"a/b.md"}


def test_outside_of_a_repository_the_rules_of_each_folder_count(tmp_path: Path) -> None:
    write(tmp_path, {".gitignore": "*.log\n", "in/a.log": "", "in/.git/config": "", "in/b.txt": ""})
    assert found(tmp_path) == {"in/b.txt"}


def test_links_pipes_and_folders_that_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": "text", "sub/b.txt": "text"})
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "sub/up").symlink_to("..", target_is_directory=True)
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "also.txt").symlink_to("a.txt")
    os.mkfifo(tmp_path / "pipe")
    scan = FolderScan(str(tmp_path), skips=frozenset({str(tmp_path / "sub/b.txt")}))
    assert [file.path for file in scan.files()] == [str(tmp_path / "a.txt")]
    gone = FolderScan(str(tmp_path / "none"))
    assert list(gone.files()) == []
    assert gone.unreadable == [str(tmp_path / "none")]
