"""Windows: the pieces of a text that are evaluated independently of each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llamacli.errors import UsageError
from llamacli.units import counted


@dataclass(frozen=True, slots=True)
class Window:
    """`tokens` that are evaluated together. Those after position `first` are judged, by what the model predicts before each."""

    tokens: tuple[int, ...]
    first: int

    @property
    def judged(self) -> int:
        """The number of judged tokens."""
        return len(self.tokens) - 1 - self.first

    @property
    def targets(self) -> tuple[int, ...]:
        """The judged tokens."""
        return self.tokens[self.first + 1 :]


def cut_windows(
    tokens: Sequence[int], n_ctx: int, *, stride: int | None = None, bos: int | None = None, most: int | None = None
) -> list[Window]:
    """Return windows of `n_ctx` tokens, at most `most`.

    Without a `stride` they follow each other, and their second halves are judged. With one, each starts `stride` tokens after
    the one before, and its last `stride` tokens are judged: more work, and more context for each token. `bos` takes the place
    of the first token of each. Both are as in llama-perplexity.

    Raises:
        UsageError: if there are not enough tokens for one window.
    """
    if len(tokens) < n_ctx:
        raise UsageError(
            f"the text is too short: it has {counted(len(tokens), 'token')}, and a window has {n_ctx:,}",
            hint="use a longer text or a smaller n_ctx",
            parameter="n_ctx",
        )
    step = stride or n_ctx
    first = n_ctx - 1 - stride if stride else n_ctx // 2
    count = (len(tokens) - n_ctx) // step + 1
    head = () if bos is None else (bos,)
    return [
        Window((*head, *tokens[start + len(head) : start + n_ctx]), first)
        for start in range(0, min(count, most or count) * step, step)
    ]
