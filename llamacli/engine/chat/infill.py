"""Fill-in-the-middle prompts, from the text before and after a gap."""

from __future__ import annotations

from collections.abc import Sequence

from llamacli.binding.library import library
from llamacli.engine.chat.prompt import Prompt
from llamacli.engine.runtime.vocabulary import Vocabulary
from llamacli.errors import UsageError


def infill_prompt(
    vocabulary: Vocabulary, prefix: str, suffix: str, *, suffix_first: bool = False, files: Sequence[tuple[str, str]] = ()
) -> Prompt:
    """Return the prompt for the text between `prefix` and `suffix`, in the order prefix, suffix, middle of most models
    (Bavarian et al., "Efficient training of language models to fill in the middle", 2022), or with the suffix first.

    `files` are names and texts from the same project, which come first.

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
    tokens = [*_file_tokens(vocabulary, files), *([*after, *before] if suffix_first else [*before, *after]), marks["middle"]]
    if vocabulary.add_bos and vocabulary.bos >= 0:
        tokens.insert(0, vocabulary.bos)
    return Prompt(vocabulary.detokenize(tokens, special=True).decode("utf-8", "replace"), tuple(tokens))


def _file_tokens(vocabulary: Vocabulary, files: Sequence[tuple[str, str]]) -> list[int]:
    """The tokens of files in the pattern of Qwen2.5-Coder (https://arxiv.org/abs/2409.12186), or as snippets of text for a
    model without its tokens. Names are those of llama-server: "myproject", and "filename" for the file with the gap.
    """
    if not files:
        return []
    from llamacli.binding import c_api  # its declarations are many, and nothing else here needs them

    project, separator = (c_api.find(f"llama_vocab_fim_{name}")(vocabulary.handle) for name in ("rep", "sep"))
    tokens = [project, *vocabulary.tokenize("myproject\n")] if project >= 0 else []
    for name, text in files:
        if separator >= 0:
            tokens += [separator, *vocabulary.tokenize(f"{name}\n"), *vocabulary.tokenize(text)]
        else:
            tokens += [*vocabulary.tokenize("\n\n--- snippet ---\n\n"), *vocabulary.tokenize(text)]
    return [*tokens, separator, *vocabulary.tokenize("filename\n")] if separator >= 0 else tokens
