"""EAGLE-3 heads: files with one layer that drafts for another model, from the states of three of its layers.

Source: `load_arch_hparams`, `load_arch_tensors` and the graphs in llama.cpp's `src/models/eagle3.cpp`, and the graphs of models
that show the states of their layers (`t_layer_inp`), at commit 0c1e57098.
"""

from __future__ import annotations

import array
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from llamacli.errors import ModelFileError, UsageError
from llamacli.gguf.arrays import PIECE, read_integers
from llamacli.gguf.check.finding import Finding, key_finding
from llamacli.gguf.check.vocabulary import TOKENS
from llamacli.gguf.header import Header, TensorInfo
from llamacli.gguf.layout import ValueType
from llamacli.gguf.model import ModelFiles
from llamacli.gguf.source import FileSource, Source

ARCHITECTURE = "eagle3"

_SHOWS_LAYERS = frozenset({
    "bailingmoe3", "deepseek4", "gemma4", "gpt-oss", "hunyuan-dense", "hunyuan_vl", "lfm2", "lfm2moe", "llama", "mimo2",
    "minimax-01", "minimax-m2", "muse-glimmer", "nanbeige", "nemotron_h", "nemotron_h_moe", "qwen3", "qwen35", "qwen35moe",
    "qwen3moe", "qwen3next",
})  # fmt: skip
"""Architectures whose layers' inputs llama.cpp shows."""

_SHOWS_THE_LAST = frozenset({
    "bailingmoe3", "gemma4", "gpt-oss", "mimo2", "nemotron_h", "nemotron_h_moe", "qwen35", "qwen35moe", "qwen3next",
})  # fmt: skip
"""Those of which it shows what the last layer makes, too."""

_LAYERS = 3


def is_eagle(header: Header) -> bool:
    """Return whether a file is an EAGLE-3 head."""
    return header.architecture == ARCHITECTURE


def target_layers(header: Header, source: Source) -> list[int]:
    """Return the numbers of the model's layers whose inputs a head takes. `source` is that of its file."""
    found = header.array(f"{ARCHITECTURE}.target_layers")
    return read_integers(source, header, found, _LAYERS + 1) if found is not None else []


def taken_width(header: Header) -> int:
    """Return the number of values that a head takes for each token."""
    return _LAYERS * (header.integer(f"{ARCHITECTURE}.target_hidden_size") or 0)


def draft_vocabulary(files: ModelFiles) -> TensorInfo | None:
    """Return the tensor with the tokens that a head knows; None if it knows all."""
    return next((tensor for tensor in files.tensors if tensor.name == "d2t"), None)


def eagle_findings(files: ModelFiles, sources: Sequence[Source]) -> Iterator[Finding]:
    """Yield what llama.cpp refuses in an EAGLE-3 head, or aborts on. `sources` are those of the files, in order."""
    header = files.header
    key = f"{ARCHITECTURE}.target_layers"
    found, layers = header.array(key), target_layers(header, sources[0])
    if found is None or found.element not in (ValueType.UINT32, ValueType.INT32) or found.count != _LAYERS:
        yield key_finding(header, key, f"expected an array of {_LAYERS} numbers of layers")
    elif min(layers) < 0:
        yield key_finding(header, key, f"is {', '.join(map(str, layers))}, expected numbers from 0")
    key = f"{ARCHITECTURE}.block_count"
    if (count := header.integer(key)) is not None and count != 1:
        yield key_finding(header, key, f"is {count}, expected 1 layer")
    yield from _shape_findings(files)
    yield from _vocabulary_findings(files, sources)


def _shape_findings(files: ModelFiles) -> Iterator[Finding]:
    tensors = {tensor.name: tensor for tensor in files.tensors}
    tokens = files.header.array(TOKENS)
    known = draft_vocabulary(files)
    optional = {"token_embd.weight": tokens, "output.weight": known or tokens}
    for name, shape in _shapes(files.header).items():
        if name not in tensors:
            yield Finding("error", f"tensor {name}", f"missing, but {ARCHITECTURE} requires it")
        elif tensors[name].shape != shape:
            yield _of_tensor(tensors[name], f"has shape {list(tensors[name].shape)}, expected {list(shape)}")
    width = files.header.integer(f"{ARCHITECTURE}.embedding_length")
    for name, counted in optional.items():
        if name in tensors and counted is not None:
            count = counted.elements if isinstance(counted, TensorInfo) else counted.count
            if tensors[name].shape != (width, count):
                yield _of_tensor(tensors[name], f"has shape {list(tensors[name].shape)}, expected {[width, count]}")


