"""Recognition of GGUF files that are not whole models: adapters, projectors, heads and the like."""

from __future__ import annotations

from llamacli.gguf.header import Header

NOT_MODELS = {
    "adapter": ("a LoRA adapter, not a model", "load its base model, and the adapter with --lora"),
    "mmproj": ("an image or audio projector, not a model", "load the language model that it belongs to"),
    "imatrix": ("an importance matrix for quantizing, not a model", None),
    "control_vector": ("a control vector, not a model", None),
    "controlvector": ("a control vector, not a model", None),
}
"""`general.type`, or the architecture, of files that are not models: a description, and a hint."""

HEADS = {"eagle3": "EAGLE-3 head", "dflash": "DFlash head", "gemma4-assistant": "assistant head"}
"""Architectures of files that hold only what drafts for one model, from the states of its layers."""


def describe_special(header: Header) -> tuple[str, str | None] | None:
    """Return a description and a hint for a file that is not a model, else None."""
    kind = (header.text("general.type") or "").lower()
    architecture = (header.architecture or "").lower()
    return NOT_MODELS.get(kind) or NOT_MODELS.get("mmproj" if architecture == "clip" else architecture)


def describe_head(header: Header) -> str | None:
    """Return the kind of a file that holds only what drafts for another model, else None."""
    return HEADS.get(header.architecture or "")
