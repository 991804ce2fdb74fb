"""Models of the Hugging Face hub that the catalogue names, each one file with its hash: those of hub_catalogue.json.

A name stands for exactly that file: `pull` refuses another one that the repository has under the same name. Sizes are about
right, for what fits; the hub has the exact ones. The hashes are those that the hub lists, as other catalogues publish them.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal

from llamacli.values import dataclass

Purpose = Literal["chat", "code", "embed", "vision"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HubEntry:
    """A model: its file on the hub, about its size, its parameters in billions, and those that compute each token.

    `projector` is the file in the same repository with which it takes pictures; empty if it takes none.
    """

    name: str
    repository: str
    file: str
    sha256: str
    mebibytes: int
    billions: float
    active: float
    purpose: Purpose
    licence: str
    description: str
    projector: str = ""
    projector_sha256: str = ""
    projector_mebibytes: int = 0

    @property
    def reference(self) -> str:
        """The reference of the file."""
        return f"hf:{self.repository}:{self.file}"

    @property
    def size(self) -> int:
        """About the size in bytes, with the projector."""
        return (self.mebibytes + self.projector_mebibytes) << 20

    @property
    def read_per_token(self) -> float:
        """About the bytes that one token reads."""
        return (self.mebibytes << 20) * self.active / self.billions


@functools.cache
def entries() -> tuple[HubEntry, ...]:
    """Return all models, which the first call reads. A prompt of one word is looked up in them: TOML would take 10 ms."""
    import json

    text = Path(__file__).with_name("hub_catalogue.json").read_text(encoding="utf-8")
    return tuple(HubEntry(**fields) for fields in json.loads(text))


def find(name: str) -> HubEntry | None:
    """The entry with this name, ignoring case."""
    return next((entry for entry in entries() if entry.name == name.lower()), None)
