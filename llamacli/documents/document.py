"""A document: its text in parts, each with its place."""

from __future__ import annotations

from typing import Literal

from llamacli.values import dataclass

Format = Literal["text", "pdf", "docx", "odt", "epub", "html", "notebook"]


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the text of a document. `place` is its page or cell ("page 3", "cell 2"); empty if there are none."""

    text: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """The text of a file or of a web page. `name` is what the user called it."""

    name: str
    format: Format
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The whole text: the parts, with an empty line between them."""
        return "\n\n".join(part.text for part in self.parts)

    @property
    def has_lines(self) -> bool:
        """True if the lines of the text are those of the file, so that they are places in it."""
        return self.format == "text"
