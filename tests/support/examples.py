"""The examples of the README and the guides: finding them, running them, and writing their output anew.

python tests/support/examples.py        writes the output of the commands into README.md and the guides; needs the demo models
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from screenshots import shown

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ROOT / "llamacli" / "cli" / "help" / "guides"
README_WIDTH, GUIDE_WIDTH = 92, 76
"""Columns of the terminal on which the output was written; a man page of 80 columns has room for a guide's."""

BENCH = "llamacli bench"
"""The command whose output is recorded on a quiet machine, and not written anew."""

TALKS = ("llamacli run", "printf")
"""Calls of which the output depends on the processor: the words of a model."""

NOTES = """Monday: the pump in cellar 2 leaks; Anna ordered a seal, it comes on Thursday.
Tuesday: visitors at 10:00, coffee for six. The door of the lift sticks again.
Wednesday: backup failed, disk full. Tom deleted old logs and started it again.
"""
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 1, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
FILES = {
    "notes.txt": NOTES,
    "manual.html": "<title>Manual</title><h1>Pump 2</h1><ul><li>Close the valve.<li>Replace the seal.</ul>\n",
    "reviews.txt": "It broke after one day.\nBest lamp I ever had, and so light!\nIt is a lamp.\n",
    "cities.csv": "id,city\n1,Paris\n2,Rome\n",
    "questions.jsonl": '{"id": 1, "prompt": "Why?"}\n{"id": 2, "prompt": "Where?"}\n',
    "add.py": "def add(a, b):\n    return a + b\n",
    "person.json": json.dumps(PERSON),
    "old-answer.json": '{"name": "Ada", "age": 36}\n',
    "answer.gbnf": 'root ::= "yes" | "no"\n',
    "cases.jsonl": '{"text": "yes", "valid": true}\n{"text": "maybe", "valid": false}\n',
}
"""The files that the examples use."""

_CALL = re.compile(r"^\$ (.*)\n((?:(?!\$ |```).*\n)*)", re.MULTILINE)


@dataclass(frozen=True)
class Document:
    """The README or a guide."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def width(self) -> int:
        return GUIDE_WIDTH if self.path.parent == GUIDES else README_WIDTH

    def blocks(self, info: str) -> list[str]:
        """The fenced blocks with exactly this info string, without their indentation."""
        found = re.finditer(rf"^( *)```{info}\n(.*?)^ *```$", self.text, re.DOTALL | re.MULTILINE)
        return [re.sub(rf"^{match[1]}", "", match[2], flags=re.MULTILINE) for match in found]

    def calls(self) -> list[tuple[str, str]]:
        """The command lines in `console` blocks, each with the output below it."""
        return [(line, output) for block in self.blocks("console") for line, output in _CALL.findall(block)]


DOCUMENTS = (Document(ROOT / "README.md"), *(Document(path) for path in sorted(GUIDES.glob("*.md"))))


def prepare(folder: Path) -> None:
    """Write the files that the examples use."""
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")


def renewed(document: Document, folder: Path) -> str:
    """The document's text with the present output of its commands where it differs, except for measurements."""

    def renew_call(match: re.Match[str]) -> str:
        line, output = match[1], match[2]
        if line.startswith(BENCH):
            return match[0]
        found = shown(line, folder, document.width)
        if not line.startswith(TALKS) and agrees(line, found, output):
            return match[0]
        return f"$ {line}\n{_trimmed(found)}\n"

    def renew_block(match: re.Match[str]) -> str:
        return match[1] + _CALL.sub(renew_call, match[2]) + match[3]

    return re.sub(r"(^```console\n)(.*?)(^```$)", renew_block, document.text, flags=re.DOTALL | re.MULTILINE)


def agrees(line: str, found: str, output: str) -> bool:
    """Return whether a call wrote what the document shows, but for what differs between machines."""
    if line.startswith(TALKS):
        return bool(found.strip()) and "llamacli: error" not in found
    if line.startswith(BENCH):
        return _names_of_tests(found) == _names_of_tests(output) != []
    if "--fit" in line:  # the free memory differs
        return [row.split()[0] for row in found.splitlines()] == [row.split()[0] for row in output.splitlines()]
    return _rounded(found) == _rounded(output)


def _names_of_tests(text: str) -> list[str]:
    """The names of the tests in a table of `bench`."""
    return [line.split()[0] for line in text.splitlines() if re.match("(pp|tg)[0-9]", line)]


def _rounded(text: str) -> list[str]:
    """The lines without their last digits, which differ between processors, and without trailing space."""
    return [re.sub(r"(\d\.\d)\d+", r"\1", line).rstrip() for line in text.strip("\n").splitlines()]


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").split("\n"))


def main() -> int:
    """Write the documents anew."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(LLAMACLI_CONFIG=f"{folder}/config.toml", NO_COLOR="1")
        work = Path(folder, "work")
        work.mkdir()
        prepare(work)
        for document in DOCUMENTS:
            text = renewed(document, work)
            if text != document.text:
                document.path.write_text(text, encoding="utf-8")
                print(document.path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
