"""The check that every load of a model goes through first, so that a bad file is a message and not a crash."""

from __future__ import annotations

import os
import sys

from llamacli.errors import ModelFileError, ModelUnsupportedError
from llamacli.gguf.header import Header
from llamacli.gguf.model import ModelFiles, read_file_header, read_files
from llamacli.gguf.soundness import NO_VOCABULARY, Finding, layout_findings, metadata_findings, tensor_findings
from llamacli.gguf.source import FileSource

NOT_MODELS = {
    "adapter": ("a LoRA adapter, not a model", "load its base model, and the adapter with --lora"),
    "mmproj": ("an image or audio projector, not a model", "load the language model that it belongs to"),
    "imatrix": ("an importance matrix for quantizing, not a model", None),
    "control_vector": ("a control vector, not a model", None),
    "controlvector": ("a control vector, not a model", None),
}
"""`general.type`, or the architecture, of files that are no models by themselves: what they are, and what to do."""


def check_loadable(path: str | os.PathLike[str], *, vocabulary_only: bool = False) -> Header:
    """Makes sure that llama.cpp can load the model at `path` and returns its header (of the first part, if it is split).

    Looks at the headers of all parts and at the token texts, not at the tensors' data. `vocabulary_only` accepts files
    without weights. Raises ModelNotFoundError, ModelFileError or ModelUnsupportedError.
    """
    from llamacli.gguf.vocabulary import fatal_findings, read_tokens  # not for those who only look into a file

    files = read_files(path)
    header = files.header
    _check_kind(header)
    if header.byte_order != ("<" if sys.byteorder == "little" else ">"):
        order = "big" if header.byte_order == ">" else "little"
        raise ModelUnsupportedError(f"{header.name} is {order}-endian, and this machine is not", hint="convert the model again")
    if header.text("tokenizer.ggml.model") in NO_VOCABULARY:
        raise ModelUnsupportedError(f"{header.name} has no tokenizer: it does not work on text")
    if not files.tensors and not vocabulary_only:
        raise ModelUnsupportedError(f"{header.name} holds a vocabulary and no weights", hint="only tokenize can use it")
    for part in files.parts:
        for finding in (*layout_findings(part), *tensor_findings(part)):
            _refuse(part, finding)
    with FileSource(files.places[0]) as source:
        for finding in metadata_findings(header, source, vocabulary_only=vocabulary_only):
            _refuse(header, finding)
        tokens = read_tokens(source, header)
        if isinstance(tokens, Finding):
            _refuse(header, tokens)
        elif tokens:
            _refuse(header, next(fatal_findings(tokens, source), None))
    return header


def check_file(path: str | os.PathLike[str]) -> Header:
    """Makes sure that a file, a whole model or one part, is complete and readable GGUF; the check after a download."""
    header = read_file_header(path)
    _refuse(header, next(layout_findings(header), None))
    return header


def require_complete(files: ModelFiles) -> None:
    """Makes sure that all tensors' data is there. Raises ModelFileError for a file that was cut short."""
    for part in files.parts:
        if any(tensor.offset + tensor.size > part.size for tensor in part.tensors):
            _refuse(part, next(layout_findings(part), None))


def what_it_is(header: Header) -> tuple[str, str | None] | None:
    """For a file that is no model by itself: what it is, and what to do with it."""
    kind = (header.text("general.type") or "").lower()
    architecture = (header.architecture or "").lower()
    return NOT_MODELS.get(kind) or NOT_MODELS.get("mmproj" if architecture == "clip" else architecture)


def _check_kind(header: Header) -> None:
    if found := what_it_is(header):
        what, hint = found
        raise ModelUnsupportedError(f"{header.name} is {what}", hint=hint)


def _refuse(header: Header, finding: Finding | None) -> None:
    if finding is None or finding.severity != "error":
        return
    end = max((tensor.offset + tensor.size for tensor in header.tensors), default=0)
    if end > header.size:
        raise ModelFileError(
            f"{header.name}: the file ends at byte {header.size}, but its tensors reach to byte {end}",
            hint="it was cut short: download or copy it again", offset=header.size,
        )  # fmt: skip
    at = f"at byte {finding.offset}: " if finding.offset is not None else ""
    raise ModelFileError(f"{header.name}: {at}{finding.place}: {finding.message}", offset=finding.offset)
