"""Summary of a model's vocabulary by its header."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from llamacli.gguf.header import Header, Lazy
from llamacli.gguf.layout import ValueType
from llamacli.gguf.parser.cursor import Cursor
from llamacli.gguf.source import Source

TOKENIZERS = {"llama": "SPM", "bert": "WPM", "gpt2": "BPE", "gemma4": "BPE", "t5": "UGM", "rwkv": "RWKV", "plamo2": "PLaMo-2"}
"""Algorithms of the values of `tokenizer.ggml.model`, by llama.cpp's names."""

SPECIAL_TOKENS = {
    "bos": "tokenizer.ggml.bos_token_id",
    "eos": "tokenizer.ggml.eos_token_id",
    "eot": "tokenizer.ggml.eot_token_id",
    "eom": "tokenizer.ggml.eom_token_id",
    "unknown": "tokenizer.ggml.unknown_token_id",
    "separator": "tokenizer.ggml.seperator_token_id",  # llama.cpp's spelling
    "padding": "tokenizer.ggml.padding_token_id",
    "cls": "tokenizer.ggml.cls_token_id",
    "mask": "tokenizer.ggml.mask_token_id",
    "fim_prefix": "tokenizer.ggml.fim_pre_token_id",
    "fim_suffix": "tokenizer.ggml.fim_suf_token_id",
    "fim_middle": "tokenizer.ggml.fim_mid_token_id",
    "fim_pad": "tokenizer.ggml.fim_pad_token_id",
    "fim_repository": "tokenizer.ggml.fim_rep_token_id",
    "fim_separator": "tokenizer.ggml.fim_sep_token_id",
}


@dataclass(frozen=True, slots=True)
class SpecialToken:
    """A token with a role. `text` is None if the id is outside the vocabulary."""

    role: str
    id: int
    text: str | None


@dataclass(frozen=True, slots=True)
class VocabularySummary:
    """A vocabulary: `type` is the algorithm, `model` and `pre` are names in the file, `merges` is their number."""

    type: str
    model: str
    pre: str | None
    size: int
    merges: int
    special: tuple[SpecialToken, ...]
    add_bos: bool | None
    add_eos: bool | None


def summarize_vocabulary(source: Source, header: Header) -> VocabularySummary | None:
    """Return the vocabulary, or None if the file has none. `source` is that of the header."""
    model = header.text("tokenizer.ggml.model")
    tokens = header.array("tokenizer.ggml.tokens")
    if model is None and tokens is None:
        return None
    merges = header.array("tokenizer.ggml.merges")
    return VocabularySummary(
        type=TOKENIZERS.get(model or "", (model or "unknown").upper()),
        model=model or "unknown",
        pre=header.text("tokenizer.ggml.pre"),
        size=tokens.count if tokens else header.integer(f"{header.architecture}.vocab_size") or 0,
        merges=merges.count if merges else 0,
        special=_special_tokens(source, header, tokens),
        add_bos=header.flag("tokenizer.ggml.add_bos_token"),
        add_eos=header.flag("tokenizer.ggml.add_eos_token"),
    )


def strings_at(source: Source, header: Header, lazy: Lazy, wanted: Iterable[int]) -> dict[int, str]:
    """Return some strings of an array by their indexes. Indexes outside the array are left out."""
    cursor = Cursor(source)
    cursor.set_byte_order(header.byte_order)
    cursor.seek(lazy.offset)
    found: dict[int, str] = {}
    position = 0
    for number in sorted({number for number in wanted if 0 <= number < lazy.count}):
        cursor.skip_strings(number - position, "the tokens")
        found[number] = cursor.take(cursor.length("a token"), "a token").decode(errors="surrogateescape")
        position = number + 1
    return found


def _special_tokens(source: Source, header: Header, tokens: Lazy | None) -> tuple[SpecialToken, ...]:
    ids = {role: number for role, key in SPECIAL_TOKENS.items() if (number := header.integer(key)) is not None}
    texts = strings_at(source, header, tokens, ids.values()) if tokens and tokens.element == ValueType.STRING else {}
    return tuple(SpecialToken(role, number, texts.get(number)) for role, number in ids.items())
