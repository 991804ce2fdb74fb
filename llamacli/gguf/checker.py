"""Whether a model file is sound and safe, without loading it: everything `info --check` says."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from llamacli.gguf.architectures import REQUIRED_KEYS
from llamacli.gguf.arrays import read_numbers, split_strings
from llamacli.gguf.header import Header, Lazy
from llamacli.gguf.layout import FILE_TYPES, TOKEN_TYPES, ValueType
from llamacli.gguf.loading import what_it_is
from llamacli.gguf.model import ModelFiles
from llamacli.gguf.soundness import NO_VOCABULARY, Finding, layout_findings, metadata_findings
from llamacli.gguf.source import Source
from llamacli.gguf.summary import GUESSED_FILE_TYPE, chat_templates
from llamacli.gguf.template import template_findings
from llamacli.gguf.text import has_controls, printable

MAX_TOKENS = 64 << 20
"""Bytes of token texts or merges that are read; more is a finding in itself."""

TRAILING_LIMIT = 1 << 16
"""Bytes of padding that are looked at."""


def check_model(files: ModelFiles, sources: Sequence[Source]) -> list[Finding]:
    """All findings about a model's files, in the order of the file. An empty list is a sound file."""
    found: list[Finding] = []
    header = files.header
    special = what_it_is(header)
    if special:
        found.append(Finding("note", "file", f"it is {special[0]}"))
    else:
        found += metadata_findings(header, vocabulary_only=not files.tensors)
        found += _architecture_findings(files)
    for number, (part, source) in enumerate(zip(files.parts, sources, strict=True)):
        own = [*_text_findings(part), *layout_findings(part), *_padding_findings(part, source)]
        found += [_in_part(finding, number, files) for finding in own]
    found += _vocabulary_findings(header, sources[0])
    for name, text in chat_templates(header):
        found += template_findings(name, text)
    return found


def _in_part(finding: Finding, number: int, files: ModelFiles) -> Finding:
    if len(files.parts) == 1:
        return finding
    return Finding(finding.severity, f"part {number + 1}, {finding.place}", finding.message, finding.offset, number)


def _architecture_findings(files: ModelFiles) -> Iterator[Finding]:
    header = files.header
    architecture = header.architecture
    if architecture is None or not files.tensors:
        return
    if architecture not in REQUIRED_KEYS:
        yield Finding("warning", "key general.architecture", f"{printable(architecture, 40)!r} is not one that llama.cpp knows")
    for key in REQUIRED_KEYS.get(architecture, ()):
        if key not in header.metadata:
            yield Finding("error", f"key {key}", f"missing, and {architecture} needs it")
    names = {tensor.name: tensor for tensor in files.tensors}
    embedding = names.get("token_embd.weight")
    width = header.integer(f"{architecture}.embedding_length")
    tokens = header.array("tokenizer.ggml.tokens")
    if embedding and len(embedding.shape) >= 2 and width and tokens:
        expected = (width, tokens.count)
        if embedding.shape[:2] != expected:
            yield Finding("error", "tensor token_embd.weight", f"is {embedding.shape}, expected {expected} by the metadata")
    layers = header.integer(f"{architecture}.block_count")
    seen = {int(number) for name in names if (number := _layer_of(name)) is not None}
    if layers and seen and seen != set(range(layers)):
        missing = sorted(set(range(min(layers, 4096))) - seen)
        extra = sorted(seen - set(range(layers)))
        if missing:
            yield Finding("warning", "tensors", f"no tensor of layer {missing[0]}, of {layers} layers ({len(missing)} missing)")
        if extra:
            yield Finding("warning", "tensors", f"layer {extra[0]} has tensors, but block_count is {layers}")
    recipe = header.integer("general.file_type")
    if recipe is not None and recipe & ~GUESSED_FILE_TYPE not in FILE_TYPES:
        yield Finding("note", "key general.file_type", f"is {recipe}, which names no quantization")


def _layer_of(name: str) -> str | None:
    """The number in `blk.7.attn_q.weight`."""
    parts = name.split(".", 2)
    return parts[1] if len(parts) == 3 and parts[0] == "blk" and parts[1].isdecimal() and len(parts[1]) < 7 else None


def _text_findings(header: Header) -> Iterator[Finding]:
    for key, entry in header.metadata.items():
        if has_controls(key) or not key.isprintable():
            yield Finding("warning", f"key {printable(key, 60)}", "control or invisible characters in the name", entry.offset)
        if not isinstance(entry.value, str) or key.startswith("tokenizer.chat_template"):
            continue
        if any("\udc80" <= character <= "\udcff" for character in entry.value):
            yield Finding("warning", f"key {printable(key, 60)}", "its text is not UTF-8", entry.offset)
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
            yield Finding("warning", f"tensor {printable(tensor.name)}", "control or invisible characters in the name")


