"""All checks of a model file, as `info --check` reports them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from llamacli.gguf.analysis.kind import describe_special
from llamacli.gguf.analysis.projector import ARCHITECTURE
from llamacli.gguf.analysis.summary import GUESSED_FILE_TYPE, chat_templates
from llamacli.gguf.check import eagle
from llamacli.gguf.check.architectures import REQUIRED_KEYS
from llamacli.gguf.check.finding import Finding, Severity
from llamacli.gguf.check.metadata import metadata_findings
from llamacli.gguf.check.projector import projector_findings
from llamacli.gguf.check.required_tensors import missing_tensor_findings, width_findings
from llamacli.gguf.check.shapes import shape_findings
from llamacli.gguf.check.template import template_findings
from llamacli.gguf.check.tensors import layout_findings, tensor_findings
from llamacli.gguf.check.value_types import required_findings
from llamacli.gguf.check.vocabulary import fatal_findings, odd_findings, read_tokens
from llamacli.gguf.header import Header
from llamacli.gguf.layout import FILE_TYPES, MAX_LAYERS, ValueType
from llamacli.gguf.model import ModelFiles
from llamacli.gguf.source import Source
from llamacli.gguf.text import has_controls, printable

MAX_FINDINGS = 500
"""Largest number of findings in the report; one more counts the rest."""

TRAILING_LIMIT = 1 << 16
"""Largest size of padding that is read, in bytes."""


def check_model(files: ModelFiles, sources: Sequence[Source]) -> list[Finding]:
    """Return all findings about a model's files, in the order of the file. `sources` are those of the files, in order."""
    found: list[Finding] = []
    header = files.header
    special = describe_special(header)
    if special:
        found.append(Finding("note", "file", f"it is {special[0]}"))
        if header.architecture == ARCHITECTURE:
            found += projector_findings(header)
    else:
        found += metadata_findings(header, sources[0], vocabulary_only=not files.tensors)
        found += _architecture_findings(files)
        if files.tensors:
            found += missing_tensor_findings(files)
            found += width_findings(files)
            found += shape_findings(files, sources[0])
            if eagle.is_eagle(header):
                found += eagle.eagle_findings(files, sources)
    for number, (part, source) in enumerate(zip(files.parts, sources, strict=True)):
        own = [*_text_findings(part), *layout_findings(part), *tensor_findings(part), *_padding_findings(part, source)]
        found += [_in_part(finding, number, files) for finding in own]
    found += _vocabulary_findings(header, sources[0])
    for name, text in chat_templates(header):
        found += template_findings(name, text)
    if len(found) > MAX_FINDINGS:
        more = f"{len(found) - MAX_FINDINGS} more findings"
        worst: Severity = "error" if any(finding.severity == "error" for finding in found[MAX_FINDINGS:]) else "warning"
        found = [*found[:MAX_FINDINGS], Finding(worst, "file", more)]
    return found


def _in_part(finding: Finding, number: int, files: ModelFiles) -> Finding:
    if len(files.parts) == 1:
        return finding
    return Finding(finding.severity, f"part {number + 1}, {finding.subject}", finding.message, finding.offset, number)


