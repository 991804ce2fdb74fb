"""Checks of the tensor list: positions inside the file, and types."""

from __future__ import annotations

from collections.abc import Iterator

from llamacli.gguf.check.finding import Finding
from llamacli.gguf.header import Header
from llamacli.gguf.text import printable


def layout_findings(header: Header) -> Iterator[Finding]:
    """Yield the tensors whose data is not one after another inside the file."""
    expected = header.data_offset
    for tensor in header.tensors:
        subject = f"tensor {printable(tensor.name, 70)}"
        if tensor.offset % header.alignment:
            yield Finding("error", subject, f"its data is not aligned to {header.alignment} bytes", tensor.offset)
        if tensor.offset < expected:
            yield Finding("error", subject, f"its data overlaps the previous tensor, which ends at {expected}", tensor.offset)
        elif tensor.offset > expected:
            yield Finding("error", subject, f"its data begins at byte {tensor.offset}, expected {expected}", tensor.offset)
        end = tensor.offset + tensor.size
        if end > header.size:
            yield Finding("error", subject, f"its data ends at byte {end}, but the file has {header.size} bytes", tensor.offset)
        expected = end + -end % header.alignment


def tensor_findings(header: Header) -> Iterator[Finding]:
    """Yield norms and biases of a type without a kernel, on which llama.cpp aborts."""
    for tensor in header.tensors:
        if tensor.name.endswith(("norm.weight", ".bias")) and len(tensor.shape) < 2 and tensor.type.name != "F32":
            yield Finding(
                "error", f"tensor {printable(tensor.name, 70)}", f"has type {tensor.type.name}, expected F32", tensor.offset
            )