def _padding_findings(header: Header, source: Source) -> Iterator[Finding]:
    """Bytes that belong to nothing: after the last tensor, and between tensors where only zeros should be."""
    end = max((tensor.offset + tensor.size for tensor in header.tensors), default=header.data_offset)
    padded = end + -end % header.alignment
    if header.size > padded:
        yield Finding("warning", "file", f"{header.size - padded} bytes after the last tensor", padded)
    spans = sorted((tensor.offset, tensor.offset + tensor.size, tensor.name) for tensor in header.tensors)
    for (_, last, name), (first, _, _) in pairwise(spans):
        if 0 < first - last < TRAILING_LIMIT and source.read(last, first - last).strip(b"\0"):
            yield Finding("warning", f"tensor {printable(name)}", "the padding after it is not zero", last)


def _vocabulary_findings(header: Header, source: Source) -> Iterator[Finding]:
    tokens = header.array("tokenizer.ggml.tokens")
    if header.text("tokenizer.ggml.model") in NO_VOCABULARY or tokens is None or tokens.element != ValueType.STRING:
        return
    if tokens.size > MAX_TOKENS:
        yield Finding("error", "key tokenizer.ggml.tokens", f"{tokens.size} bytes of tokens", tokens.offset)
        return
    texts = split_strings(source, header, tokens)
    yield from _token_findings(header, tokens, texts)
    yield from _merge_findings(header, source, set(texts))
    types = header.array("tokenizer.ggml.token_type")
    if types and types.element == ValueType.INT32:
        unknown = Counter(kind for kind in read_numbers(source, header, types) if kind not in TOKEN_TYPES)
        for kind, count in unknown.most_common(3):
            yield Finding("warning", "key tokenizer.ggml.token_type", f"{count} tokens of type {kind}", types.offset)
    scores = header.array("tokenizer.ggml.scores")
    if scores and scores.element == ValueType.FLOAT32:
        bad = sum(1 for score in read_numbers(source, header, scores) if not math.isfinite(score))
        if bad:
            yield Finding("warning", "key tokenizer.ggml.scores", f"{bad} scores are not finite", scores.offset)


def _token_findings(header: Header, tokens: Lazy, texts: list[bytes]) -> Iterator[Finding]:
    place = "key tokenizer.ggml.tokens"
    numbers: dict[bytes, int] = {}
    twice = [(numbers.setdefault(text, number), number, text) for number, text in enumerate(texts)]
    for first, number, text in [pair for pair in twice if pair[0] != pair[1] and pair[2]][:1]:
        shown = printable(text.decode(errors="surrogateescape"), 40)
        yield Finding("error", place, f"tokens {first} and {number} are both {shown!r}", tokens.offset)
    empty = sum(1 for text in texts if not text)
    if empty:
        yield Finding("note", place, f"{empty} tokens are empty", tokens.offset)
    escapes = [number for number, text in enumerate(texts) if b"\x1b" in text and len(text) > 1]
    if escapes:
        yield Finding(
            "note", place, f"{len(escapes)} tokens with an escape character, the first is {escapes[0]}", tokens.offset
        )
    longest = max(texts, key=len, default=b"")
    if len(longest) > 4096:
        yield Finding("warning", place, f"token {texts.index(longest)} is {len(longest)} bytes long", tokens.offset)


def _merge_findings(header: Header, source: Source, texts: set[bytes]) -> Iterator[Finding]:
    merges = header.array("tokenizer.ggml.merges")
    place = "key tokenizer.ggml.merges"
    if header.text("tokenizer.ggml.model") in ("gpt2", "gemma4") and merges is None:
        yield Finding("error", place, "missing, and a BPE vocabulary needs it")
    if merges is None or merges.element != ValueType.STRING:
        return
    if merges.size > MAX_TOKENS:
        yield Finding("error", place, f"{merges.size} bytes of merges", merges.offset)
        return
    broken = 0
    unknown = 0
    for merge in split_strings(source, header, merges):
        first, space, second = merge[1:].partition(b" ")
        broken += not space
        unknown += bool(space) and merge[:1] + first + second not in texts
    if broken:
        yield Finding("warning", place, f"{broken} merges are not two texts with a space between", merges.offset)
    if unknown:
        yield Finding("warning", place, f"{unknown} merges make a text that is no token", merges.offset)