def _architecture_findings(files: ModelFiles) -> Iterator[Finding]:
    header = files.header
    architecture = header.architecture
    if architecture is None or not files.tensors:
        return
    if architecture not in REQUIRED_KEYS:
        yield Finding("warning", "key general.architecture", f"unknown architecture {printable(architecture, 40)!r}")
    yield from required_findings(header, architecture)
    names = {tensor.name: tensor for tensor in files.tensors}
    embedding = names.get("token_embd.weight")
    width = header.integer(f"{architecture}.embedding_length")
    tokens = header.array("tokenizer.ggml.tokens")
    if embedding and len(embedding.shape) >= 2 and width and tokens and not eagle.is_eagle(header):
        expected = (width, tokens.count)
        if embedding.shape[:2] != expected:
            yield Finding("error", "tensor token_embd.weight", f"has shape {embedding.shape}, expected {expected}")
    layers = header.integer(f"{architecture}.block_count")
    seen = {int(number) for name in names if (number := _layer_of(name)) is not None}
    if layers and seen and (len(seen) != layers or max(seen) >= layers):
        ahead = header.integer(f"{architecture}.nextn_predict_layers")
        missing = sorted(set(range(min(layers, MAX_LAYERS))) - seen)
        extra = sorted(layer for layer in seen if layer >= layers)
        if missing:
            severity: Severity = "error" if architecture in REQUIRED_KEYS and not ahead else "warning"
            yield Finding(severity, "tensors", f"layer {missing[0]} of {layers} has no tensors ({len(missing)} such layers)")
        if extra:
            severity = "error" if architecture in REQUIRED_KEYS else "warning"
            yield Finding(severity, "tensors", f"layer {extra[0]} has tensors, but block_count is {layers}")
    recipe = header.integer("general.file_type")
    if recipe is not None and recipe & ~GUESSED_FILE_TYPE not in FILE_TYPES:
        yield Finding("note", "key general.file_type", f"is {recipe}, an unknown quantization")


def _layer_of(name: str) -> str | None:
    """Return the layer number in a name such as `blk.7.attn_q.weight`, or None."""
    parts = name.split(".", 2)
    return parts[1] if len(parts) == 3 and parts[0] == "blk" and parts[1].isdecimal() and len(parts[1]) < 7 else None


def _text_findings(header: Header) -> Iterator[Finding]:
    for key, entry in header.metadata.items():
        if has_controls(key) or not key.isprintable():
            yield Finding("warning", f"key {printable(key, 60)}", "the name has control or invisible characters", entry.offset)
        if not isinstance(entry.value, str) or key.startswith("tokenizer.chat_template"):
            continue
        if any("\udc80" <= character <= "\udcff" for character in entry.value):
            yield Finding("warning", f"key {printable(key, 60)}", "the value is not UTF-8", entry.offset)
        elif has_controls(entry.value):
            shown = printable(entry.value, 40)
            yield Finding("warning", f"key {printable(key, 60)}", f"control or invisible characters: {shown}", entry.offset)
    for entry in header.metadata.values():
        if (
            entry.type in (ValueType.FLOAT32, ValueType.FLOAT64)
            and isinstance(entry.value, float)
            and not math.isfinite(entry.value)
        ):
            yield Finding("warning", f"key {printable(entry.key, 60)}", f"is {entry.value}", entry.offset)
    for tensor in header.tensors:
        if has_controls(tensor.name) or not tensor.name.isprintable():
            yield Finding("warning", f"tensor {printable(tensor.name, 70)}", "the name has control or invisible characters")


def _padding_findings(header: Header, source: Source) -> Iterator[Finding]:
    """Yield unused bytes: after the last tensor, and nonzero padding between tensors."""
    end = max((tensor.offset + tensor.size for tensor in header.tensors), default=header.data_offset)
    padded = end + -end % header.alignment
    if header.size > padded:
        yield Finding("warning", "file", f"{header.size - padded} bytes after the last tensor", padded)
    spans = sorted((tensor.offset, tensor.offset + tensor.size, tensor.name) for tensor in header.tensors)
    for (_, last, name), (first, _, _) in pairwise(spans):
        if 0 < first - last < TRAILING_LIMIT and source.read(last, first - last).strip(b"\0"):
            yield Finding("warning", f"tensor {printable(name, 70)}", "the padding after it is not zero", last)


def _vocabulary_findings(header: Header, source: Source) -> Iterator[Finding]:
    tokens = read_tokens(source, header)
    if isinstance(tokens, Finding):
        yield tokens
    elif tokens:
        yield from fatal_findings(tokens, source)
        yield from odd_findings(tokens, source)
