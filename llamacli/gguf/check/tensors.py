"""Checks of the tensor list: positions inside the file, and types."""

from __future__ import annotations

from collections.abc import Iterator

from llamacli.gguf.check.finding import Finding
from llamacli.gguf.header import Header, TensorInfo
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


_NOT_COMPUTED = ("I8", "I16", "I32", "I64", "F64")
_TABLES = ("tid2eid", "d2t", "t2d")
"""Parts of the names of tensors that hold numbers of tokens or experts."""


def tensor_findings(header: Header) -> Iterator[Finding]:
    """Yield tensors of a type without a kernel, on which llama.cpp aborts or crashes."""
    for tensor in header.tensors:
        kind = tensor.type.name
        if tensor.name.endswith(("norm.weight", ".bias")) and len(tensor.shape) < 2:
            if kind != "F32":
                yield _of_type(tensor, "expected F32")
        elif kind in _NOT_COMPUTED and tensor.name.endswith(".weight") and not any(name in tensor.name for name in _TABLES):
            yield _of_type(tensor, "with which llama.cpp cannot compute")


def _of_type(tensor: TensorInfo, message: str) -> Finding:
    subject = f"tensor {printable(tensor.name, 70)}"
    return Finding("error", subject, f"has type {tensor.type.name}, {message}", tensor.offset)
