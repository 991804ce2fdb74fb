"""Names that other programs and APIs have for our options: OpenAI's, vLLM's, ollama's, llama-cpp-python's, Transformers'."""

from __future__ import annotations

from collections.abc import Collection

SYNONYMS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("--predict", "--n-gen"): (
        "predict", "n-predict", "num-predict", "max-tokens", "max-new-tokens", "max-completion-tokens", "max-output-tokens",
        "n-tokens", "num-tokens",
    ),
    ("--ctx-size",): (
        "ctx", "n-ctx", "num-ctx", "context", "ctx-len", "context-size", "context-length", "context-window",
        "max-model-len", "max-seq-len", "max-context-length",
    ),
    ("--system-prompt",): ("system-prompt", "system", "system-message", "instructions", "sys"),
    ("--temp",): ("temp", "temperature"),
    ("--stop",): (
        "stop", "stop-sequence", "stop-sequences", "stop-words", "stop-strings", "stop-string", "reverse-prompt", "antiprompt",
    ),
    ("--url",): (
        "api-base", "base-url", "api-base-url", "api-url", "openai-api-base", "openai-base-url", "endpoint", "server",
        "server-url",
    ),
    ("--model",): ("model-name", "model-path", "model-id", "model-url"),
    ("--file",): ("fragment", "prompt-file"),
    ("--parallel",): ("n-parallel", "num-parallel", "max-num-seqs"),
    ("--gpu-layers",): ("ngl", "num-gpu", "num-gpu-layers", "gpulayers"),
    ("--model-draft",): ("draft-model", "spec-draft-model", "speculative-model", "assistant-model"),
    ("--gpu-layers-draft",): ("ngld", "n-gpu-layers-draft", "spec-draft-ngl"),
    ("--draft",): (
        "draft-max", "draft-n", "spec-draft-n-max", "num-speculative-tokens", "num-draft-tokens", "num-assistant-tokens",
    ),
    ("--draft-p-min",): ("spec-draft-p-min",),
    ("--threads",): ("n-threads", "num-thread", "num-threads"),
    ("--threads-batch",): ("n-threads-batch",),
    ("--batch-size",): ("n-batch", "num-batch"),
    ("--ubatch-size",): ("n-ubatch",),
    ("--flash-attn",): ("flash-attention",),
    ("--cache-type-k",): ("type-k",),
    ("--cache-type-v",): ("type-v",),
    ("--repeat-penalty",): ("repetition-penalty",),
    ("--repeat-last-n",): ("last-n-tokens-size",),
    ("--seed",): ("random-seed", "rng-seed"),
    ("--keep",): ("n-keep", "num-keep"),
    ("--mirostat-lr",): ("mirostat-eta",),
    ("--mirostat-ent",): ("mirostat-tau",),
    ("--logprobs",): ("top-logprobs", "n-probs"),
    ("--samples",): ("num-samples", "num-return-sequences"),
    ("--keep-alive",): ("keepalive",),
    ("--regex",): ("guided-regex",),
    ("--grammar",): ("guided-grammar",),
    ("--choices",): ("guided-choice",),
    ("--reasoning-budget",): ("thinking-budget", "max-thinking-tokens"),
}  # fmt: skip
"""Our options, each in the order in which a command is searched for it, and their other names without dashes."""

_OWN = {name: own for own, names in SYNONYMS.items() for name in names}


def own_name(name: str, names: Collection[str]) -> str:
    """Return our name of an option in the form of others: `--max_tokens` is `--predict`; else `name` as it is.

    `names` are the options of the command.
    """
    if name in names or not name.startswith("--"):
        return name
    dashed = _dashed(name)
    if dashed in names:
        return dashed
    return next((own for own in _OWN.get(dashed.removeprefix("--"), ()) if own in names), name)


def option_of_run(name: str) -> str | None:
    """Return the option that `llamacli run` has for a name of others, None if it is unknown."""
    own = _OWN.get(_dashed(name).removeprefix("--"))
    return own[0] if own is not None and name.startswith("--") else None


def _dashed(name: str) -> str:
    return name.lower().replace("_", "-")
