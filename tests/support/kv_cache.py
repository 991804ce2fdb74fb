"""What the KV cache of a context holds, asked of llama.cpp."""

from llamacli.engine.runtime.context import Context


def cached_positions(context: Context, sequence: int) -> int:
    """Return the number of positions of a sequence in the cache."""
    return context._library.llama_memory_seq_pos_max(context._live_memory(), sequence) + 1
