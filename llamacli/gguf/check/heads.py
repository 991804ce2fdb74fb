"""Whether llama.cpp can draft with the layers of a model that predict further tokens (multi-token prediction)."""

from __future__ import annotations

from llamacli.errors import UsageError
from llamacli.gguf.analysis.kind import describe_head
from llamacli.gguf.check import eagle
from llamacli.gguf.header import Header
from llamacli.gguf.model import ModelFiles

_KNOWN = frozenset({
    "cohere2moe", "deepseek2", "deepseek32", "glm-dsa", "glm4moe", "hy_v3", "mimo2", "bailingmoe3",
    "deepseek4", "glm5-next", "nemotron_h_moe", "qwen35", "qwen35moe", "qwen3next",
})  # fmt: skip
"""Architectures for which llama.cpp has a graph of such layers."""

TAKES_BACK = frozenset({
    "bailingmoe3", "deepseek4", "glm5-next", "kimi-k3", "lfm2", "lfm2moe", "nemotron_h", "nemotron_h_moe", "qwen35",
    "qwen35moe", "qwen4exp",
})  # fmt: skip
"""Architectures with recurrent layers for which llama.cpp keeps the states before the last tokens (`n_rs_seq`)."""

_NEEDED = ("eh_proj", "enorm", "hnorm")


def check_draft_kind(header: Header) -> None:
    """Check that a draft model is a whole model or an EAGLE-3 head. Raises UsageError."""
    kind = describe_head(header)
    if kind is not None and not eagle.is_eagle(header):
        raise UsageError(
            f"{header.name} holds only the {kind} of a model, which takes states of its layers: it cannot draft here",
            hint="draft_model takes a whole model or an EAGLE-3 head; mtp uses layers in the model's own file",
            parameter="draft_model",
        )


def check_heads(files: ModelFiles) -> None:
    """Check that a model has one layer that predicts a further token, and that it can be evaluated.

    Raises:
        UsageError: if it cannot; the message says why.
    """
    header = files.header
    architecture, name = header.architecture, header.name
    count = header.integer(f"{architecture}.nextn_predict_layers") or 0
    last = (header.integer(f"{architecture}.block_count") or 0) - 1
    names = {tensor.name for tensor in files.tensors}
    if not count or not all(f"blk.{last}.nextn.{part}.weight" in names for part in _NEEDED):
        raise UsageError(
            f"{name} has no layer that predicts further tokens (MTP)",
            hint="draft_model takes a smaller model of the same family", parameter="mtp",
        )  # fmt: skip
    if architecture == "qwen3next":
        raise UsageError(
            f"{name} has recurrent layers ({architecture}), which cannot take back the tokens of a wrong draft", parameter="mtp"
        )
    if architecture not in _KNOWN:
        raise UsageError(f"llama.cpp cannot evaluate the MTP layers of the architecture {architecture}", parameter="mtp")
    if count > 1:
        raise UsageError(f"{name} has {count} MTP layers; only one can be used", parameter="mtp")
