"""The texts that perplexity is measured on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources

SHIPPED_NAME = "shipped"
"""The name of the text that comes with the package."""

_FILE = "mixed.txt"


@dataclass(frozen=True, slots=True)
class Text:
    """A text and what it is called in results: a file's name, or SHIPPED_NAME."""

    name: str
    data: bytes

    @property
    def sha256(self) -> str:
        """The hash of its bytes: results of texts with other hashes cannot be compared."""
        return hashlib.sha256(self.data).hexdigest()


def shipped_text() -> Text:
    """Return the text of the package, about 220 KB.

    Its pieces alternate, so that any number of windows has a bit of everything: the guides and the code of this program, and
    the Universal Declaration of Human Rights, which is in the public domain, in French, Spanish, Russian, Chinese and Arabic.
    """
    return Text(SHIPPED_NAME, resources.files(__package__).joinpath(_FILE).read_bytes())
