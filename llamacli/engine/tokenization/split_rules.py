"""Rules of safe cuts: positions where a text can be cut so that the tokens of its parts are the tokens of the whole.

A position is a byte offset p between two characters. Whether it is safe depends on the algorithm of the vocabulary:

- **BPE after a splitting expression** (nearly all of them). The expression cuts the text into words, and each word is merged by
  itself. The expressions never look back, so p is safe if every one of them ends a word at p regardless of what follows, and
  splits the text before p in the same way whether it ends there or continues. As the expressions (`llama-vocab.cpp`) show, none
  has a match with a letter or digit before a space, a comma or a newline in it (`_ORDINARY`). The exceptions have their own
  rules (`_BY_PRE_TOKENIZER`). For an expression that is unknown here, no position is safe.
- **Merges over the whole text** (SPM, and BPE of Gemma's kind). A merge makes a token, so none can cross p if no token (and no
  merge) has the two characters around p next to each other. Merges on either side then do not depend on the other side.
- **The best path** (UGM). No token has a space inside, so every path passes through the position before one. And sums of
  scores are exact in binary, so the best path does not depend on earlier text.
- **WPM** ends a word at each white space and punctuation mark. **RWKV** and **PLaMo-2** choose tokens from a list, and the rule
  of SPM applies to them too.

Before any of that, user-defined tokens (and control tokens, if they are parsed) are cut out of the text, so no position inside
one is safe. In a run of one character that forms such tokens, the safe positions are the multiples of the longest token's
length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_LETTER = (
    rb"(?:(?<=\xc3[\x80-\x96\x98-\xb6\xb8-\xbf])"  # Latin
    rb"|(?<=\xce[\x91-\xa1\xa3-\xbf])|(?<=[\xd0\xd1][\x80-\xbf])|(?<=\xd7[\x90-\xaa])"  # Greek, Cyrillic, Hebrew
    rb"|(?<=\xd8[\xa1-\xba])|(?<=\xd9[\x81-\x8a])|(?<=\xe0\xa4[\x84-\xb9])|(?<=\xe0\xb8[\x81-\xb0])"  # Arabic, Devanagari, Thai
    rb"|(?<=\xe3\x81[\x81-\xbf])|(?<=\xe3\x82[\xa1-\xbf])|(?<=\xe3\x83[\x80-\xba])"  # Kana
    rb"|(?<=\xe4[\xb8-\xbf][\x80-\xbf])|(?<=[\xe5-\xe8][\x80-\xbf]{2})|(?<=\xe9[\x80-\xbd][\x80-\xbf])"  # Han
    rb"|(?<=\xea[\xb0-\xbf][\x80-\xbf])|(?<=[\xeb\xec][\x80-\xbf]{2})|(?<=\xed[\x80-\x9d][\x80-\xbf]))"  # Hangul
)
_STOP = rb"[,.!?]|\xef\xbc\x8c|\xe3\x80[\x81\x82]"  # the last are ， 、 and 。
_LINE_END = rb"(?:(?<=[!-~]\n)|(?<=\xe3\x80\x82\n)|(?<=\xef\xbc[\x81-\x9f]\n))"  # no white space before the newline
_LETTER_FOLLOWS = rb"(?=[0-9A-Za-z]|[\xd0\xd1][\x80-\xbf]|\xe4[\xb8-\xbf]|[\xe5-\xe8][\x80-\xbf]|\xe3\x81[\x81-\xbf])"

_ORDINARY = (
    rb"(?<=[0-9A-Za-z])(?=[ \t\r\n]|" + _STOP + rb")|" + _LETTER + rb"(?=\n|" + _STOP + rb")|" + _LINE_END + _LETTER_FOLLOWS
)
_NO_PUNCTUATION = rb"(?<=[0-9A-Za-z])(?=[ \t\r\n])|" + _LETTER + rb"(?=\n)|" + _LINE_END + _LETTER_FOLLOWS
_NO_SPACE = (
    rb"(?<=[0-9A-Za-z])(?=[\t\r\n]|" + _STOP + rb")|" + _LETTER + rb"(?=\n|" + _STOP + rb")|" + _LINE_END + _LETTER_FOLLOWS
)
_AROUND_NUMBERS = rb"(?<=[0-9])(?=[ \t\r\n,.A-Za-z])|(?<=[ \n,.A-Za-z])(?=[0-9])"
_ANY_SPACE_OR_STOP = rb"(?<=[^\x00-\x20])(?=[ \n]|" + _STOP + rb")"
_ASCII_BEFORE_SPACE = rb"(?<=[0-9A-Za-z])(?=[ \n])"
_ANY_SPACE = rb"(?<=[^\x00-\x20])(?= )"
_ANY_SPACE_OR_LINE = rb"(?<=[^\x00-\x20])(?=[ \n])"

_NAMES = """
    default minicpm5 llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano
    deepseek-llm deepseek-coder deepseek-v3 spark2_5 youtu falcon mpt starcoder gpt-2 phi-2 jina-es jina-de
    gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert jais-2 jina-v1-en jina-v2-code roberta-bpe
    refact command-r qwen2 deepseek-r1-qwen kormo f2llmv2 qwen35 stablelm2 olmo dbrx smaug-bpe poro-chat
    chatglm-bpe glm4 glm5 viking jais tekken smollm codeshell bloom gpt3-finnish exaone exaone4 chameleon
    minerva-7b megrez gpt-4o llama4 kanana2 talkie granite-embed-multi-97m tiny_aya cohere2moe trillion
    granite-docling bailingmoe bailingmoe2 llada-moe seed-coder hunyuan hunyuan-dense hy_v4 joyai-llm kimi-k2
    ufakzeka grok-2 afmoe laguna minimax-m2 solar-open mellum2
