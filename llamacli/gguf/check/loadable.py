"""The check before every load of a model, which makes a bad file an error message instead of a crash."""

from __future__ import annotations

import os
import sys

from llamacli.errors import ModelFileError, ModelUnsupportedError
from llamacli.gguf.analysis.kind import describe_head, describe_special
from llamacli.gguf.check.finding import Finding
from llamacli.gguf.check.metadata import NO_VOCABULARY, metadata_findings
from llamacli.gguf.check.tensors import layout_findings, tensor_findings
from llamacli.gguf.header import Header
from llamacli.gguf.model import ModelFiles, read_file_header, read_files
from llamacli.gguf.source import FileSource


def check_loadable(path: str | os.PathLike[str], *, vocabulary_only: bool = False) -> Header:
    """Return the header of the model at `path` (the first part's, if split) after checking that llama.cpp can load it.

    Reads the headers of all parts and the tokens, not the tensors' data. `vocabulary_only` accepts files without weights.

    Raises:
        ModelNotFoundError: if the file or one of its parts does not exist.
        ModelFileError: if it is corrupt, or llama.cpp would refuse it or crash.
        ModelUnsupportedError: if it is not a text model, or this build or machine cannot run it.
    """
    files = check_headers(path, vocabulary_only=vocabulary_only)
    check_tokens(files)
    return files.header


def check_headers(path: str | os.PathLike[str], *, vocabulary_only: bool = False) -> ModelFiles:
    """Return the headers of a model's files after the same check, without that of the tokens. Raises as `check_loadable`."""
    files = read_files(path)
    header = files.header
    _check_kind(header)
    if header.byte_order != ("<" if sys.byteorder == "little" else ">"):
        order = "big" if header.byte_order == ">" else "little"
        raise ModelUnsupportedError(f"{header.name} is {order}-endian, and this machine is not", hint="convert the model again")
    if header.text("tokenizer.ggml.model") in NO_VOCABULARY:
        raise ModelUnsupportedError(f"{header.name} has no tokenizer: it is not a text model")
    if not files.tensors and not vocabulary_only:
        raise ModelUnsupportedError(f"{header.name} has a vocabulary but no weights", hint="use it with tokenize only")
    for part in files.parts:
        for finding in (*layout_findings(part), *tensor_findings(part)):
            _refuse(part, finding)
    with FileSource(files.locations[0]) as source:
        for finding in metadata_findings(header, source, vocabulary_only=vocabulary_only):
            _refuse(header, finding)
    return files


def check_tokens(files: ModelFiles) -> None:
    """Check the tokens of a model, which takes longer than all the rest. Raises ModelFileError."""
    from llamacli.gguf.check.vocabulary import fatal_findings, read_tokens  # commands that only read headers skip it

    with FileSource(files.locations[0]) as source:
        tokens = read_tokens(source, files.header)
        if isinstance(tokens, Finding):
            _refuse(files.header, tokens)
        elif tokens:
            _refuse(files.header, next(fatal_findings(tokens, source), None))


def refuse_head(header: Header) -> None:
    """Raise ModelUnsupportedError for a file that holds only what drafts for another model."""
    if kind := describe_head(header):
        raise ModelUnsupportedError(
            f"{header.name} is the {kind} of a model, not a model",
            hint="load that model, with the head as its draft_model", parameter="draft_model",
        )  # fmt: skip


def check_file(path: str | os.PathLike[str]) -> Header:
    """Return the header of a whole model or one part after checking that the file is complete GGUF, as after a download.

    Raises:
        ModelFileError: if it is corrupt or truncated.
    """
    header = read_file_header(path)
    _refuse(header, next(layout_findings(header), None))
    return header


def require_complete(files: ModelFiles) -> None:
    """Check that the files contain the data of all tensors.

    Raises:
        ModelFileError: if a file is truncated.
    """
    for part in files.parts:
        if any(tensor.offset + tensor.size > part.size for tensor in part.tensors):
            _refuse(part, next(layout_findings(part), None))


def _check_kind(header: Header) -> None:
    if found := describe_special(header):
        what, hint = found
        raise ModelUnsupportedError(f"{header.name} is {what}", hint=hint)


def _refuse(header: Header, finding: Finding | None) -> None:
    if finding is None or finding.severity != "error":
        return
    end = max((tensor.offset + tensor.size for tensor in header.tensors), default=0)
    if end > header.size:
        raise ModelFileError(
            f"{header.name}: the file ends at byte {header.size}, but its tensors reach to byte {end}",
            hint="it is truncated: download or copy it again", offset=header.size,
        )  # fmt: skip
    at = f"at byte {finding.offset}: " if finding.offset is not None else ""
    raise ModelFileError(f"{header.name}: {at}{finding.subject}: {finding.message}", offset=finding.offset)
