"""Filling in the middle: prompts from what stands before and after a gap."""

from __future__ import annotations

from llamacli.binding.library import library
from llamacli.engine.chat.prompt import Prompt
from llamacli.engine.runtime.vocabulary import Vocabulary
from llamacli.errors import UsageError


def infill_prompt(vocabulary: Vocabulary, prefix: str, suffix: str) -> Prompt:
    """The prompt that asks for the text between `prefix` and `suffix`: prefix, suffix, middle, as models are trained
    (Bavarian et al., "Efficient training of language models to fill in the middle", 2022).

    Raises:
        UsageError: the model has no tokens for it.
    """
    lib = library()
    marks = {
        "prefix": lib.llama_vocab_fim_pre(vocabulary.handle),
        "suffix": lib.llama_vocab_fim_suf(vocabulary.handle),
        "middle": lib.llama_vocab_fim_mid(vocabulary.handle),
    }
    missing = [name for name, token in marks.items() if token < 0]
    if missing:
        raise UsageError(
            f"this model cannot fill in: its vocabulary has no fill-in-the-middle token for {', '.join(missing)}",
            hint="use a code model that was trained for it, such as Qwen2.5-Coder",
        )
    tokens = [
        marks["prefix"], *vocabulary.tokenize(prefix), marks["suffix"], *vocabulary.tokenize(suffix), marks["middle"],
    ]  # fmt: skip
    if vocabulary.add_bos and vocabulary.bos >= 0:
        tokens.insert(0, vocabulary.bos)
    return Prompt(vocabulary.detokenize(tokens, special=True).decode("utf-8", "replace"), tuple(tokens))
