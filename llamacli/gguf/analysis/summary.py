"""Summary of a model file by its header."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llamacli.gguf.analysis.kind import describe_head, describe_special
from llamacli.gguf.analysis.projector import ENCODERS, Projector, read_projector
from llamacli.gguf.analysis.vocabulary import VocabularySummary, summarize_vocabulary
from llamacli.gguf.arrays import read_integers
from llamacli.gguf.check import eagle
from llamacli.gguf.header import Header, TensorInfo
from llamacli.gguf.layout import FILE_TYPES, MAX_LAYERS, POOLING_TYPES
from llamacli.gguf.model import ModelFiles
from llamacli.gguf.source import Source
from llamacli.units import counted

TEMPLATE_KEY = "tokenizer.chat_template"
SAMPLING_PREFIX = "general.sampling."
_ENCODER_SIZES = (("image_size", "image size", "pixel"), ("patch_size", "patch", "pixel"), ("num_mel_bins", "mel bins", "bin"),
                  ("block_count", "layers", "layer"))  # fmt: skip
GUESSED_FILE_TYPE = 1024
"""Flag in `general.file_type`: the writer guessed the value."""


@dataclass(frozen=True, slots=True)
class TypeShare:
    """The share of one tensor type in a model: numbers of tensors and elements, size in bytes."""

    type: str
    tensors: int
    elements: int
    size: int


PerLayer = int | tuple[int, ...]
"""A number for all layers, or one for each if the header has an array."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimensions:
    """The dimensions of an architecture, None where the header lacks the key. Lengths in tokens or elements."""

    context_length: int | None
    block_count: int | None
    embedding_length: int | None
    feed_forward_length: PerLayer | None
    head_count: PerLayer | None
    head_count_kv: PerLayer | None
    key_length: int | None
    expert_count: int | None
    expert_used_count: PerLayer | None
    sliding_window: int | None
    rope_freq_base: float | None
    rope_scaling: str | None
    original_context_length: int | None
    pooling: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A model file at a glance. `kind` is `model`, or a description of another kind of file; `size` is of all parts, in bytes.

    `templates` are the chat templates by name, the main one as `default`; `sampling` are the settings the model recommends.
    """

    kind: str
    name: str | None
    architecture: str | None
    size_label: str | None
    licence: str | None
    size: int
    parts: int
    version: int
    byte_order: str
    parameters: int
    quantization: str | None
    bits_per_weight: float | None
    shares: tuple[TypeShare, ...]
    dimensions: Dimensions
    vocabulary: VocabularySummary | None
    templates: tuple[tuple[str, str], ...]
    sampling: tuple[tuple[str, int | float | str], ...]
    details: tuple[tuple[str, str], ...]


def summarize(files: ModelFiles, source: Source) -> Summary:
    """Return the summary of a model. `source` is that of its first file."""
    header = files.header
    tensors = files.tensors
    parameters = sum(tensor.elements for tensor in tensors)
    bits = 8 * sum(tensor.size for tensor in tensors)
    special = describe_special(header)
    return Summary(
        kind=_kind(header, special[0] if special else None, has_weights=bool(tensors)),
        name=header.text("general.name"),
        architecture=header.architecture,
        size_label=header.text("general.size_label"),
        licence=header.text("general.license") or header.text("general.license.name"),
        size=files.size,
        parts=len(files.parts),
        version=header.version,
        byte_order="big" if header.byte_order == ">" else "little",
        parameters=parameters,
        quantization=quantization(header, tensors),
        bits_per_weight=bits / parameters if parameters else None,
        shares=type_shares(tensors),
        dimensions=_dimensions(header, source),
        vocabulary=summarize_vocabulary(source, header),
        templates=chat_templates(header),
        sampling=_sampling(header),
        details=(*_details(header, tensors), *_head_details(files, source)),
    )


def _kind(header: Header, special: str | None, *, has_weights: bool) -> str:
    if special is not None:
        return special.removesuffix(", not a model")
    if (head := describe_head(header)) is not None:
        return f"the {head} of a model, which drafts for that one"
    return "model" if has_weights else "a vocabulary without weights"


def quantization(header: Header, tensors: Sequence[TensorInfo]) -> str | None:
    """Return the quantization that the header names, else the tensor type with the most bytes."""
    number = header.integer("general.file_type")
    if number is not None and number & ~GUESSED_FILE_TYPE in FILE_TYPES and tensors:
        return FILE_TYPES[number & ~GUESSED_FILE_TYPE]
    shares = type_shares(tensors)
    return shares[0].type if shares else None


def type_shares(tensors: Sequence[TensorInfo]) -> tuple[TypeShare, ...]:
    """Return the shares of the tensor types, most bytes first."""
    counts: Counter[str] = Counter()
    elements: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        counts[tensor.type.name] += 1
        elements[tensor.type.name] += tensor.elements
        sizes[tensor.type.name] += tensor.size
    return tuple(TypeShare(name, counts[name], elements[name], size) for name, size in sizes.most_common())


def chat_templates(header: Header) -> tuple[tuple[str, str], ...]:
    """Return the chat templates by name, the unnamed one first, as `default`."""
    found = {}
    for key, entry in header.metadata.items():
        if key == TEMPLATE_KEY and isinstance(entry.value, str):
            found["default"] = entry.value
        elif key.startswith(TEMPLATE_KEY + ".") and isinstance(entry.value, str):
            found[key.removeprefix(TEMPLATE_KEY + ".")] = entry.value
    return tuple(sorted(found.items(), key=lambda item: (item[0] != "default", item[0])))


def _dimensions(header: Header, source: Source) -> Dimensions:
    architecture = header.architecture or ""

    def integer(name: str) -> int | None:
        return header.integer(f"{architecture}.{name}")

    def per_layer(name: str) -> PerLayer | None:
        array = header.array(f"{architecture}.{name}")
        return tuple(read_integers(source, header, array, MAX_LAYERS)) or None if array else integer(name)

    pooling = integer("pooling_type")
    return Dimensions(
        context_length=integer("context_length"),
        block_count=integer("block_count"),
        embedding_length=integer("embedding_length"),
        feed_forward_length=per_layer("feed_forward_length"),
        head_count=per_layer("attention.head_count"),
        head_count_kv=per_layer("attention.head_count_kv"),
        key_length=integer("attention.key_length"),
        expert_count=integer("expert_count"),
        expert_used_count=per_layer("expert_used_count"),
        sliding_window=integer("attention.sliding_window"),
        rope_freq_base=header.number(f"{architecture}.rope.freq_base"),
        rope_scaling=header.text(f"{architecture}.rope.scaling.type"),
        original_context_length=integer("rope.scaling.original_context_length"),
        pooling=POOLING_TYPES.get(pooling, str(pooling)) if pooling is not None else None,
    )


def _sampling(header: Header) -> tuple[tuple[str, int | float | str], ...]:
    return tuple(
        (key.removeprefix(SAMPLING_PREFIX), entry.value)
        for key, entry in header.metadata.items()
        if key.startswith(SAMPLING_PREFIX) and isinstance(entry.value, (int, float, str))
    )


def _details(header: Header, tensors: Sequence[TensorInfo]) -> tuple[tuple[str, str], ...]:
    """Return the properties of an adapter or a projector."""
    found = []
    if header.text("general.type") == "adapter":
        ranks = sorted({tensor.shape[-1] for tensor in tensors if tensor.name.endswith(".lora_a") and tensor.shape})
        found.append(("adapter type", header.text("adapter.type") or "unknown"))
        found.append(("rank", ", ".join(map(str, ranks)) or "unknown"))
        if (alpha := header.number("adapter.lora.alpha")) is not None:
            found.append(("alpha", f"{alpha:g}"))
    if (projector := read_projector(header)) is not None:
        found += [(label, value) for kind in ENCODERS for label, value in _encoder_details(header, projector, kind)]
    return tuple(found)


def _head_details(files: ModelFiles, source: Source) -> Iterator[tuple[str, str]]:
    """Yield which models an EAGLE-3 head drafts for, and which tokens."""
    header = files.header
    if not eagle.is_eagle(header):
        return
    tokens = header.array("tokenizer.ggml.tokens")
    size = header.integer(f"{eagle.ARCHITECTURE}.target_hidden_size")
    if layers := eagle.target_layers(header, source):
        yield "takes", f"the inputs of the model's layers {', '.join(map(str, layers[:-1]))} and {layers[-1]}"
    if size is not None and tokens is not None:
        yield "fits", f"models with embeddings of {counted(size, 'value')} and the same {counted(tokens.count, 'token')}"
    if (table := eagle.draft_vocabulary(files)) is not None:
        yield "drafts", f"{table.elements:,} of these tokens"


def _encoder_details(header: Header, projector: Projector, kind: str) -> Iterator[tuple[str, str]]:
    """Yield the properties of an encoder of a projector file, nothing if it has none of this kind."""
    encoder = projector.image if kind == "vision" else projector.audio
    if encoder is None:
        return
    yield kind, f"projector {encoder.type}"
    for key, name, unit in _ENCODER_SIZES:
        if (number := header.integer(f"clip.{kind}.{key}")) is not None:
            yield f"{kind} {name}", counted(number, unit)
    if encoder.sound_rate is not None:
        yield f"{kind} rate", f"{encoder.sound_rate:,} samples a second"
    if encoder.width is not None:
        yield "fits", f"models with embeddings of {encoder.width:,} values"
