"""The page about a model file, and the lists of its keys and tensors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from llamacli.gguf.analysis.summary import Dimensions, PerLayer, Summary, type_shares
from llamacli.gguf.analysis.vocabulary import VocabularySummary
from llamacli.gguf.check.template import features
from llamacli.gguf.header import Entry, Lazy, TensorInfo, describe
from llamacli.gguf.layout import ValueType
from llamacli.render.columns import format_columns
from llamacli.render.info.numbers import shortest
from llamacli.render.text import escape_line
from llamacli.render.wrap import wrap
from llamacli.units import counted, format_bytes

Emphasis = Callable[[str], str]
"""Function that makes text bold, or returns it unchanged."""

LABEL = 16
"""Width of the labels in columns."""

KINDS = 3
"""Number of different per-layer values that the page lists."""

SHOWN = 60
"""Length in characters to which string values in the list of keys are cut."""


def format_summary(summary: Summary, location: str, *, bold: Emphasis = str, width: int | None = None) -> str:
    """Return the page about a model. `location` is its path or URL."""
    title = summary.name or location.rpartition("/")[2]
    lines = [bold(line) for line in wrap(escape_line(title), width, rest="    ")]
    if summary.kind != "model":
        lines.append(f"This is {summary.kind}.")
    rows = [*_file_rows(summary, location), *_shape_rows(summary.dimensions), *_text_rows(summary), *summary.details]
    for label, value in rows:
        lines += [line.rstrip() for line in wrap(escape_line(value), width, first=f"{label:<{LABEL}}  ")]
    return "\n".join(lines) + "\n"


def _file_rows(summary: Summary, location: str) -> Iterator[tuple[str, str]]:
    parts = f", {summary.parts} parts" if summary.parts > 1 else ""
    yield "file", f"{location} ({format_bytes(summary.size)}{parts})"
    yield "format", f"GGUF {summary.version}" + (", big-endian" if summary.byte_order == "big" else "")
    if summary.architecture:
        yield "architecture", summary.architecture
    if summary.parameters:
        label = f" ({summary.size_label})" if summary.size_label else ""
        yield "parameters", f"{format_count(summary.parameters)}{label}"
    if summary.quantization and summary.bits_per_weight:
        shares = ", ".join(f"{share.tensors} {share.type}" for share in summary.shares[:5])
        yield "quantization", f"{summary.quantization}, {summary.bits_per_weight:.2f} bits per weight ({shares} tensors)"
    if summary.licence:
        yield "licence", summary.licence


def _shape_rows(shape: Dimensions) -> Iterator[tuple[str, str]]:
    if shape.context_length is not None:
        yield (
            "context",
            f"{shape.context_length:,} tokens"
            + (
                f" (originally {shape.original_context_length:,}, extended by {shape.rope_scaling} scaling)"
                if shape.original_context_length and shape.rope_scaling
                else ""
            ),
        )
    for label, number in (
        ("layers", shape.block_count),
        ("embedding", shape.embedding_length),
        ("feed-forward", shape.feed_forward_length),
    ):
        if number is not None:
            yield label, _per_layer(number)
    if shape.head_count is not None:
        yield from _head_rows(shape.head_count, shape.head_count_kv)
    if shape.expert_count:
        used = _per_layer(shape.expert_used_count) if shape.expert_used_count else "?"
        yield "experts", f"{shape.expert_count}, {used} used per token"
    if shape.sliding_window:
        yield "sliding window", f"{shape.sliding_window:,} tokens"
    if shape.rope_freq_base is not None:
        yield "rope", f"base {shape.rope_freq_base:,.0f}" + (f", {shape.rope_scaling} scaling" if shape.rope_scaling else "")
    if shape.pooling:
        yield "pooling", shape.pooling


def _head_rows(heads: PerLayer, kv_heads: PerLayer | None) -> Iterator[tuple[str, str]]:
    if kv_heads is None or kv_heads == heads:
        yield "heads", _per_layer(heads)
    elif isinstance(heads, int) and isinstance(kv_heads, int):
        yield "heads", f"{heads}, {kv_heads} for keys and values"
    else:
        yield "heads", _per_layer(heads)
        yield "KV heads", _per_layer(kv_heads)


def _per_layer(value: PerLayer) -> str:
    """Return a number, or for different numbers by layer their range and kinds: `2 to 8 (20 layers with 8, 4 with 2)`."""
    numbers = Counter((value,) if isinstance(value, int) else value)
    if len(numbers) == 1:
        return f"{next(iter(numbers)):,}"
    kinds = [f"{count} with {number:,}" for number, count in numbers.most_common(KINDS)]
    kinds[0] = kinds[0].replace(" with", " layers with" if numbers.most_common(1)[0][1] > 1 else " layer with")
    more = f", {len(numbers) - KINDS} more kinds" if len(numbers) > KINDS else ""
    return f"{min(numbers):,} to {max(numbers):,} ({', '.join(kinds)}{more})"


def _text_rows(summary: Summary) -> Iterator[tuple[str, str]]:
    if summary.vocabulary:
        yield from _vocabulary_rows(summary.vocabulary)
    for name, text in summary.templates:
        label = "chat template" if name == "default" else f"  {name}"
        yield label, f"{describe_template(text)} ({counted(len(text), 'character')})"
    if not summary.templates and summary.kind == "model":
        yield "chat template", "none (a base model or an embedding model)"
    if summary.sampling:
        settings = ", ".join(
            f"{name} {shortest(value) if isinstance(value, float) else value}" for name, value in summary.sampling
        )
        yield "sampling", f"{settings} (recommended by the model)"


def _vocabulary_rows(vocabulary: VocabularySummary) -> Iterator[tuple[str, str]]:
    names = [vocabulary.model, *([f"pre-tokenizer {vocabulary.pre}"] if vocabulary.pre else [])]
    merges = f", {vocabulary.merges:,} merges" if vocabulary.merges else ""
    yield "vocabulary", f"{vocabulary.size:,} tokens, {vocabulary.type} ({', '.join(names)}){merges}"
    if vocabulary.special:
        shown = [f"{token.role} {token.id} {token.text or '(outside the vocabulary)'}" for token in vocabulary.special]
        yield "special tokens", ", ".join(shown)
    added = [name for name, flag in (("bos", vocabulary.add_bos), ("eos", vocabulary.add_eos)) if flag]
    if added:
        yield "added to prompts", ", ".join(added)


def describe_template(text: str) -> str:
    """Return the features of a template, comma-separated."""
    found = features(text)
    named = (("system role", found.system_role), ("tools", found.tools), ("reasoning", found.reasoning))
    return ", ".join(name for name, has in named if has) or "user and assistant roles only"


def format_metadata(entries: Iterable[Entry], previews: Mapping[str, Sequence[object]], *, width: int | None = None) -> str:
    """Return all keys with types and values, one per line. `previews` are the first elements of arrays by key."""
    rows = [(escape_line(entry.key), _type_of(entry), _value_of(entry, previews.get(entry.key, ()))) for entry in entries]
    return format_columns(rows, width=width)


def _type_of(entry: Entry) -> str:
    value = entry.value
    if isinstance(value, Lazy) and value.element is not None:
        return f"{value.element.label}[]"
    return entry.type.label


def _value_of(entry: Entry, preview: Sequence[object]) -> str:
    value = entry.value
    if isinstance(value, Lazy) and value.element is not None:
        shown = ", ".join(_element(one, value.element) for one in preview)
        more = ", …" if value.count > len(preview) and preview else ""
        return counted(value.count, "element") + (f": {shown}{more}" if shown else "")
    if isinstance(value, str):
        text = escape_line(value[: SHOWN + 1])
        return text if len(value) <= SHOWN else f"{text[: SHOWN - 1]}… ({counted(len(value), 'character')})"
    return str(shortest(value)) if entry.type == ValueType.FLOAT32 and isinstance(value, float) else describe(entry)


def _element(value: object, element: ValueType) -> str:
    if isinstance(value, str):
        text = escape_line(value[:24])
        return f"'{text}…'" if len(value) > 24 else f"'{text}'"
    return str(shortest(value)) if isinstance(value, float) and element == ValueType.FLOAT32 else str(value).lower()


def format_tensors(tensors: Sequence[TensorInfo], *, bold: Emphasis = str, width: int | None = None) -> str:
    """Return the tensors, one per line, then sums by type and by layer."""
    rows = [(escape_line(tensor.name), f"{tensor.type.name}", _shape(tensor), format_bytes(tensor.size)) for tensor in tensors]
    types = [
        (share.type, f"{share.tensors} tensors", format_count(share.elements), format_bytes(share.size))
        for share in type_shares(tensors)
    ]
    tables = (
        format_columns(rows, right=(3,), width=width),
        bold("by type") + "\n" + format_columns(types, right=(1, 2, 3), width=width),
        bold("by layer") + "\n" + format_columns(list(_layer_rows(tensors)), right=(1, 2), width=width),
    )
    total = sum(tensor.size for tensor in tensors)
    elements = sum(tensor.elements for tensor in tensors)
    sums = f"{len(tensors)} tensors, {format_count(elements)} parameters, {format_bytes(total)}"
    return "\n".join([*tables, *wrap(sums, width)]) + "\n"


def _shape(tensor: TensorInfo) -> str:
    return " x ".join(map(str, tensor.shape)) or "1"


def layer_sums(tensors: Iterable[TensorInfo]) -> list[tuple[str, int, int]]:
    """Return the name, the number of tensors and the bytes of each layer, and of the tensors outside layers."""
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        match = re.match(r"(?:\w+\.)*?blk\.(\d{1,6})\.", tensor.name)
        name = f"layer {match[1]}" if match else "outside layers"
        counts[name] += 1
        sizes[name] += tensor.size
    ordered = sorted(sizes, key=lambda name: int(name.split()[1]) if name.startswith("layer ") else -1)
    return [(name, counts[name], sizes[name]) for name in ordered]


def _layer_rows(tensors: Sequence[TensorInfo]) -> Iterator[tuple[str, str, str, str]]:
    """Yield the rows by layer; consecutive layers of the same size share one."""
    group: list[str] = []
    last: tuple[int, int] | None = None
    for name, count, size in [*layer_sums(tensors), ("", 0, -1)]:
        if last is not None and (count, size) != last:
            span = group[0] if len(group) == 1 else f"{group[0].replace('layer', 'layers')} to {group[-1].rpartition(' ')[2]}"
            yield span, f"{last[0]} tensors", format_bytes(last[1]), "each" if len(group) > 1 else ""
            group = []
        group.append(name)
        last = (count, size)


def format_count(count: int) -> str:
    """Return a number of parameters with a unit: `134.5 M`, `7.24 B`."""
    for size, unit in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return str(count)