def _shapes(header: Header) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors that a head must have."""

    def number(name: str, default: int = 0) -> int:
        return header.integer(f"{ARCHITECTURE}.{name}") or default

    width, taken, inner = number("embedding_length"), taken_width(header), number("feed_forward_length")
    heads = number("attention.head_count", 1)
    kv_heads = number("attention.head_count_kv", heads)
    key = number("attention.key_length", width // heads)
    value = number("attention.value_length", width // heads)
    layer = {
        "attn_norm": (width,), "attn_norm_2": (width,), "ffn_norm": (width,), "attn_q": (2 * width, heads * key),
        "attn_k": (2 * width, kv_heads * key), "attn_v": (2 * width, kv_heads * value), "attn_output": (heads * key, width),
        "ffn_gate": (width, inner), "ffn_up": (width, inner), "ffn_down": (inner, width),
    }  # fmt: skip
    model = {"fc": (taken, width), "output_norm": (width,)}
    if header.flag(f"{ARCHITECTURE}.norm_before_fc"):
        model["enc.output_norm"] = (taken,)
    named = model | {f"blk.0.{name}": shape for name, shape in layer.items()}
    return {f"{name}.weight": shape for name, shape in named.items()}


def _vocabulary_findings(files: ModelFiles, sources: Sequence[Source]) -> Iterator[Finding]:
    """Yield a table of the known tokens on which llama.cpp aborts."""
    table, tokens = draft_vocabulary(files), files.header.array(TOKENS)
    if table is None or tokens is None:
        return
    if table.type.name != "I64" or len(table.shape) != 1:
        yield _of_tensor(table, f"is {table.type.name} {list(table.shape)}, expected a list of I64")
        return
    source, step = sources[table.part], PIECE * table.type.size
    for offset in range(table.offset, table.offset + table.size, step):
        data = source.read(offset, min(step, table.offset + table.size - offset))
        numbers = array.array("q", data[: len(data) // table.type.size * table.type.size])
        if (files.header.byte_order == ">") != (sys.byteorder == "big"):
            numbers.byteswap()
        if (wrong := next((number for number in numbers if not 0 <= number < tokens.count), None)) is not None:
            yield _of_tensor(table, f"has token {wrong}, outside the vocabulary of {tokens.count} tokens")
            return


def _of_tensor(tensor: TensorInfo, message: str) -> Finding:
    return Finding("error", f"tensor {tensor.name}", message, tensor.offset, tensor.part)


def check_eagle(target: ModelFiles, head: ModelFiles) -> None:
    """Check that an EAGLE-3 head is sound and was made for a model like this one.

    Raises:
        UsageError: if it was made for another one; the message has both numbers.
        ModelFileError: if it is damaged.
    """
    with ExitStack() as stack:
        sources = [stack.enter_context(FileSource(location)) for location in head.locations]
        for finding in eagle_findings(head, sources):
            raise ModelFileError(f"{head.header.name}: {finding.subject}: {finding.message}", offset=finding.offset)
        layers = target_layers(head.header, sources[0])
    if (reason := _mismatch(target, head, layers)) is not None:
        raise UsageError(
            f"{head.header.name} does not fit {target.header.name}: {reason}",
            hint="an EAGLE-3 head drafts for the one model that it was trained with", parameter="draft_model",
        )  # fmt: skip


def _mismatch(target: ModelFiles, head: ModelFiles, layers: list[int]) -> str | None:
    """Return why a head cannot draft for a model, or None."""
    name = target.header.architecture or ""
    if name not in _SHOWS_LAYERS:
        return f"llama.cpp does not show the states of the layers of the architecture {name}"
    width = target.header.integer(f"{name}.embedding_length") or 0
    taken = head.header.integer(f"{ARCHITECTURE}.target_hidden_size")
    if taken != width:
        return f"it takes states of {taken:,} values, those of the model have {width:,}"
    count = (target.header.integer(f"{name}.block_count") or 0) - (target.header.integer(f"{name}.nextn_predict_layers") or 0)
    if max(layers) >= count + (name in _SHOWS_THE_LAST):
        return f"it takes the input of layer {max(layers)}, the model has layers 0 to {count - 1}"
    tokens = [files.header.array(TOKENS) for files in (target, head)]
    sizes = [one.count if one is not None else 0 for one in tokens]
    if sizes[0] != sizes[1]:
        return f"it has {sizes[1]:,} tokens, the model {sizes[0]:,}"
    return _lacking(head, width, sizes[0])


def _lacking(head: ModelFiles, width: int, n_vocab: int) -> str | None:
    """Return why a head cannot take what it lacks, the tokens' embeddings or the output matrix, from the model; or None."""
    names, own = {tensor.name for tensor in head.tensors}, head.header.integer(f"{ARCHITECTURE}.embedding_length") or 0
    table = draft_vocabulary(head)
    lacks = [
        text for name, text in (("token_embd", "embeddings"), ("output", "output matrix")) if f"{name}.weight" not in names
    ]
    if lacks and own != width:
        return f"it has no {lacks[0]}, and its layer is {own:,} wide, the model's {width:,}"
    if "output matrix" in lacks and table is not None and table.elements != n_vocab:
        return f"it has no output matrix for its {table.elements:,} tokens, that of the model has {n_vocab:,}"
    return None
