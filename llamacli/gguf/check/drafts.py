"""Whether there can be drafts for a model: by the smaller model or the head that is named, or by its own layers."""

from __future__ import annotations

from pathlib import Path

from llamacli.gguf.check.draft_vocabulary import check_draft_vocabulary
from llamacli.gguf.check.eagle import check_eagle, is_eagle
from llamacli.gguf.check.heads import check_draft_kind, check_heads
from llamacli.gguf.check.loadable import check_headers
from llamacli.gguf.model import ModelFiles, read_file_header


def check_drafts(target: ModelFiles, draft_model: str | None, *, mtp: bool) -> None:
    """Check by the headers that a draft model can draft for a model, and with `mtp` that the model's own layers can.

    Raises:
        UsageError: if it has another vocabulary, is the head of another model, or cannot draft; or if there are no such layers.
        ModelError: if it cannot be read, or is damaged.
    """
    if draft_model is not None:
        draft = Path(draft_model)
        check_draft_kind(read_file_header(draft))
        files = check_headers(draft)
        if is_eagle(files.header):
            check_eagle(target, files)
        check_draft_vocabulary(target, files)
    if mtp:
        check_heads(target)
