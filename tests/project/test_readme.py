"""The README: short, complete, and without links that lead nowhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from examples import DOCUMENTS, ROOT, Document

from llamacli.cli.docs.topics import EXIT_STATUS
from llamacli.cli.help.topics import TOPICS
from llamacli.cli.registry import REGISTRY

README = (ROOT / "README.md").read_text()
WRITTEN_BY_HAND = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md")


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 250


@pytest.mark.parametrize("path", [*WRITTEN_BY_HAND, *(document.path for document in DOCUMENTS[1:])], ids=lambda path: path.stem)
def test_lines_are_short(path: Path) -> None:
    long = [line for line in path.read_text().splitlines() if len(line) > 120]
    assert [line for line in long if path in WRITTEN_BY_HAND or not line.startswith("|")] == []


def test_it_has_the_commands_to_install_and_to_test() -> None:
    assert Document(ROOT / "README.md").blocks("sh") == [
        'python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/llamacli run "Why is the sky blue?"\n',
        "python3 tests/run.py\n",
    ]


@pytest.mark.parametrize("entry", REGISTRY, ids=lambda entry: entry.name)
def test_every_command_is_in_the_tour(entry) -> None:
    assert f"**`{entry.name}`**" in README
    assert f"llamacli {entry.name} " in "".join(Document(ROOT / "README.md").blocks("console"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_command_that_is_shown_exists(document: Document) -> None:
    blocks = re.findall(r"^ *```.*?^ *```", document.text, re.DOTALL | re.MULTILINE)
    named = re.findall(r"(?:^|[|$(] *)llamacli ([a-z]+) ", "".join(blocks), re.MULTILINE)
    assert set(named) <= {entry.name for entry in REGISTRY}


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_guide_is_linked(topic) -> None:
    assert f"\n| [{topic.name}](llamacli/cli/help/guides/{topic.name}.md) |" in README


def test_the_exit_statuses_are_all_there() -> None:
    table = README.split("## Exit statuses\n")[1].split("\n## ")[0]
    assert set(re.findall(r"\b\d+\b", table)) == {str(number) for number, _ in EXIT_STATUS}


@pytest.mark.parametrize("path", WRITTEN_BY_HAND, ids=lambda path: path.name)
def test_links_and_pictures_lead_somewhere(path: Path) -> None:
    text = path.read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / target).exists() or target.startswith("https://"), target
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-") for line in text.splitlines() if line[:1] == "#"
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings


def test_screenshots_show_no_path_of_the_machine_that_drew_them() -> None:
    for path in (ROOT / "man" / "screenshots").glob("*.svg"):
        text = path.read_text()
        assert text.startswith("<svg")
        assert "/root" not in text
        assert "/home/ada" in text or "/home" not in text
