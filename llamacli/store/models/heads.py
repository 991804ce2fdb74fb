"""Models for which a head drafts, found in its folder."""

from __future__ import annotations

from pathlib import Path

from llamacli.errors import LlamacliError
from llamacli.gguf.check.drafts import check_drafts
from llamacli.gguf.model import read_files
from llamacli.store.models.projectors import gguf_files


def models_beside(head: Path) -> list[Path]:
    """Return the models in the folder of an EAGLE-3 head that it fits."""
    return [path for path in gguf_files(head.parent) if path != head and _fits(path, head)]


def _fits(model: Path, head: Path) -> bool:
    try:
        check_drafts(read_files(model), str(head), mtp=False)
    except LlamacliError:  # also of a file that cannot be read
        return False
    return True