"""
_BY_PRE_TOKENIZER = {
    **dict.fromkeys(_NAMES.split(), _ORDINARY),
    "whitespace": _NO_PUNCTUATION,  # words are the text between white space
    "exaone-moe": _NO_SPACE,  # a word may continue over single spaces
    "superbpe": _AROUND_NUMBERS,  # a word is the text between two numbers
}
GEMMA_LIKE = frozenset({"gemma4", "granite-embed-multi-311m", "sarvam-moe"})
"""BPE pre-tokenizers that split only at newlines and merge the rest unchanged, with spaces as U+2581."""

SPACE = "\u2581".encode()
_SECOND = (b" ", b"\n", b",", b".", b"!", b"?", "，".encode(), "、".encode(), "。".encode())
_CHARACTER = rb"([\x01-\x7f]|[\xc2-\xf4][\x80-\xbf]+)"
_MAY_STRADDLE = re.compile(rb"[^\x00-\x20][ \t\r\n,.!?\xe3\xef]|\n[0-9A-Za-z\xd0-\xe8]")
_MAY_STRADDLE_NUMBERS = re.compile(rb"[0-9][ \t\r\n,.A-Za-z]|[ \n,.A-Za-z][0-9]")
_CLOSE, _NEARBY = 100, 2048  # bytes that are searched for a position first, and next


@dataclass(frozen=True, slots=True)
class Special:
    """A token that is cut out of the text first. `strips` is True if it removes white space at one of its sides."""

    text: bytes
    strips: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one vocabulary.

    `pattern` matches at candidate positions. `apart` has, for a second character, the characters that must not precede it.
    `known` are the characters that occur in tokens: a position before any other is safe. `escaped` is True if tokens have
    U+2581 for a space. With `context`, a part is tokenized with the character before it, whose tokens are then dropped: by
    itself it would get a leading space. `enders` and `starters` must not end or begin at a position, and `straddlers` must not
    extend across it. `runs` has the length of the longest special token made of one repeated character, by that character,
    and `run_begins` matches the start of such a run. `margin` is the number of bytes after a position that the rules examine.
    """

    pattern: re.Pattern[bytes] | None
    apart: Mapping[bytes, frozenset[bytes]] | None = None
    known: frozenset[bytes] | None = None
    escaped: bool = False
    context: bool = False
    enders: tuple[bytes, ...] = ()
    starters: tuple[bytes, ...] = ()
    straddlers: tuple[bytes, ...] = ()
    runs: Mapping[bytes, int] = field(default_factory=dict)
    run_begins: re.Pattern[bytes] | None = None
    margin: int = 4

    def last_cut(self, data: bytes, start: int, end: int) -> tuple[int, bool] | None:
        """Return the last safe position after `start` up to `end`, and whether the next part needs the character before it.

        `data` continues for `margin` bytes after `end`, or ends there. Return None if no position is safe.
        """
        if run := self._cut_in_run(data, start, end):
            return run, False
        for low in (max(start + 1, end - _CLOSE), max(start + 1, end - _NEARBY), start + 1):
            if self.run_begins is not None and (begins := [*self.run_begins.finditer(data, low, end)]):
                return begins[-1].start(), False
            for match in reversed([*self.pattern.finditer(data, low, end + 1)] if self.pattern is not None else []):
                if match.start() <= end and self._is_safe(data, start, match.start()):
                    return match.start(), self.context
        return self._before_unknown(data, start, end)

    @property
    def wants_small_parts(self) -> bool:
        """True if llama.cpp's time is quadratic in a part's length.

        For each token that it cuts out, it counts through all fragments so far. And SPM copies all tokens so far for each
        character without a token.
        """
        return bool(self.runs) or self.context

    def first_cut(self, data: bytes, start: int, low: int) -> tuple[int, bool] | None:
        """Return the first safe position from `low` on, and whether the next part needs the character before, or None.

        `start` is the beginning of the part.
        """
        if self.pattern is None:
            return None
        last = len(data) - self.margin  # what follows is unknown
        for match in self.pattern.finditer(data, low):
            if match.start() > last:
                return None
            if self._is_safe(data, start, match.start()):
                return match.start(), self.context
        return None

    def _is_safe(self, data: bytes, start: int, position: int) -> bool:
        return (self.apart is None or self._are_apart(data, position)) and self._avoids_specials(data, start, position)

    def _avoids_specials(self, data: bytes, start: int, position: int) -> bool:
        if data.endswith(self.enders, start, position) or data.startswith(self.starters, position):
            return False
        return not any(
            data.find(text, max(start, position - len(text) + 1), position + len(text) - 1) >= 0 for text in self.straddlers
        )

    def _before_unknown(self, data: bytes, start: int, end: int) -> tuple[int, bool] | None:
        if self.known is None:
            return None
        for position in range(end, max(start, end - _NEARBY), -1):
            if position == len(data) or data[position] & 0xC0 == 0x80:
                continue
            if self._character_at(data, position) not in self.known and self._avoids_specials(data, start, position):
                return position, self.context
        return None

    def _character_at(self, data: bytes, position: int) -> bytes:
        first = data[position]
        if first == 0x20 and self.escaped:
            return SPACE
        return data[position : position + (1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4)]

    def _are_apart(self, data: bytes, position: int) -> bool:
        second = next(text for text in _SECOND if data.startswith(text, position))
        first = character_before(data, position)
        if first == b" " and self.escaped:
            first = SPACE
        return self.apart is not None and first not in self.apart[second]

    def _cut_in_run(self, data: bytes, start: int, end: int) -> int | None:
        """Return, in a run of one character, a multiple of the longest token's length from the start of the run, or None."""
        character = data[end - 1 : end]
        length = self.runs.get(character)
        if length is None or data[end : end + 1] != character:
            return None
        begin = start + len(data[start:end].rstrip(character))
        position = begin + (end - begin) // length * length
        return position if position > begin else None


