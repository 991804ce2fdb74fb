"""The rules of safe cuts (`split_rules`) for a loaded vocabulary."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator

from llamacli.binding.enums import llama_token_attr, llama_vocab_type
from llamacli.engine.runtime.model import Model
from llamacli.engine.tokenization import split_rules as rules
from llamacli.engine.tokenization.split_rules import Rules, Special
from llamacli.gguf.arrays import read_bytes, read_numbers, read_strings
from llamacli.gguf.header import Header, Lazy
from llamacli.gguf.source import FileSource

_USER_DEFINED = llama_token_attr.LLAMA_TOKEN_ATTR_USER_DEFINED
_HIDDEN = llama_token_attr.LLAMA_TOKEN_ATTR_CONTROL | llama_token_attr.LLAMA_TOKEN_ATTR_UNKNOWN
_STRIPS = llama_token_attr.LLAMA_TOKEN_ATTR_LSTRIP | llama_token_attr.LLAMA_TOKEN_ATTR_RSTRIP

_SCORE_SCALE = float(2**26)
"""Scores that are multiples of 1 / 2**26 are summed without rounding in a double, up to 2**27."""


def rules_of(model: Model, *, special: bool) -> Rules:
    """Return the rules of safe cuts for this model's tokenizer. With `special`, control tokens in texts are parsed."""
    header, vocabulary = model.header, model.vocabulary
    specials = specials_of(model, control=special)
    kind = vocabulary.type
    name, pre = header.text("tokenizer.ggml.model") or "", header.text("tokenizer.ggml.pre")
    with FileSource(model.path) as source:
        if kind == llama_vocab_type.LLAMA_VOCAB_TYPE_BPE:
            if name != "gemma4" and pre not in rules.GEMMA_LIKE:
                return rules.for_words(name, pre, specials)
            merges = _joined(_strings(source, header, "merges")).replace(b" ", b"")
            texts = _joined(_strings(source, header, "tokens")) + merges
            return rules.for_merges(texts, specials, escaped=True, context=False)
        if kind == llama_vocab_type.LLAMA_VOCAB_TYPE_WPM:
            return rules.for_wordpieces(specials)
        if kind == llama_vocab_type.LLAMA_VOCAB_TYPE_SPM:
            return rules.for_merges(_joined(_strings(source, header, "tokens")), specials, escaped=True, context=True)
        if kind == llama_vocab_type.LLAMA_VOCAB_TYPE_PLAMO2:
            return rules.for_merges(_joined(_strings(source, header, "tokens")), specials, escaped=False, context=False)
        if kind == llama_vocab_type.LLAMA_VOCAB_TYPE_RWKV:
            texts = _joined(map(_without_escapes, _strings(source, header, "tokens")))
            return rules.for_merges(texts, specials, escaped=False, context=False, ascii_only=True)
        if kind == llama_vocab_type.LLAMA_VOCAB_TYPE_UGM and _has_exact_sums(source, header):
            charsmap = _charsmap(source, header)
            if charsmap is None or not charsmap.has_inner(b" \n"):
                texts = _joined(_strings(source, header, "tokens"))
                return rules.for_best_path(texts, specials, lines=charsmap is not None and charsmap.replaces(b"\n", b" "))
    return Rules(None)


def specials_of(model: Model, *, control: bool) -> list[Special]:
    """Return the tokens that are cut out of a text first, with `control` the control tokens too."""
    vocabulary = model.vocabulary
    found = []
    for token, attributes in enumerate(vocabulary.attributes()):
        if attributes & _USER_DEFINED or (control and attributes & _HIDDEN):
            found.append(Special(vocabulary.text(token), bool(attributes & _STRIPS)))
    return found


def _has_exact_sums(source: FileSource, header: Header) -> bool:
    """Return whether sums of scores are exact, and white space is treated as `rules.for_best_path` assumes."""
    merges_spaces = header.flag("tokenizer.ggml.remove_extra_whitespaces")
    as_suffix = header.flag("tokenizer.ggml.treat_whitespace_as_suffix")
    escapes = header.flag("tokenizer.ggml.escape_whitespaces")
    scores = header.array("tokenizer.ggml.scores")
    if not merges_spaces or as_suffix or escapes is False or scores is None:
        return False
    return all((float(score) * _SCORE_SCALE).is_integer() for score in read_numbers(source, header, scores))


def _strings(source: FileSource, header: Header, name: str) -> Iterator[bytes]:
    lazy = header.array(f"tokenizer.ggml.{name}")
    return read_strings(source, header, lazy) if lazy else iter(())


def _joined(texts: Iterable[bytes]) -> bytes:
    return b"\0" + b"\0".join(texts) + b"\0"


def _without_escapes(text: bytes) -> bytes:
    r"""Return the bytes of an RWKV token: `\n`, `\t`, `\r`, `\x80` and `\` before a character."""
    return re.sub(rb"\\(x[0-9a-f]{2}|.)", lambda match: _unescaped(match[1]), text, flags=re.DOTALL)


def _unescaped(code: bytes) -> bytes:
    if len(code) == 3:
        return bytes([int(code[1:], 16)])
    return {b"n": b"\n", b"t": b"\t", b"r": b"\r"}.get(code, code)


class _Charsmap:
    """SentencePiece's precompiled normalization: a trie of byte sequences in a double array, and their replacements.

    Each unit has the byte that leads to it in bits 0 to 7, and the relative position of its children from bit 10 on.
    """

    def __init__(self, data: bytes) -> None:
        size = int.from_bytes(data[:4], "little")
        self._units = struct.unpack(f"<{size // 4}I", data[4 : 4 + size // 4 * 4])
        self._replacements = data[4 + size :]

    def has_inner(self, wanted: bytes) -> bool:
        """Return whether a sequence may have one of these bytes after its first. Unused units can look like that."""
        root = self._base(0)
        for index, unit in enumerate(self._units):
            if index == 0 or unit >> 31:
                continue
            base = index ^ self._base(index)
            if base != root and any(self._leads(base ^ byte, byte) for byte in wanted):
                return True
        return False

    def replaces(self, text: bytes, replacement: bytes) -> bool:
        """Return whether the one-byte sequence `text` is replaced by `replacement`, and starts no longer sequence."""
        index = self._base(0) ^ text[0]
        if not self._leads(index, text[0]) or not self._units[index] >> 8 & 1:
            return False
        base = index ^ self._base(index)
        if base >= len(self._units) or any(self._leads(base ^ byte, byte) for byte in range(1, 256)):
            return False
        start = self._units[base] & 0x7FFFFFFF
        return self._replacements[start : self._replacements.find(b"\0", start)] == replacement

    def _base(self, index: int) -> int:
        unit: int = self._units[index]
        return (unit >> 10) << ((unit & 1 << 9) >> 6)

    def _leads(self, index: int, byte: int) -> bool:
        return index < len(self._units) and self._units[index] & (1 << 31 | 0xFF) == byte


def _charsmap(source: FileSource, header: Header) -> _Charsmap | None:
    lazy: Lazy | None = header.array("tokenizer.ggml.precompiled_charsmap")
    return _Charsmap(b"".join(read_bytes(source, lazy))) if lazy else None
