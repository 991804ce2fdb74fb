"""The models on this machine, as tables and as JSON documents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llamacli.gguf.analysis.summary import Summary
from llamacli.render.columns import format_columns
from llamacli.render.text import escape_line
from llamacli.render.wrap import wrap
from llamacli.store.models.inventory import Removed, StoredModel
from llamacli.units import counted, format_bytes


def format_models(found: Sequence[StoredModel], *, default: Path | None, width: int | None = None) -> str:
    """A table of models, with a star at the default one."""
    if not found:
        text = "No models on this machine; `llamacli models pull demo` downloads a small one."
        return "\n".join(wrap(text, width)) + "\n"
    rows = [("", "MODEL", "SIZE", "TYPE", "KEPT BY", "ALIASES")]
    rows += [
        (
            "*" if default is not None and one.path.resolve() == default else "",
            escape_line(one.reference),
            format_bytes(one.size),
            one.quantization or "",
            one.home,
            escape_line(", ".join(one.aliases)),
        )
        for one in found
    ]
    return format_columns(rows, right=(2,), width=width, names=2)


def models_document(found: Sequence[StoredModel], *, default: Path | None) -> dict[str, Any]:
    """The models as JSON, in the form of OpenAI's list of models."""
    return {"object": "list", "data": [_model_document(one, default) for one in found]}


def format_model(reference: str, path: Path, summary: Summary, home: str | None, *, width: int | None = None) -> str:
    """The summary of one model."""
    dimensions = summary.dimensions
    bits = f", {summary.bits_per_weight:.2f} bits per weight" if summary.bits_per_weight else ""
    rows = [
        ("model", reference),
        ("file", str(path) + (f" and {summary.parts - 1} more" if summary.parts > 1 else "")),
        ("kept by", home or "you"),
        ("name", summary.name),
        ("licence", summary.licence),
        ("architecture", summary.architecture),
        ("parameters", f"{summary.parameters:,}" if summary.parameters else None),
        ("size", format_bytes(summary.size) + bits),
        ("quantization", summary.quantization),
        ("context", counted(dimensions.context_length, "token") if dimensions.context_length else None),
        ("chat template", "yes" if summary.templates else "no"),
        ("recommends", ", ".join(f"{name} {value}" for name, value in summary.sampling)),
    ]
    return format_columns([(name, escape_line(value)) for name, value in rows if value], width=width)


def model_document(reference: str, path: Path, summary: Summary, home: str | None) -> dict[str, Any]:
    """The summary of one model as JSON."""
    return {
        "id": reference,
        "object": "model",
        "path": str(path),
        "kept_by": home,
        "name": summary.name,
        "license": summary.licence,
        "architecture": summary.architecture,
        "parameters": summary.parameters,
        "size": summary.size,
        "parts": summary.parts,
        "bits_per_weight": summary.bits_per_weight,
        "quantization": summary.quantization,
        "context_length": summary.dimensions.context_length,
        "chat_template": bool(summary.templates),
        "sampling": dict(summary.sampling),
    }


def format_removed(reference: str, removed: Removed) -> str:
    """The result of a removal on one line."""
    files = counted(len(removed.paths), "file")
    return f"removed {escape_line(reference)}: {files}, {format_bytes(removed.freed)} freed"


def format_sizes(before: int, after: int) -> str:
    """The sizes before and after a quantization: `258.4 MiB -> 138.1 MiB (53 %)`."""
    return f"{format_bytes(before)} -> {format_bytes(after)} ({after / before:.0%})" if before else format_bytes(after)


def _model_document(one: StoredModel, default: Path | None) -> dict[str, Any]:
    return {
        "id": one.reference,
        "object": "model",
        "path": str(one.path),
        "size": one.size,
        "quantization": one.quantization,
        "kept_by": one.home,
        "aliases": list(one.aliases),
        "default": default is not None and one.path.resolve() == default,
    }