def character_before(data: bytes, position: int) -> bytes:
    """Return the UTF-8 character that ends at `position`."""
    first = position - 1
    while first > 0 and data[first] & 0xC0 == 0x80:
        first -= 1
    return data[first:position]


def for_words(model: str, pre: str | None, specials: Iterable[Special]) -> Rules:
    """Return the rules of BPE after a splitting expression. `model` and `pre` are the tokenizer's names in the metadata."""
    source = _BY_PRE_TOKENIZER.get(pre or "default")
    if model == "whitespace" and source is not None:
        source = _NO_PUNCTUATION
    if model == "hybriddna":  # text between two distant tags is tokenized in steps of six letters
        source = None
    return _rules(source, specials)


def for_wordpieces(specials: Iterable[Special]) -> Rules:
    """Return the rules of WPM: each white space and punctuation mark ends a word, and words are independent."""
    return _rules(_ANY_SPACE_OR_STOP, specials)


def for_merges(texts: bytes, specials: Iterable[Special], *, escaped: bool, context: bool, ascii_only: bool = False) -> Rules:
    """Return the rules of merges over the whole text, and of tokens chosen from a list.

    `texts` are all tokens and merges with NUL around each. With `escaped` their spaces are written as U+2581. With
    `ascii_only` tokens may begin inside a character.
    """
    written = {SPACE if escaped and second == b" " else second: second for second in _SECOND}
    pairs = set(re.findall(_CHARACTER + b"(?=(" + b"|".join(map(re.escape, written)) + b"))", texts))
    apart = {second: frozenset(first for first, after in pairs if after == text) for text, second in written.items()}
    if ascii_only:
        return _rules(_ASCII_BEFORE_SPACE, specials, apart=apart, context=context)
    known = frozenset(
        character.encode("utf-8", "surrogateescape") for character in set(texts.decode("utf-8", "surrogateescape"))
    )
    return _rules(_ANY_SPACE_OR_STOP, specials, apart=apart, known=known, escaped=escaped, context=context)


