"""Fill-in-the-middle prompts, from the text before and after a gap."""

from __future__ import annotations

from llamacli.binding.library import library
from llamacli.engine.chat.prompt import Prompt
from llamacli.engine.runtime.vocabulary import Vocabulary
from llamacli.errors import UsageError


def infill_prompt(vocabulary: Vocabulary, prefix: str, suffix: str, *, suffix_first: bool = False) -> Prompt:
    """Return the prompt for the text between `prefix` and `suffix`, in the order prefix, suffix, middle of most models
    (Bavarian et al., "Efficient training of language models to fill in the middle", 2022), or with the suffix first.

    Raises:
        UsageError: if the model has no fill-in-the-middle tokens.
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
            f"this model does not support fill-in-the-middle: its vocabulary has no token for {', '.join(missing)}",
            hint="use a code model trained for it, such as Qwen2.5-Coder",
        )
    before = [marks["prefix"], *vocabulary.tokenize(prefix)]
    after = [marks["suffix"], *vocabulary.tokenize(suffix)]
    tokens = [*after, *before] if suffix_first else [*before, *after]
    tokens.append(marks["middle"])
    if vocabulary.add_bos and vocabulary.bos >= 0:
        tokens.insert(0, vocabulary.bos)
    return Prompt(vocabulary.detokenize(tokens, special=True).decode("utf-8", "replace"), tuple(tokens))
