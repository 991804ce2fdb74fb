"""Whether there can be drafts for a model: by the smaller model that is named, or by its own layers."""

from __future__ import annotations

from pathlib import Path

from llamacli.gguf.check.draft_vocabulary import check_draft_vocabulary
from llamacli.gguf.check.heads import check_heads, check_whole_model
from llamacli.gguf.check.loadable import check_headers
from llamacli.gguf.model import ModelFiles, read_file_header


def check_drafts(target: ModelFiles, draft_model: str | None, *, mtp: bool) -> None:
    """Check by the headers that a draft model can draft for a model, and with `mtp` that the model's own layers can.

    Raises:
        UsageError: if it has another vocabulary, or is not a whole model; or if there are no such layers.
        ModelError: if it cannot be read.
    """
    if draft_model is not None:
        draft = Path(draft_model)
        check_whole_model(read_file_header(draft))
        check_draft_vocabulary(target, check_headers(draft))
    if mtp:
        check_heads(target)