def for_best_path(texts: bytes, specials: Iterable[Special], *, lines: bool) -> Rules:
    """Return the rules of UGM that merges white space. With `lines` its normalization turns a newline into a space."""
    inside = re.search(rb"[^\x00]" + SPACE, texts)
    if inside or b"\x00" + SPACE + b"\x00" not in texts:  # adjacent unknown tokens are joined, so a space must be known
        return Rules(None)
    return _rules(_ANY_SPACE_OR_LINE if lines else _ANY_SPACE, specials)


def _rules(
    source: bytes | None,
    specials: Iterable[Special],
    *,
    apart: Mapping[bytes, frozenset[bytes]] | None = None,
    known: frozenset[bytes] | None = None,
    escaped: bool = False,
    context: bool = False,
) -> Rules:
    specials = tuple(specials)
    strips = tuple(special.text for special in specials if special.strips)
    may_straddle = _MAY_STRADDLE_NUMBERS if source == _AROUND_NUMBERS else _MAY_STRADDLE
    texts = tuple(special.text for special in specials)
    runs = {} if strips else _runs(texts)
    return Rules(
        re.compile(source) if source is not None else None,
        apart=apart,
        known=known,
        escaped=escaped,
        context=context,
        enders=texts if context else strips,
        starters=strips,
        straddlers=tuple(text for text in texts if may_straddle.search(text)),
        runs=runs,
        run_begins=re.compile(b"|".join(map(_run_begin, runs.items()))) if runs else None,
        margin=max((len(text) for text in texts), default=0) + 4,
    )


def _runs(texts: Iterable[bytes]) -> dict[bytes, int]:
    """Return the longest special token of one repeated character, by that character.

    Only for characters that occur in no other special token, and of which every shorter run from two on is a special token too.
    """
    lengths: dict[int, set[int]] = {}
    mixed: set[int] = set()
    for text in texts:
        kinds = set(text)
        if len(kinds) == 1 and text[0] < 0x80:
            lengths.setdefault(text[0], set()).add(len(text))
        else:
            mixed |= kinds
    return {
        bytes([character]): max(known)
        for character, known in lengths.items()
        if character not in mixed and max(known) > 1 and known >= set(range(2, max(known)))
    }


def _run_begin(run: tuple[bytes, int]) -> bytes:
    character = re.escape(run[0])
    return b"(?<!" + character + b")" + character + b"{2}"
